//! Machines that lack something: the learner is told what, and is not blamed.
//!
//! The lack is made with a mount name space of the test's own, which most systems give to everybody and some only to
//! root; where there is none, the test says so and tests nothing.

use std::path::{Path, PathBuf};

use verdict::Verdict;

use crate::workbook::{Said, Workbook};

/// Runs `xtask` after `script` has changed what is mounted, for it alone.
fn xtask_among(
    script: &str,
    workbook: &Workbook,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Option<Said> {
    let unshare = on_path("unshare").unwrap_or_default();
    let mut unshare = vec![unshare.to_str().unwrap(), "--mount"];
    if !nix::unistd::Uid::effective().is_root() {
        unshare.push("--map-root-user");
    }
    let probe = std::process::Command::new(unshare[0])
        .args(&unshare[1..])
        .arg("true")
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("not tested: this system gives no mount name space to this user");
        return None;
    }
    let script = format!("set -e; {script}; exec \"$@\"");
    let wrapper = [
        unshare.as_slice(),
        &["sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_xtask")],
    ]
    .concat();
    let output = workbook
        .wrapped(&wrapper, arguments)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    Some(Said::from(output))
}

#[test]
fn a_read_only_workbook_is_graded_with_its_target_folder_elsewhere() {
    let workbook = Workbook::built();
    // The tiny workbook's lock file is made by its first build; the workbook itself has one.
    assert_eq!(workbook.xtask(&["grade", "01", "--reference"]).code, Some(0));
    let root = workbook.root.display();
    let script = format!("mount --bind '{root}' '{root}'; mount -o remount,bind,ro '{root}'");
    let grade = ["grade", "01", "--format", "json"];
    let Some(said) = xtask_among(&script, &workbook, &grade, &[]) else {
        return;
    };
    let report = said.report();
    assert_eq!((said.code, report.verdict), (Some(1), Verdict::Fail), "{said:#?}");
    assert_eq!(report.scenarios[0].checks.len(), 2);
    let kept = workbook.target().join("war-stories/progress.json");
    assert!(kept.is_file(), "the score is kept beside what was built");
    std::fs::remove_file(kept).unwrap();
}

#[test]
fn a_full_disk_is_not_the_submissions_failure() {
    let workbook = Workbook::built();
    let disk = tempfile::tempdir().unwrap();
    let at = disk.path().to_str().unwrap();
    let script = format!("mount -t tmpfs -o size=3m tmpfs '{at}'");
    let variables = [("CARGO_TARGET_DIR", at)];
    let grade = ["grade", "01", "--format", "json"];
    let Some(said) = xtask_among(&script, &workbook, &grade, &variables) else {
        return;
    };
    assert_eq!(said.code, Some(4), "{said:#?}");
    let report = said.report();
    assert_eq!(report.scenarios[0].verdict, Verdict::Environment, "{report:#?}");
    let note = &report.scenarios[0].notes[0];
    assert!(
        note.contains("the disk is full") && note.contains("CARGO_TARGET_DIR"),
        "{note}"
    );
    let listed = workbook.xtask(&["list"]);
    assert!(listed.stdout.contains("new"), "nothing was scored: {listed:#?}");
}

#[test]
fn a_cache_without_room_for_a_cluster_is_named() {
    let workbook = Workbook::served();
    let cache = workbook.cache().display();
    let script = format!("mount -t tmpfs -o size=3m,mode=755 tmpfs '{cache}'");
    let grade = ["grade", "visits", "--format", "json"];
    let Some(said) = xtask_among(&script, &workbook, &grade, &[]) else {
        return;
    };
    assert_eq!(said.code, Some(4), "{said:#?}");
    let report = said.report();
    let note = &report.scenarios[0].notes[0];
    assert!(
        note.contains(&cache.to_string()) && note.contains("next  "),
        "{note}"
    );
}

#[test]
fn without_any_way_to_a_server_the_rest_is_graded_and_what_to_type_is_told() {
    let workbook = Workbook::served();
    let bin = workbook.cache().join("bin");
    std::fs::create_dir(&bin).unwrap();
    // All that compiling needs, and neither a server nor a package client.
    for program in ["cargo", "rustc", "rustup", "cc", "ld", "as", "sh", "mount"] {
        if let Some(found) = on_path(program) {
            std::os::unix::fs::symlink(found, bin.join(program)).unwrap();
        }
    }
    let script = "for d in /usr/lib/postgresql /usr/pgsql* /opt/homebrew; do [ -d \"$d\" ] && mount -t tmpfs tmpfs \"$d\"; done; true";
    let variables = [
        ("PATH", bin.to_str().unwrap()),
        ("WAR_STORIES_SERVICES", "auto"),
        ("DOCKER_HOST", "unix:///nonexistent/docker.sock"),
    ];
    let Some(said) = xtask_among(script, &workbook, &["grade", "--format", "json"], &variables) else {
        return;
    };
    assert_eq!(said.code, Some(1), "{said:#?}");
    let report = said.report();
    let of = |id: &str| {
        report
            .scenarios
            .iter()
            .find(|scenario| scenario.id == id)
            .unwrap()
    };
    assert_eq!(of("01-counter").verdict, Verdict::Fail);
    assert!(of("01-counter").score > 0, "{report:#?}");
    let visits = of("02-visits");
    assert_eq!(
        (visits.verdict, visits.score),
        (Verdict::Environment, 0),
        "{report:#?}"
    );
    let note = &visits.notes[0];
    for told in ["docker.sock", "on PATH", "apt-get", "postgresql"] {
        assert!(note.contains(told), "{note}");
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|file| Path::is_file(file))
}
