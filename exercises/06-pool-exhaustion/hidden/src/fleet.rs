//! Replicas as processes: each has its own pool, its own statics and its own tap.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use harness::postgres::{PgTap, Postgres};
use harness::replica::{self, Replica};
use harness::{Check, Failure};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinHandle;

use crate::outside::SetClock;
use crate::stage::patient;
use crate::subject::{NewOrder, Orders, Search, SearchBy};
use crate::traffic::{Ask, FLAT_CENTS, Told, placed};

/// What a replica is told to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Question {
    Boot {
        url: String,
        max_db: usize,
        queue: usize,
    },
    /// Requests of all kinds, some at a time.
    Work(Share),
    /// Looks for the orders that were placed with that share.
    Read(Share),
}

/// A share of the traffic, the same wherever it is made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Share {
    pub seed: u64,
    pub whose: String,
    pub requests: usize,
    pub at_once: usize,
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    pub right: usize,
    pub wrong: Vec<String>,
    pub failed: Vec<String>,
}

impl Share {
    pub fn asks(&self) -> Vec<Ask> {
        let mut rng = fastrand::Rng::with_seed(self.seed);
        Ask::some(&mut rng, &self.whose, self.requests)
    }

    fn orders(&self) -> Vec<NewOrder> {
        let placed = self.asks().into_iter().filter_map(|ask| match ask {
            Ask::Place(order) => Some(order),
            _ => None,
        });
        placed.collect()
    }
}

impl Tally {
    pub fn add(&mut self, told: Told) {
        match told {
            Told::Right => self.right += 1,
            Told::Wrong(words) => self.wrong.push(words),
            Told::Failed(words) => self.failed.push(words),
        }
    }
}

/// One replica, seen from the check.
pub struct Member {
    pub replica: Replica,
    pub tap: Arc<PgTap>,
}

impl Member {
    pub async fn boot(
        cx: &Check,
        test: &str,
        pg: &Postgres,
        max_db: usize,
        queue: usize,
    ) -> Result<Member, Failure> {
        let tap = pg.another_tap().await?;
        let mut replica = Replica::start(cx, test).await?;
        let url = tap.url();
        let _: Tally = replica.ask(&Question::Boot { url, max_db, queue }).await?;
        Ok(Member { replica, tap })
    }
}

/// The replica's side: serves until the check is over.
pub fn serve() {
    let orders: OnceCell<Arc<Orders>> = OnceCell::new();
    replica::serve(async |question: Question| match question {
        Question::Boot { url, max_db, queue } => {
            let cfg = patient(url, max_db, queue);
            let booted = Orders::new(cfg, Arc::new(SetClock::default())).await;
            orders.set(Arc::new(booted)).ok();
            Tally::default()
        }
        Question::Work(share) => match orders.get() {
            Some(orders) => work(orders, share.asks(), share.at_once).await,
            None => Tally::default(),
        },
        Question::Read(share) => match orders.get() {
            Some(orders) => read(orders, share.orders()).await,
            None => Tally::default(),
        },
    });
}

/// Puts all of `asks`, so many at a time.
async fn work(orders: &Arc<Orders>, asks: Vec<Ask>, at_once: usize) -> Tally {
    let work = Work::begin(orders, asks, at_once);
    work.ended().await;
    work.tally()
}

/// Requests that are being put.
pub struct Work {
    tally: Arc<std::sync::Mutex<Tally>>,
    shops: Vec<JoinHandle<()>>,
}

impl Work {
    pub fn begin(orders: &Arc<Orders>, asks: Vec<Ask>, at_once: usize) -> Work {
        let (left, tally) = (Arc::new(Mutex::new(asks)), Arc::default());
        let shop = |_| {
            let (orders, left, tally) = (orders.clone(), left.clone(), Arc::clone(&tally));
            tokio::spawn(async move {
                loop {
                    let Some(ask) = left.lock().await.pop() else {
                        return;
                    };
                    let told = ask.put(&orders).await;
                    locked(&tally).add(told);
                }
            })
        };
        Work {
            shops: (0..at_once).map(shop).collect(),
            tally,
        }
    }

    pub async fn ended(&self) {
        while !self.shops.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Requests that are over.
    pub fn done(&self) -> usize {
        let tally = locked(&self.tally);
        tally.right + tally.wrong.len() + tally.failed.len()
    }

    pub fn tally(&self) -> Tally {
        std::mem::take(&mut *locked(&self.tally))
    }
}

fn locked(tally: &std::sync::Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(orders: &Orders, placed_before: Vec<NewOrder>) -> Tally {
    let mut tally = Tally::default();
    for order in placed_before {
        let search = Search {
            by: SearchBy::Reference,
            value: order.reference.clone(),
            limit: 10,
        };
        tally.add(match orders.search(search).await {
            Ok(found) => match &found[..] {
                [one] if *one == placed(crate::subject::OrderId(one.id), &order, FLAT_CENTS) => Told::Right,
                _ => Told::Wrong(format!("asked for {order:?}, was given {found:?}")),
            },
            Err(err) => Told::Failed(format!("{err:?}")),
        });
    }
    tally
}
