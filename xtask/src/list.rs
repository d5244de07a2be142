//! `cargo xtask` and `cargo xtask list`.

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use verdict::ExitCode;

use crate::catalogue::{self, Scenario};
use crate::flags::{Format, List};
use crate::progress::{Progress, Standing};
use crate::workbook::Workbook;

#[derive(Serialize)]
struct Listing {
    schema: u32,
    scenarios: Vec<Listed>,
    next: String,
}

#[derive(Serialize)]
struct Listed {
    id: String,
    title: String,
    summary: String,
    services: Vec<String>,
    minutes: u32,
    /// `new`, `open` or `passed`.
    state: &'static str,
    best: Option<u32>,
    runs: usize,
}

pub fn run(workbook: &Workbook, flags: &List) -> anyhow::Result<ExitCode> {
    let scenarios = catalogue::read(workbook)?;
    let progress = Progress::load(workbook);
    let listed: Vec<Listed> = scenarios
        .iter()
        .map(|s| listed(s, progress.scenarios.get(&s.id)))
        .collect();
    let next = next(&listed);
    match flags.format {
        Format::Json => {
            let listing = Listing {
                schema: verdict::report::SCHEMA,
                scenarios: listed,
                next,
            };
            println!("{}", serde_json::to_string_pretty(&listing)?);
        }
        Format::Text => {
            println!("{}", table(&listed));
            println!("\nnext  {next}");
        }
    }
    Ok(ExitCode::Passed)
}

fn listed(scenario: &Scenario, standing: Option<&Standing>) -> Listed {
    let runs = standing.map_or(0, |standing| standing.history.len());
    Listed {
        id: scenario.id.clone(),
        title: scenario.manifest.title.clone(),
        summary: scenario.manifest.summary.clone(),
        services: scenario.manifest.services.clone(),
        minutes: scenario.manifest.minutes,
        state: match standing {
            Some(standing) if standing.passed => "passed",
            Some(_) if runs > 0 => "open",
            _ => "new",
        },
        best: standing.filter(|_| runs > 0).map(|standing| standing.best),
        runs,
    }
}

fn next(listed: &[Listed]) -> String {
    match listed.iter().find(|scenario| scenario.state != "passed") {
        Some(open) if open.state == "new" => format!("read exercises/{}/README.md", open.id),
        Some(open) => format!(
            "cargo xtask grade {}",
            open.id.split('-').next().unwrap_or_default()
        ),
        None => "everything is passed; write a scenario of your own: CONTRIBUTING.md".to_owned(),
    }
}

fn table(listed: &[Listed]) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(80);
    table.set_header(["scenario", "title", "services", "state", "best"]);
    for scenario in listed {
        let services = if scenario.services.is_empty() {
            "none".to_owned()
        } else {
            scenario.services.join(", ")
        };
        let best = scenario
            .best
            .map_or_else(|| "–".to_owned(), |best| best.to_string());
        table.add_row([
            scenario.id.clone(),
            scenario.title.clone(),
            services,
            scenario.state.to_owned(),
            best,
        ]);
    }
    table
        .to_string()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}
