//! The table in the README repeats the manifests. When it is stale this test mends it, and fails once.

#[path = "../src/readme.rs"]
mod readme;

use std::path::Path;
use std::process::Command;

use readme::Line;

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
    let mut listing: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines: Vec<Line> = serde_json::from_value(listing["scenarios"].take()).unwrap();
    let file = root.join("README.md");
    let there = std::fs::read_to_string(&file).unwrap();
    let fresh = readme::with_table(&there, &lines).expect("README.md has a place for the table");
    if there != fresh {
        std::fs::write(&file, fresh).unwrap();
        panic!("the table in README.md was stale; it has been written again");
    }
}
