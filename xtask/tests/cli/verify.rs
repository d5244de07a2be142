//! The author's proof: a whole table, each kind of slip, flips, an interruption, what is recorded.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::Value;

use crate::workbook::{Said, Workbook};

const MANIFEST: &str = "exercises/01-counter/scenario.toml";
const HINTS: &str = "exercises/01-counter/hidden/hints.toml";
const VARIANTS: &str = "solutions/01-counter/variants";
const SATURATES: &str = "solutions/01-counter/variants/rejected/saturates-later";
/// A cold target folder on a busy machine is compiled within this.
const INTERRUPTED_AFTER_MAX: Duration = Duration::from_secs(1800);

fn verify(workbook: &Workbook, arguments: &[&str]) -> (Said, Value) {
    let said = workbook.xtask(&[&["verify", "--format", "json"], arguments].concat());
    let proof = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    (said, proof)
}

fn row<'a>(proof: &'a Value, subject: &str) -> &'a Value {
    let rows = proof["rows"].as_array().unwrap();
    rows.iter()
        .rfind(|row| row["subject"] == subject)
        .unwrap_or_else(|| panic!("no row {subject}: {proof:#}"))
}

fn slips(proof: &Value) -> Vec<String> {
    let rows = proof["rows"].as_array().unwrap().iter();
    rows.flat_map(|row| row["slips"].as_array().unwrap())
        .map(|slip| slip.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_whole_table_is_as_declared() {
    let workbook = Workbook::built();
    let said = workbook.xtask(&["verify", "--seed", "3"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let table: String = said
        .stdout
        .lines()
        .take_while(|line| !line.is_empty())
        // What follows are scores, which depend on the machine's bytes, and times.
        .map(|line| line.chars().take(44).collect::<String>().trim_end().to_owned() + "\n")
        .collect();
    insta::assert_snapshot!(table);
    assert!(
        said.stdout.contains("9 rows, 0 slips") && said.stdout.contains("slow check"),
        "{said:#?}"
    );
}

#[rstest]
#[case::a_ladder_that_is_too_short(
    HINTS,
    "\"Count to two thousand.\", ",
    "",
    "exercises/01-counter/hidden/hints.toml: `every_event_is_counted` has fewer than 3 rungs"
)]
#[case::a_ladder_for_no_check(
    HINTS,
    "[every_event_is_counted]",
    "[no_event_is_lost]\nrungs = []\n[every_event_is_counted]",
    "hints.toml: no check is called `no_event_is_lost`"
)]
#[case::a_budget_that_nothing_fails(
    "solutions/01-counter/variants/rejected/log-kept/variant.toml",
    "must = [\"held_bytes\"]",
    "must = [\"every_event_is_counted\"]",
    "solutions/01-counter/variants/rejected: `held_bytes` stands in no variant's `must`"
)]
#[case::a_wrong_fix_without_a_diagnosis(
    "solutions/01-counter/variants/rejected/saturates-later/variant.toml",
    "diagnosis = \"The counter saturates.\"",
    "",
    "rejected/saturates-later/variant.toml: key `diagnosis`"
)]
#[case::dependencies_that_differ(
    "exercises/01-counter/Cargo.toml",
    "[dependencies]",
    "[dependencies]\nbytes.workspace = true",
    "exercises/01-counter/Cargo.toml: its [dependencies] differ from those in solutions/01-counter/Cargo.toml"
)]
#[case::a_provided_file_that_differs(
    MANIFEST,
    "lesson-files = [\"src/**\"]",
    "lesson-files = [\"src/other.rs\"]",
    "exercises/01-counter/src/lib.rs differs from the solution's and is no lesson file"
)]
fn a_slip_in_the_papers_names_its_file(
    #[case] file: &str,
    #[case] from: &str,
    #[case] to: &str,
    #[case] told: &str,
) {
    let workbook = Workbook::built();
    workbook.edit(file, from, to);
    // The reference cannot be built, so that nothing is: papers are judged all the same.
    workbook.edit("solutions/01-counter/src/lib.rs", "use std::", "use nowhere::");
    let (said, proof) = verify(&workbook, &[]);
    assert_eq!(said.code, Some(1), "{said:#?}");
    let slips = slips(&proof);
    assert!(slips.iter().any(|slip| slip.contains(told)), "{slips:#?}");
    assert!(
        slips.iter().any(|slip| slip.contains("does not compile")),
        "{slips:#?}"
    );
}

