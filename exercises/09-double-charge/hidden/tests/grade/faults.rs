//! Faults at every point of a payment: each message of the instance and each answer to it, to and from the database
//! and the provider.
//!
//! After each, once the provider is idle and the lease is over, the merchant sends the request again, as its
//! documentation asks: it succeeds, the customer has been charged once, and the answer is replayed from then on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use double_charge_hidden::instance::Instance;
use double_charge_hidden::promise;
use double_charge_hidden::provider::{Acquirer, Provider};
use double_charge_hidden::stage::{SHORT, database};
use double_charge_hidden::subject::{PayError, PayResp, Payments};
use double_charge_hidden::traffic::Checkout;
use harness::postgres::{PgTap, Postgres, RuleGuard};
use harness::sweep::{After, Case, Scene, Sweep, Swept};
use harness::{Check, Failure, OrObserved, Outcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Cases that wait for their lease, for each acquirer.
const WAITING: usize = 24;
/// Cases under way at one time: few, so that an attempt that runs at all is over long before its lease.
const UNDER_WAY: usize = 6;
/// Between two runs of the recovery job.
const RECOVERY: Duration = Duration::from_millis(200);

pub async fn crash(cx: &Check) -> Outcome {
    sweep(cx, "crash", true, async |sweep, build| sweep.crash(build).await).await
}
