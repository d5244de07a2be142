//! PgBouncer in transaction mode, in front of a PostgreSQL.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Error;
use crate::container::Plan;
use crate::endpoint::Endpoint;
use crate::find::Program;
use crate::options::Options;
use crate::running::free_port;
use crate::secret;
use crate::user::Runner;

const CONFIG: &str = "pgbouncer.ini";
const USERS: &str = "userlist.txt";

/// A PgBouncer in front of what is no server of ours: a tap, as a rule. Its users log in, and are logged in upstream,
/// with the passwords given here.
#[derive(Clone, PartialEq, Eq)]
pub struct Bouncer {
    /// `host:port`, on this machine.
    pub upstream: String,
    /// Names and passwords.
    pub users: Vec<(String, String)>,
    /// Settings that win over the built-in ones; see [`Bouncer::settings_of`].
    pub settings: Vec<(String, String)>,
}

/// What is decided here whatever an ini file says: where it listens, who comes in, what it writes.
const RESERVED: &[&str] = &[
    "listen_",
    "unix_socket_",
    "auth_",
    "admin_",
    "stats_users",
    "client_tls_",
    "server_tls_",
];
const RESERVED_WHOLE: &[&str] = &[
    "logfile",
    "pidfile",
    "user",
    "syslog",
    "resolv_conf",
    "so_reuseport",
    "conffile",
];

impl Bouncer {
    /// The settings in the `[pgbouncer]` section of an ini file, but for those that are not its to make.
    pub fn settings_of(ini: &str) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        let mut ours = false;
        for line in ini.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[') {
                ours = section.trim_end_matches(']').trim() == "pgbouncer";
            } else if ours
                && !line.starts_with([';', '#', '%'])
                && let Some((name, value)) = line.split_once('=')
            {
                let (name, value) = (name.trim(), value.trim());
                let reserved = RESERVED.iter().any(|start| name.starts_with(start));
                if !reserved && !RESERVED_WHOLE.contains(&name) {
                    settings.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        settings
    }
}

/// Passwords are for nobody's log.
impl fmt::Debug for Bouncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bouncer")
            .field("upstream", &self.upstream)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What is needed to write PgBouncer's two files.
pub(crate) struct Front {
    upstream: (String, u16),
    /// The upstream's address as a container sees it; `None` when only this machine reaches it.
    inside: Option<(String, u16)>,
    /// The first one may use the console.
    users: Vec<(String, String)>,
    /// Other users are looked up in the upstream's catalogue by the first one.
    looks_up: bool,
    settings: Vec<(String, String)>,
}

impl Front {
    pub(crate) fn new(options: &Options) -> Result<Front, Error> {
        let mut settings = vec![
            ("pool_mode".to_owned(), "transaction".to_owned()),
            ("default_pool_size".to_owned(), options.pool_size.to_string()),
            (
                "max_client_conn".to_owned(),
                options.max_connections.max(1000).to_string(),
            ),
        ];
        if let Some(bouncer) = &options.bouncer {
            settings.retain(|(name, _)| !bouncer.settings.iter().any(|(other, _)| other == name));
            settings.extend(bouncer.settings.iter().cloned());
            let console = ("grader".to_owned(), secret::password());
            return Ok(Front {
                upstream: address(&bouncer.upstream).ok_or(Error::NoUpstream)?,
                inside: None,
                users: [vec![console], bouncer.users.clone()].concat(),
                looks_up: false,
                settings,
            });
        }
        let Some(upstream @ Endpoint::Postgres { inside, .. }) = &options.upstream else {
            return Err(Error::NoUpstream);
        };
        let admin = upstream.admin("").ok_or(Error::NoUpstream)?;
        Ok(Front {
            upstream: (upstream.host().to_owned(), upstream.port()),
            inside: inside.as_deref().and_then(address),
            users: vec![(admin.user, admin.password)],
            looks_up: true,
            settings,
        })
    }

