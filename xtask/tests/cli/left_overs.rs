//! However a run ends, its servers and checks end with it, and what could not be removed then is removed by the next.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use verdict::Verdict;

use crate::workbook::Workbook;

const SUBJECT: &str = "exercises/02-visits/src/lib.rs";
/// A generous limit for what is waited for by looking.
const SOON: Duration = Duration::from_secs(60);

/// A run in the middle of a check that waits for ever.
struct Stuck {
    xtask: Child,
    /// The check's own process.
    check: u32,
    /// What the run wrote down of its servers: their processes, and where their data lie.
    servers: Vec<u32>,
    data: Vec<PathBuf>,
}

impl Stuck {
    fn start(workbook: &Workbook) -> Stuck {
        let mark = workbook.cache().join("mark");
        let body = format!(
            "std::fs::write({mark:?}, std::process::id().to_string()).unwrap(); loop {{ std::thread::park(); }}"
        );
        workbook.write(
            SUBJECT,
            &format!("pub fn statement() -> &'static str {{ {body} }}"),
        );
        let xtask = workbook
            .command(&["grade", "visits", "--format", "json"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let check = soon("the check to begin", || {
            std::fs::read_to_string(&mark).ok()?.parse().ok()
        });
        let (servers, data) = records(workbook.cache());
        assert!(!servers.is_empty(), "no server was written down");
        assert!(servers.iter().all(|pid| alive(*pid)) && alive(check));
        Stuck {
            xtask,
            check,
            servers,
            data,
        }
    }

    fn nothing_runs(&self) {
        soon("all processes to end", || {
            let ended = !alive(self.check) && !self.servers.iter().any(|pid| alive(*pid));
            ended.then_some(())
        });
    }
}

/// The processes and the data folders in the records of `cache`.
fn records(cache: &Path) -> (Vec<u32>, Vec<PathBuf>) {
    let (mut servers, mut data) = (Vec::new(), Vec::new());
    let runs = std::fs::read_dir(cache.join("runs"))
        .into_iter()
        .flatten()
        .flatten();
    for file in runs.flat_map(|run| std::fs::read_dir(run.path()).into_iter().flatten().flatten()) {
        let Ok(record) = serde_json::from_slice::<serde_json::Value>(&std::fs::read(file.path()).unwrap())
        else {
            continue;
        };
        servers.extend(
            record["process"]["pid"]
                .as_u64()
                .map(|pid| u32::try_from(pid).unwrap()),
        );
        data.extend(record["data"].as_str().map(PathBuf::from));
    }
    (servers, data)
}

fn soon<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < SOON, "waited for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Neither gone nor waiting to be reaped.
fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit_once(") ")
            .is_some_and(|(_, state)| state.starts_with('Z'))
    })
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

#[rstest]
#[case::as_by_ctrl_c(Signal::SIGINT)]
#[case::as_by_a_supervisor(Signal::SIGTERM)]
#[case::as_by_a_closed_terminal(Signal::SIGHUP)]
fn an_interrupted_run_leaves_nothing(#[case] how: Signal) {
    let workbook = Workbook::served();
    let mut stuck = Stuck::start(&workbook);
    signal(stuck.xtask.id(), how);
    let status = stuck.xtask.wait().unwrap();
    assert!(!status.success(), "{status}");
    stuck.nothing_runs();
    for folder in &stuck.data {
        assert!(!folder.exists(), "{} is left", folder.display());
    }
    assert_eq!(records(workbook.cache()), (vec![], vec![]));
}

#[test]
fn what_a_killed_run_leaves_is_removed_by_the_next_and_only_that() {
    let workbook = Workbook::served();
    let mut stuck = Stuck::start(&workbook);
    // Somebody else's, beside it.
    let foreign = stuck.data[0].parent().unwrap().join("not-ours");
    std::fs::create_dir_all(&foreign).unwrap();
    signal(stuck.xtask.id(), Signal::SIGKILL);
    stuck.xtask.wait().unwrap();
    stuck.nothing_runs();
    let said = workbook.xtask(&["grade", "visits", "--reference"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    for folder in &stuck.data {
        assert!(!folder.exists(), "{} is left", folder.display());
    }
    assert_eq!(records(workbook.cache()), (vec![], vec![]));
    assert!(foreign.exists());
    std::fs::remove_dir_all(foreign).unwrap();
}

#[test]
fn a_panic_in_a_check_leaves_nothing() {
    let workbook = Workbook::served();
    workbook.write(
        SUBJECT,
        "pub fn statement() -> &'static str { panic!(\"on purpose\") }",
    );
    let said = workbook.xtask(&["grade", "visits", "--format", "json"]);
    let report = said.report();
    assert_eq!(said.code, Some(1), "{report:#?}");
    assert!(
        report.scenarios[0].checks[0].observed.contains("on purpose"),
        "{report:#?}"
    );
    assert_eq!(records(workbook.cache()), (vec![], vec![]));
}

#[test]
fn a_server_that_dies_in_the_middle_is_the_machines_failure() {
    let workbook = Workbook::served();
    let stuck = Stuck::start(&workbook);
    for server in &stuck.servers {
        signal(*server, Signal::SIGKILL);
    }
    let Stuck { xtask, .. } = stuck;
    let output = xtask.wait_with_output().unwrap();
    let said = crate::workbook::Said::from(output);
    let report = said.report();
    assert_eq!(
        (said.code, report.verdict),
        (Some(4), Verdict::Environment),
        "{report:#?}"
    );
    let because = report.scenarios[0].checks[0].because.clone().unwrap_or_default();
    assert!(because.contains("PostgreSQL"), "{report:#?}");
    let listed = workbook.xtask(&["list"]);
    assert!(
        listed.stdout.lines().all(|line| !line.contains("open")),
        "{listed:#?}"
    );
}
