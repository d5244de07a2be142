//! Builds one subject after the other, across scenarios, and runs each while the next are built.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::declared::Who;
use super::judging::{Bench, Figures, Ready};
use super::keep::Kept;
use super::ledger::{Before, Ledger};
use super::papers;
use super::row::Row;
use crate::catalogue::Scenario;
use crate::compile::{self, Side};
use crate::errors::Error;
use crate::fingerprint::{self, Fingerprint};
use crate::heard::Step;
use crate::lanes::{Far, Lane};
use crate::room::Room;
use crate::scratch::Scratch;
use crate::submission::Overlay;
use crate::terminal::Screen;
use crate::variant::{self, Variant};
use crate::workbook::Workbook;

/// A scenario, and how much of it is asked for.
pub struct Asked {
    pub scenario: Rc<Scenario>,
    pub variants: Vec<Variant>,
    /// Only exercise and reference: the rest stands proved.
    pub short: bool,
}

pub struct Proving<'a> {
    pub workbook: &'a Workbook,
    pub scratch: &'a Scratch,
    pub screen: &'a Screen,
    pub bench: Rc<Bench>,
    pub ledger: RefCell<Ledger>,
    /// What else a row depends on, beside its files.
    pub question: Fingerprint,
    /// Names of subjects; all without one.
    pub only: &'a [String],
}

/// A row under way, and of what.
type Running = JoinSet<Option<(Fingerprint, Row)>>;

/// What is being worked on, and what came of it.
#[derive(Default)]
struct Work {
    running: Running,
    rows: Vec<Row>,
    /// Slips of an earlier part, whose subjects are judged again.
    before: BTreeMap<(String, String), Vec<String>>,
    /// Rows that there will be.
    expected: usize,
}