    /// Writes the files for a process and makes its command.
    pub(crate) fn command(&self, program: &Program, data: &Path, runner: &Runner, port: u16) -> Command {
        let files = [
            (CONFIG, self.config(data, "127.0.0.1", port, &self.upstream)),
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

    /// In the network of the upstream's container, and where there is none, in this machine's.
    ///
    /// # Errors
    /// Why neither can be, as a fragment.
    pub(crate) fn plan(&self) -> Result<Plan, String> {
        let (listen, port, upstream, host_network) = match &self.inside {
            Some(inside) => ("0.0.0.0", 6432, inside, false),
            None if !self.looks_up && cfg!(target_os = "linux") => {
                let port = free_port().map_err(|error| error.to_string())?;
                ("127.0.0.1", port, &self.upstream, true)
            }
            None => {
                let reason =
                    "the PostgreSQL to front runs on this machine's loopback, which no container reaches";
                return Err(reason.to_owned());
            }
        };
        // Its files come by the environment: the image's user may write in no folder but this one.
        let script = format!(
            "umask 077; printf %s \"$CONFIG\" >/tmp/{CONFIG}; printf %s \"$USERS\" >/tmp/{USERS}; \
             unset CONFIG USERS; exec /usr/bin/pgbouncer /tmp/{CONFIG}"
        );
        let config = self.config(Path::new("/tmp"), listen, port, upstream);
        Ok(Plan {
            port,
            host_network,
            entry_point: Some("sh".to_owned()),
            command: vec!["-c".to_owned(), script],
            environment: vec![("CONFIG".to_owned(), config), ("USERS".to_owned(), self.users())],
            ..Plan::default()
        })
    }

    pub(crate) fn endpoint(&self, port: u16) -> Endpoint {
        let (admin_user, admin_password) = self.users[0].clone();
        Endpoint::PgBouncer {
            host: "127.0.0.1".to_owned(),
            port,
            admin_user,
            admin_password,
        }
    }

    /// `ignore_startup_parameters` stays empty on purpose: that drivers send parameters which PgBouncer refuses is part
    /// of what scenarios show. `auth_type = plain` takes clear text from the client and compares it with the hash.
    fn config(&self, home: &Path, listen: &str, port: u16, (host, upstream): &(String, u16)) -> String {
        let admin = &self.users[0].0;
        let lookup = if self.looks_up {
            format!(
                "auth_user = {admin}\nauth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = $1\n"
            )
        } else {
            String::new()
        };
        let settings: String = self
            .settings
            .iter()
            .map(|(name, value)| format!("{name} = {value}\n"))
            .collect();
        format!(
            "[databases]\n\
             * = host={host} port={upstream}\n\
             \n\
             [pgbouncer]\n\
             listen_addr = {listen}\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = plain\n\
             auth_file = {users}\n\
             {lookup}\
             admin_users = {admin}\n\
             ignore_startup_parameters =\n\
             server_reset_query_always = 0\n\
             server_tls_sslmode = disable\n\
             client_tls_sslmode = disable\n\
             {settings}",
            users = home.join(USERS).display(),
        )
    }

    fn users(&self) -> String {
        let line = |(name, password): &(String, String)| {
            format!("{} {}\n", secret::quoted(name), secret::quoted(password))
        };
        self.users.iter().map(line).collect()
    }
}

fn address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ini_file_decides_on_pooling_and_on_nothing_else() {
        let ini = "
            ; the pool
            [databases]
            orders = host=elsewhere
            pool_mode = statement
            [pgbouncer]
            pool_mode = session   
            # a comment = ignored
            listen_port=1
            auth_file = /etc/passwd
            logfile = /tmp/x
            %include /etc/passwd
            server_reset_query = DISCARD ALL
            [users]
            max_user_connections = 3";
        let settings = Bouncer::settings_of(ini);
        let expected = [("pool_mode", "session"), ("server_reset_query", "DISCARD ALL")];
        assert_eq!(
            settings,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
