//! Where a server answers, and whether it does.

use std::io;
use std::time::Duration;

use pgwire::Client;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kind::Kind;

/// Where a server answers and how to be let in. Written to state files, so that another process can use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Endpoint {
    /// PostgreSQL. It asks for passwords in clear text (see [`Endpoint::BOUNCED_ROLES`] for the exception).
    Postgres {
        /// Always a loopback address.
        host: String,
        /// TCP port.
        port: u16,
        /// A superuser.
        admin_user: String,
        /// That superuser's password, random per run.
        admin_password: String,
        /// The template databases that were asked for.
        templates: Vec<String>,
        /// `server_version_num`, as in 150018.
        version_num: u32,
        /// `host:port` for other containers; `None` for a process of this machine.
        inside: Option<String>,
    },
    /// Redis, without a password.
    Redis {
        /// Always a loopback address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// PgBouncer. Any role that PostgreSQL knows may log in with its password; it must be a member of
    /// [`Endpoint::BOUNCED_ROLES`].
    PgBouncer {
        /// Always a loopback address.
        host: String,
        /// TCP port.
        port: u16,
        /// May use the console, database `pgbouncer`.
        admin_user: String,
        /// That user's password.
        admin_password: String,
    },
    /// etcd, without authentication, over plain HTTP.
    Etcd {
        /// Always a loopback address.
        host: String,
        /// TCP port of the client API.
        port: u16,
    },
    /// ZooKeeper, without authentication.
    ZooKeeper {
        /// Always a loopback address.
        host: String,
        /// TCP port of the client API.
        port: u16,
    },
    /// DynamoDB's API over plain HTTP; any credentials will do.
    DynamoDb {
        /// Always a loopback address.
        host: String,
        /// TCP port.
        port: u16,
    },
}

impl Endpoint {
    /// The group role whose members PostgreSQL authenticates by MD5 instead of clear text. PgBouncer knows roles by the
    /// hash in `pg_shadow` alone, with which it can answer an MD5 challenge but no question for the clear text; so
    /// `GRANT` this to each role that is to come through PgBouncer.
    pub const BOUNCED_ROLES: &str = "war_stories_bounced";

    /// Which server it is.
    pub fn kind(&self) -> Kind {
        match self {
            Endpoint::Postgres { .. } => Kind::Postgres,
            Endpoint::Redis { .. } => Kind::Redis,
            Endpoint::PgBouncer { .. } => Kind::PgBouncer,
            Endpoint::Etcd { .. } => Kind::Etcd,
            Endpoint::ZooKeeper { .. } => Kind::ZooKeeper,
            Endpoint::DynamoDb { .. } => Kind::DynamoDb,
        }
    }

