//! Remembers the first panic of the process, so that a check can say where it happened even when the panic was
//! swallowed by a task.

use std::panic::{self, PanicHookInfo};
use std::sync::Mutex;

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
const KEPT_MAX: usize = 3;

pub(crate) fn remember() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if let Ok(mut seen) = SEEN.lock()
            && seen.len() < KEPT_MAX
        {
            seen.push(describe(info));
        }
        previous(info);
    }));
}

/// The first few panics, as `file:line: message`.
pub(crate) fn seen() -> Vec<String> {
    SEEN.lock().map(|seen| seen.clone()).unwrap_or_default()
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("a value that is no text");
    match info.location() {
        Some(place) => format!("{}:{}: {message}", place.file(), place.line()),
        None => message.to_owned(),
    }
}
