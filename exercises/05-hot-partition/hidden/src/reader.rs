//! Pages, one after the other.

use std::collections::HashMap;

use harness::{Failure, ensure};

use crate::stage::done;
use crate::subject::{Event, EventLog, Page};

const ORDER: &str = "A page is put together from several places, and has to be ordered and cut only when all of them are \
                     there.";

/// Reads from the newest event to the oldest, `limit` at a time.
pub async fn pages(
    log: &EventLog,
    customer: &str,
    limit: usize,
    pages_max: usize,
) -> Result<Vec<Page>, Failure> {
    let (mut pages, mut before) = (Vec::new(), None);
    loop {
        let page: Page = done("a page", log.recent(customer, limit, before)).await?;
        before = page.next;
        let (len, ended) = (page.events.len(), page.next.is_none());
        pages.push(page);
        ensure!(
            len == limit || (ended && len < limit),
            "A page that is not the last has as many events as were asked for.",
            "page {} has {len} events of {limit}, and there {} a next one",
            pages.len(),
            if ended { "is not" } else { "is" }
        );
        if ended {
            return Ok(pages);
        }
        ensure!(
            pages.len() < pages_max,
            "Pages have to come to an end.",
            "after {pages_max} pages of {limit} events there are still more"
        );
    }
}

/// Everything that a customer's pages show, in their order.
pub async fn everything(
    log: &EventLog,
    customer: &str,
    limit: usize,
    len_max: usize,
) -> Result<Vec<Event>, Failure> {
    let pages = pages(log, customer, limit, len_max / limit + 3).await?;
    Ok(pages.into_iter().flat_map(|page| page.events).collect())
}

/// Newest first, each event once.
pub fn in_order(shown: &[Event]) -> Result<(), Failure> {
    let slip = shown.windows(2).position(|pair| pair[0].id <= pair[1].id);
    let Some(at) = slip else { return Ok(()) };
    let (before, after) = (shown[at].id, shown[at + 1].id);
    let what = if before == after {
        "is shown twice"
    } else {
        "comes after an older one"
    };
    Err(Failure::new(format!(
        "event {after} {what}, at place {} of {}",
        at + 2,
        shown.len()
    ))
    .because(ORDER))
}

/// All of `expected` are among `shown`, as they are.
pub fn holds(shown: &[Event], expected: &[Event], because: &str) -> Result<(), Failure> {
    let known: HashMap<_, _> = shown.iter().map(|event| (event.id, event)).collect();
    let missing = expected
        .iter()
        .filter(|event| !known.contains_key(&event.id))
        .count();
    ensure!(
        missing == 0,
        because,
        "{missing} of {} events are not shown",
        expected.len()
    );
    let other = expected
        .iter()
        .find(|event| known.get(&event.id).is_some_and(|shown| shown != event));
    if let Some(event) = other {
        return Err(
            Failure::new(format!("event {} is shown with other contents", event.id)).because(because),
        );
    }
    Ok(())
}

/// Exactly `expected`, in its order.
pub fn shows(shown: &[Event], expected: &[Event], because: &str) -> Result<(), Failure> {
    holds(shown, expected, because)?;
    in_order(shown)?;
    ensure!(
        shown == expected,
        because,
        "{} events are shown where there are {}",
        shown.len(),
        expected.len()
    );
    Ok(())
}
