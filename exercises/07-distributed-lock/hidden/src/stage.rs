//! A check's servers, and the replicas that come to them, each through taps of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harness::etcd::{Etcd, EtcdTap};
use harness::postgres::{Gate, LinkGuard, PgTap, Postgres};
use harness::redis::{Redis, RedisTap};
use harness::replica::Replica;
use harness::sweep::Points;
use harness::zookeeper::{Doorbell, ZooKeeper, ZooKeeperTap};
use harness::{Check, Failure, OrObserved, Outcome};

use crate::desk::{Desk, Plan, Told};
use crate::fleet::{Boot, Question, Way};
use crate::subject::{NaiveDate, migrate};

/// A generous deadline for what takes milliseconds once nothing holds it back.
pub const SOON: Duration = Duration::from_secs(8);

const ANYBODYS: &str = "A day that nobody has is taken by whoever comes: a replica that leaves it to a certain other one replaces \
                        nobody.";

/// The `n`-th day of 2025, from 0.
pub fn day(n: u32) -> NaiveDate {
    let first = 739_252;
    let days = i32::try_from(n).unwrap_or(0);
    NaiveDate::from_num_days_from_ce_opt(first + days).unwrap_or_default()
}

/// The servers and the desk of one check.
pub struct Stage {
    pub way: Way,
    pub ttl: Duration,
    pub renew_every: Duration,
    pub desk: Desk,
    pg: Arc<Postgres>,
    redis: Option<Arc<Redis>>,
    etcd: Option<Etcd>,
    zookeeper: Option<ZooKeeper>,
    doorbell: Doorbell,
    calls: AtomicU64,
}

/// The taps of one replica.
#[derive(Clone)]
pub struct Taps {
    pub pg: Arc<PgTap>,
    pub redis: Option<Arc<RedisTap>>,
    pub etcd: Option<Arc<EtcdTap>>,
    pub zookeeper: Option<Arc<ZooKeeperTap>>,
}

impl Stage {
    /// With a ZooKeeper, or with a bell in its place.
    pub async fn set(cx: &Check, way: Way, with_zookeeper: bool) -> Result<Stage, Failure> {
        // etcd's leases are of two seconds at least, and of whole ones.
        let ttl = match way {
            Way::Etcd => 2_000,
            Way::Postgres | Way::Redis => cx.draw("ttl_ms", &[1_500, 1_800, 2_000]),
        };
        let renew_every = ttl / cx.draw("renewals per ttl", &[4, 5]);
        let pg = cx.empty_postgres().await?;
        migrate(&pg.url()).await.or_observed("the migrations failed")?;
        let redis = match way {
            Way::Redis => Some(cx.redis().await?),
            Way::Postgres | Way::Etcd => None,
        };
        let etcd = match way {
            Way::Etcd => Some(cx.etcd().await?),
            Way::Postgres | Way::Redis => None,
        };
        let zookeeper = match with_zookeeper {
            true => Some(cx.zookeeper().await?),
            false => None,
        };
        Ok(Stage {
            way,
            ttl: Duration::from_millis(ttl),
            renew_every: Duration::from_millis(renew_every),
            desk: Desk::open(cx).await?,
            pg,
            redis,
            etcd,
            zookeeper,
            doorbell: Doorbell::hang(cx.harness_handle())?,
            calls: AtomicU64::new(0),
        })
    }

    /// Somebody has come to a ZooKeeper that is not there. Starting one takes seconds, and few want it.
    pub async fn zookeeper_is_wanted(&self) {
        self.doorbell.rung().await;
    }

    /// Whether a replica, or this process with its taps, had to wait for a processor so long that a renewal may have been
    /// too late. Renewals come every fourth part of `ttl`, or more often.
    pub fn was_starved(&self) -> bool {
        self.desk.book().late >= self.ttl / 2
    }

