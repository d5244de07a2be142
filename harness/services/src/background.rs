//! A runtime of our own, so that servers and container clients do not depend on the caller's: smoke tests make a runtime
//! per test, and a client of one does not work in the next.

use std::future::Future;
use std::sync::{OnceLock, mpsc};

use tokio::runtime::{Builder, Handle, Runtime};

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let build = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("services")
            .enable_all()
            .build();
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

/// The same for callers that are not asynchronous, or are inside a runtime and cannot wait: blocks this thread. On a
/// thread of our own runtime, as destructors may be, its other tasks move to another thread first.
pub(crate) fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    let receive = || {
        runtime().spawn(async move {
            // Spawned once more, so that a panic arrives as a value.
            let _ = sender.send(tokio::spawn(work).await);
        });
        receiver.recv().expect("the task sends its outcome")
    };
    let ours = Handle::try_current().is_ok_and(|handle| handle.id() == runtime().handle().id());
    match if ours { blocking(receive) } else { receive() } {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Runs blocking work (copying, locks, programs) in place, on a thread of the runtime above.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}
