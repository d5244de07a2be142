//! The table of scenarios in the README, which repeats the manifests. A test writes it; `verify` tells when it is stale.

use serde::Deserialize;

const OPEN: &str =
    "<!-- scenarios: generated from the manifests; a stale table fails a test, which mends it -->\n";
const CLOSE: &str = "<!-- /scenarios -->";

/// One line of the table, as `list --format json` has it.
#[derive(Clone, Debug, Deserialize)]
pub struct Line {
    pub id: String,
    pub title: String,
    pub summary: String,
    pub services: Vec<String>,
    pub minutes: u32,
}

/// The README with a table of `lines` in it; `None` when it has no place for one.
pub fn with_table(readme: &str, lines: &[Line]) -> Option<String> {
    let (before, rest) = readme.split_once(OPEN)?;
    let (_, after) = rest.split_once(CLOSE)?;
    let mut table = String::from("\n| scenario | the page | services | minutes |\n|---|---|---|---|\n");
    for Line {
        id,
        title,
        summary,
        services,
        minutes,
    } in lines
    {
        let services = match services.as_slice() {
            [] => "none".to_owned(),
            some => some.join(", "),
        };
        table.push_str(&format!(
            "| [{id}](exercises/{id}/README.md) | **{title}.** {summary} | {services} | {minutes} |\n"
        ));
    }
    Some(format!("{before}{OPEN}{table}\n{CLOSE}{after}"))
}
