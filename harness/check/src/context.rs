use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use verdict::wire::{Answer, DynamoDbJob, EtcdJob, Event, Job, PgBouncerJob, RedisJob, Wanted, ZooKeeperJob};

use crate::channel::Channel;
use crate::dynamodb::DynamoDb;
use crate::etcd::Etcd;
use crate::postgres::Postgres;
use crate::redis::Redis;
use crate::stuck::{Sight, Watchdog};
use crate::zookeeper::ZooKeeper;
use crate::{Failure, Outcome, Spec, alloc};

/// Call sites told per metric.
const SITES_TOLD: usize = 3;

/// What a check is given.
pub struct Check {
    pub(crate) job: Job,
    pub(crate) harness: Handle,
    channel: Arc<Channel>,
    /// Held while a server is asked for.
    asking: Arc<Mutex<()>>,
    notes: Arc<Mutex<Vec<String>>>,
    postgres: Arc<Mutex<Vec<Arc<Postgres>>>>,
    redis: Mutex<Vec<Arc<Redis>>>,
    /// Where the check's PgBouncers listen.
    bouncers: Mutex<Vec<(String, u16)>>,
    /// Databases asked for, by an earlier runtime included; several may be in the making at once.
    databases: AtomicUsize,
    pub(crate) watchdog: Arc<Watchdog>,
}

impl Check {
    pub(crate) fn new(job: Job, harness: Handle, channel: Channel) -> Check {
        Check {
            job,
            harness,
            channel: Arc::new(channel),
            asking: Arc::default(),
            notes: Arc::default(),
            postgres: Arc::default(),
            redis: Mutex::default(),
            bouncers: Mutex::default(),
            databases: AtomicUsize::new(0),
            watchdog: Arc::new(Watchdog::new()),
        }
    }

    /// For a program that grades nothing and is watched on call: the same servers and databases, and nobody who judges.
    ///
    /// # Errors
    /// The parent is not `cargo xtask incident`.
    pub fn watched() -> std::io::Result<Check> {
        crate::runner::watched()
    }

    /// From here on somebody waits for signs of life.
    pub(crate) fn guard(&self, spec: Spec) {
        let sight = Sight {
            channel: self.channel.clone(),
            notes: self.notes.clone(),
            postgres: self.postgres.clone(),
            harness: self.harness.clone(),
        };
        self.watchdog.watch(spec.deadline(), spec.stall(), sight);
    }

    /// The run's seed; `--seed` gives it again.
    pub fn seed(&self) -> u64 {
        self.job.seed
    }

    /// A generator that depends on the seed and on `stream` only, so that a new draw elsewhere changes nothing here.
    pub fn rng(&self, stream: &str) -> fastrand::Rng {
        let mut hasher = DefaultHasher::new();
        (self.job.seed, stream).hash(&mut hasher);
        fastrand::Rng::with_seed(hasher.finish())
    }

    /// One of `choices`, by the seed, so that nobody can tune to a visible constant. Noted as evidence.
    ///
    /// # Panics
    /// When there is no choice.
    pub fn draw<T: Copy + std::fmt::Debug>(&self, label: &str, choices: &[T]) -> T {
        let chosen = choices[self.rng(label).usize(..choices.len())];
        self.note(format!("{label} in this run: {chosen:?}"));
        chosen
    }

    /// Records a budget's figure, in the unit that the manifest gives for `metric`.
    pub fn measure(&self, metric: &str, value: f64) {
        self.channel.say(Event::Measured {
            metric: metric.to_owned(),
            value,
        });
        if self.job.sites {
            let sites = alloc::sites::top(metric.ends_with("_bytes"), SITES_TOLD);
            self.channel.say(Event::Sites {
                metric: metric.to_owned(),
                sites,
            });
        }
    }

