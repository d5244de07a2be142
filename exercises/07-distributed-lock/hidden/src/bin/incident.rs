//! A month of `reporter`'s nights in three regions, watched: `cargo xtask incident`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use distributed_lock_hidden::stage::day;
use distributed_lock_hidden::subject::{
    Backend, Deps, Job, JobCtx, JobError, LockCfg, LockError, NaiveDate, Outcome, ReportSink, Reporter,
    SinkError, migrate,
};
use harness::postgres::Postgres;
use harness::{Failure, OrObserved};
use oncall::{Calls, Shift, Table, Unit, View};
use tokio::sync::Notify;

const REPLICAS: usize = 5;
/// The scheduler's minute in short, and how often another day is due.
const ASKED_EVERY: Duration = Duration::from_millis(500);
const DAY: Duration = Duration::from_secs(2);
const TTL: Duration = Duration::from_secs(2);
const RENEW_EVERY: Duration = Duration::from_millis(500);
/// How long a report takes, and one at the end of a month.
const REPORT: Duration = Duration::from_millis(300);
const LONG_REPORT: Duration = Duration::from_millis(3500);
/// A report that is not there by then is missed.
const OVERDUE: Duration = Duration::from_secs(8);
/// Attempts to bring a database up to date.
const DEPLOYED_MAX: u32 = 10;
/// The scheduler asks for so many days at most.
const ASKED_FOR_MAX: usize = 12;

#[global_allocator]
static HEAP: oncall::Recording = oncall::Recording;

fn main() -> std::process::ExitCode {
    oncall::run(oncall::incident!(), traffic)
}

/// A day's report that the archive has taken.
#[derive(Clone)]
struct Taken {
    replica: String,
    fence: u64,
    after: Duration,
}

/// One region: its replicas, and what became of its days.
struct Region {
    name: &'static str,
    replicas: Vec<Reporter>,
    nights: Arc<Nights>,
}

#[derive(Default)]
struct Nights(Mutex<Book>);

#[derive(Default)]
struct Book {
    due: BTreeMap<NaiveDate, Instant>,
    taken: BTreeMap<NaiveDate, Vec<Taken>>,
    begun: BTreeMap<NaiveDate, u32>,
    /// Days that some replica has told to be over.
    over: BTreeSet<NaiveDate>,
    /// Calls that have not returned.
    running: BTreeSet<(usize, NaiveDate)>,
}

impl Nights {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn reports(&self) -> usize {
        self.taken.values().map(Vec::len).sum()
    }

    fn twice(&self) -> usize {
        self.taken.values().filter(|taken| taken.len() > 1).count()
    }

    fn overdue(&self) -> usize {
        let missing = self.due.iter().filter(|(day, _)| !self.taken.contains_key(day));
        missing.filter(|(_, due)| due.elapsed() > OVERDUE).count()
    }
}

/// The archive as one replica reaches it.
struct Door {
    replica: String,
    nights: Arc<Nights>,
}

#[async_trait]
impl ReportSink for Door {
    async fn publish(&self, day: NaiveDate, fence: u64, _body: &[u8]) -> Result<(), SinkError> {
        let mut book = self.nights.book();
        let after = book.due.get(&day).map(Instant::elapsed).unwrap_or_default();
        let taken = book.taken.entry(day).or_default();
        match taken.iter().map(|taken| taken.fence).max() {
            Some(highest) if highest > fence => Err(SinkError::Stale { highest }),
            _ => {
                taken.push(Taken {
                    replica: self.replica.clone(),
                    fence,
                    after,
                });
                Ok(())
            }
        }
    }
}

/// What a night brings.
#[derive(Clone, Copy, PartialEq)]
enum Night {
    Usual,
    Long,
    /// The first attempt fails.
    Fails,
    /// Whoever makes the report first is replaced meanwhile.
    Replaced,
}

impl Night {
    fn of(number: u32) -> Night {
        match number % 5 {
            1 => Night::Replaced,
            2 => Night::Long,
            3 => Night::Fails,
            _ => Night::Usual,
        }
    }
}

