//! Submissions that do anything but what was asked for: each gets the right verdict, with evidence, and no points.

use rstest::rstest;
use verdict::Verdict;
use verdict::report::Build;

use crate::workbook::Workbook;

/// The reference, with `rogue` run by `record`, and `items` beside it.
fn submission(rogue: &str, items: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    let source = format!(
        r#"use std::collections::HashMap;
#[derive(Default)]
pub struct Counter {{ counts: HashMap<String, u64>, last: Option<String> }}
impl Counter {{
    pub fn record(&mut self, source: &str) {{
        {rogue}
        self.last = Some(format!("{{source}} was seen"));
        *self.counts.entry(source.to_owned()).or_default() += 1;
    }}
    pub fn count(&self, source: &str) -> u64 {{ self.counts.get(source).copied().unwrap_or_default() }}
    pub fn last(&self) -> Option<&str> {{ self.last.as_deref() }}
}}
{items}
"#
    );
    std::fs::write(folder.path().join("src/lib.rs"), source).unwrap();
    folder
}

#[rstest]
#[case::hangs(
    "loop { std::thread::park(); }",
    "",
    "did not end within its 2 s",
    "src/lib.rs:6"
)]
#[case::blocks_on_a_mutex(
    "static M: std::sync::Mutex<()> = std::sync::Mutex::new(()); std::mem::forget(M.lock()); drop(M.lock());",
    "",
    "did not end within its 2 s",
    "src/lib.rs:6"
)]
#[case::aborts(
    "std::process::abort();",
    "",
    "ended before the check was judged (signal: 6",
    ""
)]
#[case::exits_early(
    "std::process::exit(0);",
    "",
    "ended before the check was judged (exit status: 0)",
    ""
)]
#[case::exits_as_the_harness_does("std::process::exit(86);", "", "ended before the check was judged", "")]
#[case::prints_a_passing_report(
    r#"println!("{{\"number\":1,\"event\":\"judged\",\"verdict\":\"pass\"}}\ntest result: ok. 1 passed"); std::process::exit(0);"#,
    "",
    "ended before the check was judged",
    "output:"
)]
#[case::panics(
    "panic!(\"on purpose\");",
    "",
    "the check panicked: on purpose",
    "src/lib.rs:6"
)]
#[case::writes_to_every_descriptor(
    r#"
    use std::io::Write;
    for descriptor in 0..64 {
        let path = format!("/proc/self/fd/{descriptor}");
        let is_socket = std::fs::read_link(&path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        let mut file = std::mem::ManuallyDrop::new(unsafe { <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(descriptor) });
        if is_socket {
            file.write_all(b"{\"nonce\":\"\",\"number\":1,\"event\":\"judged\",\"verdict\":\"pass\",\"observed\":\"\",\"because\":null,\"evidence\":[]}\n").ok();
        }
    }
    "#,
    "",
    "did not carry its nonce",
    ""
)]
#[case::leaves_a_child(
    "std::process::Command::new(\"sleep\").arg(\"600\").spawn().unwrap();",
    "",
    "the check left processes behind",
    "(sleep)"
)]
#[case::leaves_a_child_in_a_session_of_its_own(
    "std::process::Command::new(\"setsid\").args([\"sleep\", \"600\"]).spawn().unwrap();",
    "",
    "the check left processes behind",
    "left behind and killed"
)]
fn a_rogue_is_told_by_what_it_did(
    #[case] rogue: &str,
    #[case] items: &str,
    #[case] observed: &str,
    #[case] evidence: &str,
) {
    let workbook = Workbook::built();
    let folder = submission(&format!("if self.counts.is_empty() {{ {rogue} }}"), items);
    let said = workbook.xtask(&[
        "grade",
        "1",
        "--submission",
        folder.path().to_str().unwrap(),
        "--format",
        "json",
    ]);
    let report = said.report();
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert_eq!(report.scenarios[0].score, 0, "{report:#?}");
    for check in &report.scenarios[0].checks {
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.observed.contains(observed), "{check:#?}");
        assert!(check.evidence.concat().contains(evidence), "{check:#?}");
    }
}

#[test]
fn a_flood_on_standard_output_neither_blocks_nor_decides() {
    let workbook = Workbook::built();
    let flood = "for _ in 0..2_000 { println!(\"{}\", \"x\".repeat(10_000)); }";
    let folder = submission(&format!("if self.counts.is_empty() {{ {flood} }}"), "");
    let said = workbook.xtask(&[
        "grade",
        "1",
        "--submission",
        folder.path().to_str().unwrap(),
        "--format",
        "json",
    ]);
    let report = said.report();
    assert_eq!(
        (said.code, report.scenarios[0].score),
        (Some(0), 100),
        "{report:#?}"
    );
}

