//! The table, what is not as declared, and where the time went.

use comfy_table::{ContentArrangement, Table, presets};

use super::Proof;
use super::row::Row;

/// How many of the slowest rows and checks are told.
const SLOWEST_TOLD: usize = 5;

pub(super) fn words(proof: &Proof) -> String {
    let mut text = String::new();
    let mut line = |words: &str| {
        text.push_str(words.trim_end());
        text.push('\n');
    };
    for row in table(&proof.rows).lines() {
        line(row);
    }
    line("");
    for row in &proof.rows {
        for slip in &row.slips {
            line(&format!("✗ {} {}: {slip}", row.scenario, row.subject));
        }
    }
    for change in &proof.recorded {
        line(&format!("recorded  {change}"));
    }
    for id in &proof.short {
        line(&format!(
            "{id} stands proved in .ci/verified.toml: only exercise and reference were judged"
        ));
    }
    for budget in &proof.never_exceeded {
        line(&format!(
            "note  {budget}: no subject was seen to exceed it; it failed only where its check did"
        ));
    }
    for told in times(&proof.rows) {
        line(&told);
    }
    let earlier = proof.rows.iter().filter(|row| row.earlier).count();
    let of_earlier = match earlier {
        0 => String::new(),
        some => format!(" ({some} judged before the interruption)"),
    };
    line(&format!(
        "{} rows{of_earlier}, {} slips, {:.0} s, seed {}",
        proof.rows.len(),
        proof.slips,
        proof.seconds,
        proof.seed
    ));
    text
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(80);
    table.set_header(["", "scenario", "subject", "declared", "score", "build s", "run s"]);
    for row in rows {
        let judged = row.runs > 0;
        table.add_row([
            if row.is_as_declared() { "✓" } else { "✗" }.to_owned(),
            row.scenario.clone(),
            row.subject.clone(),
            row.declared.clone(),
            if judged {
                row.score.to_string()
            } else {
                String::new()
            },
            if judged {
                format!("{:.1}", row.build_seconds)
            } else {
                String::new()
            },
            match (row.earlier, judged) {
                (true, _) => "earlier".to_owned(),
                (false, true) => format!("{:.1}", row.run_seconds),
                (false, false) => String::new(),
            },
        ]);
    }
    table.to_string()
}

/// Building against running, per scenario; the slowest subjects and checks.
fn times(rows: &[Row]) -> Vec<String> {
    let now: Vec<&Row> = rows.iter().filter(|row| !row.earlier && row.runs > 0).collect();
    let mut ids: Vec<&str> = now.iter().map(|row| row.scenario.as_str()).collect();
    ids.dedup();
    let mut told = Vec::new();
    for id in ids {
        let of = |seconds: &dyn Fn(&Row) -> f64| -> f64 {
            now.iter()
                .filter(|row| row.scenario == id)
                .map(|row| seconds(row))
                .sum()
        };
        told.push(format!(
            "time  {id}: {:.0} s building, {:.0} s running, side by side",
            of(&|row| row.build_seconds),
            of(&|row| row.run_seconds)
        ));
    }
    let mut subjects: Vec<(f64, String)> = now
        .iter()
        .map(|row| (row.run_seconds, format!("{} {}", row.scenario, row.subject)))
        .collect();
    let mut checks: Vec<(f64, String)> = now
        .iter()
        .flat_map(|row| {
            row.check_seconds
                .iter()
                .map(|(name, seconds)| (*seconds, format!("{name} of {} {}", row.scenario, row.subject)))
        })
        .collect();
    for (what, all) in [("subject", &mut subjects), ("check", &mut checks)] {
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        told.extend(
            all.iter()
                .take(SLOWEST_TOLD)
                .map(|(seconds, name)| format!("slow {what}  {seconds:.1} s  {name}")),
        );
    }
    told
}
