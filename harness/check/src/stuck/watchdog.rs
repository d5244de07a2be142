//! A thread of its own that waits for signs of life: a blocked thread also stops tokio's timers, so no timer inside a
//! runtime would do. When they stay away it says where everything stands, and the parent ends the process.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use verdict::Patience;
use verdict::wire::{Event, Stuck};

use super::{stacks, words};
use crate::alloc;
use crate::channel::Channel;
use crate::postgres::Postgres;

/// How long a question to a server may take while everything else stands still.
const ASKING_MAX: Duration = Duration::from_millis(700);
/// The shortest and the longest time between two looks.
const LOOKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));

/// How long the runtime may take to tell what its tasks wait for.
#[cfg(all(tokio_unstable, feature = "diagnosis"))]
const DUMP_MAX: Duration = Duration::from_millis(1200);

type Told = Box<dyn Fn() -> String + Send>;

/// What the check and its watchdog share.
pub(crate) struct Watchdog {
    begun: Instant,
    /// The last sign of life, in milliseconds since `begun`.
    beat_ms: AtomicU64,
    /// How many things the grader does that the subject has no part in, such as making a database.
    errands: AtomicUsize,
    /// Somebody has had the last word: the check with its judgement, or the watchdog.
    over: AtomicBool,
    words: Mutex<Words>,
}

#[derive(Default)]
struct Words {
    /// "on a current-thread runtime", where there are several.
    runtime: Option<&'static str>,
    because: Option<String>,
    observed: Option<Told>,
    /// The subject's runtime, once it is there.
    subject: Option<Handle>,
}

/// See [`Watchdog::errand`].
pub(crate) struct Errand(Arc<Watchdog>);

impl Drop for Errand {
    fn drop(&mut self) {
        self.0.beat();
        self.0.errands.fetch_sub(1, SeqCst);
    }
}

/// Where the watchdog looks.
pub(crate) struct Sight {
    pub channel: Arc<Channel>,
    pub notes: Arc<Mutex<Vec<String>>>,
    pub postgres: Arc<Mutex<Vec<Arc<Postgres>>>>,
    pub harness: Handle,
}

impl Watchdog {
    pub fn new() -> Watchdog {
        Watchdog {
            begun: Instant::now(),
            beat_ms: AtomicU64::new(0),
            errands: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            words: Mutex::default(),
        }
    }

    pub fn beat(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(now, Relaxed);
    }

    /// As long as the guard lives, silence is the grader's own.
    pub fn errand(self: &Arc<Watchdog>) -> Errand {
        self.errands.fetch_add(1, SeqCst);
        Errand(self.clone())
    }

    /// The runtime that the body runs on from here on; returns it in words.
    pub fn runs_on(&self, subject: Handle, runtime: Option<&'static str>) {
        self.beat();
        let mut words = self.words();
        *words = Words {
            runtime,
            subject: Some(subject),
            ..Words::default()
        };
    }

    pub fn runtime(&self) -> Option<&'static str> {
        self.words().runtime
    }

    pub fn if_stuck(&self, because: String, observed: Told) {
        self.beat();
        let mut words = self.words();
        (words.because, words.observed) = (Some(because), Some(observed));
    }

    /// The check is about to say what it found. When the watchdog has spoken already, this never returns: the parent is
    /// about to end the process.
    pub fn call_off(&self) {
        if self.over.swap(true, SeqCst) {
            loop {
                std::thread::park();
            }
        }
    }

    /// Starts the thread.
    pub fn watch(self: &Arc<Watchdog>, deadline: Duration, stall: Option<Duration>, sight: Sight) {
        let dog = self.clone();
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                alloc::exempt_current_thread();
                dog.wait(deadline, stall, &sight);
            })
            .ok();
    }

    fn wait(&self, deadline: Duration, stall: Option<Duration>, sight: &Sight) {
        // Both grow while the machine is starved: what is slow is not what hangs.
        let patience = Patience::new(deadline);
        let mut silence = stall.map(|stall| (self.beat_ms.load(Relaxed), Patience::new(stall)));
        let (mut looked, mut errands) = (self.begun, Duration::ZERO);
        loop {
            if self.errands.load(SeqCst) > 0 {
                self.beat();
                errands += looked.elapsed();
            }
            looked = Instant::now();
            let beat_ms = self.beat_ms.load(Relaxed);
            if let (Some((since, silence)), Some(stall)) = (&mut silence, stall)
                && *since != beat_ms
            {
                (*since, *silence) = (beat_ms, Patience::new(stall));
            }
            let elapsed = self.begun.elapsed();
            let quiet = elapsed.saturating_sub(Duration::from_millis(beat_ms));
            let silent = silence
                .as_ref()
                .is_some_and(|(_, silence)| quiet >= silence.limit());
            if silent || elapsed >= patience.limit() + errands {
                if self.over.swap(true, SeqCst) {
                    return;
                }
                let since = match silent {
                    true => format!("nothing has happened for {} s", quiet.as_secs()),
                    false => format!("the check did not end within its {} s", deadline.as_secs()),
                };
                sight.channel.say(Event::Stuck(self.last_words(since, sight)));
                return;
            }
            let left = stall.map_or(deadline, |stall| stall.saturating_sub(quiet));
            std::thread::sleep(left.clamp(LOOKS.0, LOOKS.1));
        }
    }

    fn last_words(&self, since: String, sight: &Sight) -> Stuck {
        // Of the threads first: the questions below give them something to do.
        let stacks = stacks::all();
        let mut evidence = words::of_threads(&stacks);
        // The body may have been stopped while it held the lock.
        let words = self.words.try_lock();
        let (mut observed, mut because) = (since, None);
        if let Ok(words) = words {
            if let Some(told) = &words.observed {
                observed = format!("{}: {observed}", told());
            }
            if let Some(runtime) = words.runtime {
                observed = format!("{observed}, {runtime}");
            }
            because = words.because.clone();
            #[cfg(all(tokio_unstable, feature = "diagnosis"))]
            if let Some(subject) = &words.subject {
                evidence.extend(super::tasks::told(subject, DUMP_MAX));
            }
            #[cfg(not(all(tokio_unstable, feature = "diagnosis")))]
            let _ = &words.subject;
        }
        let databases = sight.postgres.try_lock().map(|made| made.clone());
        for postgres in databases.unwrap_or_default() {
            evidence.extend(postgres.standing());
            let asked = async { tokio::time::timeout(ASKING_MAX, postgres.standing_at_the_server()).await };
            evidence.extend(sight.harness.block_on(asked).unwrap_or_default());
        }
        if let Ok(notes) = sight.notes.try_lock() {
            evidence.extend(notes.iter().cloned());
        }
        Stuck {
            observed,
            because,
            evidence,
        }
    }

    fn words(&self) -> std::sync::MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
