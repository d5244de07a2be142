//! The command line of the workbook: `cargo xtask`.
//!
//! This file only dispatches; [`flags`] holds all flags, and each command has a file of its own name.

mod catalogue;
mod child;
mod compile;
mod debrief;
mod doctor;
mod errors;
mod evidence;
mod fingerprint;
mod flags;
mod fleet;
mod gate;
mod globs;
mod grade;
mod heard;
mod hint;
mod incident;
mod lanes;
mod lend;
mod list;
mod manifest;
mod palette;
mod progress;
mod readme;
mod room;
mod score;
mod scratch;
mod servers;
mod stale;
mod submission;
mod terminal;
mod transcript;
mod variant;
mod verify;
mod workbook;

use clap::Parser;
use flags::{Command, Flags};
use verdict::ExitCode;

fn main() -> std::process::ExitCode {
    let flags = Flags::parse();
    // One thread: a child whose parent thread ends is killed with it, and this one ends last.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: failed to start the runtime: {error}");
            return ExitCode::Environment.into();
        }
    };
    let local = tokio::task::LocalSet::new();
    // What runs is dropped on an interruption, and with it its children and servers.
    let interruptible = async {
        tokio::select! {
            result = dispatch(flags) => result.map(Ok),
            signal = services::process::interrupted() => Ok(Err(signal)),
        }
    };
    match local.block_on(&runtime, interruptible) {
        Ok(Ok(code)) => code.into(),
        Ok(Err(_interrupted)) => {
            drop(local);
            // Servers that were being started are not dropped: nobody holds them yet.
            runtime.block_on(services::abandon(&services::Options::default()));
            ExitCode::Environment.into()
        }
        Err(error) => {
            eprintln!("{}", errors::rendered(&error));
            errors::exit_code(&error).into()
        }
    }
}

async fn dispatch(flags: Flags) -> anyhow::Result<ExitCode> {
    let workbook = workbook::Workbook::find()?;
    match flags.command.unwrap_or_default() {
        Command::List(list) => list::run(&workbook, &list),
        Command::Grade(grade) => grade::run(&workbook, &grade).await,
        Command::Incident(incident) => incident::run(&workbook, &incident).await,
        Command::Verify(verify) => verify::run(&workbook, &verify).await,
        Command::Hint(hint) => hint::run(&workbook, &hint),
        Command::Debrief(debrief) => debrief::run(&workbook, &debrief),
        Command::Services(services) => servers::run(&workbook, &services).await,
        Command::Doctor(doctor) => doctor::run(&workbook, &doctor).await,
    }
}