impl Proving<'_> {
    pub async fn prove(&self, all: &[Asked]) -> anyhow::Result<Vec<Row>> {
        let mut work = Work {
            expected: all.iter().map(|asked| 1 + self.subjects(asked).len()).sum(),
            ..Work::default()
        };
        for asked in all {
            let slips = papers::slips(self.workbook, &asked.scenario, &asked.variants)?;
            self.tell(&asked.scenario.id, "papers", &slips);
            work.rows
                .push(Row::of_slips(&asked.scenario.id, "papers", "in order", slips));
            self.prove_one(asked, &mut work).await?;
        }
        while self.next(&mut work).await {}
        Ok(work.rows)
    }

    async fn prove_one(&self, asked: &Asked, work: &mut Work) -> anyhow::Result<()> {
        let scenario = &asked.scenario;
        let mut shared = fingerprint::of_scenario(self.workbook, scenario)?;
        shared.add(self.question.hex().as_bytes());
        let (sender, figures) = watch::channel(Figures::Awaited);
        let sender = Rc::new(sender);
        let mut subjects = self.subjects(asked);
        while let Some(who) = subjects.pop_front() {
            if matches!(&*figures.borrow(), Figures::Missing) {
                // The reference does not pass: nothing below would mean anything.
                break;
            }
            let name = who.name().to_owned();
            let of = match &who {
                Who::Variant(variant) => fingerprint::of_variant(shared, variant)?,
                _ => shared,
            };
            let tells = matches!(who, Who::Reference).then(|| Rc::clone(&sender));
            match self.ledger.borrow().before(&scenario.id, &name, of) {
                Before::Row(row) => {
                    if let Some(sender) = tells {
                        sender.send_replace(Figures::Known(Rc::new(row.values.clone())));
                    }
                    work.rows.push(*row);
                    continue;
                }
                Before::Slips(slips) => {
                    work.before.insert((scenario.id.clone(), name.clone()), slips);
                }
                Before::Unknown => {}
            }
            // Programs wait on disk, not in memory; but nobody gains from a long queue.
            while work.running.len() >= 3 * self.bench.gate.always() {
                self.next(work).await;
            }
            self.show(work);
            match self.build_beside(scenario, who, work).await? {
                Ok(ready) => {
                    let judging =
                        Rc::clone(&self.bench).judge(Rc::clone(scenario), ready, figures.clone(), tells);
                    work.running
                        .spawn_local(async move { judging.await.map(|row| (of, row)) });
                }
                Err(row) => {
                    if let Some(sender) = tells {
                        sender.send_replace(Figures::Missing);
                    }
                    self.judged(work, of, row);
                }
            }
        }
        Ok(())
    }

    /// Who is to be judged, the reference first: its figures are what others are measured by.
    fn subjects(&self, asked: &Asked) -> VecDeque<Who> {
        let wanted = |who: &Who| self.only.is_empty() || self.only.iter().any(|name| name == who.name());
        let variants = asked.variants.iter().filter(|_| !asked.short);
        let others = std::iter::once(Who::Exercise).chain(variants.cloned().map(Who::Variant));
        std::iter::once(Who::Reference)
            .chain(others.filter(wanted))
            .collect()
    }

    /// Builds, and writes down meanwhile what is judged: an interruption may come at any time.
    async fn build_beside(
        &self,
        scenario: &Rc<Scenario>,
        who: Who,
        work: &mut Work,
    ) -> anyhow::Result<Result<Ready, Row>> {
        let mut building = std::pin::pin!(self.build(scenario, who));
        loop {
            tokio::select! {
                built = &mut building => return built,
                Some(ended) = work.running.join_next() => {
                    if let Ok(Some((of, row))) = ended {
                        self.judged(work, of, row);
                    }
                }
            }
        }
    }

    /// Waits for one of the rows under way; `false` when there is none.
    async fn next(&self, work: &mut Work) -> bool {
        match work.running.join_next().await {
            None => false,
            Some(ended) => {
                if let Ok(Some((of, row))) = ended {
                    self.judged(work, of, row);
                }
                true
            }
        }
    }

    fn judged(&self, work: &mut Work, of: Fingerprint, mut row: Row) {
        let before = work.before.remove(&(row.scenario.clone(), row.subject.clone()));
        if let Some(before) = before.filter(|_| row.is_as_declared()) {
            // The same files, judged by the same program: had it been right to pass, it had passed.
            row.slips = before
                .iter()
                .map(|slip| format!("flip, before the interruption: {slip}"))
                .collect();
        }
        self.tell(&row.scenario, &row.subject, &row.slips);
        if let Err(error) = self.ledger.borrow_mut().put(of, &row) {
            self.screen.line(&format!(
                "note: what was judged cannot be kept for a later run ({error})"
            ));
        }
        work.rows.push(row);
        self.show(work);
    }

    fn show(&self, work: &Work) {
        let far = Far {
            done: work.rows.len() as u64,
            of: work.expected as u64,
        };
        let words = format!("judged, {} running", work.running.len());
        self.screen.tell(Lane::Rows, Some(far), &words);
    }

    fn tell(&self, scenario: &str, subject: &str, slips: &[String]) {
        for slip in slips {
            self.screen.line(&format!("✗ {scenario} {subject}: {slip}"));
        }
    }

    async fn build(&self, scenario: &Rc<Scenario>, who: Who) -> anyhow::Result<Result<Ready, Row>> {
        let begun = Instant::now();
        let mut row = Row::new(&scenario.id, who.name(), who.declared());
        let name = format!("{} {}", scenario.id, who.name());
        let say = |step: &Step| self.screen.compiling(&step.of(&name));
        say(&Step::default());
        let built = match &who {
            Who::Exercise => self.build_in_place(scenario, Side::Exercise, &say).await?,
            Who::Reference => self.build_in_place(scenario, Side::Reference, &say).await?,
            Who::Variant(variant) => self.build_variant(scenario, variant, &say).await?,
        };
        self.screen.end(Lane::Build);
        row.build_seconds = begun.elapsed().as_secs_f64();
        let expected_not_to = matches!(&who, Who::Variant(variant) if variant.spec.build);
        Ok(match built {
            Ok(_) if expected_not_to => {
                row.slips = vec!["it compiles, though `build = true` says that it does not".to_owned()];
                Err(row)
            }
            Ok(kept) => Ok(Ready { who, kept, row }),
            Err(diagnostics) => {
                row.slips = who.build_slips(&diagnostics);
                row.runs = 1;
                Err(row)
            }
        })
    }

    /// The learner's tree and the reference are built where they are, as `grade` does.
    async fn build_in_place(
        &self,
        scenario: &Scenario,
        side: Side,
        say: &dyn Fn(&Step),
    ) -> anyhow::Result<Result<Kept, String>> {
        let alone = [scenario.clone()];
        let room = Room::prepare(self.workbook, side, &alone, None, self.screen).await?;
        let built = compile::build(&room.root, &room.target, &[&scenario.slug], side, say).await?;
        room.built(scenario, &built)?;
        let Some(program) = built.programs.get(&scenario.hidden_package()) else {
            return Ok(Err(built.diagnostics));
        };
        let (name, files) = match side {
            Side::Exercise => ("exercise", variant::lesson_files(scenario, &scenario.exercise)?),
            Side::Reference => ("reference", variant::lesson_files(scenario, &scenario.solution)?),
        };
        let files = Overlay {
            files,
            notes: Vec::new(),
        };
        let shelf = format!("{}/{name}", scenario.id);
        Ok(Ok(Kept::copy(self.workbook, &shelf, program, &files)?))
    }

    async fn build_variant(
        &self,
        scenario: &Scenario,
        variant: &Variant,
        say: &dyn Fn(&Step),
    ) -> anyhow::Result<Result<Kept, String>> {
        let overlay = variant::overlay(&self.workbook.root, scenario, Some(variant))?;
        self.scratch.lay(scenario, &overlay)?;
        let (root, target) = (&self.scratch.root, &self.scratch.target);
        let built = compile::build(root, target, &[&scenario.slug], Side::Exercise, say).await?;
        let Some(program) = built.programs.get(&scenario.hidden_package()) else {
            return Ok(Err(built.diagnostics));
        };
        crate::stale::remember(target, &scenario.slug, &self.scratch.exercise(scenario))?;
        let shelf = format!("{}/{}", scenario.id, variant.name);
        Ok(Ok(Kept::copy(self.workbook, &shelf, program, &overlay)?))
    }
}

impl Asked {
    pub fn read(scenario: Scenario) -> Result<Asked, Error> {
        Ok(Asked {
            variants: variant::read(&scenario)?,
            scenario: Rc::new(scenario),
            short: false,
        })
    }
}