    /// Says why a budget's figure may be what it is: the misconception in one sentence, and what was seen. Shown when that
    /// budget is exceeded, and only then; the last explanation of a metric counts.
    pub fn explain(
        &self,
        metric: &str,
        because: impl Into<String>,
        evidence: impl IntoIterator<Item = impl Into<String>>,
    ) {
        self.channel.say(Event::Explained {
            metric: metric.to_owned(),
            because: because.into(),
            evidence: evidence.into_iter().map(Into::into).collect(),
        });
    }

    /// Says how a budget's figure was measured, where there is more than one way. Shown whatever the verdict.
    pub fn method(&self, metric: &str, how: impl Into<String>) {
        self.channel.say(Event::Method {
            metric: metric.to_owned(),
            how: how.into(),
        });
    }

    /// A line of evidence, shown when the check does not pass.
    pub fn note(&self, line: impl Into<String>) {
        if let Ok(mut notes) = self.notes.lock() {
            notes.push(line.into());
        }
    }

    /// What the check is about to do; a check that hangs is reported with its last stage.
    pub fn stage(&self, doing: impl Into<String>) {
        let mut doing = doing.into();
        self.watchdog.beat();
        if let Some(runtime) = self.watchdog.runtime() {
            doing = format!("{doing}, {runtime}");
        }
        self.channel.say(Event::Stage { doing });
    }

    /// As long as the guard lives, silence is the grader's own: it sets something up.
    #[must_use = "dropping it ends the errand"]
    pub fn errand(&self) -> impl Drop + use<> {
        self.watchdog.errand()
    }

    /// A sign of life, for [`Spec::stalls_after_s`]: something that was waited for has happened.
    pub fn beat(&self) {
        self.watchdog.beat();
    }

    /// The same, to be given from other tasks.
    pub fn pulse(&self) -> Pulse {
        Pulse(self.watchdog.clone())
    }

    /// What it means if nothing happens any more from here on: the misconception in one sentence, and what is observed
    /// then. Replaces what was said before. `observed` is asked by another thread, and must wait for nothing.
    pub fn if_stuck(&self, because: impl Into<String>, observed: impl Fn() -> String + Send + 'static) {
        self.watchdog.if_stuck(because.into(), Box::new(observed));
    }

    /// A database of this check's own, with a tap in front: a copy of what the scenario's seed made. Each call makes
    /// another one.
    ///
    /// # Errors
    /// `environment`, when there is no server, or it does not do what it should.
    pub async fn postgres(&self) -> Result<Arc<Postgres>, Failure> {
        self.make_postgres(true).await
    }

    /// Like [`Check::postgres`], with nothing in it: for promises that have nothing to do with the seed, since copying
    /// a large one takes a second.
    ///
    /// # Errors
    /// As [`Check::postgres`].
    pub async fn empty_postgres(&self) -> Result<Arc<Postgres>, Failure> {
        self.make_postgres(false).await
    }

    async fn make_postgres(&self, seeded: bool) -> Result<Arc<Postgres>, Failure> {
        let Some(job) = &self.job.postgres else {
            return Err(Failure::environment(
                "there is no PostgreSQL for this check; cargo xtask services up postgres keeps one running",
            ));
        };
        let _errand = self.watchdog.errand();
        let made = self.databases.fetch_add(1, Ordering::Relaxed);
        let mut job = job.clone();
        job.template = job.template.filter(|_| seeded);
        if made > 0 {
            job.database = format!("{}_{made}", job.database);
        }
        let password = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let (harness, here) = (self.harness.clone(), self.harness.clone());
        // On the harness's runtime: the grader's own connections are no allocations of the subject's.
        let postgres = here
            .spawn(async move { Postgres::make(&job, &harness, password).await })
            .await
            .map_err(|error| Failure::environment(format!("failed to make a database: {error}")))??;
        let postgres = Arc::new(postgres);
        if let Ok(mut made) = self.postgres.lock() {
            made.push(Arc::clone(&postgres));
        }
        Ok(postgres)
    }

