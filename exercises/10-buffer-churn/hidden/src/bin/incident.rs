//! A morning of `render` with an export in it, watched: `cargo xtask incident`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use buffer_churn_hidden::subject::{Render, RenderCfg};
use buffer_churn_hidden::traffic::{Doc, Fault, doc, failing};
use oncall::{Shift, Unit, arrivals};
use tokio::io::AsyncReadExt;

/// Requests per second, of all kinds.
const PER_SECOND: f64 = 300.0;
const TENANTS: usize = 40;
const TYPICAL: usize = 2048;
const EXPORT: usize = 8 << 20;
/// When the export begins, and how long it goes on.
const EXPORT_AFTER: Duration = Duration::from_secs(10);
const EXPORT_LASTS: Duration = Duration::from_secs(5);
/// What a slow client takes at once, and how long it then waits.
const SIP: usize = 256;
const SIP_EVERY: Duration = Duration::from_millis(20);

#[global_allocator]
static HEAP: oncall::Recording = oncall::Recording;

fn main() -> std::process::ExitCode {
    oncall::run(oncall::incident!(), traffic)
}

/// What customers are sent, made before the service starts.
struct Shelf {
    documents: Vec<Arc<Doc>>,
    failing: Vec<Arc<Doc>>,
    export: Arc<Doc>,
}

async fn traffic(shift: Shift) -> Result<(), String> {
    let render = Arc::new(Render::new(RenderCfg {
        max_idle: 32,
        max_retained: 64 << 10,
        typical: 4096,
    }));
    let wrong = Arc::new(AtomicU64::new(0));
    let (idle, complaints) = (render.clone(), wrong.clone());
    shift
        .chart("Kept for the next documents", Unit::Bytes)
        .gauge(
            "render_idle_bytes",
            &[],
            "What render keeps, by its own count",
            move || idle.idle_bytes() as f64,
        )
        .show();
    shift
        .chart("Complaints of customers per second", Unit::Count)
        .counter(
            "support_complaints",
            &[],
            "Bodies with something in them that is not the document's",
            move || complaints.load(Relaxed) as f64,
        )
        .show();
    let shelf = Arc::new(Shelf {
        documents: (0..TENANTS)
            .map(|tenant| doc(tenant, TYPICAL + 37 * tenant))
            .collect(),
        failing: (0..TENANTS)
            .map(|tenant| failing(tenant, TYPICAL, Fault::Refuses))
            .collect(),
        export: doc(TENANTS, EXPORT),
    });
    arrivals(&shift, PER_SECOND, move |rng, after| {
        let exporting = after >= EXPORT_AFTER && after < EXPORT_AFTER + EXPORT_LASTS;
        let tenant = rng.usize(..TENANTS);
        let (kind, wanted) = match rng.u32(..100) {
            0 if exporting => ("export", shelf.export.clone()),
            1..4 => (
                "document with a value that is missing",
                shelf.failing[tenant].clone(),
            ),
            4..30 => ("document for a slow client", shelf.documents[tenant].clone()),
            _ => ("document", shelf.documents[tenant].clone()),
        };
        (kind, serve(kind, render.clone(), wanted, wrong.clone()))
    })
    .await
}

async fn serve(kind: &str, render: Arc<Render>, wanted: Arc<Doc>, wrong: Arc<AtomicU64>) -> bool {
    let mut body = Vec::with_capacity(wanted.body.len());
    let served = match kind {
        "document for a slow client" => {
            let (mut ours, mut theirs) = tokio::io::duplex(SIP);
            let client = async {
                let mut sip = [0; SIP];
                while let Ok(taken @ 1..) = theirs.read(&mut sip).await {
                    body.extend_from_slice(&sip[..taken]);
                    tokio::time::sleep(SIP_EVERY).await;
                }
            };
            let sending = async {
                let sent = render.respond(&wanted.req, &mut ours).await;
                drop(ours);
                sent
            };
            tokio::join!(sending, client).0
        }
        _ => render.render_into(&wanted.req, &mut |piece: &[u8]| {
            body.extend_from_slice(piece);
            Ok(())
        }),
    };
    // After an error the customer has the beginning of the document, or nothing.
    let right = match served {
        Ok(_) => body == wanted.body,
        Err(_) => wanted.body.starts_with(&body),
    };
    wrong.fetch_add(u64::from(!right), Relaxed);
    served.is_ok()
}
