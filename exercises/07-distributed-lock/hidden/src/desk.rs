//! Where replicas tell what happens to their jobs, and ask what to do next; and the archive, which takes their reports.
//!
//! One connection for each word: a line of JSON, and a line that answers it when the check lets it. Whoever dies is not
//! heard of again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use harness::{Check, Failure, HarnessTask, within};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::subject::NaiveDate;

/// What a replica tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Word {
    /// A job has begun. The answer says how it is to end.
    Begun(Who),
    /// A job was told that the day is lost.
    Lost(Who),
    /// A job's future is gone before its end.
    Dropped(Who),
    /// A report for the archive.
    Publish { who: Who, body: String },
    /// A call of `run_once` is over.
    Ended { call: u64, told: Told },
    /// A timer of that replica was late by so much: it had no processor.
    Late { replica: String, by_ms: u64 },
}

/// Which run of which job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    pub replica: String,
    pub day: String,
    pub fence: u64,
}

/// What `run_once` came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    Ran(u64),
    AlreadyDone,
    HeldBy(String),
    LostLease,
    Failed(String),
    Panicked,
    Aborted,
}

/// What a replica is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Report,
    Fail,
    Panic,
    Stale { highest: u64 },
    Heard,
}

/// What becomes of a day's jobs and reports at one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Jobs end at once, and reports are taken.
    Report,
    /// Jobs end at once with an error.
    Fail,
    Panic,
    /// Jobs wait for another plan.
    HoldJob,
    /// Jobs end at once, and reports wait before the archive for another plan.
    HoldReport,
    /// Reports are taken, and nobody is told so before another plan.
    HoldReceipt,
}

/// A job that has begun.
#[derive(Clone, Debug)]
pub struct Run {
    pub who: Who,
    pub lost: bool,
    pub dropped: bool,
}

/// A report that reached the archive.
#[derive(Clone, Debug)]
pub struct Report {
    pub who: Who,
    pub taken: bool,
}

/// All that was told until now.
#[derive(Clone, Debug, Default)]
pub struct Book {
    plans: BTreeMap<(String, String), Plan>,
    pub runs: Vec<Run>,
    /// Reports that reached the archive, in order; those that wait before it are not among them.
    pub reports: Vec<Report>,
    /// Reports that wait before the archive, or whose receipt waits.
    pub waiting: Vec<Who>,
    pub ended: BTreeMap<u64, Told>,
    /// The longest that anybody had to wait for a processor, but those who were stopped.
    pub late: Duration,
    stopped: BTreeSet<String>,
}

impl Book {
    pub fn runs_of(&self, day: NaiveDate) -> Vec<&Run> {
        let day = day.to_string();
        self.runs.iter().filter(|run| run.who.day == day).collect()
    }

    pub fn taken_of(&self, day: NaiveDate) -> Vec<&Who> {
        let day = day.to_string();
        let taken = self.reports.iter().filter(|report| report.taken);
        taken
            .map(|report| &report.who)
            .filter(|who| who.day == day)
            .collect()
    }

    /// The run of a replica's last job of the day.
    pub fn run(&self, replica: &str, day: NaiveDate) -> Option<&Run> {
        self.runs_of(day)
            .into_iter()
            .rfind(|run| run.who.replica == replica)
    }

    fn plan(&self, who: &Who) -> Plan {
        let at = |replica: &str| self.plans.get(&(replica.to_owned(), who.day.clone()));
        at(&who.replica)
            .or_else(|| at(EVERYBODY))
            .copied()
            .unwrap_or(Plan::Report)
    }

    /// Hears a word that needs no waiting.
    fn note(&mut self, word: &Word) {
        match word {
            Word::Begun(who) => self.runs.push(Run {
                who: who.clone(),
                lost: false,
                dropped: false,
            }),
            Word::Lost(who) => self.each_run(who, |run| run.lost = true),
            Word::Dropped(who) => self.each_run(who, |run| run.dropped = true),
            Word::Publish { .. } => {}
            Word::Ended { call, told } => {
                self.ended.insert(*call, told.clone());
            }
            Word::Late { replica, by_ms } if !self.stopped.contains(replica) => {
                self.late = self.late.max(Duration::from_millis(*by_ms));
            }
            Word::Late { .. } => {}
        }
    }

    fn each_run(&mut self, who: &Who, change: impl Fn(&mut Run)) {
        self.runs
            .iter_mut()
            .filter(|run| run.who == *who)
            .for_each(change);
    }

    /// What the archive says to a report.
    fn publish(&mut self, who: &Who) -> Answer {
        let highest = self
            .reports
            .iter()
            .filter(|report| report.taken && report.who.day == who.day)
            .map(|report| report.who.fence)
            .max();
        let stale = highest.filter(|highest| *highest > who.fence);
        self.reports.push(Report {
            who: who.clone(),
            taken: stale.is_none(),
        });
        stale.map_or(Answer::Heard, |highest| Answer::Stale { highest })
    }
}