/// Makes a report, at one call.
struct Making {
    night: Night,
    nights: Arc<Nights>,
    replaced: Arc<Notify>,
}

#[async_trait]
impl Job for Making {
    async fn run(&self, day: NaiveDate, ctx: JobCtx) -> Result<Vec<u8>, JobError> {
        let first = {
            let mut book = self.nights.book();
            let begun = book.begun.entry(day).or_default();
            *begun += 1;
            *begun == 1
        };
        let report = match self.night {
            Night::Long => LONG_REPORT,
            _ => REPORT,
        };
        let made = async {
            tokio::time::sleep(report).await;
            match self.night {
                Night::Fails if first => Err(JobError("the report's source is closed".to_owned())),
                Night::Replaced if first => {
                    self.replaced.notify_one();
                    std::future::pending().await
                }
                _ => Ok(format!("report of {day}").into_bytes()),
            }
        };
        tokio::select! {
            made = made => made,
            () = ctx.lost() => Err(JobError("the day is another replica's".to_owned())),
        }
    }
}

async fn traffic(shift: Shift) -> Result<(), Failure> {
    let regions = [
        region(&shift, "postgres", Backend::PgOnce).await?,
        region(&shift, "redis", Backend::RedisLease).await?,
        region(&shift, "etcd", Backend::EtcdLease).await?,
    ];
    watch(&shift, &regions);
    let regions = regions.map(Arc::new);
    let begun = Instant::now();
    let mut clock = tokio::time::interval(ASKED_EVERY);
    while begun.elapsed() < shift.lasts() {
        clock.tick().await;
        let days = begun.elapsed().as_millis() / DAY.as_millis() + 1;
        for region in &regions {
            ask(region, u32::try_from(days).unwrap_or(u32::MAX), &shift.calls());
        }
    }
    Ok(())
}

/// Asks every replica for the reports that are due.
fn ask(region: &Arc<Region>, days: u32, calls: &Calls) {
    let now = Instant::now();
    let mut asked = Vec::new();
    {
        let mut book = region.nights.book();
        for number in (0..days).rev() {
            let day = day(number);
            book.due.entry(day).or_insert(now);
            if book.over.contains(&day) || asked.len() == ASKED_FOR_MAX * REPLICAS {
                continue;
            }
            for replica in 0..REPLICAS {
                if book.running.insert((replica, day)) {
                    asked.push((replica, day, Night::of(number)));
                }
            }
        }
    }
    for (replica, day, night) in asked {
        let due = calls.due(region.name, now);
        let region = region.clone();
        tokio::spawn(async move {
            due.answered(call(&region, replica, day, night).await);
            region.nights.book().running.remove(&(replica, day));
        });
    }
}

/// Whether the replica told something that is of use.
async fn call(region: &Region, replica: usize, day: NaiveDate, night: Night) -> bool {
    let replaced = Arc::new(Notify::new());
    let job = Arc::new(Making {
        night,
        nights: region.nights.clone(),
        replaced: replaced.clone(),
    });
    let told = tokio::select! {
        told = region.replicas[replica].run_once(day, job) => told,
        () = replaced.notified() => return false,
    };
    if let Ok(Outcome::Ran { .. } | Outcome::AlreadyDone) = told {
        region.nights.book().over.insert(day);
    }
    !matches!(told, Err(LockError::Backend(_) | LockError::Sink(_)))
}

