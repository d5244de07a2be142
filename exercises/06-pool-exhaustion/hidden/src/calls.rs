//! Requests under way, and what became of them: looks at the shop's orders, by their number and by their reference in
//! turn, so that limits of one kind of request are no limits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use harness::Failure;
use tokio::task::JoinHandle;

use crate::stage::until;
use crate::subject::{Order, OrderError, OrderId, Orders, Search, SearchBy};
use crate::traffic::{SHOP, is_shop_order, shop};

/// Gets of the shop's orders, each in a task of its own.
#[derive(Default)]
pub struct Gets {
    answers: Arc<Mutex<BTreeMap<usize, Result<Order, OrderError>>>>,
    tasks: Vec<JoinHandle<()>>,
}

/// Which order the `n`-th request asks for.
fn asked(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(0) % SHOP + 1
}

async fn look(orders: &Orders, number: usize) -> Result<Order, OrderError> {
    if number.is_multiple_of(2) {
        return orders.get(OrderId(asked(number))).await;
    }
    let search = Search {
        by: SearchBy::Reference,
        value: shop(asked(number)).reference,
        limit: 2,
    };
    let mut found = orders.search(search).await?;
    match found.len() {
        1 => Ok(found.remove(0)),
        n => Err(OrderError::Db(format!("{n} orders were found"))),
    }
}

impl Gets {
    /// Sends `n` requests at once.
    pub fn send(orders: &Arc<Orders>, n: usize) -> Gets {
        let mut gets = Gets::default();
        gets.send_more(orders, n);
        gets
    }

    /// Sends `n` more; they are numbered on.
    pub fn send_more(&mut self, orders: &Arc<Orders>, n: usize) {
        let first = self.tasks.len();
        for number in first..first + n {
            let (orders, answers) = (orders.clone(), self.answers.clone());
            self.tasks.push(tokio::spawn(async move {
                let answer = look(&orders, number).await;
                answers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(number, answer);
            }));
        }
    }

    pub fn sent(&self) -> usize {
        self.tasks.len()
    }

    /// Requests that have an answer.
    pub fn answered(&self) -> usize {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The answers up to now.
    pub fn answers(&self) -> Vec<Result<Order, OrderError>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.values().cloned().collect()
    }

    /// Waits until `n` requests have been answered; what was not is told.
    pub async fn until_answered(&self, n: usize, deadline: Duration, because: &str) -> Result<(), Failure> {
        let what = format!("the answer to {n} of {} requests", self.sent());
        until(deadline, &what, || self.answered() >= n)
            .await
            .map_err(|failure| {
                failure.because(because).evidence(format!(
                    "{} of {} were answered",
                    self.answered(),
                    self.sent()
                ))
            })
    }

    /// The callers of these requests go away.
    pub async fn abandon(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            task.await.ok();
        }
    }

    /// All that have been answered `Ok` have the right answer, and all others the error that is expected.
    pub fn right_or(
        &self,
        expected: fn(&OrderError) -> bool,
        when: &str,
        because: &str,
    ) -> Result<usize, Failure> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut right = 0;
        for (number, answer) in answers.iter() {
            match answer {
                Err(err) if expected(err) => {}
                Err(err) => {
                    return Err(Failure::new(format!("{when}, a request got {err:?}")).because(because));
                }
                Ok(_) => {
                    is_shop_order(asked(*number), answer, when)?;
                    right += 1;
                }
            }
        }
        Ok(right)
    }

    /// All have been answered by `deadline`, and rightly.
    pub async fn all_right(&self, deadline: Duration, when: &str, because: &str) -> Result<(), Failure> {
        self.until_answered(self.sent(), deadline, because).await?;
        self.right_or(|_| false, when, because)?;
        Ok(())
    }
}
