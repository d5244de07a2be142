//! What the system shows of a check's process: where its threads stand, and what it left behind.
//!
//! Reads `/proc`; elsewhere than on Linux there is nothing to read, and less evidence.

use std::collections::BTreeMap;
use std::path::Path;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// Marks the processes of this run in their environment. Not a secret.
pub const RUN_VARIABLE: &str = "WAR_STORIES_RUN";

/// What each thread of `pid` waits in: `3 threads wait in futex_wait_queue (tokio-rt-worker, …)`.
pub fn threads(pid: u32) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let read = |name: &str| {
            std::fs::read_to_string(task.path().join(name))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let state = match stat_field(&read("stat"), 0).as_deref() {
            Some("R") => "runs".to_owned(),
            _ => format!("waits in {}", place(&read("wchan"), &read("syscall"))),
        };
        places.entry(state).or_default().push(read("comm"));
    }
    let count = |names: &[String]| {
        if names.len() == 1 {
            "1 thread".to_owned()
        } else {
            format!("{} threads", names.len())
        }
    };
    places
        .iter()
        .map(|(state, names)| format!("{} {state}: {}", count(names), names.join(", ")))
        .collect()
}

fn place(wchan: &str, syscall: &str) -> String {
    if !wchan.is_empty() && wchan != "0" {
        return wchan.to_owned();
    }
    let number = syscall.split(' ').next().unwrap_or_default();
    let name = match number {
        #[cfg(target_arch = "x86_64")]
        "202" => "futex (a lock or a condition)",
        #[cfg(target_arch = "x86_64")]
        "232" | "281" => "epoll (sockets and timers)",
        #[cfg(target_arch = "x86_64")]
        "35" | "230" => "a sleep",
        other => return format!("system call {other}"),
    };
    name.to_owned()
}

/// The field `index` of a `stat` line after the command's name: 0 state, 1 parent, 2 group.
fn stat_field(stat: &str, index: usize) -> Option<String> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(index).map(str::to_owned)
}

/// Kills a check's process group.
pub fn kill_group(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        killpg(Pid::from_raw(pid), Signal::SIGKILL).ok();
    }
}

/// Kills the processes that carry `run` in their environment or belong to the group `pid`, and tells their names.
/// Called after the check's own process has ended, so whatever is found has outlived it.
pub fn sweep_left_behind(pid: u32, run: &str) -> Vec<String> {
    let marker = format!("{RUN_VARIABLE}={run}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(other) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if matches!(stat_field(&stat, 0).as_deref(), None | Some("Z" | "X")) {
            continue;
        }
        let in_group = stat_field(&stat, 2).and_then(|group| group.parse().ok()) == Some(pid);
        if in_group || has_variable(&entry.path(), &marker) {
            kill(Pid::from_raw(other), Signal::SIGKILL).ok();
            // It may have been handed to this process when its parent ended.
            waitpid(Pid::from_raw(other), Some(WaitPidFlag::WNOHANG)).ok();
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push(format!("process {other} ({})", name.trim()));
        }
    }
    found
}

fn has_variable(process: &Path, marker: &str) -> bool {
    std::fs::read(process.join("environ")).is_ok_and(|environ| {
        environ
            .split(|byte| *byte == 0)
            .any(|variable| variable == marker.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "4242 (evil) R (x) S 17 4242 4242 0 -1";
        assert_eq!(stat_field(stat, 0).as_deref(), Some("S"));
        assert_eq!(stat_field(stat, 1).as_deref(), Some("17"));
        assert_eq!(stat_field(stat, 2).as_deref(), Some("4242"));
    }

    #[test]
    fn the_threads_of_a_process_are_told() {
        let told = threads(std::process::id());
        assert!(told.iter().any(|line| line.contains("thread")), "{told:?}");
    }
}
