//! How many checks run at one time.
//!
//! Most checks wait for something: a server's answer, a gate in a tap, a deadline that a wrong fix never meets. Those
//! may stand side by side in any number; checks that compute may not, or each would take the others' time. So a few
//! are let in always, and more for as long as the processors have time to spare. Verdicts are counts, so crowding does
//! not change them; it only must not make anybody miss a deadline.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};

/// Let in whatever the load, per processor.
const ALWAYS_PER_CORE: usize = 2;
/// Never more than this, per processor and in all: each may hold a pool of connections to the one server.
const EVER_PER_CORE: usize = 6;
const EVER: usize = 16;
/// The share of the processors' time that must have been idle for one more to be let in.
const IDLE_MIN: f64 = 0.3;
/// Over which that share is taken. Whoever was let in shows in the next sample, so this is also the rate.
const SAMPLE: Duration = Duration::from_millis(150);

/// Lets checks in.
pub struct Gate {
    always: usize,
    ever: usize,
    inside: Cell<usize>,
    left: Notify,
    /// First come, first in: whoever has this is next.
    next: Mutex<()>,
    /// Who has no right of way comes by here first, one at a time.
    line: Mutex<()>,
    meter: RefCell<Box<dyn FnMut() -> Option<f64>>>,
}

/// Who is let in when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    InLine,
    /// Before the line: somebody inside, or who was, waits for it.
    Before,
}

/// A place inside, given back on drop.
#[must_use = "dropping it gives the place back"]
pub struct Place<'a>(&'a Gate);

impl Gate {
    pub fn new() -> Gate {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let mut before = None;
        let meter = move || {
            let now = processor_time()?;
            let earlier = before.replace(now)?;
            idle_between(earlier, now)
        };
        Gate::with(
            (ALWAYS_PER_CORE * cores).min(EVER),
            (EVER_PER_CORE * cores).min(EVER),
            Box::new(meter),
        )
    }

    /// `meter` gives the share that was idle since it was last asked, where that is known.
    fn with(always: usize, ever: usize, meter: Box<dyn FnMut() -> Option<f64>>) -> Gate {
        Gate {
            always,
            ever,
            inside: Cell::new(0),
            left: Notify::new(),
            next: Mutex::new(()),
            line: Mutex::new(()),
            meter: RefCell::new(meter),
        }
    }

    /// How many are let in whatever the load.
    pub fn always(&self) -> usize {
        self.always
    }

    pub async fn enter(&self, turn: Turn) -> Place<'_> {
        let _line = match turn {
            Turn::InLine => Some(self.line.lock().await),
            Turn::Before => None,
        };
        let _next = self.next.lock().await;
        if self.inside.get() >= self.always {
            // From here on: what was idle before somebody entered says nothing.
            self.ask();
        }
        while self.inside.get() >= self.always {
            tokio::select! {
                biased;
                () = self.left.notified() => {}
                () = tokio::time::sleep(SAMPLE) => {
                    let idle = self.ask().is_some_and(|idle| idle >= IDLE_MIN);
                    if idle && self.inside.get() < self.ever {
                        break;
                    }
                }
            }
        }
        self.inside.set(self.inside.get() + 1);
        Place(self)
    }

    fn ask(&self) -> Option<f64> {
        (self.meter.borrow_mut())()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.inside.set(self.0.inside.get() - 1);
        self.0.left.notify_one();
    }
}

/// Ticks since the machine started: those that a check could have had, and all.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    idle: u64,
    all: u64,
}

/// `None` where the system does not say, as elsewhere than on Linux.
fn processor_time() -> Option<Ticks> {
    ticks(&std::fs::read_to_string("/proc/stat").ok()?)
}

fn ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; what follows is counted in these already.
    let fields: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map_while(|field| field.parse().ok())
        .collect();
    // Waiting for a disk is time to spare, and whoever asked for a lower priority makes way.
    let idle = fields.get(1)? + fields.get(3)? + fields.get(4).copied().unwrap_or(0);
    Some(Ticks {
        idle,
        all: fields.iter().sum(),
    })
}

