//! What the service's users do all day, open-loop: each request comes when it is due, whether or not those before it have
//! been answered, as people do who do not know of each other. Latency counts from when a request was due.
//!
//! The day is made from a seed and nothing else, so two runs of one seed send the same requests at the same moments.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::others::REGIONS;
use crate::subject::{Cursor, Directory, Result, Status};

/// Users on a page of the people's screens.
const PAGE: u32 = 50;

/// What somebody asks the service for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `GET /regions/{region}/active`
    FirstPage {
        region: &'static str,
    },
    /// The same with what the last page gave: somebody reads on, deeper and deeper as the day goes by.
    NextPage {
        region: &'static str,
    },
    /// The number in the region's badge.
    Count {
        region: &'static str,
    },
    /// `GET /users?email=`, an address that looks like those of the table, capitalised by whoever typed it.
    Address {
        email: String,
    },
    /// Somebody is suspended, or comes back.
    Status {
        id: i64,
        status: Status,
    },
    Bio {
        id: i64,
    },
}

impl Request {
    /// One word per endpoint, for a chart's legend.
    pub fn endpoint(&self) -> &'static str {
        match self {
            Request::FirstPage { .. } => "first page",
            Request::NextPage { .. } => "next page",
            Request::Count { .. } => "count",
            Request::Address { .. } => "address",
            Request::Status { .. } | Request::Bio { .. } => "change",
        }
    }
}

/// A request and when it is due, from the beginning of the day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub due: Duration,
    pub request: Request,
}

/// A day in short: how it is made, and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub struct Day {
    pub seed: u64,
    /// Users of the table.
    pub users: i64,
    pub length: Duration,
    /// Requests per second in the quiet hours, and at the height of the day, which comes at the end.
    pub quiet_per_s: f64,
    pub busy_per_s: f64,
}

impl Day {
    /// Half a minute that is quiet at first, as the service was when everything was fine, and then fills up to what it gets
    /// in an evening. Two cores answer the busy hour with room to spare when a look-up reads what it shows, and fall behind
    /// in the first seconds when each reads the whole table.
    pub fn short(seed: u64, users: i64) -> Day {
        Day {
            seed,
            users,
            length: Duration::from_secs(30),
            quiet_per_s: 4.0,
            busy_per_s: 120.0,
        }
    }

    /// Every request of the day in order: arrivals that know nothing of each other (a Poisson process), at a rate that rises
    /// from quiet to busy.
    pub fn arrivals(&self) -> impl Iterator<Item = Arrival> + use<> {
        let day = *self;
        let mut rng = fastrand::Rng::with_seed(day.seed);
        let mut due_s = 0.0;
        std::iter::from_fn(move || {
            // Thinned out of a process at the busy rate.
            loop {
                due_s += -(1.0 - rng.f64()).ln() / day.busy_per_s;
                let passed = due_s / day.length.as_secs_f64();
                if passed >= 1.0 {
                    return None;
                }
                let rate = day.quiet_per_s + (day.busy_per_s - day.quiet_per_s) * passed;
                if rng.f64() * day.busy_per_s < rate {
                    break;
                }
            }
            Some(Arrival {
                due: Duration::from_secs_f64(due_s),
                request: day.request(&mut rng),
            })
        })
    }

    /// In the proportions of the incident's `pg_stat_statements`, and a few changes.
    fn request(&self, rng: &mut fastrand::Rng) -> Request {
        let region = REGIONS[rng.usize(..REGIONS.len())];
        let id = rng.i64(1..=self.users);
        match rng.u32(..100) {
            0..45 => Request::FirstPage { region },
            45..56 => Request::NextPage { region },
            56..84 => Request::Count { region },
            84..93 => Request::Address {
                email: format!("{}{id}@EXAMPLE.com", ["ada.", "Grace_", "tony."][rng.usize(..3)]),
            },
            93..96 => Request::Status {
                id,
                status: if rng.bool() {
                    Status::Active
                } else {
                    Status::Suspended
                },
            },
            _ => Request::Bio { id },
        }
    }
}

