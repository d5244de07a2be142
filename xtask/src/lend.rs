//! Servers that a check asks for while it runs: started for it alone, gone with it.

use std::cell::RefCell;

use services::{Bouncer, Endpoint, Error, How, Kind, Mode, Options, Server};
use verdict::wire::{Answer, DynamoDbJob, EtcdJob, PgBouncerJob, RedisJob, Wanted, ZooKeeperJob};

use crate::catalogue::Scenario;
use crate::fleet::Fleet;

/// What one check has been lent.
pub struct Lender<'a> {
    fleet: &'a Fleet,
    scenario: &'a Scenario,
    lent: RefCell<Vec<Server>>,
}

impl<'a> Lender<'a> {
    pub fn new(fleet: &'a Fleet, scenario: &'a Scenario) -> Lender<'a> {
        Lender {
            fleet,
            scenario,
            lent: RefCell::default(),
        }
    }

    /// Has the server that the check asks for, by the way by which the run has servers of this kind. Whoever stops
    /// waiting for it gets none, and none stays.
    pub async fn lend(&self, wanted: Wanted) -> Answer {
        let kind = kind(&wanted);
        if !self.scenario.manifest.may_ask_for(kind) {
            let reason = format!(
                "the check asks for {kind}, which `services` in {} does not name",
                self.scenario.manifest_file().display()
            );
            return Answer::Missing { reason };
        }
        let mut options = self.fleet.like(kind);
        options.bouncer = bouncer(wanted);
        let server = match self.fleet.spare(kind) {
            Some(server) => server,
            None => match services::start(kind, &options, &[]).await {
                Ok(server) => server,
                Err(error) => return not_started(kind, &error),
            },
        };
        let answer = answer(&server.endpoint);
        self.lent.borrow_mut().push(server);
        answer
    }

    /// Which of the lent servers has died, as a sentence.
    pub async fn dead(&self) -> Option<String> {
        let lent = self.lent.take();
        let mut dead = None;
        // A PgBouncer has lost the check's tap behind it by now; the check has asked it itself.
        for server in lent.iter().filter(|server| server.kind != Kind::PgBouncer) {
            if let Err(error) = server.check_alive().await {
                dead = error.to_string().lines().next().map(str::to_owned);
            }
        }
        self.lent.replace(lent);
        dead
    }

    /// Ends what was lent.
    pub async fn take_back(self) {
        for server in self.lent.into_inner().into_iter().rev() {
            server.stop().await;
        }
    }
}

fn kind(wanted: &Wanted) -> Kind {
    match wanted {
        Wanted::Redis => Kind::Redis,
        Wanted::PgBouncer { .. } => Kind::PgBouncer,
        Wanted::Etcd => Kind::Etcd,
        Wanted::ZooKeeper => Kind::ZooKeeper,
        Wanted::DynamoDb => Kind::DynamoDb,
    }
}

fn bouncer(wanted: Wanted) -> Option<Bouncer> {
    match wanted {
        Wanted::PgBouncer {
            upstream,
            user,
            password,
            config,
        } => Some(Bouncer {
            upstream,
            users: vec![(user, password)],
            settings: Bouncer::settings_of(&config),
        }),
        Wanted::Redis | Wanted::Etcd | Wanted::ZooKeeper | Wanted::DynamoDb => None,
    }
}

/// A PgBouncer was started with this run, with a configuration of our own: one that dies dies of the scenario's.
fn not_started(kind: Kind, error: &Error) -> Answer {
    match error {
        Error::Died { status, log, .. } if kind == Kind::PgBouncer => Answer::Refused {
            observed: format!("PgBouncer does not start: {status}"),
            log: log.clone(),
        },
        _ => Answer::Missing {
            reason: format!("failed to start {kind} for the check: {error}"),
        },
    }
}

fn answer(endpoint: &Endpoint) -> Answer {
    let (host, port) = (endpoint.host().to_owned(), endpoint.port());
    match endpoint {
        Endpoint::Redis { .. } => Answer::Redis(RedisJob { host, port }),
        Endpoint::Etcd { .. } => Answer::Etcd(EtcdJob { host, port }),
        Endpoint::ZooKeeper { .. } => Answer::ZooKeeper(ZooKeeperJob { host, port }),
        Endpoint::DynamoDb { .. } => Answer::DynamoDb(DynamoDbJob { host, port }),
        Endpoint::PgBouncer {
            admin_user,
            admin_password,
            ..
        } => Answer::PgBouncer(PgBouncerJob {
            host,
            port,
            admin_user: admin_user.clone(),
            admin_password: admin_password.clone(),
        }),
        other @ Endpoint::Postgres { .. } => Answer::Missing {
            reason: format!("{} is not lent to single checks", other.kind()),
        },
    }
}

/// Options to have another server in the way in which this one was had.
pub fn same_way(how: &How) -> Options {
    let mode = match how {
        How::Container { .. } => Mode::Containers,
        How::Local { .. } | How::Fetched { .. } => Mode::Local,
    };
    Options {
        mode,
        ..Options::default()
    }
}