#[test]
fn a_stale_table_in_the_readme_and_a_missing_post_mortem_are_told() {
    let workbook = Workbook::built();
    let readme = "<!-- scenarios: generated from the manifests; a stale table fails a test, which mends it -->\n\
                  <!-- /scenarios -->\n";
    workbook.write("README.md", readme);
    std::fs::remove_file(workbook.root.join("solutions/01-counter/POSTMORTEM.md")).unwrap();
    workbook.edit("solutions/01-counter/src/lib.rs", "use std::", "use nowhere::");
    let (_, proof) = verify(&workbook, &[]);
    std::fs::remove_file(workbook.root.join("README.md")).unwrap();
    let told = slips(&proof).concat();
    assert!(
        told.contains("README.md: its table of scenarios is stale"),
        "{told}"
    );
    assert!(
        told.contains("solutions/01-counter/POSTMORTEM.md is missing"),
        "{told}"
    );
}

#[rstest]
#[case::a_wrong_fix_that_passes(
    &format!("{SATURATES}/src/lib.rs"), "min(1000)", "min(1_000_000)", "saturates-later",
    "every_event_is_counted passes, though this is what catches it"
)]
#[case::a_failure_outside_must_and_may(
    &format!("{SATURATES}/src/lib.rs"), "min(1000)", "min(0)", "saturates-later",
    "outside `must` and `may`: a_new_source_counts_one fails"
)]
#[case::a_diagnosis_that_nobody_gives(
    &format!("{SATURATES}/variant.toml"), "The counter saturates.", "The counter leaks.", "saturates-later",
    "nobody says \"The counter leaks.\""
)]
#[case::a_right_fix_that_fails(
    "solutions/01-counter/variants/accepted/kept-in-a-tree/src/lib.rs",
    "+= 1;",
    "+= 2;",
    "kept-in-a-tree",
    "a_new_source_counts_one fails"
)]
#[case::a_right_fix_that_does_not_compile(
    "solutions/01-counter/variants/accepted/kept-in-a-tree/src/lib.rs",
    "BTreeMap;",
    "HashMap;",
    "kept-in-a-tree",
    "it does not compile"
)]
#[case::a_wrong_fix_that_should_not_compile(
    "solutions/01-counter/variants/rejected/another-allocator/src/lib.rs",
    "#[global_allocator]",
    "#[expect(dead_code)]",
    "another-allocator",
    "it compiles, though `build = true` says that it does not"
)]
#[case::a_build_message_that_the_compiler_does_not_give(
    "solutions/01-counter/variants/rejected/another-allocator/variant.toml",
    "conflicts with",
    "agrees with",
    "another-allocator",
    "the compiler does not say \"agrees with global allocator in\""
)]
#[case::a_broken_check_that_passes(
    MANIFEST,
    "points = 10\nbroken = \"pass\"",
    "points = 10\nbroken = \"fail\"",
    "exercise",
    "check a_new_source_counts_one: declared fail, is pass"
)]
#[case::a_record_that_drifted(
    MANIFEST,
    "value = 40464",
    "value = 90000",
    "exercise",
    "budget held_bytes: recorded value = 90000, measured value = "
)]
#[case::a_reference_that_fails(
    "solutions/01-counter/src/lib.rs",
    "+= 1;",
    "+= 2;",
    "reference",
    "a_new_source_counts_one fails"
)]
#[case::a_check_that_only_the_manifest_knows(
    MANIFEST,
    "name = \"every_event_is_counted\"",
    "name = \"no_event_is_lost\"",
    "reference",
    "check `no_event_is_lost` is not among the tests in hidden/tests/grade.rs"
)]
#[case::a_check_that_could_not_be_judged(
    "exercises/01-counter/hidden/tests/grade.rs",
    "let events = cx",
    "return Err(harness::Failure::inconclusive(\"too noisy\"));\n        #[expect(unreachable_code)]\n        let events = cx",
    "reference",
    "every_event_is_counted is inconclusive: too noisy"
)]
fn what_is_not_as_declared_is_a_slip_of_its_row(
    #[case] file: &str,
    #[case] from: &str,
    #[case] to: &str,
    #[case] subject: &str,
    #[case] told: &str,
) {
    let workbook = Workbook::built();
    workbook.edit(file, from, to);
    if file == MANIFEST && to.contains("no_event_is_lost") {
        workbook.edit(HINTS, "[every_event_is_counted]", "[no_event_is_lost]");
        // Variants that speak of the old name would be told of first.
        std::fs::remove_dir_all(workbook.root.join(VARIANTS)).unwrap();
    }
    let (said, proof) = verify(&workbook, &["--variant", subject]);
    assert_eq!(said.code, Some(1), "{said:#?}");
    let row = row(&proof, subject);
    let slips = row["slips"].as_array().unwrap();
    assert!(
        slips.iter().any(|slip| slip.as_str().unwrap().contains(told)),
        "{row:#}"
    );
}

