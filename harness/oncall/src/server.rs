//! Where all of it answers: one port of the loopback interface, on a thread and a runtime of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use crate::heap::{self, Site};
use crate::reading::History;
use crate::shift::Shift;
use crate::view::Table;
use crate::{cpu, dashboard, flame, metrics, page, tasks};

/// The longest profile that is taken.
const SECONDS_MAX: u64 = 120;

/// What the server serves from.
#[derive(Clone)]
pub struct Looked {
    pub shift: Shift,
    pub history: History,
    /// The heap soon after the start, when nothing has gone wrong yet.
    pub normal: Arc<OnceLock<Vec<Site>>>,
}

type Asked = Query<HashMap<String, String>>;

pub fn router(looked: Looked) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/live", get(live))
        .route("/metrics", get(exposition))
        .route("/dashboard.json", get(grafana))
        .route("/debug/tasks", get(task_dump))
        .route("/debug/pprof/profile", get(processor))
        .route("/debug/pprof/{which}", get(memory))
        .route("/debug/{view}", get(view))
        .with_state(looked)
}

async fn root(State(looked): State<Looked>) -> Html<String> {
    Html(page::whole(&looked.shift, &looked.history.all()))
}

async fn live(State(looked): State<Looked>) -> Html<String> {
    Html(page::live(&looked.shift, &looked.history.all()))
}

async fn exposition(State(looked): State<Looked>) -> Response {
    match metrics::text(&looked.shift, &looked.history) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => trouble(&format!("failed to write the figures: {error}")),
    }
}

async fn grafana(State(looked): State<Looked>) -> Response {
    let json = serde_json::to_string_pretty(&dashboard::dashboard(&looked.shift)).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}

async fn task_dump(State(looked): State<Looked>) -> Response {
    let service = looked.shift.0.service.clone();
    apart(move || text(tasks::dump(&service))).await
}

async fn processor(Query(asked): Asked) -> Response {
    let seconds = match asked.get("seconds").map(|seconds| seconds.parse::<u64>()) {
        None => 5,
        Some(Ok(seconds @ 1..=SECONDS_MAX)) => seconds,
        Some(_) => return wrong(&format!("seconds is a whole number from 1 to {SECONDS_MAX}")),
    };
    match cpu::profile(Duration::from_secs(seconds)).await {
        Err(error) => trouble(&error),
        Ok(profile) if is_svg(&asked) => {
            let title = format!("On the processor, {seconds} s");
            apart(move || svg(flame::graph(&profile, "samples", &title, "samples"))).await
        }
        Ok(profile) => apart(move || file("profile.pb", profile.encoded())).await,
    }
}

async fn memory(State(looked): State<Looked>, Path(which): Path<String>, Query(asked): Asked) -> Response {
    let drawn = is_svg(&asked);
    apart(move || match (which.as_str(), drawn) {
        ("heap", false) => file("heap.pb", heap::profile(&[], "inuse_space").encoded()),
        ("heap", true) => svg(flame::graph(
            &heap::profile(&[], "inuse_space"),
            "inuse_space",
            "Memory held",
            "bytes",
        )),
        ("allocs", false) => file("allocs.pb", heap::profile(&[], "alloc_space").encoded()),
        ("allocs", true) => svg(flame::graph(
            &heap::profile(&[], "alloc_space"),
            "alloc_space",
            "Memory asked for since the start",
            "bytes",
        )),
        ("diff", drawn) => difference(looked.normal.get(), drawn),
        _ => missing("/debug/pprof has profile, heap, allocs and diff"),
    })
    .await
}

fn difference(normal: Option<&Vec<Site>>, drawn: bool) -> Response {
    let Some(normal) = normal else {
        return trouble("nothing to compare with yet; ask again in a few seconds");
    };
    if !drawn {
        return file("diff.pb", heap::profile(normal, "inuse_space").encoded());
    }
    svg(flame::difference(
        &heap::profile_of(normal.clone(), "inuse_space"),
        &heap::profile(&[], "inuse_space"),
        "inuse_space",
        "Memory held now, against soon after the start",
        "bytes",
    ))
}

async fn view(
    State(looked): State<Looked>,
    Path(path): Path<String>,
    Query(asked): Asked,
    headers: HeaderMap,
) -> Response {
    let Some(view) = looked.shift.views().into_iter().find(|view| view.path == path) else {
        return missing("no such view; they are listed at /");
    };
    let tables = tokio::time::timeout(Duration::from_secs(30), (view.look)(asked.get("id").cloned())).await;
    match tables {
        Ok(Ok(tables)) if !is_browser(&headers) => {
            let tables: Vec<String> = tables.iter().map(Table::plain).collect();
            text(tables.join("\n"))
        }
        Ok(Ok(tables)) => {
            let body: String = tables.iter().map(|table| table.html(view.path)).collect();
            Html(page::of(&looked.shift, view.about, &body)).into_response()
        }
        Ok(Err(error)) => trouble(&error),
        Err(_) => trouble("the server did not answer within 30 s"),
    }
}

/// What takes more than a moment, off the thread that serves.
async fn apart(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    let work = tokio::task::spawn_blocking(move || {
        heap::exempt_current_thread();
        work()
    });
    work.await
        .unwrap_or_else(|error| trouble(&format!("failed to look: {error}")))
}

/// `curl` takes whatever comes, and reads better what is no page.
fn is_browser(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|accepted| accepted.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

fn is_svg(asked: &HashMap<String, String>) -> bool {
    asked.get("format").is_some_and(|format| format == "svg")
}

fn file(name: &str, bytes: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, bytes).into_response()
}

fn svg(svg: String) -> Response {
    ([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response()
}

fn text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

fn trouble(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}

fn wrong(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response()
}

fn missing(why: &str) -> Response {
    (StatusCode::NOT_FOUND, format!("{why}\n")).into_response()
}