    /// Whether whoever has a day has it by a lease, which outlives the connection that it was taken on. PostgreSQL's locks
    /// may be a session's, and ZooKeeper's are.
    pub fn has_leases(&self) -> bool {
        self.redis.is_some() || (self.etcd.is_some() && self.zookeeper.is_none())
    }

    /// Three times what a replica that is not heard of may keep its day, and a job needs milliseconds. Grows while the
    /// machine is starved, as every deadline does.
    pub fn takeover(&self) -> Duration {
        3 * self.ttl
    }

    pub async fn taps(&self) -> Result<Taps, Failure> {
        Ok(Taps {
            pg: self.pg.another_tap().await?,
            redis: self.redis.as_ref().map(|redis| redis.another_tap()).transpose()?,
            etcd: self.etcd.as_ref().map(Etcd::another_tap).transpose()?,
            zookeeper: self.zookeeper.as_ref().map(ZooKeeper::another_tap).transpose()?,
        })
    }

    /// What a replica behind `taps` is started with.
    pub fn boot(&self, name: &str, taps: &Taps) -> Boot {
        let nowhere = "127.0.0.1:1";
        let redis = taps.redis.as_ref().map(|tap| tap.url());
        let etcd = taps.etcd.as_ref().map(|tap| tap.url());
        let zookeeper = taps.zookeeper.as_ref().map(|tap| tap.connect_string());
        Boot {
            name: name.to_owned(),
            desk: self.desk.address().to_owned(),
            backend: self.way,
            ttl: self.ttl,
            renew_every: self.renew_every,
            postgres: taps.pg.url(),
            redis: redis.unwrap_or_else(|| format!("redis://{nowhere}/")),
            etcd: etcd.unwrap_or_else(|| format!("http://{nowhere}")),
            zookeeper: zookeeper.unwrap_or_else(|| match self.way {
                Way::Etcd => self.doorbell.connect_string(),
                Way::Postgres | Way::Redis => nowhere.to_owned(),
            }),
        }
    }

    pub async fn member(&self, cx: &Check, test: &str, name: &str) -> Result<Member<'_>, Failure> {
        let taps = self.taps().await?;
        let mut replica = Replica::start(cx, test).await?;
        let _: u64 = replica.ask(&Question::Boot(self.boot(name, &taps))).await?;
        Ok(Member {
            stage: self,
            name: name.to_owned(),
            replica,
            taps,
        })
    }

    pub async fn members<const N: usize>(&self, cx: &Check, test: &str) -> Result<[Member<'_>; N], Failure> {
        let names: [String; N] = std::array::from_fn(|n| format!("reporter-{n}"));
        let mut members = Vec::new();
        for name in &names {
            members.push(self.member(cx, test, name).await?);
        }
        <[Member<'_>; N]>::try_from(members)
            .map_err(|_| Failure::environment("as many replicas as were asked for"))
    }

    /// Ends what the servers keep for a replica that is not heard of, as if its time were over: leases of etcd's, keys of
    /// Redis' that live no longer than a lease, sessions of ZooKeeper's and of PostgreSQL's.
    pub async fn forget(&self, member: &Member<'_>) -> Outcome {
        let broken = |error: std::io::Error| Failure::environment(format!("failed to end a lease: {error}"));
        if let Some(etcd) = &self.etcd {
            etcd.revoke_leases().await?;
        }
        if let (Some(zookeeper), Some(tap)) = (&self.zookeeper, &member.taps.zookeeper) {
            zookeeper.end_sessions(tap).await?;
        }
        if let Some(redis) = &self.redis {
            let script = "for _, key in ipairs(redis.call('KEYS', '*')) do
                local left = redis.call('PTTL', key)
                if left > 0 and left <= tonumber(ARGV[1]) then redis.call('DEL', key) end
            end";
            let ttl = self.ttl.as_millis().to_string();
            let mut admin = redis.admin().await?;
            admin
                .command(&["EVAL", script, "0", &ttl])
                .await
                .map_err(broken)?;
        }
        self.end_sessions(member).await
    }

    /// Ends a replica's sessions in PostgreSQL, as the server does when nobody is at the other end.
    pub async fn end_sessions(&self, member: &Member<'_>) -> Outcome {
        let mut admin = self.pg.admin().await?;
        for pid in member.taps.pg.pids() {
            admin
                .execute(&format!("SELECT pg_terminate_backend({pid})"))
                .await
                .map_err(|error| Failure::environment(format!("failed to end a session: {error}")))?;
        }
        admin.close().await.ok();
        Ok(())
    }

    fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }
}

