use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Heap, cells};

/// Counts what happens while futures that it runs are polled, on whatever thread that is.
///
/// Tasks that such a future spawns are not counted unless they run through the scope as well. Memory freed by others
/// counts as live here, so grade counts, not live bytes, per scope.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    totals: Arc<cells::Counts>,
}

impl Scope {
    pub fn new() -> Scope {
        Scope::default()
    }

    /// Runs `future`, counting into this scope. Scopes nest: the innermost counts.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(move |cx| self.poll(future.as_mut(), cx)).await
    }

    fn poll<F: Future>(&self, future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = cells::enter(Arc::clone(&self.totals));
        future.poll(cx)
    }

    /// What was counted so far.
    pub fn heap(&self) -> Heap {
        self.totals.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_scope_follows_its_future_across_threads() {
        let scopes: Vec<Scope> = (0..50).map(|_| Scope::new()).collect();
        let tasks: Vec<_> = scopes
            .iter()
            .cloned()
            .map(|scope| {
                tokio::spawn(async move {
                    scope
                        .run(async {
                            for _ in 0..7 {
                                std::hint::black_box(Box::new([0u8; 100]));
                                tokio::task::yield_now().await;
                            }
                        })
                        .await;
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let mut allocations: Vec<u64> = scopes.iter().map(|scope| scope.heap().allocations).collect();
        allocations.sort_unstable();
        // The median: tokio grows a queue of its own now and then while a task of ours is polled.
        assert_eq!(allocations[25], 7);
    }

    #[tokio::test]
    async fn a_scope_sees_nothing_of_its_neighbours() {
        let scope = Scope::new();
        let outside = Box::new([1u8; 64]);
        scope
            .run(async { std::hint::black_box(Vec::<u8>::with_capacity(32)) })
            .await;
        drop(outside);
        assert_eq!(scope.heap().allocations, 1);
        assert_eq!(scope.heap().bytes, 32);
    }
}