/// How one request went.
#[derive(Clone, Debug)]
pub struct Served {
    pub endpoint: &'static str,
    /// When it was due, from the beginning of the day.
    pub due: Duration,
    /// From then to the answer: waiting for a connection, and for a service that is behind, is part of it.
    pub latency: Duration,
    pub answered: bool,
}

/// Where the reader of each region goes on.
type Bookmarks = Arc<Mutex<HashMap<&'static str, Cursor>>>;

/// Sends every arrival when it is due, the replicas taking turns, and tells of each answer as it comes. Ends when the last
/// request has been answered; dropping it gives up on all of them.
pub async fn drive(
    replicas: &[Directory],
    arrivals: impl Iterator<Item = Arrival>,
    mut tell: impl FnMut(Served),
) {
    let begun = Instant::now();
    let bookmarks = Bookmarks::default();
    let mut under_way = JoinSet::new();
    let arrivals = arrivals.zip(replicas.iter().cycle());
    for (Arrival { due, request }, replica) in arrivals {
        let due_at = begun + due;
        loop {
            tokio::select! {
                // Whatever is due is sent before answers are looked at.
                biased;
                () = tokio::time::sleep_until(due_at) => break,
                Some(Ok(served)) = under_way.join_next() => tell(served),
            }
        }
        let (replica, bookmarks) = (replica.clone(), Arc::clone(&bookmarks));
        under_way.spawn(async move {
            let endpoint = request.endpoint();
            let answered = serve(&replica, &bookmarks, request).await.is_ok();
            Served {
                endpoint,
                due,
                latency: due_at.elapsed(),
                answered,
            }
        });
    }
    while let Some(served) = under_way.join_next().await {
        if let Ok(served) = served {
            tell(served);
        }
    }
}

async fn serve(replica: &Directory, bookmarks: &Bookmarks, request: Request) -> Result<()> {
    match request {
        Request::FirstPage { region } => replica.list_active(region, None, PAGE).await.map(drop),
        Request::NextPage { region } => {
            let after = marks(bookmarks).get(region).cloned();
            let next = replica.list_active(region, after, PAGE).await?.next;
            // At the end the next reader begins.
            match next {
                Some(next) => marks(bookmarks).insert(region, next),
                None => marks(bookmarks).remove(region),
            };
            Ok(())
        }
        Request::Count { region } => replica.count_active(region).await.map(drop),
        Request::Address { email } => replica.find_by_email(&email).await.map(drop),
        Request::Status { id, status } => replica.set_status(id, status).await,
        Request::Bio { id } => replica.set_bio(id, "Back from the mountains.").await,
    }
}

fn marks(bookmarks: &Bookmarks) -> std::sync::MutexGuard<'_, HashMap<&'static str, Cursor>> {
    bookmarks.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(seed: u64) -> Vec<Arrival> {
        Day::short(seed, 500_000).arrivals().collect()
    }

    #[test]
    fn a_seed_is_a_day() {
        assert_eq!(day(7), day(7));
        assert_ne!(day(7), day(8));
    }

    #[test]
    fn requests_come_in_order_and_more_and_more_of_them() {
        let day = day(7);
        assert!(day.is_sorted_by_key(|arrival| arrival.due));
        let within = |from: u64, to: u64| {
            let window = Duration::from_secs(from)..Duration::from_secs(to);
            day.iter().filter(|arrival| window.contains(&arrival.due)).count()
        };
        // A rate that rises from 4 to 120 per second: about 30 in the first three seconds, 340 in the last three.
        assert!((10..60).contains(&within(0, 3)), "{}", within(0, 3));
        assert!((270..420).contains(&within(27, 30)), "{}", within(27, 30));
        assert_eq!(within(0, 30), day.len());
    }

    #[test]
    fn everything_that_the_service_does_is_asked_for() {
        let day = day(7);
        for endpoint in ["first page", "next page", "count", "address", "change"] {
            let share = day
                .iter()
                .filter(|arrival| arrival.request.endpoint() == endpoint)
                .count();
            assert!(share * 20 > day.len(), "{endpoint}: {share} of {}", day.len());
        }
    }
}