    /// Host, a loopback address.
    pub fn host(&self) -> &str {
        match self {
            Endpoint::Postgres { host, .. }
            | Endpoint::Redis { host, .. }
            | Endpoint::PgBouncer { host, .. }
            | Endpoint::Etcd { host, .. }
            | Endpoint::ZooKeeper { host, .. }
            | Endpoint::DynamoDb { host, .. } => host,
        }
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        match self {
            Endpoint::Postgres { port, .. }
            | Endpoint::Redis { port, .. }
            | Endpoint::PgBouncer { port, .. }
            | Endpoint::Etcd { port, .. }
            | Endpoint::ZooKeeper { port, .. }
            | Endpoint::DynamoDb { port, .. } => *port,
        }
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    /// Administrator access to `database`, for the two that speak PostgreSQL's protocol.
    pub fn admin(&self, database: &str) -> Option<pgwire::Config> {
        match self {
            Endpoint::Postgres {
                host,
                port,
                admin_user,
                admin_password,
                ..
            }
            | Endpoint::PgBouncer {
                host,
                port,
                admin_user,
                admin_password,
            } => Some(pgwire::Config {
                host: host.clone(),
                port: *port,
                user: admin_user.clone(),
                password: admin_password.clone(),
                database: database.to_owned(),
            }),
            Endpoint::Redis { .. }
            | Endpoint::Etcd { .. }
            | Endpoint::ZooKeeper { .. }
            | Endpoint::DynamoDb { .. } => None,
        }
    }

    /// Asks the server for its version, over the protocol that its clients use: an open port proves nothing. Waits two
    /// seconds at most.
    ///
    /// # Errors
    /// What kept the answer away, as a fragment.
    pub async fn probe(&self) -> Result<String, String> {
        self.probe_within(Duration::from_secs(2)).await
    }

    /// The same, with more patience.
    pub(crate) async fn probe_within(&self, wait: Duration) -> Result<String, String> {
        match tokio::time::timeout(wait, self.ask()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", wait.as_secs())),
        }
    }

    async fn ask(&self) -> Result<String, String> {
        let io = |error: io::Error| error.to_string();
        match self {
            Endpoint::Postgres { .. } => self.ask_sql("postgres", "SHOW server_version").await,
            Endpoint::PgBouncer { .. } => {
                let said = self.ask_sql("pgbouncer", "SHOW VERSION").await?;
                Ok(said.trim_start_matches("PgBouncer ").to_owned())
            }
            Endpoint::Redis { .. } => {
                let said = self
                    .exchange("INFO server\r\n", "\r\nredis_mode")
                    .await
                    .map_err(io)?;
                let line = said.lines().find_map(|line| line.strip_prefix("redis_version:"));
                line.map(|version| version.trim().to_owned())
                    .ok_or_else(|| first_line(&said))
            }
            Endpoint::Etcd { .. } => {
                let ask = |path| format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address());
                let health = self.exchange(&ask("/health"), "\0").await.map_err(io)?;
                if !health.contains("\"true\"") {
                    return Err(format!("not healthy: {}", first_line(&health)));
                }
                let said = self.exchange(&ask("/version"), "\0").await.map_err(io)?;
                let version = said
                    .split("\"etcdserver\":\"")
                    .nth(1)
                    .and_then(|rest| rest.split('"').next());
                version.map(str::to_owned).ok_or_else(|| first_line(&said))
            }
            Endpoint::ZooKeeper { .. } => {
                let said = self.exchange("srvr", "\0").await.map_err(io)?;
                let version = said
                    .strip_prefix("Zookeeper version: ")
                    .and_then(|rest| rest.split(['-', ',']).next());
                version.map(str::to_owned).ok_or_else(|| first_line(&said))
            }
            Endpoint::DynamoDb { .. } => {
                let said = self
                    .exchange(&list_tables(&self.address()), "\0")
                    .await
                    .map_err(io)?;
                if !said.contains("\"TableNames\"") {
                    return Err(first_line(&said));
                }
                let version = said
                    .lines()
                    .find_map(|line| line.strip_prefix("x-dynoxide-version: "));
                // Amazon's own does not tell which it is, but for that of the API.
                Ok(version.unwrap_or("2012-08-10").trim().to_owned())
            }
        }
    }

    async fn ask_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let config = self.admin(database).ok_or("it speaks no SQL")?;
        let mut client = Client::connect(&config)
            .await
            .map_err(|error| error.to_string())?;
        let rows = client.query(sql).await.map_err(|error| error.to_string())?;
        rows.first()
            .and_then(|row| row.text(0))
            .map(str::to_owned)
            .ok_or_else(|| "an empty answer".to_owned())
    }

    /// Sends a request and reads until `end` appears or the server closes, 64 KiB at most.
    async fn exchange(&self, request: &str, end: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect((self.host(), self.port())).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut said = Vec::new();
        while said.len() < 65_536 && stream.read_buf(&mut said).await? > 0 {
            if said.windows(end.len()).any(|window| window == end.as_bytes()) {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

/// A question that a DynamoDB server answers without reading anything. Nobody checks the signature, but one has to be there.
fn list_tables(address: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.0\r\n\
         X-Amz-Target: DynamoDB_20120810.ListTables\r\nX-Amz-Date: 20240101T000000Z\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=local/20240101/us-east-1/dynamodb/aws4_request, \
         SignedHeaders=host;x-amz-date;x-amz-target, Signature=0\r\nContent-Length: 2\r\n\r\n{{}}"
    )
}

fn first_line(said: &str) -> String {
    match said.lines().next() {
        Some(line) => format!("it said `{}`", line.chars().take(80).collect::<String>()),
        None => "it closed the connection".to_owned(),
    }
}
