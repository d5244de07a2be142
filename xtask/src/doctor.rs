//! `cargo xtask doctor`: what is there, what is missing, what to type.

use serde::Serialize;
use services::{DaemonState, Kind, Options, Survey};
use verdict::ExitCode;

use crate::flags::{Doctor, Format};
use crate::workbook::Workbook;
use crate::{catalogue, fleet};

#[derive(Serialize)]
struct Diagnosis {
    schema: u32,
    /// Everything that any scenario needs can be had.
    fine: bool,
    tools: Vec<Tool>,
    services: Survey,
    /// Servers that only some fixes want.
    on_demand: Vec<Kind>,
}

#[derive(Serialize)]
struct Tool {
    name: &'static str,
    /// The version it tells; null when it is missing.
    found: Option<String>,
    needed: bool,
    next: &'static str,
}

pub async fn run(workbook: &Workbook, flags: &Doctor) -> anyhow::Result<ExitCode> {
    let survey = tokio::task::spawn_blocking(|| services::survey(&Options::default())).await?;
    let tools = vec![
        tool("cargo", &["--version"], true, "install Rust: rustup.rs"),
        tool("cc", &["--version"], true, "sudo apt-get install gcc"),
        tool(
            "valgrind",
            &["--version"],
            false,
            "sudo apt-get install valgrind (instruction counts)",
        ),
        tool("gdb", &["--version"], false, "sudo apt-get install gdb"),
    ];
    // Of a workbook that cannot be read, every server is taken to be needed.
    let needed = catalogue::read(workbook).map(|scenarios| fleet::kinds(&scenarios));
    let on_demand: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| needed.as_ref().is_ok_and(|needed| !needed.contains(kind)))
        .collect();
    let served = survey
        .kinds
        .iter()
        .all(|kind| kind.is_available() || on_demand.contains(&kind.kind));
    let fine = served && tools.iter().all(|tool| tool.found.is_some() || !tool.needed);
    let diagnosis = Diagnosis {
        schema: verdict::report::SCHEMA,
        fine,
        tools,
        services: survey,
        on_demand,
    };
    match flags.format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&diagnosis)?),
        Format::Text => tell(&diagnosis),
    }
    Ok(if fine {
        ExitCode::Passed
    } else {
        ExitCode::Environment
    })
}

fn tool(name: &'static str, arguments: &[&str], needed: bool, next: &'static str) -> Tool {
    let output = std::process::Command::new(name)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success());
    let found = output.map(|output| {
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    });
    Tool {
        name,
        found,
        needed,
        next,
    }
}

fn tell(diagnosis: &Diagnosis) {
    for tool in &diagnosis.tools {
        match &tool.found {
            Some(found) => line("✓", &format!("{:<10} {found}", tool.name)),
            None => line(
                if tool.needed { "✗" } else { "–" },
                &format!("{:<10} missing; next  {}", tool.name, tool.next),
            ),
        }
    }
    match &diagnosis.services.daemon {
        DaemonState::Answers(version) => line("✓", &format!("{:<10} {version}", "containers")),
        DaemonState::Absent(why) => line("–", &format!("{:<10} {why}", "containers")),
    }
    for kind in &diagnosis.services.kinds {
        println!();
        let mark = match (kind.is_available(), diagnosis.on_demand.contains(&kind.kind)) {
            (true, _) => "✓",
            (false, true) => "–",
            (false, false) => "✗",
        };
        line(mark, kind.kind.title());
        for way in &kind.ways {
            let next = way
                .next
                .as_ref()
                .filter(|_| !way.ready)
                .map(|next| format!("; next  {next}"))
                .unwrap_or_default();
            let text = format!("{:<10} {}{next}", way.name, way.found);
            println!(
                "{}",
                textwrap::fill(
                    &text,
                    textwrap::Options::new(80)
                        .initial_indent(if way.ready { "    ✓ " } else { "    – " })
                        .subsequent_indent("                 ")
                )
            );
        }
    }
    println!("\nkept in {}", diagnosis.services.cache_dir.display());
    for entry in &diagnosis.services.cache {
        let size = entry
            .bytes
            .map_or_else(String::new, |bytes| format!(", {} MiB", bytes >> 20));
        line(" ", &format!("{}{size}", entry.what));
    }
    if !diagnosis.services.cache.is_empty() {
        println!("  next  cargo xtask services down --purge removes it");
    }
}

fn line(mark: &str, text: &str) {
    println!(
        "{}",
        textwrap::fill(
            text,
            textwrap::Options::new(80)
                .initial_indent(&format!("{mark} "))
                .subsequent_indent("             ")
        )
    );
}
