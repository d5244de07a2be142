//! ZooKeeper: one node, its data in the run's folder. What distributions ship is a library and what it stands on; a Java
//! runs them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::container::Plan;
use crate::endpoint::Endpoint;
use crate::find::Program;
use crate::options::Search;
use crate::user::Runner;

/// The archive that is the server. Its version stands in the name of another one beside it.
pub(crate) const ARCHIVE: &str = "zookeeper.jar";

/// What it stands on, in Debian's names: nothing of TLS, of the administrator's HTTP server, of compressed snapshots.
const BESIDE: &[&str] = &[
    "zookeeper-jute.jar",
    "slf4j-api.jar",
    "slf4j-simple.jar",
    "metrics-core.jar",
    "snappy-java.jar",
];

/// Where Debian puts archives, and where Homebrew and ZooKeeper's own distribution do.
const USUAL_FOLDERS: &[&str] = &[
    "/usr/share/java",
    "/opt/homebrew/opt/zookeeper/libexec/lib",
    "/usr/local/opt/zookeeper/libexec/lib",
    "/opt/zookeeper/lib",
];

/// Debian's packages of all that.
pub(crate) const PACKAGES: &[&str] = &[
    "libzookeeper-java",
    "libslf4j-java",
    "libdropwizard-metrics-java",
    "libsnappy-java",
];

const CONFIG: &str = "zoo.cfg";

/// How often the node looks whose session is over, in milliseconds; a session may be twice that, or longer.
const TICK_MS: u32 = 200;

/// The installed server: an archive in a usual folder, and a Java.
///
/// # Errors
/// What is missing, as a fragment.
pub(crate) fn installed(search: &Search) -> Result<Program, String> {
    let folders: Vec<PathBuf> = match search.usual_folders {
        true => USUAL_FOLDERS.iter().map(PathBuf::from).collect(),
        false => search.folders(),
    };
    let java = java(search).ok_or_else(|| {
        let path: Vec<String> = search
            .folders()
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        format!("no `java` on PATH ({}), and none in /usr/lib/jvm", path.join(":"))
    })?;
    let found = folders.iter().map(|folder| program(folder, &java));
    // Of several reasons the first is told: where this distribution would have it.
    found
        .reduce(|first, next| first.or_else(|reason| next.map_err(|_| reason)))
        .unwrap_or_else(|| Err("no folder to look in".to_owned()))
}

/// The server in a folder of unpacked packages; its own Java, or the machine's.
pub(crate) fn unpacked(root: &Path, search: &Search) -> Result<Program, String> {
    let java = in_jvm_folder(&root.join("usr/lib/jvm"))
        .or_else(|| java(search))
        .ok_or_else(|| format!("no `java` in {}", root.display()))?;
    program(&root.join("usr/share/java"), &java)
}

/// The machine's Java.
pub(crate) fn java(search: &Search) -> Option<PathBuf> {
    if !search.installed {
        return None;
    }
    let usual = Path::new("/usr/lib/jvm");
    let usual = search.usual_folders.then(|| in_jvm_folder(usual)).flatten();
    search.program("java").or(usual)
}

fn in_jvm_folder(folder: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("bin/java"))
        .filter(|java| java.is_file())
        .collect();
    found.sort();
    found.pop()
}

fn program(folder: &Path, java: &Path) -> Result<Program, String> {
    let version = version(folder);
    let missing = std::iter::once(&ARCHIVE)
        .chain(BESIDE)
        .find(|name| !folder.join(name).is_file());
    let path = match (missing, &version) {
        (None, _) => folder.join(ARCHIVE),
        // A distribution of ZooKeeper's own: everything that it needs is in that folder, and nothing else.
        (Some(&ARCHIVE), Some(version)) => folder.join(format!("zookeeper-{version}.jar")),
        (Some(missing), _) => return Err(format!("no `{missing}` in {}", folder.display())),
    };
    Ok(Program {
        path,
        version: version.unwrap_or_default(),
        libraries: Vec::new(),
        interpreter: Some(java.to_owned()),
    })
}

/// What Java is to load.
fn archives(program: &Program) -> OsString {
    let folder = program.path.parent().unwrap_or(Path::new(""));
    if program.path.file_name() != Some(OsStr::new(ARCHIVE)) {
        return folder.join("*").into_os_string();
    }
    let beside = BESIDE.iter().map(|name| folder.join(name));
    let all = std::iter::once(program.path.clone()).chain(beside);
    std::env::join_paths(all).unwrap_or_default()
}

/// As in `zookeeper-3.8.0.jar`.
fn version(folder: &Path) -> Option<String> {
    let names = fs::read_dir(folder).ok()?.flatten();
    names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .find_map(|name| {
            let version = name.strip_prefix("zookeeper-")?.strip_suffix(".jar")?;
            version
                .starts_with(|c: char| c.is_ascii_digit())
                .then(|| version.to_owned())
        })
}