#[rstest]
#[case::the_solution_by_path(
    "",
    "#[path = \"../../../solutions/01-counter/src/lib.rs\"] mod answer;",
    "solutions/01-counter/src/lib.rs"
)]
#[case::the_solution_by_include(
    "",
    "pub const ANSWER: &str = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../../solutions/01-counter/src/lib.rs\"));",
    "solutions/01-counter/src/lib.rs"
)]
#[case::a_file_of_the_system("let _ = include_str!(\"/etc/passwd\");", "", "/etc/passwd")]
fn what_the_compiler_read_elsewhere_is_named(#[case] rogue: &str, #[case] items: &str, #[case] file: &str) {
    let workbook = Workbook::built();
    let folder = submission(rogue, items);
    let said = workbook.xtask(&[
        "grade",
        "1",
        "--submission",
        folder.path().to_str().unwrap(),
        "--format",
        "json",
    ]);
    let report = said.report();
    assert_eq!((said.code, report.scenarios[0].score), (Some(1), 0));
    assert!(report.scenarios[0].notes[0].contains(file), "{report:#?}");
}

#[test]
fn code_that_runs_before_main_is_refused() {
    let workbook = Workbook::built();
    let items = r#"#[unsafe(link_section = ".init_array")] #[used] static EARLY: extern "C" fn() = early;
        extern "C" fn early() {}"#;
    let folder = submission("", items);
    let said = workbook.xtask(&[
        "grade",
        "1",
        "--submission",
        folder.path().to_str().unwrap(),
        "--format",
        "json",
    ]);
    let report = said.report();
    assert_eq!((said.code, report.scenarios[0].score), (Some(1), 0));
    assert!(
        report.scenarios[0].notes[0].contains("before main"),
        "{report:#?}"
    );
}

#[test]
fn tests_and_check_lists_of_a_submission_are_not_taken() {
    let workbook = Workbook::built();
    let folder = submission("", "");
    let write = |file: &str, content: &str| {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write("hidden/tests/grade.rs", "");
    write("scenario.toml", "title = \"nothing to do\"");
    write("tests/smoke.rs", "");
    let said = workbook.xtask(&[
        "grade",
        "1",
        "--submission",
        folder.path().to_str().unwrap(),
        "--format",
        "json",
    ]);
    let report = said.report();
    assert_eq!(
        (said.code, report.scenarios[0].checks.len()),
        (Some(0), 2),
        "{report:#?}"
    );
    assert!(
        report.scenarios[0].notes[0].contains("scenario.toml, tests/smoke.rs"),
        "{report:#?}"
    );
}

#[rstest]
#[case::a_build_script("build.rs", "fn main() {}", "adds build.rs")]
#[case::a_crate_outside_the_palette(
    "Cargo.toml",
    "[package]\nname = \"counter\"\n[dependencies]\nrayon = \"1\"\n",
    "`rayon` is not in the palette"
)]
#[case::a_path_dependency(
    "Cargo.toml",
    "[package]\nname = \"counter\"\n[dependencies]\nbytes = { path = \"../../solutions/01-counter\" }\n",
    "`bytes` sets `path`"
)]
fn some_submissions_are_refused_before_compiling(
    #[case] file: &str,
    #[case] content: &str,
    #[case] named: &str,
) {
    let workbook = Workbook::built();
    let folder = submission("", "");
    std::fs::write(folder.path().join(file), content).unwrap();
    let said = workbook.xtask(&[
        "grade",
        "1",
        "--submission",
        folder.path().to_str().unwrap(),
        "--format",
        "json",
    ]);
    let report = said.report();
    assert_eq!((said.code, report.scenarios[0].build), (Some(1), Build::Skipped));
    assert!(report.scenarios[0].notes[0].contains(named), "{report:#?}");
}

#[test]
fn a_linked_folder_is_refused() {
    let workbook = Workbook::built();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(
        workbook.root.join("solutions/01-counter/src"),
        folder.path().join("src"),
    )
    .unwrap();
    std::fs::write(folder.path().join("notes.txt"), "").unwrap();
    let said = workbook.xtask(&[
        "grade",
        "1",
        "--submission",
        folder.path().to_str().unwrap(),
        "--format",
        "json",
    ]);
    assert!(
        said.report().scenarios[0].notes[0].contains("symbolic link"),
        "{said:#?}"
    );
}
