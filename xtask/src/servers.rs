//! `cargo xtask services up|down|status`.

use services::{Kind, Options, State};
use verdict::ExitCode;

use crate::catalogue;
use crate::errors::Error;
use crate::flags::{Services, ServicesVerb};
use crate::fleet;
use crate::terminal::Screen;
use crate::workbook::Workbook;

pub async fn run(workbook: &Workbook, flags: &Services) -> anyhow::Result<ExitCode> {
    match &flags.verb {
        ServicesVerb::Up {
            services,
            mode,
            scale,
        } => up(workbook, services, *mode, scale.as_deref()).await,
        ServicesVerb::Down { services, purge } => down(workbook, services, *purge).await,
        ServicesVerb::Status => status(workbook).await,
    }
}

async fn up(
    workbook: &Workbook,
    asked: &[String],
    mode: crate::flags::ServiceMode,
    scale: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let scenarios = catalogue::read(workbook)?;
    let kinds = match kinds(asked)? {
        kinds if kinds.is_empty() => fleet::kinds(&scenarios).into_iter().collect(),
        kinds => kinds,
    };
    let rows = scale.map(rows).transpose()?.or_else(fleet::rows_asked);
    let seeds = fleet::seeds(&scenarios, rows)?;
    let file = fleet::state_file(workbook);
    let mut state = State::load(&file).map_err(environment)?;
    state.bury(&Options::default()).await;
    let screen = Screen::new(crate::flags::Format::Text);
    for kind in kinds {
        if let Some(endpoint) = state.endpoint(kind) {
            screen.line(&format!("{kind} is up already at {}", endpoint.address()));
            continue;
        }
        let upstream = state.endpoint(Kind::Postgres).cloned();
        let server = fleet::start_one(kind, mode, &seeds, upstream, true, &|line| screen.doing(line)).await?;
        screen.line(&format!(
            "{kind} {} is up at {} ({})",
            server.version,
            server.endpoint.address(),
            server.reason
        ));
        state.servers.push(server.detach().map_err(environment)?);
        // After each one: a server that is not written down would be nobody's.
        state.save(&file).map_err(environment)?;
    }
    screen.quiet();
    println!("next  cargo xtask grade, as often as you like; then cargo xtask services down");
    Ok(ExitCode::Passed)
}

async fn down(workbook: &Workbook, asked: &[String], purge: bool) -> anyhow::Result<ExitCode> {
    let kinds = kinds(asked)?;
    let options = Options::default();
    let file = fleet::state_file(workbook);
    let mut state = State::load(&file).map_err(environment)?;
    let (stopped, kept): (Vec<_>, Vec<_>) = state
        .servers
        .drain(..)
        .partition(|server| kinds.is_empty() || kinds.contains(&server.kind));
    state.servers = kept;
    let mut none = true;
    for server in stopped.into_iter().rev() {
        let kind = server.kind;
        server.stop(&options).await;
        println!("{kind} is down");
        none = false;
    }
    state.save(&file).map_err(environment)?;
    services::recover(&options).await;
    if none {
        println!("no service was running");
    }
    if purge {
        let cache = options.cache_dir.clone();
        let purged = tokio::task::spawn_blocking(move || services::purge(&cache))
            .await?
            .map_err(environment)?;
        println!(
            "removed {} kept items, {} MiB, from {}",
            purged.entries,
            purged.bytes >> 20,
            options.cache_dir.display()
        );
    }
    Ok(ExitCode::Passed)
}

async fn status(workbook: &Workbook) -> anyhow::Result<ExitCode> {
    let state = State::load(&fleet::state_file(workbook)).map_err(environment)?;
    if state.servers.is_empty() {
        println!("no service is kept running; next  cargo xtask services up");
    }
    let mut all_alive = true;
    for server in &state.servers {
        let alive = server.is_alive().await;
        all_alive &= alive;
        let word = if alive {
            "answers"
        } else {
            "is dead; next  cargo xtask services up"
        };
        println!(
            "{} {} at {} ({}) {word}",
            server.kind,
            server.version,
            server.endpoint.address(),
            server.how
        );
    }
    Ok(if all_alive {
        ExitCode::Passed
    } else {
        ExitCode::Environment
    })
}

fn kinds(asked: &[String]) -> Result<Vec<Kind>, Error> {
    asked
        .iter()
        .map(|word| {
            word.parse().map_err(|error| Error::Usage {
                what: format!("{error}"),
                next: "cargo xtask doctor".to_owned(),
            })
        })
        .collect()
}

/// `500000`, `500k`, `10m`.
fn rows(scale: &str) -> Result<u64, Error> {
    let (digits, factor) = match scale.to_ascii_lowercase().strip_suffix(['k', 'm']) {
        Some(digits) if scale.ends_with(['k', 'K']) => (digits.to_owned(), 1_000),
        Some(digits) => (digits.to_owned(), 1_000_000),
        None => (scale.to_owned(), 1),
    };
    digits
        .parse::<u64>()
        .ok()
        .map(|rows| rows * factor)
        .filter(|rows| *rows > 0)
        .ok_or_else(|| Error::Usage {
            what: format!("`{scale}` is no number of rows"),
            next: "cargo xtask services up postgres --scale 10m".to_owned(),
        })
}

fn environment(error: services::Error) -> Error {
    let text = error.to_string();
    let (what, next) = text
        .rsplit_once("\n  next: ")
        .unwrap_or((&text, "cargo xtask doctor"));
    Error::Environment {
        what: what.to_owned(),
        next: next.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case("10m", Some(10_000_000))]
    #[case("500k", Some(500_000))]
    #[case("42", Some(42))]
    #[case("0", None)]
    #[case("many", None)]
    fn scales(#[case] scale: &str, #[case] rows: Option<u64>) {
        assert_eq!(super::rows(scale).ok(), rows);
    }
}
