//! An instance that is going to die while it is busy.

use std::sync::Arc;

use harness::postgres::Postgres;
use harness::{Failure, OrObserved};

use crate::instance::{Call, Instance, Machine};
use crate::provider::Provider;
use crate::subject::{IdemCfg, PayError, PayResp};
use crate::traffic::Checkout;

pub struct Doomed {
    machine: Machine,
    instance: Arc<Instance>,
    /// Dropping a call ends it.
    calls: Vec<Call<Result<PayResp, PayError>>>,
}

impl Doomed {
    pub async fn start(pg: &Postgres, provider: &Provider, cfg: IdemCfg) -> Result<Doomed, Failure> {
        let (machine, tap) = (Machine::start()?, pg.another_tap().await?);
        let door = provider.door("doomed");
        let booting = machine.run(async move { Instance::at_door(tap, door, cfg).await });
        let instance = booting.await.or_observed("the instance panicked")??;
        Ok(Doomed {
            machine,
            instance: Arc::new(instance),
            calls: Vec::new(),
        })
    }

    /// Begins a call of which nobody hears again.
    pub fn send(&mut self, checkout: &Checkout) {
        let (instance, checkout) = (self.instance.clone(), checkout.clone());
        let call = self
            .machine
            .run(async move { checkout.send(&instance.payments).await });
        self.calls.push(call);
    }

    /// The instance dies, with everything that it was doing.
    pub async fn die(self) {
        self.instance.tap.cut_all();
        self.machine.stop().await;
    }
}
