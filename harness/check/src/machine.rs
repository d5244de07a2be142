//! A machine for one instance of a service, as far as a process can have several: a runtime with a thread of its own.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

use crate::Failure;

/// A runtime for one instance, which can be stopped from within another.
#[derive(Debug)]
pub struct Machine(Option<Runtime>);

impl Machine {
    /// # Errors
    /// Environment: the system has no thread to give.
    pub fn start() -> Result<Machine, Failure> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime
            .map(|runtime| Machine(Some(runtime)))
            .map_err(|err| Failure::environment(format!("failed to build a runtime: {err}")))
    }

    /// Runs the future on this machine. Dropping what is returned drops the future.
    pub fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Call<T> {
        match &self.0 {
            Some(runtime) => Call(runtime.spawn(future)),
            None => unreachable!("a machine is stopped once, by its owner"),
        }
    }

    /// Drops whatever runs on this machine, and waits for that.
    pub async fn stop(mut self) {
        let Some(runtime) = self.0.take() else { return };
        let (sender, stopped) = oneshot::channel();
        std::thread::spawn(move || {
            runtime.shutdown_timeout(Duration::from_secs(5));
            sender.send(()).ok();
        });
        stopped.await.ok();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A runtime must not be dropped the ordinary way inside another.
            runtime.shutdown_background();
        }
    }
}

/// A call to a [`Machine`].
#[derive(Debug)]
pub struct Call<T>(JoinHandle<T>);

impl<T> Future for Call<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        self.0.abort();
        // Whoever drops a call expects it to be gone. The other machine has a thread of its own, and takes microseconds.
        while !self.0.is_finished() {
            std::thread::yield_now();
        }
    }
}
