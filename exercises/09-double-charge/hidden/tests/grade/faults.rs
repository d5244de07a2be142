//! Faults at every point of a payment: each message of the instance and each answer to it, to and from the database
//! and the provider.
//!
//! After each, once the provider is idle and the lease is over, the merchant sends the request again, as its
//! documentation asks: it succeeds, the customer has been charged once, and the answer is replayed from then on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use double_charge_hidden::instance::Instance;
use double_charge_hidden::promise;
use double_charge_hidden::provider::{Acquirer, Provider};
use double_charge_hidden::stage::{SHORT, database};
use double_charge_hidden::subject::{PayError, PayResp};
use double_charge_hidden::traffic::Checkout;
use harness::postgres::{LinkGuard, PgTap, Postgres, RuleGuard};
use harness::sweep::{After, Case, Scene, Sweep, Swept};
use harness::{Check, Failure, OrObserved, Outcome, within};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Cases at one time for each acquirer. Most of them wait for their lease and hold no connection.
const CASES: usize = 32;
/// Cases at one time whose instance lives: few, so that an attempt that goes on is over long before its lease, and the
/// server has connections for all of them.
const UNDER_WAY: usize = 8;
/// An instance from which nothing was heard for this long has nothing more to say.
const QUIET: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The instance goes down with everything that it was doing.
    Crash,
    /// A message is lost, on its way there or on its way back, and its connection with it.
    Cut,
    /// The customer's request is dropped; what the instance detached from it goes on.
    HangUp,
}

pub async fn crash(cx: &Check) -> Outcome {
    both(cx, Fault::Crash).await
}

pub async fn cut(cx: &Check) -> Outcome {
    both(cx, Fault::Cut).await
}

pub async fn hang_up(cx: &Check) -> Outcome {
    both(cx, Fault::HangUp).await
}

/// With either acquirer, side by side.
async fn both(cx: &Check, fault: Fault) -> Outcome {
    let world = World::new(cx, fault).await?;
    let (every_request, once_per_key) = tokio::join!(
        sweep(world.clone(), Acquirer::EveryRequest),
        sweep(world.clone(), Acquirer::OncePerKey)
    );
    for swept in [every_request?, once_per_key?] {
        cx.note(format!("{} points were disturbed", swept.points.len()));
    }
    Ok(())
}

async fn sweep(world: Arc<World>, acquirer: Acquirer) -> Result<Swept, Failure> {
    let how = Sweep {
        side_by_side: CASES,
        act_deadline: Duration::from_secs(15),
    };
    let fault = world.fault;
    let build = move |case: Case| Payment::build(world.clone(), acquirer, case);
    match fault {
        Fault::Crash => how.crash(build).await,
        Fault::Cut => how.cut(build).await,
        Fault::HangUp => how.abort(build).await,
    }
}

/// What the cases share: each has its own tap, pool, key and order.
struct World {
    fault: Fault,
    pg: Arc<Postgres>,
    provider: Provider,
    /// The instance that is never disturbed.
    survivor: Instance,
    under_way: Arc<Semaphore>,
    /// When the recovery job was last started.
    recovered: tokio::sync::Mutex<Option<Instant>>,
    /// Keeps instances away from the database once their case no longer needs them.
    retired: Mutex<Vec<LinkGuard>>,
}

impl World {
    async fn new(cx: &Check, fault: Fault) -> Result<Arc<World>, Failure> {
        let pg = database(cx).await?;
        let provider = Provider::start(cx.harness_handle())?;
        let survivor = Instance::start("survivor", pg.another_tap().await?, &provider, SHORT).await?;
        let under_way = Arc::new(Semaphore::new(UNDER_WAY));
        let recovered = tokio::sync::Mutex::new(None);
        Ok(Arc::new(World {
            fault,
            pg,
            provider,
            survivor,
            under_way,
            recovered,
            retired: Mutex::default(),
        }))
    }

