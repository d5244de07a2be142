//! What a person sees of a grade. Results go to standard output, progress to standard error.

use std::cell::Cell;
use std::io::IsTerminal;

use console::{Style, style};
use verdict::{Verdict, report};

use crate::catalogue::Scenario;
use crate::flags::Format;
use crate::heard::Step;
use crate::lanes::{Far, Lane, Lanes};
use crate::score::figure;

/// Lines are wrapped here.
const WIDTH: usize = 80;
/// Where a label's text begins.
const TEXT_AT: usize = 16;
/// Where the report of a run is written as it comes about.
pub struct Screen {
    format: Format,
    lanes: Lanes,
    /// Checks that were judged, of those that will be.
    checks: Cell<Far>,
}

impl Screen {
    pub fn new(format: Format) -> Screen {
        let terminal =
            std::io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        Screen {
            format,
            lanes: Lanes::new(terminal && format == Format::Text),
            checks: Cell::new(Far { done: 0, of: 0 }),
        }
    }

    /// What is going on in a lane.
    pub fn tell(&self, lane: Lane, far: Option<Far>, what: &str) {
        self.lanes.tell(lane, far, what);
    }

    /// What a server's start is at.
    pub fn doing(&self, what: &str) {
        self.lanes.tell(Lane::Services, None, what);
    }

    /// What is being compiled, and how much of it is done.
    pub fn compiling(&self, step: &Step) {
        let far = step.far.map(|(done, of)| Far { done, of });
        self.lanes.tell(Lane::Build, far, &step.what);
    }

    /// A lane's work is done.
    pub fn end(&self, lane: Lane) {
        self.lanes.end(lane);
    }

    /// How many checks there will be.
    pub fn expect_checks(&self, of: usize) {
        self.checks.set(Far {
            done: 0,
            of: of as u64,
        });
    }

    /// Takes the progress lines away.
    pub fn quiet(&self) {
        self.lanes.quiet();
    }

    pub fn line(&self, text: &str) {
        if self.format == Format::Text {
            self.lanes.suspend(|| println!("{text}"));
        }
    }

    pub fn service(&self, service: &report::Service) {
        self.line(&format!(
            "{}",
            style(wrapped(&format!("{} {}", service.name, service.reason), 0, 2)).dim()
        ));
    }

    pub fn scenario(&self, scenario: &Scenario) {
        self.lanes
            .tell(Lane::Checks, Some(self.checks.get()), &scenario.id);
        self.line(&format!(
            "\n{}  {}",
            style(&scenario.id).bold(),
            scenario.manifest.title
        ));
    }

    /// A check of a scenario, as soon as it is judged, and its budgets.
    pub fn check(&self, scenario: &str, check: &report::Check, budgets: &[report::Budget]) {
        let Far { done, of } = self.checks.get();
        self.checks.set(Far { done: done + 1, of });
        self.lanes.tell(Lane::Checks, Some(self.checks.get()), scenario);
        let mut text = check_words(check);
        for budget in budgets {
            text.push_str(&budget_words(budget));
        }
        self.line(text.trim_end());
    }

    /// What the diagnosis build told of a stuck check.
    pub fn diagnosis(&self, name: &str, evidence: &[String]) {
        let mut text = format!("\n{}\n", wrapped(&format!("where {name} waits"), 2, 2));
        for line in evidence {
            text.push_str(&labelled("", line));
        }
        self.line(text.trim_end());
    }

    pub fn scenario_ended(&self, scenario: &report::Scenario) {
        for note in &scenario.notes {
            let text = if note.contains('\n') {
                indented(note, 2)
            } else {
                wrapped(note, 2, 2)
            };
            self.line(&text);
        }
        let missed = if scenario.build == report::Build::Failed {
            ", does not compile"
        } else {
            ""
        };
        let words = format!(
            "  {} {}{missed}  {}/100",
            scenario.verdict.mark(),
            scenario.verdict,
            scenario.score
        );
        self.line(&format!(
            "{}",
            of_verdict(scenario.verdict).bold().apply_to(words)
        ));
    }

