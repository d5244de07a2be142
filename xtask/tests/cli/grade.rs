//! Grading, as a learner and an author see it.

use verdict::Verdict;
use verdict::report::Build;

use crate::workbook::Workbook;

#[test]
fn the_untouched_exercise_fails_with_reasons_and_the_next_step() {
    let workbook = Workbook::built();
    let said = workbook.xtask(&[
        "grade",
        "counter",
        "--seed",
        "3",
        "--check",
        "every_event_is_counted",
    ]);
    assert_eq!(said.code, Some(1), "{said:#?}");
    insta::assert_snapshot!(said.steady());
}

#[test]
fn the_reference_passes() {
    let workbook = Workbook::built();
    let said = workbook.xtask(&["grade", "--reference", "--seed", "3"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains("100/100"), "{said:#?}");
}

#[test]
fn a_fix_of_each_cause_moves_the_score_and_a_pass_is_kept() {
    let workbook = Workbook::built();
    let file = "exercises/01-counter/src/lib.rs";
    let score = || {
        let report = workbook.xtask(&["grade", "01", "--format", "json"]).report();
        report.scenarios[0].score
    };
    let broken = score();
    workbook.edit(file, "if *count < 1000 {", "if *count < u64::MAX {");
    let counting = score();
    workbook.edit(
        file,
        "self.log.push(format!(\"{source} was seen\"));",
        "self.log = vec![format!(\"{source} was seen\")];",
    );
    let fixed = score();
    assert!(
        broken < counting && counting < fixed && fixed == 100,
        "{broken} {counting} {fixed}"
    );
    let listed = workbook.xtask(&["list"]);
    assert!(
        listed.stdout.contains("passed") && listed.stdout.contains("100"),
        "{listed:#?}"
    );
}

#[test]
fn in_place_and_scratch_builds_do_not_meet() {
    let workbook = Workbook::built();
    let submission = tempfile::tempdir().unwrap();
    std::fs::create_dir(submission.path().join("src")).unwrap();
    std::fs::copy(
        workbook.root.join("solutions/01-counter/src/lib.rs"),
        submission.path().join("src/lib.rs"),
    )
    .unwrap();
    let grade = |arguments: &[&str]| workbook.xtask(&[&["grade", "01"], arguments].concat()).code;
    let folder = submission.path().to_str().unwrap();
    assert_eq!(grade(&[]), Some(1));
    assert_eq!(grade(&["--submission", folder]), Some(0));
    assert_eq!(grade(&[]), Some(1));
    // Put back with an old modification time: cargo alone would run the reference's copy again.
    let broken = workbook.read("exercises/01-counter/src/lib.rs");
    std::fs::write(submission.path().join("src/lib.rs"), broken).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let file = std::fs::File::options()
        .append(true)
        .open(submission.path().join("src/lib.rs"))
        .unwrap();
    file.set_modified(old).unwrap();
    assert_eq!(grade(&["--submission", folder]), Some(1));
}

#[test]
fn what_does_not_compile_is_told_in_the_compilers_words() {
    let workbook = Workbook::built();
    workbook.edit(
        "exercises/01-counter/src/lib.rs",
        "self.counts.get(source)",
        "self.missing.get(source)",
    );
    let said = workbook.xtask(&["grade", "01", "--format", "json"]);
    let report = said.report();
    assert_eq!(said.code, Some(3));
    assert_eq!(
        (report.scenarios[0].build, report.scenarios[0].score),
        (Build::Failed, 0)
    );
    assert!(
        report.scenarios[0].notes[0].contains("no field `missing`"),
        "{report:#?}"
    );
    let listed = workbook.xtask(&["list"]);
    assert!(listed.stdout.contains("open"), "{listed:#?}");
}

#[test]
fn a_second_global_allocator_is_a_build_error_that_says_so() {
    let workbook = Workbook::built();
    let file = "exercises/01-counter/src/lib.rs";
    let source = workbook.read(file);
    workbook.write(
        file,
        &format!("{source}\n#[global_allocator]\nstatic A: std::alloc::System = std::alloc::System;\n"),
    );
    let said = workbook.xtask(&["grade", "01"]);
    assert_eq!(said.code, Some(3), "{said:#?}");
    assert!(said.stdout.contains("global allocator"), "{said:#?}");
}

#[test]
fn a_check_that_only_one_side_knows_is_a_slip_of_the_manifest() {
    let workbook = Workbook::built();
    workbook.edit(
        "exercises/01-counter/scenario.toml",
        "name = \"every_event_is_counted\"",
        "name = \"no_event_is_lost\"",
    );
    let said = workbook.xtask(&["grade", "01"]);
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert!(
        said.stderr.contains("scenario.toml") && said.stderr.contains("no_event_is_lost"),
        "{said:#?}"
    );
}

#[test]
fn a_machine_on_which_the_reference_fails_blames_nobody() {
    let workbook = Workbook::built();
    workbook.edit("solutions/01-counter/src/lib.rs", "+= 1;", "+= 2;");
    let said = workbook.xtask(&[
        "grade",
        "01",
        "--check",
        "every_event_is_counted",
        "--format",
        "json",
    ]);
    let report = said.report();
    assert_eq!(
        (said.code, report.verdict),
        (Some(4), Verdict::Environment),
        "{report:#?}"
    );
}