    /// Returns when the recovery job has been run since now, once for all who wait for it together.
    async fn recover(&self) -> Outcome {
        let now = Instant::now();
        let mut recovered = self.recovered.lock().await;
        if recovered.is_some_and(|started| started >= now) {
            return Ok(());
        }
        *recovered = Some(Instant::now());
        // What it could not do now, it does the next time; only that it comes back is asked of it here.
        within(
            Duration::from_secs(10),
            "recover",
            self.survivor.payments.recover(),
        )
        .await?
        .ok();
        Ok(())
    }
}

/// One case: a payment that is disturbed at one point.
struct Payment {
    world: Arc<World>,
    checkout: Checkout,
    door: String,
    tap: Arc<PgTap>,
    under_way: Mutex<Option<OwnedSemaphorePermit>>,
    _points: (RuleGuard, RuleGuard),
}

impl Payment {
    async fn build(world: Arc<World>, acquirer: Acquirer, case: Case) -> Result<Payment, Failure> {
        let door = format!("{acquirer:?}-{}", case.number);
        let tap = world.pg.another_tap().await?;
        let points = tap.report_to(&case.points);
        world.provider.report_to(&door, &case.points);
        let under_way = world
            .under_way
            .clone()
            .acquire_owned()
            .await
            .or_observed("the semaphore")?;
        let checkout = Checkout::new(acquirer, &door);
        let under_way = Mutex::new(Some(under_way));
        Ok(Payment {
            world,
            checkout,
            door,
            tap,
            under_way,
            _points: points,
        })
    }
}

impl Scene for Payment {
    type Subject = Instance;
    type Answer = Result<PayResp, PayError>;

    async fn boot(&self) -> Result<Instance, Failure> {
        let instance = Instance::start(&self.door, self.tap.clone(), &self.world.provider, SHORT).await?;
        instance
            .pool
            .acquire()
            .await
            .or_observed("the pool's first connection")?;
        Ok(instance)
    }

    async fn act(&self, instance: &Instance) -> Self::Answer {
        self.checkout.send(&instance.payments).await
    }

    async fn verify(&self, after: After<Instance, Self::Answer>) -> Outcome {
        let told = match after.answer {
            Some(Err(err @ (PayError::KeyReuse { .. } | PayError::Invalid { .. }))) => {
                return Err(Failure::new(format!("the request was refused for good: {err}")));
            }
            Some(Err(err)) if after.number == 0 => {
                return Err(Failure::new(format!("an undisturbed payment failed: {err}")));
            }
            Some(Ok(answer)) => Some(answer),
            Some(Err(_)) | None => None,
        };
        self.retire(after.subject).await?;
        let World {
            provider, survivor, ..
        } = &*self.world;
        if told.is_none() {
            tokio::time::sleep(SHORT.lease).await;
            // The job finds what a crash left behind. After the other faults it is the merchant who comes back first.
            if matches!(self.world.fault, Fault::Crash) {
                self.world.recover().await?;
            }
        }
        let instances = [&survivor.payments];
        promise::settles_with_one_charge(provider, &instances, &self.checkout, told.as_slice()).await
    }
}

impl Payment {
    /// Waits until the instance has nothing more to do, and takes its connections.
    async fn retire(&self, instance: Option<Arc<Instance>>) -> Outcome {
        let World {
            fault,
            provider,
            retired,
            ..
        } = &*self.world;
        provider.until_idle(self.checkout.order()).await?;
        let begun = Instant::now();
        let mut heard = (self.tap.counts(), Instant::now());
        // What was detached goes on; a job that asks the database again and again is never quiet.
        while matches!(fault, Fault::HangUp) && heard.1.elapsed() < QUIET && begun.elapsed() < 4 * QUIET {
            tokio::time::sleep(QUIET / 10).await;
            let counts = self.tap.counts();
            if counts != heard.0 {
                heard = (counts, Instant::now());
            }
        }
        provider.until_idle(self.checkout.order()).await?;
        drop(instance);
        let guard = self.tap.refuse();
        self.tap.cut_all();
        retired.lock().unwrap_or_else(PoisonError::into_inner).push(guard);
        drop(self.under_way.lock().map(|mut permit| permit.take()));
        Ok(())
    }
}
