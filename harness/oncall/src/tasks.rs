//! Who waits for what: tasks that are alive by where they were spawned, what each waits for, and each thread's stack.
//!
//! Where tasks were spawned is known without asking anybody, at the price of a lock per task that begins or ends. What
//! they wait for is told by the runtime's own dump, which stops its workers and polls every task once more; it gets one
//! second, and is not asked for at all when there are more than [`TASKS_ASKED_MAX`] tasks. While a worker is blocked the
//! runtime cannot answer: then the threads' stacks tell.

use tokio::runtime::{Builder, Handle};

#[cfg(all(tokio_unstable, feature = "dump"))]
mod asked {
    use std::time::Duration;

    use tokio::runtime::{Builder, Handle};

    /// With more tasks a dump would be no look at the service, but an incident of its own.
    const TASKS_ASKED_MAX: usize = 2000;
    /// The runtime's time for its dump.
    const DUMP_MAX: Duration = Duration::from_secs(1);

    pub fn watch(builder: &mut Builder) {
        harness::stuck::watch_tasks(builder);
    }

    pub fn told(service: &Handle) -> Vec<String> {
        let alive = service.metrics().num_alive_tasks();
        let mut told = vec!["by where they were spawned".to_owned()];
        let born = harness::stuck::spawned();
        told.extend(born.iter().map(|(place, tasks)| format!("{tasks:>9}  {place}")));
        told.push(String::new());
        if alive > TASKS_ASKED_MAX {
            told.push(format!(
                "what they wait for: not asked, since the service would stand still while {alive} tasks answer"
            ));
            return told;
        }
        told.push("what they wait for".to_owned());
        let waits = harness::stuck::waits(service, DUMP_MAX);
        told.extend(waits.iter().map(|line| format!("  {line}")));
        told
    }
}

#[cfg(not(all(tokio_unstable, feature = "dump")))]
mod asked {
    use tokio::runtime::{Builder, Handle};

    pub fn watch(_builder: &mut Builder) {}

    pub fn told(_service: &Handle) -> Vec<String> {
        vec!["this program was built without the runtime's dump (tokio has it on Linux only)".to_owned()]
    }
}

/// Notes where each task of the runtime is spawned.
pub fn watch(builder: &mut Builder) {
    asked::watch(builder);
}

/// The dump, as text.
pub fn dump(service: &Handle) -> String {
    let mut told = vec![format!("tasks alive: {}", service.metrics().num_alive_tasks())];
    told.extend(asked::told(service));
    told.push(String::new());
    told.push("threads of the service".to_owned());
    told.extend(harness::stuck::threads().iter().map(|line| format!("  {line}")));
    told.join("\n") + "\n"
}
