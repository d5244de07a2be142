//! The origin: a pricing desk that keeps books about who asked when, and does what it is told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use harness::{Failure, within};
use tokio::sync::watch;

use crate::subject::{Origin, OriginError};

/// Liveness only: what takes milliseconds once nothing holds it back.
pub const SOON: Duration = Duration::from_secs(5);

/// What a load comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    #[default]
    Price,
    Fail,
    Panic,
}

/// One key's loads.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// When each load began, in order.
    pub begun: Vec<Instant>,
    /// Loads that have ended, in whatever way; one that was dropped has ended.
    pub ended: usize,
    /// The most that were under way at one time.
    pub overlap_peak: usize,
    /// The price's revision. A load reads it when it begins.
    revision: u64,
    effects: HashMap<usize, Effect>,
    always: Effect,
    /// Every load from this one on (from 0) waits.
    held_from: Option<usize>,
    let_go: HashSet<usize>,
}

impl Page {
    pub fn loads(&self) -> usize {
        self.begun.len()
    }

    pub fn under_way(&self) -> usize {
        self.begun.len() - self.ended
    }

    fn waits(&self, load: usize) -> bool {
        self.held_from.is_some_and(|from| load >= from) && !self.let_go.contains(&load)
    }
}

/// The desk as its owner holds it. Instances get [`Desk::door`].
#[derive(Clone, Debug)]
pub struct Desk {
    pages: Arc<watch::Sender<HashMap<String, Page>>>,
    /// Changes when somebody may go on. Apart from the books, or each of ten thousand loads would wake all that wait.
    gates: Arc<watch::Sender<()>>,
    padding: usize,
}

impl Default for Desk {
    fn default() -> Desk {
        Desk::with_prices_of(0)
    }
}

impl Desk {
    /// A desk whose prices have that many bytes, at least.
    pub fn with_prices_of(bytes: usize) -> Desk {
        Desk {
            pages: Arc::new(watch::Sender::new(HashMap::new())),
            gates: Arc::new(watch::Sender::new(())),
            padding: bytes,
        }
    }

    pub fn door(&self) -> Arc<dyn Origin> {
        Arc::new(self.clone())
    }

    /// What the desk answers for `k` at its present revision.
    pub fn price(&self, k: &str) -> Bytes {
        price(k, self.page(k).revision, self.padding)
    }

    /// A new price; nobody is told.
    pub fn revise(&self, k: &str) -> Bytes {
        self.change(k, |page| page.revision += 1);
        self.price(k)
    }

    pub fn page(&self, k: &str) -> Page {
        self.pages.borrow().get(k).cloned().unwrap_or_default()
    }

    pub fn loads(&self, k: &str) -> usize {
        self.pages.borrow().get(k).map_or(0, Page::loads)
    }

    /// Forgets every key, so that the books of many keys do not count as the subject's memory.
    pub fn forget_all(&self) {
        self.pages.send_modify(|pages| *pages = HashMap::new());
    }

    /// What the load number `load` (from 0) of `k` comes to.
    pub fn script(&self, k: &str, load: usize, effect: Effect) {
        self.change(k, |page| {
            page.effects.insert(load, effect);
        });
    }

    /// What every load of `k` comes to from now on.
    pub fn always(&self, k: &str, effect: Effect) {
        self.change(k, |page| page.always = effect);
    }

    /// Holds every load of `k` that begins from now on.
    pub fn hold(&self, k: &str) {
        self.change(k, |page| page.held_from = Some(page.loads()));
    }

    /// Lets one load of `k` go on, and still holds the others.
    pub fn let_go(&self, k: &str, load: usize) {
        self.change(k, |page| {
            page.let_go.insert(load);
        });
        self.gates.send_replace(());
    }

    pub fn release(&self, k: &str) {
        self.change(k, |page| {
            page.held_from = None;
            page.let_go.clear();
        });
        self.gates.send_replace(());
    }

    /// Waits for something in the books of `k`.
    pub async fn until(
        &self,
        k: &str,
        what: &str,
        deadline: Duration,
        fulfilled: impl Fn(&Page) -> bool,
    ) -> Result<(), Failure> {
        let mut pages = self.pages.subscribe();
        let waiting = pages.wait_for(|pages| pages.get(k).is_some_and(&fulfilled));
        match within(deadline, what, waiting).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.evidence(format!("loads of {k} so far: {}", self.loads(k)))),
        }
    }

    pub async fn until_loads(&self, k: &str, n: usize) -> Result<(), Failure> {
        self.until(k, &format!("load number {n} of {k}"), SOON, |page| {
            page.loads() >= n
        })
        .await
    }

    /// Waits until no load of `k` is under way.
    pub async fn until_idle(&self, k: &str) -> Result<(), Failure> {
        self.until(k, "the end of every load", SOON, |page| page.under_way() == 0)
            .await
    }

    fn change(&self, k: &str, change: impl FnOnce(&mut Page)) {
        self.pages
            .send_modify(|pages| change(pages.entry(k.to_owned()).or_default()));
    }
}

#[async_trait]
impl Origin for Desk {
    async fn load(&self, k: &str) -> Result<Bytes, OriginError> {
        let mut turn = (0, 0, Effect::Price);
        self.change(k, |page| {
            let load = page.loads();
            page.begun.push(Instant::now());
            page.overlap_peak = page.overlap_peak.max(page.under_way());
            let effect = page.effects.get(&load).copied().unwrap_or(page.always);
            turn = (load, page.revision, effect);
        });
        let (load, revision, effect) = turn;
        let _under_way = UnderWay { desk: self, k };
        let mut gates = self.gates.subscribe();
        while self.pages.borrow().get(k).is_some_and(|page| page.waits(load)) {
            // The sender is this desk's, and lives as long.
            let _ = gates.changed().await;
        }
        match effect {
            Effect::Price => Ok(price(k, revision, self.padding)),
            Effect::Fail => Err(OriginError("the pricing database is down".to_owned())),
            Effect::Panic => panic!("the origin's client has a bug"),
        }
    }
}

/// A load that is under way, until it is dropped.
struct UnderWay<'a> {
    desk: &'a Desk,
    k: &'a str,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.desk.change(self.k, |page| page.ended += 1);
    }
}

fn price(k: &str, revision: u64, padding: usize) -> Bytes {
    let mut text = format!("{k}@{revision}").into_bytes();
    text.resize(text.len().max(padding), b'.');
    Bytes::from(text.into_boxed_slice())
}