#[test]
fn flips_are_counted_per_check_and_do_not_end_the_repetition() {
    let workbook = Workbook::built();
    // Right for one of the two numbers of events that are drawn, wrong for the other.
    workbook.edit(
        "solutions/01-counter/variants/accepted/kept-in-a-tree/src/lib.rs",
        "*self.counts.entry(source.to_owned()).or_default() += 1;",
        "let count = self.counts.entry(source.to_owned()).or_default();\n        *count = (*count + 1).min(3000);",
    );
    let (said, proof) = verify(
        &workbook,
        &["--variant", "kept-in-a-tree", "--repeat", "12", "--seed", "1"],
    );
    assert_eq!(said.code, Some(1), "{said:#?}");
    let row = row(&proof, "kept-in-a-tree");
    assert_eq!(row["runs"], 12);
    let slip = row["slips"][0].as_str().unwrap();
    let (times, rest) = slip
        .strip_prefix("flip, ")
        .unwrap()
        .split_once(" of 12: ")
        .unwrap();
    let times: u32 = times.parse().unwrap();
    assert!((1..12).contains(&times), "{slip}");
    assert!(
        rest.starts_with("every_event_is_counted fails: 3000 of 5000 events") && rest.contains("seed "),
        "{slip}"
    );
}

#[test]
fn a_run_that_was_killed_goes_on_where_it_was() {
    let workbook = Workbook::built();
    let arguments = ["verify", "--repeat", "2"];
    // Cargo strikes from the lock file what the tiny workbook does not use, once: a row depends on that file too.
    workbook.xtask(&["verify", "--variant", "reference"]);
    let folder = workbook.workshop().join("verify");
    std::fs::remove_dir_all(&folder).ok();
    let mut child = workbook
        .command(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let kept = || {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut files = entries.map(|entry| entry.path());
        let file = files.find(|path| path.extension().is_some_and(|extension| extension == "json"))?;
        let part: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        part["rows"]
            .as_object()?
            .get("01-counter/kept-in-a-tree")
            .cloned()
    };
    while kept().is_none() {
        assert!(begun.elapsed() < INTERRUPTED_AFTER_MAX, "no row was written down");
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it could be killed"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();

    // One that was judged differs now, and has to be judged again.
    workbook.edit(
        "solutions/01-counter/variants/accepted/kept-in-a-tree/variant.toml",
        "counts as well",
        "counts just as well",
    );
    let said = workbook.xtask(&arguments);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(
        said.stdout
            .contains("going on where the last such run was interrupted")
            && said.stdout.contains("judged before the interruption"),
        "{said:#?}"
    );
    let line = |subject: &str| said.stdout.lines().find(|line| line.contains(subject)).unwrap();
    assert!(line(" reference ").contains("earlier"), "{said:#?}");
    assert!(!line(" kept-in-a-tree ").contains("earlier"), "{said:#?}");

    // A run that ended lends nothing to the next.
    let (_, proof) = verify(&workbook, &["--repeat", "2"]);
    let rows = proof["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["earlier"] == false), "{proof:#}");
}

#[test]
fn recording_writes_what_the_broken_code_gives_and_leaves_the_rest_of_the_file() {
    let workbook = Workbook::built();
    let right = workbook.read(MANIFEST);
    workbook.edit(MANIFEST, "value = 40464 }", "value = 90000 } # of a thousand");
    workbook.edit(
        MANIFEST,
        "points = 10\nbroken = \"pass\"",
        "points = 10\nbroken = \"fail\"",
    );
    let (said, proof) = verify(&workbook, &["--record", "--variant", "exercise"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let recorded: Vec<&str> = proof["recorded"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        recorded[0],
        format!("{MANIFEST}: check a_new_source_counts_one: broken was fail, is pass")
    );
    let value = row(&proof, "exercise")["values"]["held_bytes"].as_f64().unwrap();
    let expected = right.replace("value = 40464 }", &format!("value = {value} }} # of a thousand"));
    assert_eq!(workbook.read(MANIFEST), expected);
}

#[test]
fn what_stands_proved_is_not_proved_again_in_full() {
    let workbook = Workbook::built();
    let rows = |proof: &Value| proof["rows"].as_array().unwrap().len();
    let (said, proof) = verify(&workbook, &["--record-proof"]);
    assert_eq!((said.code, rows(&proof)), (Some(0), 9), "{said:#?}");
    let (said, proof) = verify(&workbook, &["--changed"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(
        (rows(&proof), &proof["short"][0]),
        (4, &Value::from("01-counter")),
        "{proof:#}"
    );
    workbook.edit(&format!("{SATURATES}/src/lib.rs"), "min(1000)", "min(1_000)");
    let (_, proof) = verify(&workbook, &["--changed"]);
    assert_eq!(rows(&proof), 9, "{proof:#}");
    std::fs::remove_dir_all(workbook.root.join(".ci")).unwrap();
}

#[test]
fn an_unknown_variant_lists_the_near_ones() {
    let said = Workbook::copy().xtask(&["verify", "1", "--variant", "log-kep"]);
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert!(
        said.stderr
            .contains("no variant is called log-kep; near it: log-kept"),
        "{said:#?}"
    );
}
