//! A stack in words that somebody can act on: what is waited for, and the lines of the graded code that led there.

use std::collections::BTreeMap;

use super::stacks::ThreadStack;
use crate::alloc::sites::subject_file;

/// Lines of the graded code that are told per stack.
const LINES_TOLD: usize = 4;

/// Where somebody stands: a function's name and, where debug information has it, its file and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub name: String,
    pub file: Option<(String, u32)>,
}

/// What a function's name tells about what is waited for; the first that matches the innermost frame counts.
const THREAD_WAITS: [(&str, &str); 13] = [
    ("sync::mutex::Mutex", "a std Mutex"),
    ("poison::mutex", "a std Mutex"),
    ("futex::Mutex::lock_contended", "a std Mutex"),
    ("poison::rwlock", "a std RwLock"),
    ("futex::RwLock::", "a std RwLock"),
    ("parking_lot::raw_mutex", "a parking_lot Mutex"),
    ("parking_lot::raw_rwlock", "a parking_lot RwLock"),
    ("dashmap::lock", "a shard of a DashMap"),
    ("condvar::Condvar::wait", "a std Condvar"),
    ("mpmc::", "a message of a std channel"),
    ("crossbeam_channel", "a message of a crossbeam channel"),
    ("thread::join", "another thread's end"),
    ("thread::sleep", "the end of a sleep"),
];

/// The same for a task. A pool's semaphore is a connection, whatever it is made of.
const TASK_WAITS: [(&str, &str); 17] = [
    ("sqlx_core::pool", "a connection of the pool"),
    ("deadpool", "a connection of the pool"),
    ("bb8", "a connection of the pool"),
    ("sync::mutex::Mutex", "a tokio Mutex"),
    ("sync::rwlock::", "a tokio RwLock"),
    ("sync::semaphore::Semaphore", "a permit of a Semaphore"),
    ("mpsc::bounded::Sender", "room in an inbox (mpsc)"),
    ("mpsc::bounded::Receiver", "a message in its inbox (mpsc)"),
    ("mpsc::unbounded::", "a message in its inbox (mpsc)"),
    ("oneshot::Receiver", "an answer (oneshot)"),
    ("sync::watch::", "a change (watch)"),
    ("sync::broadcast::", "a message (broadcast)"),
    ("sync::notify::", "a notification (Notify)"),
    ("sync::once_cell::", "a OnceCell"),
    ("task::join", "another task's end"),
    ("join_set::JoinSet", "another task's end"),
    ("net::tcp", "an answer on a socket"),
];

/// What a task waits for. The functions of the graded code's own are no evidence, whatever they are called.
#[cfg_attr(
    not(all(tokio_unstable, feature = "diagnosis")),
    expect(dead_code, reason = "of the diagnosis build")
)]
pub(super) fn task_waits_for(places: &[Place]) -> String {
    let foreign = |place: &&Place| {
        place
            .file
            .as_ref()
            .is_none_or(|(file, _)| subject_file(file).is_none())
    };
    let found = |(part, _): &&(&str, &str)| {
        places
            .iter()
            .take_while(foreign)
            .any(|place| place.name.contains(part))
    };
    let unknown = || {
        let inner = places.iter().take_while(foreign).map(|place| place.name.as_str());
        format!("something ({})", inner.last().unwrap_or("of its own"))
    };
    TASK_WAITS
        .iter()
        .find(found)
        .map_or_else(unknown, |(_, words)| (*words).to_owned())
}

/// `file:line`, where the file is the graded code's.
#[cfg_attr(
    not(all(tokio_unstable, feature = "diagnosis")),
    expect(dead_code, reason = "of the diagnosis build")
)]
pub(super) fn shown(file: &str, line: u32) -> Option<String> {
    subject_file(file).map(|file| format!("{file}:{line}"))
}

