//! Pulling an image, or giving it up soon: a machine without a registry must not wait for one.

use super::*;

/// How long the registry may be silent before its first word; with the question itself the way is given up within two
/// seconds.
const FIRST_WORD_WITHIN: Duration = Duration::from_millis(1700);

/// How long a pull that has begun may stand still. Unpacking a large layer is silent for a while.
const STANDSTILL: Duration = Duration::from_secs(30);

/// How long a registry that was out of reach is not asked again, unless containers are asked for by name.
const FORGET_AFTER: Duration = Duration::from_secs(600);

pub(super) async fn pull(daemon: &Daemon, image: &str, options: &Options) -> Result<(), String> {
    let failure = Failure::of(image, options);
    if let Some(reason) = failure.recent() {
        return Err(reason);
    }
    let result = follow(daemon, image, options).await;
    match &result {
        Ok(()) => failure.forget(),
        Err(reason) => failure.remember(reason),
    }
    result
}

async fn follow(daemon: &Daemon, image: &str, options: &Options) -> Result<(), String> {
    let (name, tag) = name_and_tag(image);
    let path = format!(
        "{}/images/create?fromImage={}&tag={}",
        daemon.api,
        escaped(name),
        escaped(tag)
    );
    let refused = |reason: &str| format!("image {image} is not here, and its registry: {reason}");
    let silent = |patience: Duration| {
        let seconds = patience.as_secs_f32();
        format!("image {image} is not here, and its registry sent nothing for {seconds:.1} s")
    };
    let first_word = async {
        let mut answer = http::send(&daemon.place, "POST", &path, &[], None).await?;
        if answer.status >= 400 {
            let body = answer.body().await?;
            return Ok(Err(http::refusal(answer.status, &body)));
        }
        let piece = answer.piece().await?;
        Ok::<_, std::io::Error>(Ok((answer, piece)))
    };
    let (mut answer, mut piece) = match timeout(FIRST_WORD_WITHIN, first_word).await {
        Ok(Ok(Ok(first))) => first,
        Ok(Ok(Err(reason))) => return Err(refused(&reason)),
        Ok(Err(error)) => return Err(refused(&error.to_string())),
        Err(_) => return Err(silent(FIRST_WORD_WITHIN)),
    };
    let mut progress = Progress::default();
    while let Some(text) = piece {
        progress
            .hear(&text, image, options)
            .map_err(|reason| refused(&reason))?;
        piece = match timeout(STANDSTILL, answer.piece()).await {
            Ok(Ok(piece)) => piece,
            Ok(Err(error)) => return Err(refused(&error.to_string())),
            Err(_) => return Err(silent(STANDSTILL)),
        };
    }
    Ok(())
}

/// What the daemon said of a pull so far: a JSON object per line, lines cut anywhere.
#[derive(Default)]
struct Progress {
    unfinished: Vec<u8>,
    /// Bytes that came, and bytes in all, per layer.
    layers: HashMap<String, (u64, u64)>,
    told: Option<Instant>,
}

impl Progress {
    fn hear(&mut self, text: &[u8], image: &str, options: &Options) -> Result<(), String> {
        self.unfinished.extend_from_slice(text);
        while let Some(end) = self.unfinished.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unfinished.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).unwrap_or_default();
            if let Some(error) = super::text(&event, "/error") {
                return Err(error.lines().next().unwrap_or_default().to_owned());
            }
            if event.get("status").is_some_and(|status| status == "Downloading") {
                let bytes = |what: &str| event.pointer(what).and_then(Value::as_u64).unwrap_or(0);
                let layer = super::text(&event, "/id").unwrap_or_default();
                let come = (bytes("/progressDetail/current"), bytes("/progressDetail/total"));
                self.layers.insert(layer, come);
            }
        }
        if self.told.is_none() {
            options.say(format!("pulling image {image}"));
        } else if self
            .told
            .is_some_and(|told| told.elapsed() < Duration::from_secs(2))
            || self.layers.is_empty()
        {
            return Ok(());
        } else {
            let sum = |part: fn(&(u64, u64)) -> u64| self.layers.values().map(part).sum::<u64>() >> 20;
            let (come, all) = (sum(|layer| layer.0), sum(|layer| layer.1));
            options.say(format!("pulling image {image}: {come} of {all} MiB"));
        }
        self.told = Some(Instant::now());
        Ok(())
    }
}

/// The memory of a pull that failed, as a small file in the cache.
struct Failure {
    file: std::path::PathBuf,
    asked_by_name: bool,
}

impl Failure {
    fn of(image: &str, options: &Options) -> Failure {
        let name: String = image
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        // A daemon that is not the usual one has failures of its own.
        let daemon = options.search.daemon.as_deref().map_or(0, |daemon| daemon.len());
        let file = options.cache_dir.join("pulls").join(format!("{name}-{daemon}"));
        Failure {
            file,
            asked_by_name: options.mode == crate::Mode::Containers,
        }
    }

    fn recent(&self) -> Option<String> {
        let age = std::fs::metadata(&self.file)
            .and_then(|meta| meta.modified())
            .ok()?
            .elapsed()
            .ok()?;
        if age > FORGET_AFTER || self.asked_by_name {
            return None;
        }
        let reason = std::fs::read_to_string(&self.file).ok()?;
        Some(format!(
            "{reason} ({} min ago; asked again after {} min)",
            age.as_secs() / 60,
            FORGET_AFTER.as_secs() / 60
        ))
    }

    fn remember(&self, reason: &str) {
        let parent = self.file.parent().map(std::fs::create_dir_all);
        if parent.is_some_and(|made| made.is_ok()) {
            let _ = std::fs::write(&self.file, reason);
        }
    }

    fn forget(&self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
