//! Servers for a check without `xtask`: those that `cargo xtask services up` keeps, one check at a time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use verdict::wire::{Answer, DynamoDbJob, EtcdJob, PostgresJob, RedisJob, Wanted};

/// The servers that are kept, as the state file tells, and what one check holds of them.
#[derive(Default)]
pub(super) struct Kept {
    /// Locked while the check runs that has the server.
    locks: Vec<File>,
}

impl Kept {
    /// Empties the kept server for one check. Other checks that ask for it wait until that check has ended.
    pub(super) fn lend(&mut self, wanted: &Wanted) -> Answer {
        let kind = match wanted {
            Wanted::Redis => "redis",
            Wanted::Etcd => "etcd",
            Wanted::DynamoDb => "dynamodb",
            Wanted::ZooKeeper => {
                let reason = "ZooKeeper is started for each check by `cargo xtask grade`, which is needed for this one";
                return Answer::Missing {
                    reason: reason.to_owned(),
                };
            }
            Wanted::PgBouncer { .. } => {
                let reason = "PgBouncer is started for each check by `cargo xtask grade`, which is needed for this one";
                return Answer::Missing {
                    reason: reason.to_owned(),
                };
            }
        };
        let had = self.address_alone(kind).and_then(|address| {
            let Some((host, port)) = address else {
                return Err(io::Error::other(format!(
                    "there is no {kind} for this check; cargo xtask services up {kind} keeps one running"
                )));
            };
            match wanted {
                Wanted::Etcd => empty_etcd(&host, port)?,
                Wanted::DynamoDb => empty_dynamodb(&host, port)?,
                _ => empty_redis(&host, port)?,
            }
            Ok((host, port))
        });
        match (had, wanted) {
            (Ok((host, port)), Wanted::Etcd) => Answer::Etcd(EtcdJob { host, port }),
            (Ok((host, port)), Wanted::DynamoDb) => Answer::DynamoDb(DynamoDbJob { host, port }),
            (Ok((host, port)), _) => Answer::Redis(RedisJob { host, port }),
            (Err(error), _) => Answer::Missing {
                reason: error.to_string(),
            },
        }
    }

    /// The address of a kept server, once nobody else uses it.
    fn address_alone(&mut self, kind: &str) -> io::Result<Option<(String, u16)>> {
        let Some(file) = state_file().filter(|file| file.exists()) else {
            return Ok(None);
        };
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(file.with_file_name(format!("{kind}.lock")))?;
        lock.lock()?;
        self.locks.push(lock);
        Ok(endpoint(kind).and_then(|endpoint| {
            let host = endpoint.get("host")?.as_str()?.to_owned();
            Some((host, u16::try_from(endpoint.get("port")?.as_u64()?).ok()?))
        }))
    }
}

/// The PostgreSQL server that is kept, with a database name for this check.
pub(super) fn postgres() -> Option<PostgresJob> {
    let endpoint = endpoint("postgres")?;
    let text = |key: &str| endpoint.get(key)?.as_str().map(str::to_owned);
    let templates = endpoint.get("templates")?.as_array()?;
    let mine = template();
    Some(PostgresJob {
        host: text("host")?,
        port: u16::try_from(endpoint.get("port")?.as_u64()?).ok()?,
        admin_user: text("admin_user")?,
        admin_password: text("admin_password")?,
        template: templates.iter().any(|name| name == mine.as_str()).then_some(mine),
        database: format!("check_{:08x}_{}", fastrand::u32(..), std::process::id()),
    })
}

fn endpoint(kind: &str) -> Option<serde_json::Value> {
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(state_file()?).ok()?).ok()?;
    state.get("servers")?.as_array()?.iter().find_map(|server| {
        server
            .get("endpoint")
            .filter(|endpoint| endpoint.get("kind").is_some_and(|known| known == kind))
            .cloned()
    })
}

/// The template of the hidden package that cargo runs: `seed_slow_query` for `slow-query-hidden`.
fn template() -> String {
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    format!("seed_{}", package.trim_end_matches("-hidden").replace('-', "_"))
}

/// `target/war-stories/services.json`, found from `target/<profile>/deps/<program>`.
fn state_file() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let target = program.ancestors().nth(3)?;
    Some(target.join("war-stories").join("services.json"))
}

fn empty_redis(host: &str, port: u16) -> io::Result<()> {
    let commands = "FLUSHALL\r\nSCRIPT FLUSH\r\nCONFIG RESETSTAT\r\nQUIT\r\n";
    let said = exchange(host, port, commands)?;
    match said.lines().find(|line| line.starts_with('-')) {
        Some(refused) => Err(io::Error::other(format!(
            "failed to empty the kept Redis: {refused}"
        ))),
        None => Ok(()),
    }
}

fn empty_etcd(host: &str, port: u16) -> io::Result<()> {
    // From the key of one zero byte to "all keys after it".
    let body = r#"{"key":"AA==","range_end":"AA=="}"#;
    let request = format!(
        "POST /v3/kv/deleterange HTTP/1.0\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let said = exchange(host, port, &request)?;
    if said.split(' ').nth(1) == Some("200") {
        Ok(())
    } else {
        let first = said.lines().next().unwrap_or_default();
        Err(io::Error::other(format!(
            "failed to empty the kept etcd: {first}"
        )))
    }
}

/// Every table goes.
fn empty_dynamodb(host: &str, port: u16) -> io::Result<()> {
    let call = |operation: &str, body: &str| -> io::Result<serde_json::Value> {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\
             Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: DynamoDB_20120810.{operation}\r\n\
             X-Amz-Date: 20240101T000000Z\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=grader/20240101/eu-central-1/dynamodb/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-target, Signature=0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let said = exchange(host, port, &request)?;
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
        if head.split(' ').nth(1) != Some("200") {
            let first = head.lines().next().unwrap_or_default();
            return Err(io::Error::other(format!(
                "failed to empty the kept DynamoDB: {first}"
            )));
        }
        serde_json::from_str(body).map_err(io::Error::other)
    };
    let listed = call("ListTables", "{}")?;
    for table in listed["TableNames"].as_array().into_iter().flatten() {
        call(
            "DeleteTable",
            &serde_json::json!({ "TableName": table }).to_string(),
        )?;
    }
    Ok(())
}

/// Sends a request and reads until the server closes.
fn exchange(host: &str, port: u16, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((host, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request.as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}
