//! One instance of the service: its own pool, through its own tap, and its own door to the provider; where it matters,
//! on a machine of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use harness::postgres::PgTap;
use harness::{Failure, OrObserved};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

use crate::provider::Provider;
use crate::subject::{HttpPsp, IdemCfg, Payments};

/// Connections that an instance may open.
pub const POOL: u32 = 4;

pub struct Instance {
    pub tap: Arc<PgTap>,
    pub pool: PgPool,
    pub payments: Payments,
}

impl Instance {
    /// `name` is what the provider's book knows the instance by.
    pub async fn start(
        name: &str,
        tap: Arc<PgTap>,
        provider: &Provider,
        cfg: IdemCfg,
    ) -> Result<Instance, Failure> {
        Instance::at_door(tap, provider.door(name), cfg).await
    }

    /// [`Instance::start`], given the provider's address.
    pub(crate) async fn at_door(
        tap: Arc<PgTap>,
        base_url: String,
        cfg: IdemCfg,
    ) -> Result<Instance, Failure> {
        let pool = pool(&tap)?;
        let psp = HttpPsp { base_url };
        let payments = Payments::new(pool.clone(), Arc::new(psp), cfg).await;
        Ok(Instance { tap, pool, payments })
    }

    /// The statements that read or change data, after the first `n` of any kind, in a line each.
    pub fn statements_after(&self, n: usize) -> Vec<String> {
        let arrived = self
            .tap
            .statements_after(n)
            .into_iter()
            .filter(|statement| statement.data);
        arrived
            .map(|statement| statement.sql.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }
}

/// The statements of the run in the middle: a job that runs beside must not count.
pub fn median(runs: &mut [Vec<String>]) -> Vec<String> {
    runs.sort_by_key(Vec::len);
    runs.get(runs.len() / 2).cloned().unwrap_or_default()
}

/// Connects when it is first used.
pub fn pool(tap: &PgTap) -> Result<PgPool, Failure> {
    PgPoolOptions::new()
        .max_connections(POOL)
        .connect_lazy(&tap.url())
        .or_observed("the pool's address")
}

/// A runtime for one instance, which can be stopped from within another.
pub struct Machine(Option<Runtime>);

impl Machine {
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