fn idle_between(before: Ticks, after: Ticks) -> Option<f64> {
    let all = after.all.checked_sub(before.all).filter(|all| *all > 0)?;
    Some(after.idle.saturating_sub(before.idle) as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    /// Lets in whoever comes until nobody else is, and tells how many are inside. The clock is paused: samples cost
    /// no time.
    async fn crowd(gate: &Gate, comers: usize) -> Vec<Place<'_>> {
        let mut inside = Vec::new();
        for _ in 0..comers {
            match tokio::time::timeout(10 * SAMPLE, gate.enter(Turn::InLine)).await {
                Ok(place) => inside.push(place),
                Err(_) => break,
            }
        }
        inside
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_machine_has_the_few_that_are_always_let_in() {
        let gate = Gate::with(2, 5, Box::new(|| Some(0.1)));
        assert_eq!(crowd(&gate, 9).await.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_machine_has_as_many_as_there_may_ever_be() {
        let gate = Gate::with(2, 5, Box::new(|| Some(0.9)));
        assert_eq!(crowd(&gate, 9).await.len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_load_is_not_known_nobody_is_let_in_on_a_guess() {
        let gate = Gate::with(2, 5, Box::new(|| None));
        assert_eq!(crowd(&gate, 9).await.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn each_newcomer_is_measured_before_the_next() {
        // Idle until four are inside, as each takes its share.
        let inside = Rc::new(Cell::new(0));
        let seen = Rc::clone(&inside);
        let gate = Gate::with(
            2,
            9,
            Box::new(move || Some(if seen.get() < 4 { 0.5 } else { 0.0 })),
        );
        let mut places = Vec::new();
        while let Ok(place) = tokio::time::timeout(10 * SAMPLE, gate.enter(Turn::InLine)).await {
            places.push(place);
            inside.set(places.len());
        }
        assert_eq!(places.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_lets_the_next_in() {
        let gate = Gate::with(1, 1, Box::new(|| None));
        let first = gate.enter(Turn::InLine).await;
        let mut second = std::pin::pin!(gate.enter(Turn::InLine));
        tokio::select! {
            biased;
            _ = &mut second => panic!("two are inside"),
            () = tokio::time::sleep(3 * SAMPLE) => {}
        }
        drop(first);
        tokio::select! {
            biased;
            _ = &mut second => {}
            () = tokio::time::sleep(SAMPLE) => panic!("the place stays empty"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn right_of_way_is_before_the_line() {
        let gate = Gate::with(1, 1, Box::new(|| None));
        let came = Rc::new(std::cell::RefCell::new(Vec::new()));
        let come = async |name: &'static str, turn: Turn| {
            let _place = gate.enter(turn).await;
            came.borrow_mut().push(name);
        };
        let first = gate.enter(Turn::InLine).await;
        // Whoever is at the head of the line by then stays there.
        let line = ["head", "second", "third"].map(|name| come(name, Turn::InLine));
        let reference = async {
            tokio::time::sleep(SAMPLE).await;
            let entering = come("reference", Turn::Before);
            tokio::join!(entering, async {
                tokio::time::sleep(SAMPLE).await;
                drop(first);
            });
        };
        tokio::join!(futures_util::future::join_all(line), reference);
        assert_eq!(*came.borrow(), ["head", "reference", "second", "third"]);
    }

    #[test]
    fn the_systems_line_is_read() {
        let stat = "cpu  10 20 30 400 50 6 7 8 900 900\ncpu0 1 2\n";
        let before = ticks(stat).unwrap();
        assert_eq!(before, Ticks { idle: 470, all: 531 });
        let after = Ticks {
            idle: before.idle + 30,
            all: before.all + 100,
        };
        assert_eq!(idle_between(before, after), Some(0.3));
        assert_eq!(idle_between(before, before), None);
        assert_eq!(ticks("intr 1 2"), None);
    }
}