impl Taps {
    /// The network ends here for as long as the guards live.
    pub fn black_hole(&self) -> Vec<LinkGuard> {
        let redis = self.redis.as_ref().map(|tap| tap.black_hole());
        let etcd = self.etcd.as_ref().map(|tap| tap.black_hole());
        let zookeeper = self.zookeeper.as_ref().map(|tap| tap.black_hole());
        std::iter::once(self.pg.black_hole())
            .chain(redis)
            .chain(etcd)
            .chain(zookeeper)
            .collect()
    }

    /// Holds everything that works with data.
    pub fn hold(&self) -> Vec<Gate> {
        let redis = self.redis.as_ref();
        let redis = redis.map(|tap| tap.hold_requests(|request| request.data));
        let etcd = self.etcd.as_ref().map(|tap| tap.hold_requests(|_| true));
        let zookeeper = self.zookeeper.as_ref();
        let zookeeper = zookeeper.map(|tap| tap.hold_requests(|request| request.question));
        std::iter::once(self.pg.hold_requests(|request| request.runs_data()))
            .chain(redis)
            .chain(etcd)
            .chain(zookeeper)
            .collect()
    }

    /// Breaks the connections to the servers of leases.
    pub fn cut_leases(&self) {
        if let Some(redis) = &self.redis {
            redis.cut_all();
        }
        if let Some(etcd) = &self.etcd {
            etcd.cut_all();
        }
    }

    /// Questions that work with data, until now.
    pub fn commands(&self) -> u64 {
        let pg = self.pg.counts();
        let redis = self.redis.as_ref().map_or(0, |tap| tap.counts().commands);
        let etcd = self.etcd.as_ref().map_or(0, |tap| tap.counts().requests);
        let zookeeper = self.zookeeper.as_ref().map_or(0, |tap| tap.counts().questions);
        pg.executes + pg.simple_queries + redis + etcd + zookeeper
    }

    /// Each question and each answer is a point of a sweep.
    pub fn report_to(&self, points: &Points) -> Vec<Gate> {
        let redis = self.redis.as_ref().map(|tap| tap.report_to(points));
        let etcd = self.etcd.as_ref().map(|tap| tap.report_to(points));
        let zookeeper = self.zookeeper.as_ref().map(|tap| tap.report_to(points));
        std::iter::once(self.pg.report_to(points))
            .chain(redis)
            .chain(etcd)
            .chain(zookeeper)
            .flat_map(|(requests, replies)| [requests, replies])
            .collect()
    }
}

/// One replica, seen from the check.
pub struct Member<'a> {
    stage: &'a Stage,
    pub name: String,
    pub replica: Replica,
    pub taps: Taps,
}

