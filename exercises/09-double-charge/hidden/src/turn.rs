//! What becomes of one charge request, and the gates that hold it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Charge,
    Decline,
    /// The provider says that it is busy; nothing is charged.
    Busy,
    /// Nothing is charged, and the connection is cut.
    LoseRequest,
    /// The money is taken, and the connection is cut.
    LoseAnswer,
}

#[derive(Clone, Debug)]
pub struct Turn {
    pub(crate) effect: Effect,
    /// What the provider takes before anything is charged.
    pub(crate) takes: Duration,
    /// Waited for before anything is charged.
    pub(crate) request: Option<Gate>,
    /// Waited for between the charge and its answer.
    pub(crate) answer: Option<Gate>,
}

impl Turn {
    pub fn new(effect: Effect) -> Turn {
        Turn {
            effect,
            takes: Duration::ZERO,
            request: None,
            answer: None,
        }
    }

    pub fn after(self, takes: Duration) -> Turn {
        Turn { takes, ..self }
    }

    pub fn request_held(self, gate: &Gate) -> Turn {
        Turn {
            request: Some(gate.clone()),
            ..self
        }
    }

    pub fn answer_held(self, gate: &Gate) -> Turn {
        Turn {
            answer: Some(gate.clone()),
            ..self
        }
    }
}

/// Holds what arrives at it until it is opened, for good.
#[derive(Clone, Debug)]
pub struct Gate {
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    open: bool,
    arrived: usize,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate {
            state: Arc::new(watch::Sender::new(State::default())),
        }
    }
}

impl Gate {
    pub fn open(&self) {
        self.state.send_modify(|state| state.open = true);
    }

    /// How many have come to this gate so far.
    pub fn arrived(&self) -> usize {
        self.state.borrow().arrived
    }

    pub async fn until_arrived(&self, n: usize) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| state.arrived >= n).await;
    }

    pub(crate) async fn pass(&self) {
        self.state.send_modify(|state| state.arrived += 1);
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| state.open).await;
    }
}
