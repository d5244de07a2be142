//! The program that starts containers through `testcontainers`, built when it is first needed.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::place::Place;
use crate::built;
use crate::container::Order;
use crate::options::Options;

const PACKAGE: &str = "containers";
/// How long starting a container may take, without waiting for what runs in it.
const START_WITHIN: Duration = Duration::from_secs(60);

/// Has the container started that `order` asks for, at the daemon that was found; returns its number.
///
/// # Errors
/// Why there is none, as a fragment.
pub(super) async fn start(place: &Place, order: &Order, options: &Options) -> Result<String, String> {
    let program = program(options).await?;
    let mut child = Command::new(&program)
        .env("DOCKER_HOST", place.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let text = serde_json::to_vec(order).map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ended early has said why.
        stdin.write_all(&text).await.ok();
    }
    let output = match timeout(START_WITHIN, child.wait_with_output()).await {
        Ok(output) => output.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("the daemon did not start it within {START_WITHIN:?}")),
    };
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The program; a second call finds it fresh.
async fn program(options: &Options) -> Result<PathBuf, String> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    let built = PROGRAM.get_or_try_init(|| built::program(PACKAGE, "the container client", options));
    built.await.cloned()
}