/// The functions on a stack, innermost first.
pub(super) fn places(frames: &[usize]) -> Vec<Place> {
    let mut places = Vec::new();
    for (depth, frame) in frames.iter().enumerate() {
        // A return address points behind the call; where the thread was interrupted it is the place itself.
        let address = if depth == 0 {
            *frame
        } else {
            frame.saturating_sub(1)
        };
        backtrace::resolve(address as *mut _, |symbol| {
            let file = symbol.filename().zip(symbol.lineno());
            places.push(Place {
                name: symbol.name().map(|name| name.to_string()).unwrap_or_default(),
                file: file.map(|(file, line)| (file.to_string_lossy().into_owned(), line)),
            });
        });
    }
    places
}

#[cfg(test)]
pub(super) fn names(frames: &[usize]) -> Vec<String> {
    places(frames).into_iter().map(|place| place.name).collect()
}

/// The graded code's lines among `places`, innermost first; the room is told once.
pub(super) fn lines(places: &[Place]) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    let mut room = None;
    for place in places {
        let Some((file, line)) = &place.file else { continue };
        let Some(file) = subject_file(file) else { continue };
        // `exercises/NN-slug/src/bank.rs`: the room, and the file within it.
        let at = file.match_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
        let shown = match room == Some(&file[..at]) {
            true => format!("{}:{line}", &file[at..]),
            false => format!("{file}:{line}"),
        };
        room = Some(&file[..at]);
        if told.last() != Some(&shown) && told.len() < LINES_TOLD {
            told.push(shown);
        }
    }
    told
}

/// What the threads of this process do, those first that are blocked in the graded code.
pub(super) fn of_threads(stacks: &[ThreadStack]) -> Vec<String> {
    let mut blocked: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut idle = 0;
    for stack in stacks.iter().filter(|stack| !is_graders(&stack.name)) {
        let places = places(&stack.frames);
        let lines = lines(&places);
        match thread_waits_for(&places) {
            Some(what) if !lines.is_empty() => blocked
                .entry(format!("waits for {what} at {}", lines.join(" < ")))
                .or_default()
                .push(&stack.name),
            None if !lines.is_empty() => blocked
                .entry(format!("is at {}", lines.join(" < ")))
                .or_default()
                .push(&stack.name),
            _ => idle += 1,
        }
    }
    let mut told: Vec<String> = blocked
        .into_iter()
        .map(|(what, names)| match names[..] {
            [name] => format!("blocked: thread `{name}` {what}"),
            _ => format!("blocked: {} threads (`{}`): each {what}", names.len(), names[0]),
        })
        .collect();
    if told.is_empty() {
        told.push(format!(
            "no thread is blocked in the service's code ({idle} have nothing to run): what waits are its tasks, each parked \
             at an .await"
        ));
    }
    told
}

/// What the innermost frames that tell anything say; `None` for a thread that runs.
fn thread_waits_for(places: &[Place]) -> Option<&'static str> {
    let names = places.iter().map(|place| place.name.as_str());
    let known = |name: &str| THREAD_WAITS.iter().find(|(part, _)| name.contains(part));
    names.filter_map(known).map(|(_, words)| *words).next()
}

/// Threads of the harness's own.
fn is_graders(name: &str) -> bool {
    matches!(name, "harness" | "watchdog") || name.starts_with("oncall")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, file: &str, line: u32) -> Place {
        Place {
            name: name.to_owned(),
            file: Some((file.to_owned(), line)),
        }
    }

    #[test]
    fn the_room_is_told_once_and_the_graders_own_lines_never() {
        let places = [
            place(
                "lock_contended",
                "/rustc/x/library/std/src/sys/sync/mutex/futex.rs",
                9,
            ),
            place("lock_of", "/w/exercises/03-deadlock/src/accounts.rs", 25),
            place("transfer", "/w/exercises/03-deadlock/src/bank.rs", 53),
            place(
                "storm",
                "/w/exercises/03-deadlock/hidden/tests/grade/opposing.rs",
                80,
            ),
        ];
        assert_eq!(
            lines(&places),
            ["exercises/03-deadlock/src/accounts.rs:25", "src/bank.rs:53"]
        );
        let lock = place(
            "std::sys::sync::mutex::futex::Mutex::lock_contended",
            "futex.rs",
            9,
        );
        assert_eq!(thread_waits_for(&[lock]), Some("a std Mutex"));
        assert_eq!(thread_waits_for(&places[1..]), None);
    }
}
