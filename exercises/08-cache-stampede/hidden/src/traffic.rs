//! What shop pages do: many ask for the same price at the same moment, and some of them go away before they get it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::{Failure, within};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::desk::SOON;
use crate::subject::{CacheError, PriceCache};

pub type Answer = Result<Bytes, CacheError>;

/// One page that asks for one price, in a task of its own.
#[derive(Debug)]
pub struct Call {
    task: JoinHandle<Answer>,
    asked: watch::Receiver<Option<Instant>>,
}

impl Call {
    pub fn make(cache: &Arc<PriceCache>, k: &str) -> Call {
        let (asked_at, asked) = watch::channel(None);
        let (cache, k) = (cache.clone(), k.to_owned());
        let task = tokio::spawn(async move {
            let mut answer = pin!(cache.get(&k));
            poll_fn(|cx| {
                let now = asked_at.borrow().is_none().then(Instant::now);
                let polled = answer.as_mut().poll(cx);
                if let Some(now) = now {
                    asked_at.send_replace(Some(now));
                }
                match polled {
                    Poll::Ready(answer) => Poll::Ready(answer),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await
        });
        Call { task, asked }
    }

    /// When the cache was first asked; `None` before.
    pub fn asked_at(&self) -> Option<Instant> {
        *self.asked.borrow()
    }

    /// Until the cache has been asked, and has answered or has the caller wait.
    pub async fn until_asked(&mut self) {
        // An error is a call that has ended.
        let _ = self.asked.wait_for(Option::is_some).await;
    }

    pub fn is_answered(&self) -> bool {
        self.task.is_finished()
    }

    /// The page's visitor has gone away.
    pub fn hang_up(&self) {
        self.task.abort();
    }

    pub async fn answer(self) -> Result<Answer, JoinError> {
        self.task.await
    }
}

/// Many pages that ask for the same price.
#[derive(Debug)]
pub struct Herd {
    pub calls: Vec<Call>,
}

impl Herd {
    pub fn of(n: usize, cache: &Arc<PriceCache>, k: &str) -> Herd {
        let calls = (0..n).map(|_| Call::make(cache, k)).collect();
        Herd { calls }
    }

    /// Until each has asked.
    pub async fn until_asked(&mut self) -> Result<(), Failure> {
        let asked = async {
            for call in &mut self.calls {
                call.until_asked().await;
            }
        };
        within(4 * SOON, "every caller's turn to ask", asked).await
    }

    pub fn answered(&self) -> usize {
        self.calls.iter().filter(|call| call.is_answered()).count()
    }

    /// Every answer. Calls that panicked or hung up have none.
    pub async fn answers(self, deadline: Duration) -> Result<Vec<Answer>, Failure> {
        Ok(self.ends(deadline).await?.into_iter().flatten().collect())
    }

    /// How every call ended.
    pub async fn ends(self, deadline: Duration) -> Result<Vec<Result<Answer, JoinError>>, Failure> {
        let n = self.calls.len();
        let ending = Instant::now() + deadline;
        let mut ends = Vec::with_capacity(n);
        for call in self.calls {
            let left = ending.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left.max(Duration::from_millis(1)), call.answer()).await {
                Ok(end) => ends.push(end),
                Err(_) => {
                    return Err(Failure::new(format!(
                        "{} of {n} callers wait for an answer that does not come ({deadline:?})",
                        n - ends.len()
                    )));
                }
            }
        }
        Ok(ends)
    }
}

/// One answer, in the time that an answer takes when nothing holds it up.
pub async fn ask(cache: &PriceCache, k: &str) -> Result<Answer, Failure> {
    within(SOON, &format!("an answer for {k}"), cache.get(k)).await
}

/// One price.
pub async fn price(cache: &PriceCache, k: &str) -> Result<Bytes, Failure> {
    let answer = ask(cache, k).await?;
    answer.map_err(|err| Failure::new(format!("get of {k} failed: {err}")))
}
