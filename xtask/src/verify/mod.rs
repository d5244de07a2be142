//! `cargo xtask verify`: the author's proof that a scenario judges as it declares.

mod declared;
mod papers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use verdict::{ExitCode, report};

use crate::catalogue::{self, Scenario};
use crate::compile::{self, Side};
use crate::errors::Error;
use crate::flags::{Format, Verify};
use crate::fleet::Fleet;
use crate::grade::permits;
use crate::grade::run::{Control, Hear, Run};
use crate::manifest::CheckSpec;
use crate::room::Room;
use crate::scratch::Scratch;
use crate::terminal::Screen;
use crate::variant::{self, Variant};
use crate::workbook::Workbook;
use declared::Who;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
struct Row {
    scenario: String,
    /// `exercise`, `reference`, or a variant's name.
    subject: String,
    /// `broken`, `pass`, `accepted`, `rejected`.
    declared: String,
    score: u32,
    seconds: f64,
    /// What is not as declared; empty when all is.
    slips: Vec<String>,
}

#[derive(Serialize)]
struct Proof {
    schema: u32,
    seed: u64,
    rows: Vec<Row>,
    slips: usize,
    seconds: f64,
}

pub async fn run(workbook: &Workbook, flags: &Verify) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let scenarios = catalogue::pick(catalogue::read(workbook)?, &flags.scenarios)?;
    let screen = Screen::new(flags.format);
    let seed = flags.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000));
    let fleet =
        Rc::new(Fleet::start(workbook, &scenarios, flags.services, &|line| screen.doing(line)).await?);
    let scratch = Scratch::prepare(workbook)?;
    let mut rows = Vec::new();
    for scenario in &scenarios {
        let proof = Proving {
            workbook,
            scenario: Rc::new(scenario.clone()),
            scratch: &scratch,
            fleet: Rc::clone(&fleet),
            permits: Rc::new(Semaphore::new(permits())),
            screen: &screen,
            seed,
            repeat: flags.repeat,
        };
        rows.extend(proof.prove(&flags.variants).await?);
    }
    if let Ok(fleet) = Rc::try_unwrap(fleet) {
        fleet.stop().await;
    }
    screen.quiet();
    let slips = rows.iter().map(|row| row.slips.len()).sum();
    let proof = Proof {
        schema: report::SCHEMA,
        seed,
        rows,
        slips,
        seconds: begun.elapsed().as_secs_f64(),
    };
    match flags.format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&proof)?),
        Format::Text => print_table(&proof),
    }
    Ok(if slips == 0 {
        ExitCode::Passed
    } else {
        ExitCode::Failed
    })
}

/// A program that was built and waits to be run.
struct Ready {
    who: Who,
    program: PathBuf,
    folder: PathBuf,
}

struct Proving<'a> {
    workbook: &'a Workbook,
    scenario: Rc<Scenario>,
    scratch: &'a Scratch,
    fleet: Rc<Fleet>,
    permits: Rc<Semaphore>,
    screen: &'a Screen,
    seed: u64,
    repeat: u32,
}

