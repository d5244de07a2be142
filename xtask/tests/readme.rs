//! The README's table of scenarios repeats the manifests. When it is stale this test mends it, and fails once.

use std::path::Path;
use std::process::Command;

const OPEN: &str =
    "<!-- scenarios: generated from the manifests; a stale table fails a test, which mends it -->\n";
const CLOSE: &str = "<!-- /scenarios -->";

#[test]
fn the_table_of_scenarios_is_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["list", "--format", "json"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let listing: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut table = String::from("\n| scenario | the page | services | minutes |\n|---|---|---|---|\n");
    for scenario in listing["scenarios"].as_array().unwrap() {
        let text = |key: &str| scenario[key].as_str().unwrap().to_owned();
        let services: Vec<&str> = scenario["services"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|service| service.as_str())
            .collect();
        let services = if services.is_empty() {
            "none".to_owned()
        } else {
            services.join(", ")
        };
        let (id, title, summary) = (text("id"), text("title"), text("summary"));
        table.push_str(&format!(
            "| [{id}](exercises/{id}/README.md) | **{title}.** {summary} | {services} | {} |\n",
            scenario["minutes"]
        ));
    }
    table.push('\n');
    let file = root.join("README.md");
    let readme = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = readme.split_once(OPEN).unwrap();
    let (there, after) = rest.split_once(CLOSE).unwrap();
    if there != table {
        std::fs::write(&file, format!("{before}{OPEN}{table}{CLOSE}{after}")).unwrap();
        panic!("the table in README.md was stale; it has been written again");
    }
}
