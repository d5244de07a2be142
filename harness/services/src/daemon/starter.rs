//! The program that starts containers through `testcontainers`, built when it is first needed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::place::Place;
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

/// The program, as cargo builds it in the workbook that this was compiled in. A second call finds it fresh.
async fn program(options: &Options) -> Result<PathBuf, String> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    PROGRAM.get_or_try_init(|| build(options)).await.cloned()
}

async fn build(options: &Options) -> Result<PathBuf, String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let workspace = workspace.ok_or("this was compiled outside the workbook")?;
    options.say("compiling the container client, once");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--package",
            PACKAGE,
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(workspace)
        // What the caller's own build was asked for is not meant for this one.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("CARGO_TERM_COLOR", "never")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("failed to start cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    executable(&said).ok_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = errors.lines().filter(|line| line.starts_with("error")).collect();
        format!("the container client could not be built: {}", last.join("; "))
    })
}

#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

/// The program among cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter_map(|message| message.executable)
        .find(|program| program.file_stem().is_some_and(|stem| stem == PACKAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let said = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                    {\"reason\":\"compiler-artifact\",\"executable\":\"/t/debug/containers\"}\n\
                    {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(said), Some(PathBuf::from("/t/debug/containers")));
        assert_eq!(
            executable("{\"reason\":\"build-finished\",\"success\":false}"),
            None
        );
    }
}
