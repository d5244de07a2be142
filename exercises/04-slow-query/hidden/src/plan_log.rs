//! The notices that the server sends into the subject's sessions, as the driver reports them.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// Where sqlx reports a server's notice.
const TARGET: &str = "sqlx::postgres::notice";

/// How `auto_explain` begins.
const PLAN: &str = "plan:";

/// Collects the plans that arrive as notices in this process. Cannot see those of other drivers.
#[derive(Debug, Default)]
pub struct PlanLog {
    plans: Mutex<Vec<String>>,
}

/// From here on plans are collected.
pub fn listen() -> &'static PlanLog {
    static LOG: OnceLock<PlanLog> = OnceLock::new();
    let log = LOG.get_or_init(PlanLog::default);
    // A subject may have installed a subscriber of its own; then there is no plan to show.
    tracing::subscriber::set_global_default(Listener { log }).ok();
    log
}

impl PlanLog {
    /// What arrived since the last time.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.plans.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, notice: &str) {
        if let Some((_duration, plan)) = notice.split_once(PLAN) {
            let plan = plan.trim().to_owned();
            self.plans
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(plan);
        }
    }
}

struct Listener {
    log: &'static PlanLog,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message(self.log));
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

struct Message<'a>(&'a PlanLog);

impl Visit for Message<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0.add(value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.add(&format!("{value:?}"));
        }
    }
}
