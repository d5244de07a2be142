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
    let request = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
    let mut events = Box::pin(daemon.docker.create_image(Some(request), None, None));
    let (mut patience, mut told) = (FIRST_WORD_WITHIN, Instant::now());
    let mut layers: HashMap<String, (i64, i64)> = HashMap::new();
    loop {
        let event = match timeout(patience, events.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(error))) => {
                return Err(format!(
                    "image {image} is not here, and its registry: {}",
                    first_line(&error)
                ));
            }
            Ok(None) => return Ok(()),
            Err(_) => {
                let seconds = patience.as_secs_f32();
                return Err(format!(
                    "image {image} is not here, and its registry sent nothing for {seconds:.1} s"
                ));
            }
        };
        if patience == FIRST_WORD_WITHIN {
            options.say(format!("pulling image {image}"));
            patience = STANDSTILL;
        }
        if let (Some(layer), Some(progress)) = (event.id, event.progress_detail)
            && event.status.as_deref() == Some("Downloading")
        {
            layers.insert(
                layer,
                (progress.current.unwrap_or(0), progress.total.unwrap_or(0)),
            );
        }
        if told.elapsed() > Duration::from_secs(2) && !layers.is_empty() {
            let sum = |part: fn(&(i64, i64)) -> i64| layers.values().map(part).sum::<i64>() >> 20;
            options.say(format!(
                "pulling image {image}: {} of {} MiB",
                sum(|layer| layer.0),
                sum(|layer| layer.1)
            ));
            told = Instant::now();
        }
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
