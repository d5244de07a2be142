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
use harness::{Check, Failure, Machine, OrObserved, Outcome, within};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{hang_ups, waiting};

/// Cases at one time for each acquirer. Most of them wait for their lease and hold no connection.
const CASES: usize = 64;
/// Cases at one time whose instance lives.
const UNDER_WAY: usize = 6;
/// An instance from which nothing was heard for this long has nothing more to say.
const QUIET: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The instance goes down with everything that it was doing.
    Crash,
    /// A message is lost, on its way there or on its way back, and its connection with it.
    Cut,
    /// The customer's request is dropped. What the instance detached from it goes on; later the instance is shut down,
    /// so that nothing of it can meet the merchant's next attempt.
    HangUp,
}

pub async fn crash(cx: &Check) -> Outcome {
    tokio::try_join!(
        both(cx, Fault::Crash),
        waiting::for_the_dead(cx, Acquirer::EveryRequest),
        waiting::for_the_dead(cx, Acquirer::OncePerKey),
    )
    .map(drop)
}

pub async fn cut(cx: &Check) -> Outcome {
    both(cx, Fault::Cut).await
}

pub async fn hang_up(cx: &Check) -> Outcome {
    tokio::try_join!(both(cx, Fault::HangUp), hang_ups::while_charging(cx)).map(drop)
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
        // Not while an attempt lives: on a slow machine it could outlive its lease, and be taken for a dead one.
        let nobody_lives = self.under_way.acquire_many(UNDER_WAY as u32).await;
        let _nobody_lives = nobody_lives.or_observed("the semaphore")?;
        *recovered = Some(Instant::now());
        let recovering = self.survivor.payments.recover();
        // What it could not do now, it does the next time; only that it comes back is asked of it here.
        within(Duration::from_secs(10), "recover", recovering).await?.ok();
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
    type Subject = Booted;
    type Answer = Result<PayResp, PayError>;

    async fn boot(&self) -> Result<Booted, Failure> {
        let world = self.world.clone();
        let (door, tap) = (self.door.clone(), self.tap.clone());
        let booting = async move {
            let instance = Instance::start(&door, tap, &world.provider, SHORT).await?;
            let first = instance.pool.acquire().await;
            first.or_observed("the pool's first connection")?;
            Ok(Arc::new(instance))
        };
        let (machine, instance) = match self.world.fault {
            Fault::HangUp => {
                let machine = Machine::start()?;
                let booted = machine.run(booting).await;
                (Some(machine), booted.or_observed("the instance panicked")??)
            }
            Fault::Crash | Fault::Cut => (None, booting.await?),
        };
        Ok(Booted { instance, machine })
    }

    async fn act(&self, booted: &Booted) -> Self::Answer {
        let Some(machine) = &booted.machine else {
            return self.checkout.send(&booted.instance.payments).await;
        };
        let (instance, checkout) = (booted.instance.clone(), self.checkout.clone());
        let sending = machine.run(async move { checkout.send(&instance.payments).await });
        sending
            .await
            .unwrap_or_else(|err| Err(PayError::Retry(err.to_string())))
    }

    async fn verify(&self, after: After<Booted, Self::Answer>) -> Outcome {
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
    /// Waits until the instance has nothing more to do, and takes it out of the picture.
    async fn retire(&self, booted: Option<Arc<Booted>>) -> Outcome {
        let World {
            provider, retired, ..
        } = &*self.world;
        let machine = booted.and_then(Arc::into_inner).and_then(|booted| booted.machine);
        if let Some(machine) = machine {
            self.until_quiet().await?;
            machine.stop().await;
        }
        let refused = self.tap.refuse();
        self.tap.cut_all();
        retired
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(refused);
        provider.until_idle(self.checkout.order()).await?;
        drop(self.under_way.lock().map(|mut permit| permit.take()));
        Ok(())
    }

    /// What was detached goes on to its end. A job that asks the database again and again is never quiet, and need not
    /// be: whatever is cut short by the instance's end, is a crash.
    async fn until_quiet(&self) -> Outcome {
        let begun = Instant::now();
        let mut heard = (self.tap.counts(), Instant::now());
        while heard.1.elapsed() < QUIET && begun.elapsed() < 4 * QUIET {
            self.world.provider.until_idle(self.checkout.order()).await?;
            tokio::time::sleep(QUIET / 10).await;
            let counts = self.tap.counts();
            if counts != heard.0 {
                heard = (counts, Instant::now());
            }
        }
        Ok(())
    }
}

/// The instance of one case, and the machine that it runs on where that is not the sweep's business.
struct Booted {
    instance: Arc<Instance>,
    machine: Option<Machine>,
}
