//! A runtime of our own, so that servers and container clients do not depend on the caller's: smoke tests make a runtime
//! per test, and a client of one does not work in the next.

use std::future::Future;
use std::sync::{OnceLock, mpsc};

use tokio::runtime::{Builder, Runtime};

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let build = Builder::new_multi_thread().worker_threads(2).thread_name("services").enable_all().build();
        build.expect("a runtime can be built")
    })
}

/// Runs a future there. A caller that stops waiting does not stop the work, whose result is then dropped: a server that
/// nobody waits for any more is ended as soon as it is up.
pub(crate) async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match runtime().spawn(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The same for callers that are not asynchronous, or are inside another runtime: blocks this thread.
pub(crate) fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    let work = runtime().spawn(async move {
        let _ = sender.send(work.await);
    });
    match receiver.recv() {
        Ok(value) => value,
        Err(_) => {
            let panicked = runtime().handle().clone();
            let (sender, receiver) = mpsc::sync_channel(1);
            panicked.spawn(async move {
                let _ = sender.send(work.await);
            });
            match receiver.recv() {
                Ok(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                _ => unreachable!("the work sent nothing and did not panic"),
            }
        }
    }
}

/// Runs blocking work (copying, locks, programs) in place, on a thread of the runtime above.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}