    /// The last words of a run: where the time went, what to type next.
    pub fn summary(&self, report: &report::Report) {
        self.quiet();
        let took = |name: &str| report.seconds.get(name).copied().unwrap_or_default();
        let first = report
            .scenarios
            .iter()
            .filter_map(|s| s.seconds.get("first_verdict"))
            .copied()
            .reduce(f64::min);
        println!();
        println!(
            "{}",
            style(format!(
                "{:.1} s: services {:.1}, build {:.1}, checks {:.1}; first verdict after {:.1} s; seed {}",
                took("total"),
                took("services"),
                took("build"),
                took("checks"),
                first.unwrap_or_default(),
                report.seed
            ))
            .dim()
        );
        println!("{}", next_words(report));
    }
}

fn next_words(report: &report::Report) -> String {
    let Some(open) = report
        .scenarios
        .iter()
        .find(|scenario| scenario.verdict != Verdict::Pass)
    else {
        return match (report.subject.as_str(), report.scenarios.first()) {
            ("exercise", Some(first)) if !is_whole(first) => {
                format!("next  cargo xtask grade {}", number(&first.id))
            }
            ("exercise", Some(first)) => format!("next  cargo xtask debrief {}", number(&first.id)),
            _ => "everything passed".to_owned(),
        };
    };
    let number = number(&open.id);
    if open.verdict == Verdict::Environment {
        return "next  cargo xtask doctor".to_owned();
    }
    match open.checks.iter().find(|check| check.verdict == Verdict::Fail) {
        Some(check) => format!("next  cargo xtask hint {number} {}", check.name),
        None if open.build == report::Build::Failed => "next  make it compile, then grade again".to_owned(),
        None => format!("next  cargo xtask hint {number}"),
    }
}

/// Whether all that gives points was asked for, not a few checks.
fn is_whole(scenario: &report::Scenario) -> bool {
    let of_checks: f64 = scenario.checks.iter().map(|check| check.points_max).sum();
    let of_budgets: f64 = scenario.budgets.iter().map(|budget| budget.points_max).sum();
    of_checks + of_budgets > 99.5
}

fn number(id: &str) -> &str {
    id.split('-').next().unwrap_or(id)
}

fn of_verdict(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Pass => Style::new().green(),
        Verdict::Fail => Style::new().red(),
        Verdict::Inconclusive | Verdict::Environment => Style::new().yellow(),
    }
}

fn check_words(check: &report::Check) -> String {
    let right = format!(
        "{}/{}  {:>4.1} s",
        figure(check.points),
        figure(check.points_max),
        check.seconds
    );
    let mut text = headline(2, check.verdict, &check.name, &right);
    if check.verdict == Verdict::Pass {
        return text;
    }
    if !check.required {
        text.push_str(&labelled(
            "optional",
            "does not decide whether the scenario passes",
        ));
    }
    text.push_str(&labelled("claim", &check.claim));
    text.push_str(&labelled("observed", &check.observed));
    if let Some(because) = &check.because {
        text.push_str(&labelled("because", because));
    }
    for evidence in &check.evidence {
        text.push_str(&labelled("evidence", evidence));
    }
    // Not wrapped: it is there to be copied.
    text.push_str(&format!("      {:<10}{}\n", "replay", check.replay));
    text
}

