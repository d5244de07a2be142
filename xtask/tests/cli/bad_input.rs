//! Bad input: one clear message that names the file and the next command, the right exit code, nothing lost.

use rstest::rstest;

use crate::workbook::Workbook;

const MANIFEST: &str = "exercises/01-counter/scenario.toml";

#[rstest]
#[case::an_unknown_key("minutes = 1", "minutes = 1\nhours = 2", "unknown field `hours`")]
#[case::points_that_do_not_sum_to_100(
    "points = 50",
    "points = 49",
    "expected 100 over all checks and budgets, found 99"
)]
#[case::a_budget_of_no_check(
    "check = \"a_new_source_counts_one\"",
    "check = \"nowhere\"",
    "no check is called `nowhere`"
)]
#[case::a_name_declared_twice("\"every_event_is_counted\"", "\"a_new_source_counts_one\"", "declared twice")]
#[case::another_order("order = 1", "order = 2", "expected 01 as in the folder's name, found 2")]
#[case::an_unknown_service("services = []", "services = [\"mysql\"]", "found `mysql`")]
#[case::a_broken_glob("[\"src/**\"]", "[\"src/{\"]", "key `lesson-files`")]
#[case::an_unknown_limit("at-most", "at-least", "unknown variant `at-least`")]
#[case::no_toml("title = ", "title = = ", "TOML parse error")]
fn a_slip_of_the_manifest_is_told_with_its_file(#[case] from: &str, #[case] to: &str, #[case] told: &str) {
    let workbook = Workbook::copy();
    workbook.edit(MANIFEST, from, to);
    let said = workbook.xtask(&["grade"]);
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert!(
        said.stderr.contains(MANIFEST) && said.stderr.contains(told),
        "{said:#?}"
    );
    assert!(said.stderr.contains("next  "), "{said:#?}");
}

#[rstest]
#[case("exercises/01-counter/scenario.toml")]
#[case("exercises/01-counter/README.md")]
#[case("exercises/01-counter/hidden/tests/grade.rs")]
#[case("exercises/01-counter/hidden/hints.toml")]
fn a_missing_file_is_named(#[case] file: &str) {
    let workbook = Workbook::copy();
    std::fs::remove_file(workbook.root.join(file)).unwrap();
    let said = workbook.xtask(&["list"]);
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert!(said.stderr.contains(file), "{said:#?}");
}

#[rstest]
#[case("couner", "counter")]
#[case("7", "01-counter")]
fn an_unknown_scenario_lists_the_near_ones(#[case] asked: &str, #[case] near: &str) {
    let said = Workbook::copy().xtask(&["grade", asked]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr.contains(&format!("no scenario is called {asked}")) && said.stderr.contains(near),
        "{said:#?}"
    );
}

#[test]
fn an_unknown_check_lists_the_near_ones() {
    let said = Workbook::copy().xtask(&["grade", "1", "--check", "every_event_counts"]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("every_event_is_counted"), "{said:#?}");
}

#[rstest]
#[case::not_a_folder("exercises/01-counter/README.md", 2, "is not a folder")]
#[case::not_there("nowhere", 2, "is not a folder")]
fn a_submission_that_is_no_folder(#[case] submission: &str, #[case] code: i32, #[case] told: &str) {
    let said = Workbook::copy().xtask(&["grade", "1", "--submission", submission]);
    assert_eq!(said.code, Some(code));
    assert!(
        said.stderr.contains(told) && said.stderr.contains("next  "),
        "{said:#?}"
    );
}

#[test]
fn an_empty_submission() {
    let folder = tempfile::tempdir().unwrap();
    let said = Workbook::copy().xtask(&["grade", "1", "--submission", folder.path().to_str().unwrap()]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("is empty"), "{said:#?}");
}

#[test]
fn a_submission_without_the_library_is_told_which_file_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    std::fs::write(folder.path().join("src/counter.rs"), "").unwrap();
    let said = Workbook::copy().xtask(&["grade", "1", "--submission", folder.path().to_str().unwrap()]);
    assert_eq!(said.code, Some(1));
    assert!(said.stdout.contains("lacks src/lib.rs"), "{said:#?}");
}

#[test]
fn outside_a_workbook() {
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_xtask"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no workbook in"));
}

#[test]
fn a_corrupt_progress_file_is_set_aside_with_a_message() {
    let workbook = Workbook::copy();
    workbook.write(".war-stories/progress.json", "{");
    let said = workbook.xtask(&["list"]);
    assert_eq!(said.code, Some(0));
    assert!(
        said.stderr
            .contains("was set aside as .war-stories/progress.corrupt-"),
        "{said:#?}"
    );
}
