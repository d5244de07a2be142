//! `cargo xtask verify`: the author's proof that a scenario judges as it declares.
//!
//! [`papers`] reads; [`proving`] builds and queues; [`judging`] runs; [`declared`] and [`flips`] compare; [`ledger`]
//! keeps what an interruption must not lose; [`record`] and [`proof`] write what was found; [`table`] tells it.

mod declared;
mod flips;
mod judging;
mod keep;
mod ledger;
mod papers;
mod proof;
mod proving;
mod record;
mod row;
mod table;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use serde::Serialize;
use verdict::{ExitCode, Verdict, report};

use crate::catalogue;
use crate::errors::{Error, near};
use crate::fingerprint::{self, Fingerprint};
use crate::flags::{Format, Verify};
use crate::fleet::{self, Fleet};
use crate::gate::Gate;
use crate::lanes::Lane;
use crate::scratch::Scratch;
use crate::terminal::Screen;
use crate::workbook::Workbook;
use judging::Bench;
use ledger::Ledger;
use proving::{Asked, Proving};
use row::Row;

/// What `--format json` prints.
#[derive(Serialize)]
struct Proof {
    schema: u32,
    seed: u64,
    repeat: u32,
    rows: Vec<Row>,
    slips: usize,
    /// Scenarios of which only exercise and reference were judged, as the rest stands proved.
    short: Vec<String>,
    /// What `--record` changed.
    recorded: Vec<String>,
    /// Budgets that no subject was seen to exceed, as `scenario metric`: each failed only because its check did.
    never_exceeded: Vec<String>,
    seconds: f64,
}

pub async fn run(workbook: &Workbook, flags: &Verify) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let all = catalogue::read(workbook)?;
    let of_workbook = papers::of_workbook(workbook, &all);
    let scenarios = catalogue::pick(all, &flags.scenarios)?;
    let screen = Screen::new(flags.format);
    let mut asked = scenarios
        .iter()
        .cloned()
        .map(Asked::read)
        .collect::<Result<Vec<Asked>, Error>>()?;
    known_subjects(&asked, &flags.variants)?;
    if flags.changed {
        proof::shorten(workbook, &mut asked)?;
    }
    let scratch = Scratch::prepare(workbook, &screen).await?;
    keep::sweep(workbook);
    let ledger = open_ledger(workbook, flags, &asked, &screen);
    let seed = ledger.seed();
    if let Some(words) = fleet::words(&scenarios) {
        screen.doing(&words);
    }
    let fleet = Fleet::start(workbook, &scenarios, flags.services, &|line| screen.doing(line)).await?;
    screen.end(Lane::Services);
    let bench = Rc::new(Bench {
        fleet,
        gate: Gate::new(),
        seed,
        repeat: flags.repeat,
    });
    let proving = Proving {
        workbook,
        scratch: &scratch,
        screen: &screen,
        bench: Rc::clone(&bench),
        ledger: RefCell::new(ledger),
        question: question(flags, seed),
        only: &flags.variants,
    };
    let proved = proving.prove(&asked).await;
    let Proving {
        ledger, bench: lent, ..
    } = proving;
    drop(lent);
    if let Ok(bench) = Rc::try_unwrap(bench) {
        bench.fleet.stop().await;
    }
    let mut rows = proved?;
    ledger.into_inner().close();
    rows.push(Row::of_slips("workbook", "papers", "in order", of_workbook));
    let recorded = if flags.record {
        record::write(workbook, &asked, &mut rows)?
    } else {
        Vec::new()
    };
    rows.sort_by_key(|row| {
        (
            position(&asked, &row.scenario),
            row::order(row),
            row.subject.clone(),
        )
    });
    if flags.record_proof {
        proof::write(workbook, &asked, &rows, flags.repeat)?;
    }
    screen.quiet();
    let short = asked.iter().filter(|asked| asked.short);
    let proof = Proof {
        schema: report::SCHEMA,
        seed,
        repeat: flags.repeat,
        slips: rows.iter().map(|row| row.slips.len()).sum(),
        never_exceeded: never_exceeded(&asked, &rows),
        rows,
        short: short.map(|asked| asked.scenario.id.clone()).collect(),
        recorded,
        seconds: begun.elapsed().as_secs_f64(),
    };
    match flags.format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&proof)?),
        Format::Text => print!("{}", table::words(&proof)),
    }
    Ok(if proof.slips == 0 {
        ExitCode::Passed
    } else {
        ExitCode::Failed
    })
}

/// A run of a few variants is short, and leaves an interrupted whole one as it is.
fn open_ledger(workbook: &Workbook, flags: &Verify, asked: &[Asked], screen: &Screen) -> Ledger {
    if !flags.variants.is_empty() {
        return Ledger::none(flags.seed);
    }
    let ids: Vec<String> = asked.iter().map(|asked| asked.scenario.id.clone()).collect();
    let ledger = Ledger::open(workbook, &ids, flags.repeat, flags.seed, flags.fresh);
    if ledger.rows_before() > 0 {
        screen.line(&format!(
            "going on where the last such run was interrupted: {} rows, seed {}; --fresh starts anew",
            ledger.rows_before(),
            ledger.seed()
        ));
    }
    ledger
}

/// What a row depends on beside its files: this program, and how it was asked.
fn question(flags: &Verify, seed: u64) -> Fingerprint {
    let mut question = fingerprint::of_judge();
    question
        .add(&seed.to_le_bytes())
        .add(&flags.repeat.to_le_bytes())
        .add(format!("{:?} {:?}", flags.services, fleet::rows_asked()).as_bytes());
    question
}

/// A budget that stands in a `must` counts as caught when its check fails. That it can tell anything by itself is seen
/// only where its check passes and its figure is above the limit.
fn never_exceeded(all: &[Asked], rows: &[Row]) -> Vec<String> {
    let mut never = Vec::new();
    for asked in all {
        let id = &asked.scenario.id;
        let mine: Vec<&Row> = rows.iter().filter(|row| &row.scenario == id).collect();
        if mine.len() < asked.variants.len() + 3 {
            continue;
        }
        let exceeded = |metric: &str| {
            mine.iter().any(|row| {
                row.verdicts.get(metric) == Some(&Verdict::Fail) && row.values.contains_key(metric)
            })
        };
        let budgets = asked.scenario.manifest.budget.iter();
        never.extend(
            budgets
                .filter(|budget| !exceeded(&budget.metric))
                .map(|budget| format!("{id} {}", budget.metric)),
        );
    }
    never
}

fn position(asked: &[Asked], id: &str) -> usize {
    asked
        .iter()
        .position(|asked| asked.scenario.id == id)
        .map_or(0, |position| position + 1)
}

fn known_subjects(asked: &[Asked], names: &[String]) -> Result<(), Error> {
    let known: Vec<&str> = asked
        .iter()
        .flat_map(|asked| asked.variants.iter().map(|variant| variant.name.as_str()))
        .chain(["exercise", "reference"])
        .collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Error::UnknownVariant {
            asked: name.clone(),
            near: near(name, known),
        }),
    }
}
