//! Runs one kept program: once whole, and again what has to be the same every time.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::watch;

use super::declared::{Slip, Who};
use super::flips::Tally;
use super::keep::Kept;
use super::row::Row;
use crate::catalogue::Scenario;
use crate::fleet::Fleet;
use crate::gate::Gate;
use crate::grade::run::{Control, Hear, Run};
use crate::manifest::CheckSpec;

/// What all runs share.
pub struct Bench {
    pub fleet: Fleet,
    pub gate: Gate,
    pub seed: u64,
    pub repeat: u32,
}

/// A program that was built and waits to be run.
pub struct Ready {
    pub who: Who,
    pub kept: Kept,
    /// What is known of it so far.
    pub row: Row,
}

/// What the reference measured in this run.
#[derive(Clone, Debug)]
pub enum Figures {
    /// It is being judged.
    Awaited,
    Known(Rc<BTreeMap<String, f64>>),
    /// It did not pass, so there is nothing to measure others by.
    Missing,
}

impl Bench {
    /// Judges a program once the reference's figures are there; `None` when they cannot be had. With `tells` it is the
    /// reference itself.
    pub async fn judge(
        self: Rc<Self>,
        scenario: Rc<Scenario>,
        ready: Ready,
        mut figures: watch::Receiver<Figures>,
        tells: Option<Rc<watch::Sender<Figures>>>,
    ) -> Option<Row> {
        let control = match &tells {
            Some(_) => Control::Subject,
            None => match &*figures
                .wait_for(|known| !matches!(known, Figures::Awaited))
                .await
                .ok()?
            {
                Figures::Known(figures) => Control::Known(Rc::clone(figures)),
                _ => return None,
            },
        };
        let row = self.run(&scenario, ready, control).await;
        if let Some(sender) = tells {
            sender.send_replace(if row.is_as_declared() {
                Figures::Known(Rc::new(row.values.clone()))
            } else {
                Figures::Missing
            });
        }
        Some(row)
    }

    async fn run(&self, scenario: &Scenario, ready: Ready, control: Control) -> Row {
        let Ready { who, kept, mut row } = ready;
        let begun = Instant::now();
        let mut tally = Tally::default();
        for number in 0..self.repeat {
            let checks: Vec<&CheckSpec> = match number {
                0 => scenario.manifest.check.iter().collect(),
                _ => who.repeated(scenario),
            };
            if checks.is_empty() {
                break;
            }
            // Another seed: what holds for one draw of the parameters must hold for all.
            let seed = self.seed + u64::from(number);
            let judged = self
                .run_once(scenario, checks, &kept, control.clone(), seed)
                .await;
            row.runs += 1;
            match judged {
                Ok(report) => {
                    if number == 0 {
                        row.hear(&report);
                    }
                    let checks = report.checks.iter().map(|check| check.name.as_str());
                    let names = checks.chain(report.budgets.iter().map(|budget| budget.metric.as_str()));
                    tally.add(seed, names, who.slips(scenario, &report));
                }
                Err(error) => {
                    tally.add(seed, [], vec![Slip::new("the run", error.to_string())]);
                    break;
                }
            }
        }
        row.slips = tally.slips();
        row.run_seconds = begun.elapsed().as_secs_f64();
        row
    }

    async fn run_once(
        &self,
        scenario: &Scenario,
        checks: Vec<&CheckSpec>,
        kept: &Kept,
        control: Control,
        seed: u64,
    ) -> Result<verdict::report::Scenario, crate::errors::Error> {
        let hear: Hear = Rc::new(|_, _| ());
        let run = Run {
            scenario,
            checks,
            program: &kept.program,
            folder: &kept.folder,
            control,
            reference_folder: &kept.folder,
            fleet: &self.fleet,
            gate: &self.gate,
            seed,
            replay: String::new(),
            hear,
            begun: Instant::now(),
        };
        run.grade().await
    }
}