async fn region(shift: &Shift, name: &'static str, backend: Backend) -> Result<Region, Failure> {
    let nowhere = "127.0.0.1:1";
    let pg = shift.check().empty_postgres().await?;
    migrated(&pg.url()).await?;
    let mut deps = (format!("redis://{nowhere}/"), format!("http://{nowhere}"));
    match backend {
        Backend::PgOnce => {
            oncall::postgres::watch(shift, &pg, |_| None);
            shift.view(report_days(&pg));
        }
        Backend::RedisLease => {
            let redis = shift.check().redis().await?;
            oncall::redis::watch(shift, &redis);
            deps.0 = redis.url();
        }
        Backend::EtcdLease => {
            let etcd = Arc::new(shift.check().etcd().await?);
            oncall::etcd::watch(shift, &etcd);
            deps.1 = etcd.url();
        }
    }
    let nights: Arc<Nights> = Arc::default();
    let replicas = (0..REPLICAS).map(|n| {
        let replica = format!("reporter-{n}");
        let deps = Deps {
            postgres: pg.url(),
            redis: deps.0.clone(),
            etcd: deps.1.clone(),
            sink: Arc::new(Door {
                replica: replica.clone(),
                nights: nights.clone(),
            }),
        };
        let cfg = LockCfg {
            backend,
            ttl: TTL,
            renew_every: RENEW_EVERY,
        };
        Reporter::new(&replica, deps, cfg)
    });
    Ok(Region {
        name,
        replicas: replicas.collect(),
        nights,
    })
}

/// A deployment tries again: the clients of this company wait for two seconds at most, and a busy machine takes longer.
async fn migrated(url: &str) -> Result<(), Failure> {
    let mut last = migrate(url).await;
    for _ in 1..DEPLOYED_MAX {
        if last.is_ok() {
            break;
        }
        last = migrate(url).await;
    }
    last.or_observed("the migrations failed")
}

fn watch(shift: &Shift, regions: &[Region]) {
    let mut taken = shift.chart("Reports that the archive has taken, per second", Unit::Count);
    let mut twice = shift.chart("Days that were reported more than once", Unit::Count);
    let mut overdue = shift.chart("Days whose report is overdue", Unit::Count);
    for region in regions {
        let [one, two, three] = [(); 3].map(|()| region.nights.clone());
        let labels = [("region", region.name)];
        taken = taken.counter("archive_reports", &labels, "Reports taken", move || {
            one.book().reports() as f64
        });
        let about = "Days with more than one report in the archive";
        twice = twice.gauge("archive_days_reported_twice", &labels, about, move || {
            two.book().twice() as f64
        });
        let about = "Days without a report long after it was due";
        overdue = overdue.gauge("reporter_days_overdue", &labels, about, move || {
            three.book().overdue() as f64
        });
    }
    twice.show();
    overdue.show();
    taken.show();
    let nights: Vec<_> = regions
        .iter()
        .map(|region| (region.name, region.nights.clone()))
        .collect();
    shift.view(View::new(
        "archive",
        "the archive: each day's reports, by whom, with which fence",
        move |_| {
            let tables = nights
                .iter()
                .map(|(name, nights)| archive(name, &nights.book()))
                .collect();
            async move { Ok(tables) }
        },
    ));
}

fn archive(region: &str, book: &Book) -> Table {
    let rows = book.due.keys().rev().map(|day| {
        let reports = book.taken.get(day).map(Vec::as_slice).unwrap_or_default();
        let told = reports.iter().map(|taken| {
            let after = taken.after.as_secs_f64();
            format!("{} fence {} after {after:.1} s", taken.replica, taken.fence)
        });
        vec![
            day.to_string(),
            reports.len().to_string(),
            book.begun.get(day).copied().unwrap_or_default().to_string(),
            told.collect::<Vec<_>>().join("; "),
        ]
    });
    Table {
        title: format!("Region {region}"),
        head: ["day", "reports", "attempts", "by"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
        ..Table::default()
    }
}

/// What the first region's database knows of its days.
fn report_days(pg: &Arc<Postgres>) -> View {
    let pg = pg.clone();
    View::new(
        "report_days",
        "the table report_days of the region that locks in PostgreSQL",
        move |_| {
            let pg = pg.clone();
            async move {
                let sql = "SELECT day, status, replica, started_at::time(0), finished_at::time(0)
                             FROM report_days ORDER BY day DESC LIMIT 60";
                let head = ["day", "status", "replica", "started at", "finished at"];
                let table = oncall::postgres::table(&pg, "report_days", &head, sql).await?;
                Ok(vec![table])
            }
        },
    )
}
