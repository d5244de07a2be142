// What the service was shipped with: nobody stops, nobody is slow, and the network is perfect.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use distributed_lock::{
    Backend, Deps, Job, JobCtx, JobError, LockCfg, NaiveDate, Outcome, Reporter, Shelf, migrate,
};
use services::{Kind, Options, Server};
use tokio::sync::Semaphore;

/// Says that it has begun, and makes its report once it is let.
struct Waiting {
    begun: Semaphore,
    let_go: Semaphore,
}

#[async_trait]
impl Job for Waiting {
    async fn run(&self, day: NaiveDate, _ctx: JobCtx) -> Result<Vec<u8>, JobError> {
        self.begun.add_permits(1);
        let _one = self.let_go.acquire().await;
        Ok(format!("report of {day}").into_bytes())
    }
}

fn waiting(let_go: usize) -> Arc<Waiting> {
    Arc::new(Waiting {
        begun: Semaphore::new(0),
        let_go: Semaphore::new(let_go),
    })
}

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 3, 31).unwrap()
}

fn replica(name: &str, backend: Backend, deps: &Deps) -> Arc<Reporter> {
    let cfg = LockCfg {
        backend,
        ttl: Duration::from_secs(30),
        renew_every: Duration::from_secs(10),
    };
    Arc::new(Reporter::new(name, deps.clone(), cfg))
}

/// One runs, and the other one is told so meanwhile.
async fn one_of_two(backend: Backend, deps: &Deps, shelf: &Shelf) -> Arc<Reporter> {
    let first = replica("reporter-0", backend, deps);
    let second = replica("reporter-1", backend, deps);
    let job = waiting(0);
    let running = tokio::spawn({
        let job = job.clone();
        async move { first.run_once(day(), job).await }
    });
    job.begun.acquire().await.unwrap().forget();
    let told = second.run_once(day(), waiting(1)).await.unwrap();
    assert_eq!(told, Outcome::HeldBy("reporter-0".to_owned()));
    job.let_go.add_permits(1);
    let ran = running.await.unwrap().unwrap();
    assert!(matches!(ran, Outcome::Ran { .. }), "{ran:?}");
    assert_eq!(shelf.reports(day()).len(), 1);
    second
}

fn deps(sink: Arc<Shelf>) -> Deps {
    Deps {
        postgres: "postgres://nobody@127.0.0.1:1/nothing".to_owned(),
        redis: "redis://127.0.0.1:1/".to_owned(),
        etcd: "http://127.0.0.1:1".to_owned(),
        zookeeper: "127.0.0.1:1".to_owned(),
        sink,
    }
}

async fn server(kind: Kind) -> Server {
    services::start(kind, &Options::default(), &[]).await.unwrap()
}

#[tokio::test]
async fn a_day_is_reported_with_postgres() {
    let db = services::testing::postgres_with("");
    migrate(&db.url()).await.unwrap();
    let shelf = Arc::new(Shelf::default());
    let deps = Deps {
        postgres: db.url(),
        ..deps(shelf.clone())
    };
    let second = one_of_two(Backend::PgOnce, &deps, &shelf).await;
    let again = second.run_once(day(), waiting(1)).await.unwrap();
    assert_eq!(again, Outcome::AlreadyDone);
}

#[tokio::test]
async fn a_day_is_reported_with_redis() {
    let db = services::testing::postgres_with("");
    migrate(&db.url()).await.unwrap();
    let redis = server(Kind::Redis).await;
    let shelf = Arc::new(Shelf::default());
    let deps = Deps {
        postgres: db.url(),
        redis: format!("redis://{}/", redis.endpoint.address()),
        ..deps(shelf.clone())
    };
    one_of_two(Backend::RedisLease, &deps, &shelf).await;
    redis.stop().await;
}

#[tokio::test]
async fn a_day_is_reported_with_etcd() {
    let db = services::testing::postgres_with("");
    migrate(&db.url()).await.unwrap();
    let etcd = server(Kind::Etcd).await;
    let shelf = Arc::new(Shelf::default());
    let deps = Deps {
        postgres: db.url(),
        etcd: format!("http://{}", etcd.endpoint.address()),
        ..deps(shelf.clone())
    };
    let second = one_of_two(Backend::EtcdLease, &deps, &shelf).await;
    let again = second.run_once(day(), waiting(1)).await.unwrap();
    assert_eq!(again, Outcome::AlreadyDone);
    etcd.stop().await;
}