impl Member<'_> {
    /// Calls `run_once`; the call's number.
    pub async fn begin(&mut self, day: NaiveDate) -> Result<u64, Failure> {
        let call = self.stage.next_call();
        let day = day.to_string();
        let _: u64 = self.replica.ask(&Question::Begin { call, day }).await?;
        Ok(call)
    }

    /// Calls `run_once`, and waits for its end.
    pub async fn run_once(&mut self, day: NaiveDate) -> Result<Told, Failure> {
        let call = self.begin(day).await?;
        self.stage.desk.ended(call, SOON).await
    }

    /// Has a job of that day begin, and wait; the call's number.
    pub async fn hold(&mut self, day: NaiveDate) -> Result<u64, Failure> {
        self.stage.desk.plan(&self.name, day, Plan::HoldJob);
        let call = self.begin(day).await?;
        let desk = &self.stage.desk;
        let begun = desk.until("the beginning of the job", SOON, |book| {
            let begun = book.run(&self.name, day).is_some();
            let ended = book.ended.get(&call).cloned();
            (begun || ended.is_some()).then_some((begun, ended))
        });
        match begun.await? {
            (true, _) => Ok(call),
            (_, ended) => Err(self.not_taken(ended)),
        }
    }

    /// Has that replica report a day, and waits until its report is on its way to the archive or, with
    /// [`Plan::HoldReceipt`], has been taken there.
    pub async fn hold_report(&mut self, day: NaiveDate, plan: Plan) -> Result<u64, Failure> {
        self.stage.desk.plan(&self.name, day, plan);
        let call = self.begin(day).await?;
        let desk = &self.stage.desk;
        let what = "a report's way to the archive";
        let arrived = desk.until(what, SOON, |book| {
            let arrived = book.waiting.iter().any(|who| who.replica == self.name);
            let taken = plan != Plan::HoldReceipt || !book.taken_of(day).is_empty();
            let ended = book.ended.get(&call).cloned();
            (arrived && taken || ended.is_some()).then_some(ended)
        });
        match arrived.await? {
            None => Ok(call),
            ended => Err(self.not_taken(ended)),
        }
    }

    fn not_taken(&self, told: Option<Told>) -> Failure {
        let name = &self.name;
        let failure = Failure::new(format!("nobody has the day, and {name} was told {told:?}"));
        match told {
            Some(Told::HeldBy(_) | Told::AlreadyDone) => failure.because(ANYBODYS),
            _ => failure,
        }
    }

    /// Calls `run_once` again and again, as the scheduler does, until a job has begun or the day is done.
    pub async fn until_begun(&mut self, day: NaiveDate, deadline: Duration) -> Result<(), Failure> {
        self.retry(day, deadline, true).await.map(drop)
    }

    /// Calls `run_once` again and again until the day is done; the last that was told.
    pub async fn until_done(&mut self, day: NaiveDate, deadline: Duration) -> Result<Told, Failure> {
        self.retry(day, deadline, false).await
    }

    /// Calls `run_once` for a day that is done. That its last holder still has it may be said for a moment: a lock that
    /// ends with its connection is gone when the server has seen the end of that. Whoever leaves a lease to its time takes
    /// longer.
    pub async fn until_known_done(&mut self, day: NaiveDate) -> Result<Told, Failure> {
        self.until_done(day, self.stage.ttl / 2).await
    }

    async fn retry(&mut self, day: NaiveDate, deadline: Duration, begun: bool) -> Result<Told, Failure> {
        let mut last = None;
        let retried = harness::within(deadline, "another replica's run of the day", async {
            loop {
                let call = self.begin(day).await?;
                let name = &self.name;
                let told = self.stage.desk.until("the end of a run", deadline, |book| {
                    let run = book.run(name, day).filter(|run| !run.dropped && begun);
                    let ended = book.ended.get(&call).cloned();
                    ended.or_else(|| run.map(|run| Told::Ran(run.who.fence)))
                });
                let told = told.await?;
                if matches!(told, Told::Ran(_) | Told::AlreadyDone) {
                    return Ok(told);
                }
                last = Some(told);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        match retried.await {
            Ok(told) => told,
            Err(failure) => Err(failure.evidence(format!("{} was last told {last:?}", self.name))),
        }
    }

    pub async fn abort(&mut self, call: u64) -> Result<(), Failure> {
        let _: u64 = self.replica.ask(&Question::Abort { call }).await?;
        Ok(())
    }

    /// Stops the process where it stands.
    pub fn pause(&self) {
        self.stage.desk.stopped(&self.name);
        self.replica.pause();
    }
}