fn budget_words(budget: &report::Budget) -> String {
    let right = format!(
        "{}/{}        ",
        figure(budget.points.floor()),
        figure(budget.points_max)
    );
    let mut text = headline(4, budget.verdict, &budget.metric, &right);
    let figures = match (budget.value, budget.reference, budget.limit) {
        (Some(value), reference, limit) => {
            let reference_words = reference.map_or_else(|| "not measured".to_owned(), figure);
            let limit_words = limit.map_or_else(|| "unknown".to_owned(), figure);
            let ahead = if reference.is_some_and(|reference| value < reference) {
                " (better than the reference)"
            } else {
                ""
            };
            format!(
                "yours {} · reference {reference_words} · limit {limit_words} {}{ahead}",
                figure(value),
                budget.unit
            )
        }
        (None, ..) => String::new(),
    };
    if !figures.is_empty() {
        text.push_str(&format!("{}\n", wrapped(&figures, 6, 6)));
    }
    if let Some(method) = &budget.method {
        text.push_str(&labelled("measured", method));
    }
    if budget.verdict != Verdict::Pass {
        text.push_str(&labelled("claim", &budget.claim));
        if let Some(because) = &budget.because {
            text.push_str(&labelled("because", because));
        }
        for evidence in &budget.evidence {
            text.push_str(&labelled("evidence", evidence));
        }
    }
    text
}

/// `✗ name ………… right`, the name never cut.
fn headline(indent: usize, verdict: Verdict, name: &str, right: &str) -> String {
    let left = indent + 2 + name.chars().count();
    let pad = WIDTH.saturating_sub(left + right.chars().count()).max(2);
    let mark = of_verdict(verdict).apply_to(verdict.mark());
    format!("{:indent$}{mark} {name}{:pad$}{right}", "", "")
        .trim_end()
        .to_owned()
        + "\n"
}

fn labelled(label: &str, text: &str) -> String {
    let label = format!("      {label:<10}");
    if text.contains('\n') {
        return format!("{label}{}\n", indented(text, TEXT_AT).trim_start());
    }
    format!("{label}{}\n", wrapped(text, TEXT_AT, TEXT_AT).trim_start())
}

fn wrapped(text: &str, first: usize, rest: usize) -> String {
    let (first, rest) = (" ".repeat(first), " ".repeat(rest));
    textwrap::fill(
        text,
        textwrap::Options::new(WIDTH)
            .initial_indent(&first)
            .subsequent_indent(&rest)
            // A path with a hyphen stays in one piece, to be clicked and copied.
            .word_splitter(textwrap::WordSplitter::NoHyphenation)
            .break_words(false),
    )
}

fn indented(text: &str, by: usize) -> String {
    textwrap::indent(text, &" ".repeat(by)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verdict: Verdict) -> report::Check {
        report::Check {
            name: "retries_charge_once".into(),
            verdict,
            points: 0.0,
            points_max: 15.0,
            required: true,
            claim: "a client that never saw the answer may retry, and is charged once".into(),
            observed: "2 charges for key 7f3a (the first reply was lost after COMMIT)".into(),
            because: Some("The key is recorded after the payment, in another transaction, so a crash between the two forgets it.".into()),
            evidence: vec!["charge 1 at frame 7".into(), "Limit\n  -> Seq Scan".into()],
            stuck: false,
            replay: "cargo xtask grade 09 --check retries_charge_once --seed 81723".into(),
            seconds: 1.25,
        }
    }

    #[test]
    fn a_failed_check_reads_like_this() {
        console::set_colors_enabled(false);
        let budget = report::Budget {
            metric: "statements_per_replay".into(),
            check: "retries_charge_once".into(),
            verdict: Verdict::Fail,
            points: 2.5,
            points_max: 5.0,
            required: true,
            claim: "a replay costs two statements".into(),
            value: Some(13267.0),
            reference: Some(1.0),
            limit: Some(2.0),
            unit: "statements".into(),
            method: None,
            because: None,
            evidence: vec![],
        };
        insta::assert_snapshot!(check_words(&check(Verdict::Fail)) + &budget_words(&budget));
    }

    #[test]
    fn no_line_is_wider_than_80_columns_but_those_to_be_copied() {
        console::set_colors_enabled(false);
        for line in check_words(&check(Verdict::Fail))
            .lines()
            .filter(|line| !line.contains("replay"))
        {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}
