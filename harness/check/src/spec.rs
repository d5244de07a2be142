use std::time::Duration;

use tokio::runtime::Builder;

/// The runtime that a check's body and its subject run on, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    flavour: Flavour,
    deadline: Duration,
    stall: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Flavour {
    MultiThread { workers: usize },
    CurrentThread,
    Paused,
    Both,
}

impl Default for Spec {
    /// Two worker threads, thirty seconds.
    fn default() -> Self {
        Spec::multi_thread(2)
    }
}

impl Spec {
    pub const fn multi_thread(workers: usize) -> Spec {
        Spec {
            flavour: Flavour::MultiThread { workers },
            deadline: Duration::from_secs(30),
            stall: None,
        }
    }

    /// The body runs twice, each time with everything anew: on a current-thread runtime, then on one with two workers.
    /// A blocked thread stops the first, and may leave the second limping.
    pub fn both_runtimes() -> Spec {
        Spec {
            flavour: Flavour::Both,
            ..Spec::default()
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

    /// How long nothing may happen, in seconds, before the check counts as stuck: no [`Check::beat`](crate::Check::beat),
    /// no new stage. For checks in which something happens every few milliseconds, on a slow machine too: a check that
    /// hangs is found long before a deadline that is generous enough for one that is merely slow.
    pub fn stalls_after_s(self, seconds: u64) -> Spec {
        Spec {
            stall: Some(Duration::from_secs(seconds)),
            ..self
        }
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn stall(&self) -> Option<Duration> {
        self.stall
    }

    /// The runtimes on which the body is to be run, in turn; each in words, where there are several.
    pub(crate) fn runtimes(&self) -> Vec<(Option<&'static str>, Builder)> {
        let current_thread = Builder::new_current_thread;
        let multi_thread = |workers: usize| {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        };
        match self.flavour {
            Flavour::MultiThread { workers } => vec![(None, multi_thread(workers))],
            Flavour::CurrentThread => vec![(None, current_thread())],
            Flavour::Paused => {
                let mut builder = current_thread();
                builder.start_paused(true);
                vec![(None, builder)]
            }
            Flavour::Both => vec![
                (Some("on a current-thread runtime"), current_thread()),
                (Some("on a runtime with two workers"), multi_thread(2)),
            ],
        }
    }
}
