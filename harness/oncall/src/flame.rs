//! Flame graphs, as SVG that stands alone.

use std::collections::BTreeMap;

use inferno::flamegraph::{Options, from_lines};

use crate::profile::Profile;

/// A flame graph of one of the profile's values.
pub fn graph(profile: &Profile, value: &str, title: &str, unit: &str) -> String {
    let lines: Vec<String> = profile
        .folded(value)
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(stack, count)| format!("{stack} {count}"))
        .collect();
    drawn(&lines, title, unit)
}

/// What differs between two: red has grown, blue has shrunk. As wide as it is in `after`.
pub fn difference(before: &Profile, after: &Profile, value: &str, title: &str, unit: &str) -> String {
    let mut both: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for (stack, count) in before.folded(value) {
        both.entry(stack).or_default().0 += count.max(0);
    }
    for (stack, count) in after.folded(value) {
        both.entry(stack).or_default().1 += count.max(0);
    }
    let lines: Vec<String> = both
        .into_iter()
        .map(|(stack, (before, after))| format!("{stack} {before} {after}"))
        .collect();
    drawn(&lines, title, unit)
}

fn drawn(lines: &[String], title: &str, unit: &str) -> String {
    let mut options = Options::default();
    options.title = title.to_owned();
    options.count_name = unit.to_owned();
    options.deterministic = true;
    options.font_size = 12;
    let mut svg = Vec::new();
    // Without a single stack there is nothing to draw, which is an error there and an answer here.
    match from_lines(&mut options, lines.iter().map(String::as_str), &mut svg) {
        Ok(()) if !lines.is_empty() => String::from_utf8_lossy(&svg).into_owned(),
        _ => crate::svg::note("nothing was counted yet; look again in a few seconds"),
    }
}
