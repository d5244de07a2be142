//! The morning of a sale at `pay`, watched: `cargo xtask incident`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use double_charge_hidden::instance::pool;
use double_charge_hidden::provider::Provider;
use double_charge_hidden::stage::database;
use double_charge_hidden::subject::{HttpPsp, IdemCfg, Payments};
use double_charge_hidden::traffic::sale::{self, Served};
use harness::Failure;
use oncall::{Shift, Table, Unit, View};

const INSTANCES: [&str; 3] = ["pay-1", "pay-2", "pay-3"];

#[global_allocator]
static HEAP: oncall::Recording = oncall::Recording;

fn main() -> std::process::ExitCode {
    oncall::run(oncall::incident!(), traffic)
}

async fn traffic(shift: Shift) -> Result<(), Failure> {
    let pg = database(shift.check()).await?;
    let provider = Arc::new(Provider::start(shift.check().harness_handle())?);
    oncall::postgres::watch(&shift, &pg, |_| None);
    let (charges, settled) = (provider.clone(), provider.clone());
    shift
        .chart("At the provider, per second", Unit::Count)
        .counter(
            "provider_charges",
            &[],
            "Charges in the provider's settlement file",
            move || charges.book().charged.len() as f64,
        )
        .show();
    shift
        .chart("Customers who were charged more than once", Unit::Count)
        .gauge(
            "settlement_orders_charged_twice",
            &[],
            "Orders with more than one charge in the settlement file",
            move || charged_twice(&settled),
        )
        .show();
    shift.view(settlement(&provider));
    let mut instances = Vec::new();
    for name in INSTANCES {
        let tap = pg.another_tap().await?;
        let psp = HttpPsp {
            base_url: provider.door(name),
        };
        let cfg = IdemCfg {
            lease: Duration::from_secs(5),
            retention: Duration::from_secs(24 * 60 * 60),
        };
        instances.push(Arc::new(Payments::new(pool(&tap)?, Arc::new(psp), cfg).await));
    }
    let calls = shift.calls();
    let served = move |served: Served| calls.answered("checkout", served.latency, served.ok);
    sale::drive(&instances, &provider, shift.seed(), shift.lasts(), served).await;
    Ok(())
}

/// Orders that were charged more than once, with the charges.
fn settlement(provider: &Arc<Provider>) -> View {
    let provider = provider.clone();
    View::new(
        "settlement",
        "the provider's settlement file: orders with more than one charge",
        move |_| {
            let mut orders: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for charged in provider.book().charged {
                let told = format!(
                    "{} by {} under key {}",
                    charged.charge_id, charged.door, charged.key
                );
                orders.entry(charged.order_id).or_default().push(told);
            }
            let rows = orders.into_iter().filter(|(_, charges)| charges.len() > 1);
            let table = Table {
                title: "Orders with more than one charge".to_owned(),
                head: ["order", "charges", "which"].map(str::to_owned).to_vec(),
                rows: rows
                    .map(|(order, charges)| vec![order, charges.len().to_string(), charges.join("; ")])
                    .collect(),
                ..Table::default()
            };
            async move { Ok(vec![table]) }
        },
    )
}

fn charged_twice(provider: &Provider) -> f64 {
    let mut orders: HashMap<String, usize> = HashMap::new();
    for charged in provider.book().charged {
        *orders.entry(charged.order_id).or_default() += 1;
    }
    orders.values().filter(|charges| **charges > 1).count() as f64
}