impl Proving<'_> {
    /// Builds one subject after the other, and runs each while the next is built.
    async fn prove(&self, only: &[String]) -> anyhow::Result<Vec<Row>> {
        let scenario = &*self.scenario;
        let variants = variant::read(scenario)?;
        let mut rows = vec![self.row(
            "papers",
            "in order",
            0,
            Instant::now(),
            papers::slips(self.workbook, scenario, &variants)?,
        )];
        let wanted = |name: &str| only.is_empty() || only.iter().any(|asked| asked == name);

        let reference = self.build_in_place(Side::Reference).await?;
        let judged = self.grade(&reference, Control::Subject).await;
        let figures: BTreeMap<String, f64> = judged
            .report
            .budgets
            .iter()
            .filter_map(|budget| Some((budget.metric.clone(), budget.value?)))
            .collect();
        let figures = Rc::new(figures);
        rows.push(judged.row(self));
        if rows
            .iter()
            .any(|row| row.subject == "reference" && !row.slips.is_empty())
        {
            // Nothing below would mean anything.
            return Ok(rows);
        }

        let mut running: JoinSet<Row> = JoinSet::new();
        if wanted("exercise") {
            let exercise = self.build_in_place(Side::Exercise).await?;
            self.start(&mut running, exercise, &figures);
        }
        for variant in variants.into_iter().filter(|variant| wanted(&variant.name)) {
            self.screen.doing(&format!(
                "verifying {}: {} ({} running)",
                scenario.id,
                variant.name,
                running.len()
            ));
            match self.build_variant(variant).await? {
                Ok(ready) => self.start(&mut running, ready, &figures),
                Err(row) => rows.push(row),
            }
            // Programs wait on disk, not in memory; but nobody gains from a long queue.
            while running.len() >= 2 * permits() {
                rows.extend(self.next(&mut running).await);
            }
        }
        while let Some(row) = self.next(&mut running).await {
            rows.push(row);
        }
        rows.sort_by_key(|row| declared::order(&row.declared));
        Ok(rows)
    }

    async fn next(&self, running: &mut JoinSet<Row>) -> Option<Row> {
        let row = running.join_next().await?.ok()?;
        self.screen.doing(&format!(
            "verified {}: {} ({} running)",
            row.scenario,
            row.subject,
            running.len()
        ));
        for slip in &row.slips {
            self.screen
                .line(&format!("{} {}: {slip}", row.scenario, row.subject));
        }
        Some(row)
    }

    fn start(&self, running: &mut JoinSet<Row>, ready: Ready, figures: &Rc<BTreeMap<String, f64>>) {
        let grading = self.grade(&ready, Control::Known(Rc::clone(figures)));
        let maker = RowMaker {
            scenario: self.scenario.id.clone(),
        };
        running.spawn_local(async move { grading.await.row_with(&maker) });
    }

    /// Grades, and grades again what has to be the same every time.
    fn grade(&self, ready: &Ready, control: Control) -> impl Future<Output = Judged> + 'static {
        let (scenario, fleet, permits) = (
            Rc::clone(&self.scenario),
            Rc::clone(&self.fleet),
            Rc::clone(&self.permits),
        );
        let (program, folder, who) = (ready.program.clone(), ready.folder.clone(), ready.who.clone());
        let (seed, repeat) = (self.seed, self.repeat);
        async move {
            let begun = Instant::now();
            let hear: Hear = Rc::new(|_, _| ());
            let run = async |checks: Vec<&CheckSpec>, seed: u64| {
                Run {
                    scenario: &scenario,
                    checks,
                    program: &program,
                    folder: &folder,
                    control: control.clone(),
                    reference_folder: &folder,
                    fleet: &fleet,
                    permits: &permits,
                    seed,
                    replay: String::new(),
                    hear: Rc::clone(&hear),
                    begun,
                }
                .grade()
                .await
            };
            let all: Vec<&CheckSpec> = scenario.manifest.check.iter().collect();
            let first = run(all, seed).await;
            let mut slips = match &first {
                Ok(report) => who.slips(&scenario, report),
                Err(error) => vec![error.to_string()],
            };
            for again in 1..repeat {
                let checks = who.repeated(&scenario);
                if checks.is_empty() || !slips.is_empty() {
                    break;
                }
                // Another seed: what holds for one draw of the parameters must hold for all.
                if let Ok(report) = run(checks, seed + u64::from(again)).await {
                    slips.extend(who.slips(&scenario, &report).into_iter().map(|slip| {
                        format!(
                            "flip in run {} (seed {}): {slip}",
                            again + 1,
                            seed + u64::from(again)
                        )
                    }));
                }
            }
            let report = first.unwrap_or_else(|_| crate::grade::run::blank(&scenario));
            Judged {
                who,
                report,
                slips,
                begun,
            }
        }
    }

    async fn build_in_place(&self, side: Side) -> anyhow::Result<Ready> {
        let scenario = &*self.scenario;
        self.screen.doing(&format!("verifying {}: building", scenario.id));
        let alone = [scenario.clone()];
        let room = Room::prepare(self.workbook, side, &alone, None, self.screen)?;
        let built = compile::build(&room.root, &room.target, &[&scenario.slug], side, &|_| ()).await?;
        room.built(&alone, &built)?;
        let Some(program) = built.programs.get(&scenario.hidden_package()) else {
            let what = format!("it does not compile:\n{}", built.diagnostics.trim_end());
            return Err(Error::slip(scenario.exercise.join("hidden"), what).into());
        };
        let (who, folder) = match side {
            Side::Exercise => (Who::Exercise, scenario.exercise.clone()),
            Side::Reference => (Who::Reference, scenario.solution.clone()),
        };
        Ok(Ready {
            who,
            program: program.clone(),
            folder,
        })
    }

    async fn build_variant(&self, variant: Variant) -> anyhow::Result<Result<Ready, Row>> {
        let (scenario, begun) = (&*self.scenario, Instant::now());
        let overlay = variant::overlay(&self.workbook.root, scenario, Some(&variant))?;
        self.scratch.lay(scenario, &overlay)?;
        let (root, target) = (&self.scratch.root, &self.scratch.target);
        let built = compile::build(root, target, &[&scenario.slug], Side::Exercise, &|_| ()).await?;
        let who = Who::Variant(variant.clone());
        let Some(program) = built.programs.get(&scenario.hidden_package()) else {
            let words = who.declared();
            let slips = who.build_slips(&built.diagnostics);
            return Ok(Err(self.row(&variant.name, words, 0, begun, slips)));
        };
        crate::stale::remember(target, &scenario.slug, &self.scratch.exercise(scenario))?;
        if variant.spec.build {
            let slips = vec!["it compiles, though `build = true` says that it does not".to_owned()];
            return Ok(Err(self.row(&variant.name, who.declared(), 0, begun, slips)));
        }
        let kept = self.keep(program, &variant)?;
        Ok(Ok(Ready {
            who,
            program: kept,
            folder: self.scratch.exercise(scenario),
        }))
    }

    /// A copy of the program, which the next build does not overwrite.
    fn keep(&self, program: &Path, variant: &Variant) -> Result<PathBuf, Error> {
        let folder = self.workbook.workshop().join("verify").join(&self.scenario.id);
        let kept = folder.join(&variant.name);
        let copied = std::fs::create_dir_all(&folder).and_then(|()| {
            std::fs::remove_file(&kept).ok();
            std::fs::hard_link(program, &kept).or_else(|_| std::fs::copy(program, &kept).map(drop))
        });
        copied.map_err(|error| Error::Environment {
            what: format!("failed to copy a program to {}: {error}", kept.display()),
            next: "make room on that disk, or point CARGO_TARGET_DIR elsewhere".to_owned(),
        })?;
        Ok(kept)
    }

    fn row(&self, subject: &str, declared: &str, score: u32, begun: Instant, slips: Vec<String>) -> Row {
        RowMaker {
            scenario: self.scenario.id.clone(),
        }
        .row(subject, declared, score, begun, slips)
    }
}