/// Writes the node's settings, and makes the command that runs it.
pub(crate) fn command(program: &Program, data: &Path, runner: &Runner, port: u16) -> Command {
    let config = data.join(CONFIG);
    // What cannot be written is told by the node, which reads it at once.
    let _ = fs::write(&config, settings(data, port)).and_then(|()| runner.own(&config));
    let mut command = program.command("");
    command
        // Small, and quick to start: it has one node's sessions to keep, for a minute.
        .args([
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Xshare:auto",
            "-Xmx128m",
        ])
        // Nothing in the machine's temporary folder that would outlive a kill.
        .arg("-XX:-UsePerfData")
        .arg(format!("-Djava.io.tmpdir={}", data.display()))
        .args([
            "-Djava.net.preferIPv4Stack=true",
            "-Dzookeeper.forceSync=no",
            "-Dzookeeper.preAllocSize=1024",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        ])
        .arg("-cp")
        .arg(archives(program))
        .arg("org.apache.zookeeper.server.ZooKeeperServerMain")
        .arg(config);
    for name in [
        "JAVA_TOOL_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "_JAVA_OPTIONS",
        "CLASSPATH",
    ] {
        // Those of the caller's shell are not meant for this node.
        command.env_remove(name);
    }
    command
}

fn settings(data: &Path, port: u16) -> String {
    format!(
        "tickTime={TICK_MS}\n\
         minSessionTimeout={}\n\
         maxSessionTimeout=60000\n\
         maxClientCnxns=0\n\
         clientPort={port}\n\
         clientPortAddress=127.0.0.1\n\
         dataDir={}\n\
         admin.enableServer=false\n\
         4lw.commands.whitelist=srvr\n",
        2 * TICK_MS,
        data.join("zookeeper").display()
    )
}

/// The public image's entry point makes its settings of variables.
pub(crate) fn plan() -> Plan {
    let extra = format!("minSessionTimeout={} maxSessionTimeout=60000", 2 * TICK_MS);
    let variables = [
        ("ZOO_TICK_TIME", TICK_MS.to_string()),
        ("ZOO_MAX_CLIENT_CNXNS", "0".to_owned()),
        ("ZOO_ADMINSERVER_ENABLED", "false".to_owned()),
        ("ZOO_4LW_COMMANDS_WHITELIST", "srvr".to_owned()),
        ("ZOO_STANDALONE_ENABLED", "true".to_owned()),
        ("ZOO_CFG_EXTRA", extra),
        (
            "SERVER_JVMFLAGS",
            "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m -Dzookeeper.forceSync=no".to_owned(),
        ),
    ];
    Plan {
        port: 2181,
        command: ["zkServer.sh", "start-foreground"].map(str::to_owned).to_vec(),
        environment: variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        ..Plan::default()
    }
}

pub(crate) fn endpoint(port: u16) -> Endpoint {
    Endpoint::ZooKeeper {
        host: "127.0.0.1".to_owned(),
        port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(folder: &Path) -> Search {
        Search {
            path: Some(folder.as_os_str().to_owned()),
            usual_folders: false,
            ..Search::default()
        }
    }

    #[test]
    fn the_archives_a_java_and_the_version_are_found_or_named() {
        let root = tempfile::tempdir().unwrap();
        let missing = installed(&search(root.path())).unwrap_err();
        assert!(missing.contains("no `java`"), "{missing}");
        for name in [ARCHIVE, "java", "zookeeper-3.8.0.jar", "zookeeper-it.jar"]
            .iter()
            .chain(BESIDE)
        {
            fs::write(root.path().join(name), "").unwrap();
        }
        let found = installed(&search(root.path())).unwrap();
        assert_eq!(found.version, "3.8.0");
        assert_eq!(found.interpreter, Some(root.path().join("java")));
        assert_eq!(std::env::split_paths(&archives(&found)).count(), 1 + BESIDE.len());
        fs::remove_file(root.path().join("snappy-java.jar")).unwrap();
        let missing = installed(&search(root.path())).unwrap_err();
        assert!(missing.contains("no `snappy-java.jar`"), "{missing}");
        fs::remove_file(root.path().join(ARCHIVE)).unwrap();
        let found = installed(&search(root.path())).unwrap();
        assert_eq!(archives(&found), root.path().join("*"));
    }

    #[test]
    fn an_unpacked_java_is_preferred_to_the_machines() {
        let root = tempfile::tempdir().unwrap();
        let (bin, archives) = (
            root.path().join("usr/lib/jvm/java-17/bin"),
            root.path().join("usr/share/java"),
        );
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&archives).unwrap();
        fs::write(bin.join("java"), "").unwrap();
        for name in std::iter::once(&ARCHIVE).chain(BESIDE) {
            fs::write(archives.join(name), "").unwrap();
        }
        let found = unpacked(root.path(), &search(root.path())).unwrap();
        assert_eq!(found.interpreter, Some(bin.join("java")));
        assert_eq!(found.path, archives.join(ARCHIVE));
    }
}
