//! Which tasks wait for what, by the runtime's own dump, and where they were spawned.
//!
//! Costs a lock per task that begins or ends, which is why it is in the diagnosis build only. The dump polls every task
//! once more, so it is a last act. It cannot see futures that wait for something of other libraries than tokio, nor
//! anything at all as long as one worker of the runtime is blocked: then the threads' stacks tell.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use tokio::runtime::{Builder, Dump, Handle};
use tokio::task::Id;

use super::words::{self, Place};

/// Kinds of waits that are told.
const WAITS_TOLD: usize = 8;

static BIRTHS: Mutex<BTreeMap<u64, &'static Location<'static>>> = Mutex::new(BTreeMap::new());

/// Notes where each task of the runtime is spawned, and forgets it when it ends.
pub fn watch(builder: &mut Builder) {
    builder
        .on_task_spawn(|meta| {
            births().insert(number(meta.id()), meta.spawned_at());
        })
        .on_task_terminate(|meta| {
            births().remove(&number(meta.id()));
        });
}

/// What the tasks of `subject` wait for, the same waits together, the most frequent first. The runtime has `dump_max` for
/// its dump.
pub fn told(subject: &Handle, dump_max: Duration) -> Vec<String> {
    let alive = births().len();
    let Some(dump) = dump(subject, dump_max) else {
        let mut told = vec![format!(
            "tasks: {alive} are alive; the runtime does not say what they wait for, because a thread of it is blocked"
        )];
        told.extend(
            (spawned().into_iter()).map(|(place, tasks)| format!("tasks: {tasks} spawned at {place}")),
        );
        return told;
    };
    let mut waits: HashMap<String, usize> = HashMap::new();
    for task in dump.tasks().iter() {
        let born = births().get(&number(task.id())).copied();
        // One trace for each future that the task waits for; a time-limit is one of them.
        let traces = task.trace().resolve_backtraces();
        let told = traces.iter().filter_map(|trace| {
            let places: Vec<Place> = trace
                .frames()
                .flat_map(|frame| frame.symbols().map(place))
                .collect();
            wait(&places, born)
        });
        for wait in told.collect::<BTreeSet<String>>() {
            *waits.entry(wait).or_default() += 1;
        }
    }
    let mut waits: Vec<(String, usize)> = waits.into_iter().collect();
    waits.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let mut told = vec![format!(
        "tasks: {alive} are alive. Each holds every guard that it has taken above the line at which it waits:"
    )];
    told.extend(
        waits
            .into_iter()
            .take(WAITS_TOLD)
            .map(|(wait, tasks)| match tasks {
                1 => format!("1 task {wait}"),
                _ => format!("{tasks} tasks, each {wait}"),
            }),
    );
    told
}

/// On a thread of its own: a runtime that cannot answer may never do.
fn dump(subject: &Handle, dump_max: Duration) -> Option<Dump> {
    let (sender, answered) = mpsc::channel();
    let subject = subject.clone();
    let asking = std::thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            let runtime = Builder::new_current_thread().build().ok()?;
            let asked = subject.clone();
            // In a task of the subject's: a current-thread runtime answers to nobody else.
            let dump = match subject.runtime_flavor() {
                tokio::runtime::RuntimeFlavor::CurrentThread => runtime
                    .block_on(subject.spawn(async move { asked.dump().await }))
                    .ok(),
                _ => Some(runtime.block_on(asked.dump())),
            };
            sender.send(dump?).ok()
        });
    asking.ok()?;
    answered.recv_timeout(dump_max).ok()
}

fn wait(places: &[Place], born: Option<&'static Location<'static>>) -> Option<String> {
    let lines = words::lines(places);
    let what = words::task_waits_for(places);
    let born = born.and_then(|at| words::shown(at.file(), at.line()));
    match (lines.is_empty(), born) {
        (false, Some(born)) => Some(format!(
            "waits for {what} at {} (spawned at {born})",
            lines.join(" < ")
        )),
        (false, None) => Some(format!("waits for {what} at {}", lines.join(" < "))),
        (true, _) => None,
    }
}

/// Where the tasks that are alive were spawned, as far as that is in the graded code, and how many at each place; the most
/// first.
pub fn spawned() -> Vec<(String, usize)> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for at in births().values() {
        if let Some(place) = words::shown(at.file(), at.line()) {
            *places.entry(place).or_default() += 1;
        }
    }
    let mut places: Vec<(String, usize)> = places.into_iter().collect();
    places.sort_by_key(|(_, tasks)| std::cmp::Reverse(*tasks));
    places
}

fn place(symbol: &tokio::runtime::dump::BacktraceSymbol) -> Place {
    let file = symbol.filename().zip(symbol.lineno());
    Place {
        name: symbol.name_demangled().unwrap_or_default().to_owned(),
        file: file.map(|(file, line)| (file.to_string_lossy().into_owned(), line)),
    }
}

/// An id shows its number and nothing else.
fn number(id: Id) -> u64 {
    id.to_string().parse().unwrap_or_default()
}

fn births() -> MutexGuard<'static, BTreeMap<u64, &'static Location<'static>>> {
    BIRTHS.lock().unwrap_or_else(PoisonError::into_inner)
}