struct RowMaker {
    scenario: String,
}

impl RowMaker {
    fn row(&self, subject: &str, declared: &str, score: u32, begun: Instant, slips: Vec<String>) -> Row {
        Row {
            scenario: self.scenario.clone(),
            subject: subject.to_owned(),
            declared: declared.to_owned(),
            score,
            seconds: begun.elapsed().as_secs_f64(),
            slips,
        }
    }
}

struct Judged {
    who: Who,
    report: report::Scenario,
    slips: Vec<String>,
    begun: Instant,
}

impl Judged {
    fn row(self, proving: &Proving<'_>) -> Row {
        self.row_with(&RowMaker {
            scenario: proving.scenario.id.clone(),
        })
    }

    fn row_with(self, maker: &RowMaker) -> Row {
        maker.row(
            self.who.name(),
            self.who.declared(),
            self.report.score,
            self.begun,
            self.slips,
        )
    }
}

fn print_table(proof: &Proof) {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(80);
    table.set_header(["", "scenario", "subject", "declared", "score", "s"]);
    for row in &proof.rows {
        let mark = if row.slips.is_empty() { "✓" } else { "✗" };
        let seconds = format!("{:.1}", row.seconds);
        table.add_row([
            mark,
            &row.scenario,
            &row.subject,
            &row.declared,
            &row.score.to_string(),
            &seconds,
        ]);
    }
    for line in table.to_string().lines() {
        println!("{}", line.trim_end());
    }
    println!();
    for row in &proof.rows {
        for slip in &row.slips {
            println!("✗ {} {}: {slip}", row.scenario, row.subject);
        }
    }
    let subjects = proof.rows.len();
    println!(
        "{subjects} rows, {} slips, {:.0} s, seed {}",
        proof.slips, proof.seconds, proof.seed
    );
}
