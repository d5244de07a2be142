use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// The runtime that a check's body and its subject run on, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    flavour: Flavour,
    deadline: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Flavour {
    MultiThread { workers: usize },
    CurrentThread,
    Paused,
}

impl Default for Spec {
    /// Two worker threads, thirty seconds.
    fn default() -> Self {
        Spec::multi_thread(2)
    }
}

impl Spec {
    pub fn multi_thread(workers: usize) -> Spec {
        Spec {
            flavour: Flavour::MultiThread { workers },
            deadline: Duration::from_secs(30),
        }
    }

    /// Everything on the check's own thread: counts of instructions and polls repeat exactly.
    pub fn current_thread() -> Spec {
        Spec {
            flavour: Flavour::CurrentThread,
            ..Spec::default()
        }
    }

    /// Like [`Spec::current_thread`], with tokio's clock standing still until everyone waits. Never for a check that
    /// touches a socket: the clock would jump while the kernel works.
    pub fn paused() -> Spec {
        Spec {
            flavour: Flavour::Paused,
            ..Spec::default()
        }
    }

    /// How long the check may take before its process is killed, in seconds of real time. Liveness only: generous
    /// for a slow machine, short enough for a check that hangs on broken code.
    pub fn deadline_s(self, seconds: u64) -> Spec {
        Spec {
            deadline: Duration::from_secs(seconds),
            ..self
        }
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn build(&self) -> std::io::Result<Runtime> {
        match self.flavour {
            Flavour::MultiThread { workers } => Builder::new_multi_thread()
                .worker_threads(workers)
                .enable_all()
                .build(),
            Flavour::CurrentThread => Builder::new_current_thread().enable_all().build(),
            Flavour::Paused => Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build(),
        }
    }
}