/// For [`Desk::plan`]: whichever replica has no plan of its own.
pub const EVERYBODY: &str = "";

#[derive(Debug)]
pub struct Desk {
    address: String,
    shared: Arc<Shared>,
    _listening: HarnessTask<()>,
}

#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    changed: watch::Sender<u64>,
}

impl Desk {
    pub async fn open(cx: &Check) -> Result<Desk, Failure> {
        let shared = Arc::new(Shared {
            book: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        let (of_task, bound) = (shared.clone(), watch::Sender::new(None));
        let mut address = bound.subscribe();
        let listening = cx.harness_spawn(async move {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await;
            let Ok((listener, at)) = listener.and_then(|listener| {
                let at = listener.local_addr()?;
                Ok((listener, at))
            }) else {
                return;
            };
            bound.send_replace(Some(at.to_string()));
            listen(listener, of_task).await;
        });
        let found = address.wait_for(Option::is_some).await;
        let address = found
            .ok()
            .and_then(|address| address.clone())
            .ok_or_else(|| Failure::environment("there is no port for the archive"))?;
        Ok(Desk {
            address,
            shared,
            _listening: listening,
        })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// From now on; what waits goes on where the new plan lets it.
    pub fn plan(&self, replica: &str, day: NaiveDate, plan: Plan) {
        self.shared.change(|book| {
            book.plans.insert((replica.to_owned(), day.to_string()), plan);
        });
    }

    /// That replica's timers say nothing any more.
    pub fn stopped(&self, replica: &str) {
        self.shared.change(|book| book.stopped.insert(replica.to_owned()));
    }

    /// Notes how long something waited that should not have.
    pub fn late(&self, by: Duration) {
        self.shared.change(|book| book.late = book.late.max(by));
    }

    /// What was told until now.
    pub fn book(&self) -> Book {
        self.shared.lock().clone()
    }

    /// Waits until something has been told.
    pub async fn until<T>(
        &self,
        what: &str,
        deadline: Duration,
        asked: impl Fn(&Book) -> Option<T>,
    ) -> Result<T, Failure> {
        let mut changed = self.shared.changed.subscribe();
        within(deadline, what, async {
            loop {
                changed.borrow_and_update();
                if let Some(answer) = asked(&self.shared.lock()) {
                    return answer;
                }
                // The sender lives as long as the desk.
                changed.changed().await.ok();
            }
        })
        .await
    }

    /// Waits for the end of a call.
    pub async fn ended(&self, call: u64, deadline: Duration) -> Result<Told, Failure> {
        self.until("the end of a run", deadline, |book| {
            book.ended.get(&call).cloned()
        })
        .await
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changed.send_modify(|n| *n += 1);
        changed
    }

    /// Waits until the plan for `who` is another one.
    async fn leaves(&self, who: &Who, held: Plan) -> Plan {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let plan = self.lock().plan(who);
            if plan != held {
                return plan;
            }
            changed.changed().await.ok();
        }
    }

    async fn hear(&self, word: &Word) -> Answer {
        self.change(|book| book.note(word));
        match word {
            Word::Begun(who) => match self.leaves(who, Plan::HoldJob).await {
                Plan::Fail => Answer::Fail,
                Plan::Panic => Answer::Panic,
                _ => Answer::Report,
            },
            Word::Publish { who, .. } => {
                self.change(|book| book.waiting.push(who.clone()));
                self.leaves(who, Plan::HoldReport).await;
                let answer = self.change(|book| book.publish(who));
                self.leaves(who, Plan::HoldReceipt).await;
                self.change(|book| book.waiting.retain(|waiting| waiting != who));
                answer
            }
            Word::Lost(_) | Word::Dropped(_) | Word::Ended { .. } | Word::Late { .. } => Answer::Heard,
        }
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut talks = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                let shared = shared.clone();
                talks.spawn(async move { talk(stream, &shared).await.ok() });
            },
            Some(_) = talks.join_next() => {}
        }
    }
}

async fn talk(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let word: Word = serde_json::from_str(&line)?;
    let mut rest = String::new();
    let answer = tokio::select! {
        answer = shared.hear(&word) => answer,
        // Nothing more is said: this is the end of who said it. What waited for an answer does not happen.
        _ = stream.read_line(&mut rest) => return Ok(()),
    };
    let mut answer = serde_json::to_vec(&answer)?;
    answer.push(b'\n');
    stream.get_mut().write_all(&answer).await
}

/// The replica's side: says a word, and waits for the answer.
pub async fn say(desk: &str, word: &Word) -> io::Result<Answer> {
    let mut stream = BufReader::new(TcpStream::connect(desk).await?);
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    stream.get_mut().write_all(&line).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    Ok(serde_json::from_str(&answer)?)
}
