//! PgBouncer in transaction mode, in front of a PostgreSQL.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Error;
use crate::container::Plan;
use crate::endpoint::Endpoint;
use crate::find::Program;
use crate::options::Options;
use crate::secret;
use crate::user::Runner;

const CONFIG: &str = "pgbouncer.ini";
const USERS: &str = "userlist.txt";

/// What is needed to write PgBouncer's two files.
pub(crate) struct Front {
    upstream: Endpoint,
    pool_size: u32,
    max_connections: u32,
}

impl Front {
    pub(crate) fn new(options: &Options) -> Result<Front, Error> {
        match &options.upstream {
            Some(upstream @ Endpoint::Postgres { .. }) => Ok(Front {
                upstream: upstream.clone(),
                pool_size: options.pool_size,
                max_connections: options.max_connections,
            }),
            _ => Err(Error::NoUpstream),
        }
    }

    /// Address of the PostgreSQL as a container sees it; `None` when it is a process of this machine.
    pub(crate) fn inside(&self) -> Option<(String, u16)> {
        let Endpoint::Postgres { inside, .. } = &self.upstream else {
            return None;
        };
        let (host, port) = inside.as_deref()?.rsplit_once(':')?;
        Some((host.to_owned(), port.parse().ok()?))
    }

    /// Writes the files for a process and makes its command.
    pub(crate) fn command(&self, program: &Program, data: &Path, runner: &Runner, port: u16) -> Command {
        let upstream = (self.upstream.host().to_owned(), self.upstream.port());
        let files = [
            (CONFIG, self.config(data, "127.0.0.1", port, &upstream)),
            (USERS, self.users()),
        ];
        for (name, text) in files {
            // What cannot be written is told by PgBouncer, which reads it at once.
            let _ = fs::write(data.join(name), text).and_then(|()| runner.own(&data.join(name)));
        }
        let mut command = program.command("");
        command.arg(data.join(CONFIG));
        command
    }

    pub(crate) fn plan(&self, upstream: &(String, u16)) -> Plan {
        // Its files come by the environment: the image's user may write in no folder but this one.
        let home = Path::new("/tmp");
        let script = format!(
            "umask 077; printf %s \"$CONFIG\" >/tmp/{CONFIG}; printf %s \"$USERS\" >/tmp/{USERS}; \
             unset CONFIG USERS; exec /usr/bin/pgbouncer /tmp/{CONFIG}"
        );
        Plan {
            port: 6432,
            entry_point: Some("sh".to_owned()),
            command: vec!["-c".to_owned(), script],
            environment: vec![
                ("CONFIG".to_owned(), self.config(home, "0.0.0.0", 6432, upstream)),
                ("USERS".to_owned(), self.users()),
            ],
            ..Plan::default()
        }
    }

    pub(crate) fn endpoint(&self, port: u16) -> Endpoint {
        let Some(admin) = self.upstream.admin("") else {
            unreachable!("checked in `new`")
        };
        Endpoint::PgBouncer {
            host: "127.0.0.1".to_owned(),
            port,
            admin_user: admin.user,
            admin_password: admin.password,
        }
    }

    /// `ignore_startup_parameters` stays empty on purpose: that drivers send parameters which PgBouncer refuses is part
    /// of what scenarios show. `auth_type = plain` takes clear text from the client and compares it with the hash.
    fn config(&self, home: &Path, address: &str, port: u16, (host, upstream): &(String, u16)) -> String {
        let Some(admin) = self.upstream.admin("") else {
            unreachable!("checked in `new`")
        };
        format!(
            "[databases]\n\
             * = host={host} port={upstream}\n\
             \n\
             [pgbouncer]\n\
             listen_addr = {address}\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = plain\n\
             auth_file = {users}\n\
             auth_user = {admin}\n\
             auth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = $1\n\
             admin_users = {admin}\n\
             pool_mode = transaction\n\
             default_pool_size = {pool}\n\
             max_client_conn = {clients}\n\
             ignore_startup_parameters =\n\
             server_reset_query_always = 0\n\
             server_tls_sslmode = disable\n\
             client_tls_sslmode = disable\n",
            users = home.join(USERS).display(),
            admin = admin.user,
            pool = self.pool_size,
            clients = self.max_connections.max(1000),
        )
    }

    fn users(&self) -> String {
        let Some(admin) = self.upstream.admin("") else {
            unreachable!("checked in `new`")
        };
        format!(
            "{} {}\n",
            secret::quoted(&admin.user),
            secret::quoted(&admin.password)
        )
    }
}