    /// A Redis server of this check's own, with a tap in front. Each call has another one.
    ///
    /// # Errors
    /// `environment`, when there is none, or it does not do what it should.
    pub async fn redis(&self) -> Result<Arc<Redis>, Failure> {
        let server = self.redis_server().await?;
        let here = self.harness.clone();
        let made = self
            .harness
            .spawn(async move { Redis::at(&server.host, server.port, &here).await })
            .await
            .map_err(|error| Failure::environment(format!("failed to look at Redis: {error}")))??;
        let redis = Arc::new(made);
        if let Ok(mut made) = self.redis.lock() {
            made.push(Arc::clone(&redis));
        }
        Ok(redis)
    }

    /// A Redis server of this check's own: empty, counted by nobody else, gone with the check. Each call has another one.
    ///
    /// # Errors
    /// `environment`, when there is none.
    pub async fn redis_server(&self) -> Result<RedisJob, Failure> {
        match self.server(Wanted::Redis).await? {
            Answer::Redis(job) => Ok(job),
            other => Err(unexpected(&other)),
        }
    }

    /// A PgBouncer of this check's own, in front of `upstream` (a tap's [`config`](crate::postgres::PgTap::config), as a
    /// rule), for its role alone. `ini` is the scenario's configuration: the `[pgbouncer]` section of it counts, but for
    /// addresses, users and files.
    ///
    /// # Errors
    /// `fail`, when it does not start with that configuration; `environment`, when there is none.
    pub async fn pgbouncer_server(
        &self,
        upstream: &pgwire::Config,
        ini: &str,
    ) -> Result<PgBouncerJob, Failure> {
        let wanted = Wanted::PgBouncer {
            upstream: format!("{}:{}", upstream.host, upstream.port),
            user: upstream.user.clone(),
            password: upstream.password.clone(),
            config: ini.to_owned(),
        };
        match self.server(wanted).await? {
            Answer::PgBouncer(job) => {
                let mut bouncers = self.bouncers.lock().unwrap_or_else(PoisonError::into_inner);
                bouncers.push((job.host.clone(), job.port));
                Ok(job)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// What came of a PgBouncer that has died is not the subject's failure. Asked here and not by the parent: with the check
    /// its tap goes, and a PgBouncer may not survive what it stood before.
    pub(crate) async fn doubt(&self, failure: Failure) -> Failure {
        let bouncers = self
            .bouncers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (host, port) in bouncers {
            if let Err(error) = tokio::net::TcpStream::connect((host.as_str(), port)).await {
                let died = format!("PgBouncer at {host}:{port} does not answer any more: {error}");
                return Failure::environment(died).evidence(format!("what was seen before: {failure}"));
            }
        }
        failure
    }

    /// An etcd node of this check's own: empty, gone with the check. Each call has another one.
    ///
    /// # Errors
    /// `environment`, when there is none.
    pub async fn etcd_server(&self) -> Result<EtcdJob, Failure> {
        match self.server(Wanted::Etcd).await? {
            Answer::Etcd(job) => Ok(job),
            other => Err(unexpected(&other)),
        }
    }

    /// An etcd node of this check's own, with a tap in front. Each call has another one.
    ///
    /// # Errors
    /// `environment`, when there is none.
    pub async fn etcd(&self) -> Result<Etcd, Failure> {
        let server = self.etcd_server().await?;
        Etcd::at(&server.host, server.port, &self.harness)
    }

    /// A ZooKeeper node of this check's own: empty, gone with the check. Each call has another one.
    ///
    /// # Errors
    /// `environment`, when there is none.
    pub async fn zookeeper_server(&self) -> Result<ZooKeeperJob, Failure> {
        match self.server(Wanted::ZooKeeper).await? {
            Answer::ZooKeeper(job) => Ok(job),
            other => Err(unexpected(&other)),
        }
    }

    /// A ZooKeeper node of this check's own, with a tap in front. Each call has another one, which takes seconds to start:
    /// a [`Doorbell`](crate::zookeeper::Doorbell) tells whether the subject wants one.
    ///
    /// # Errors
    /// `environment`, when there is none.
    pub async fn zookeeper(&self) -> Result<ZooKeeper, Failure> {
        let server = self.zookeeper_server().await?;
        ZooKeeper::at(&server.host, server.port, &self.harness)
    }

    /// A DynamoDB server of this check's own, with a tap in front. Each call has another one.
    ///
    /// # Errors
    /// `environment`, when there is none, or it does not answer.
    pub async fn dynamodb(&self) -> Result<Arc<DynamoDb>, Failure> {
        let server = self.dynamodb_server().await?;
        let here = self.harness.clone();
        let made = self
            .harness
            .spawn(async move { DynamoDb::at(&server.host, server.port, &here).await })
            .await
            .map_err(|error| Failure::environment(format!("failed to look at DynamoDB: {error}")))??;
        Ok(Arc::new(made))
    }

    /// A DynamoDB server of this check's own: empty, without capacity limits, gone with the check. Each call has another
    /// one.
    ///
    /// # Errors
    /// `environment`, when there is none.
    pub async fn dynamodb_server(&self) -> Result<DynamoDbJob, Failure> {
        match self.server(Wanted::DynamoDb).await? {
            Answer::DynamoDb(job) => Ok(job),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks the parent, on a thread that may block.
    async fn server(&self, wanted: Wanted) -> Result<Answer, Failure> {
        let _errand = self.watchdog.errand();
        let (channel, asking) = (Arc::clone(&self.channel), Arc::clone(&self.asking));
        let ask = move || {
            alloc::exempt_current_thread();
            let _alone = asking.lock().unwrap_or_else(PoisonError::into_inner);
            channel.ask(wanted)
        };
        match self.harness.spawn_blocking(ask).await {
            Ok(Ok(Answer::Missing { reason })) => Err(Failure::environment(reason)),
            Ok(Ok(Answer::Refused { observed, log })) => Err(Failure::new(observed)
                .because("The server does not start with this configuration.")
                .evidence(log)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::environment(format!(
                "failed to ask for a server: {error}"
            ))),
            Err(error) => Err(Failure::environment(format!(
                "failed to ask for a server: {error}"
            ))),
        }
    }

    /// Runs `future` on the harness's own thread, outside the subject's runtime and outside the allocation counts: for
    /// stub servers and anything else that belongs to the grader. It ends when the returned handle is dropped.
    pub fn harness_spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> HarnessTask<T> {
        HarnessTask {
            task: self.harness.spawn(future),
        }
    }

    /// The harness's own runtime, for what has to be built on it.
    pub fn harness_handle(&self) -> &Handle {
        &self.harness
    }

    /// Judges what can only be judged once the subject is gone.
    pub(crate) async fn finish(&self) -> Outcome {
        let made = self
            .postgres
            .lock()
            .map(|mut made| std::mem::take(&mut *made))
            .unwrap_or_default();
        for postgres in made {
            postgres.finish().await?;
        }
        let made = self
            .redis
            .lock()
            .map(|mut made| std::mem::take(&mut *made))
            .unwrap_or_default();
        for redis in made {
            redis.finish().await?;
        }
        Ok(())
    }

    pub(crate) fn say(&self, event: Event) {
        self.channel.say(event);
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.lock().map(|notes| notes.clone()).unwrap_or_default()
    }
}

fn unexpected(answer: &Answer) -> Failure {
    Failure::environment(format!("asked for another server, and was given {answer:?}"))
}

/// Gives signs of life; see [`Check::beat`].
#[derive(Clone)]
pub struct Pulse(Arc<Watchdog>);

impl Pulse {
    pub fn beat(&self) {
        self.0.beat();
    }
}

/// A task on the harness's thread; dropping it ends the task.
#[must_use = "dropping it ends the task"]
#[derive(Debug)]
pub struct HarnessTask<T> {
    task: JoinHandle<T>,
}

impl<T> HarnessTask<T> {
    /// The task's output; `None` when it panicked.
    pub async fn join(mut self) -> Option<T> {
        (&mut self.task).await.ok()
    }
}

impl<T> Drop for HarnessTask<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
