//! Programs of the workbook's own that cargo builds when they are first needed, so that nobody else pays for them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

use crate::options::Options;

/// The program of `package`, as cargo builds it in the workbook that this was compiled in; `what` is what people are told
/// is being compiled. A second call finds it fresh.
///
/// # Errors
/// Why there is none, as a fragment.
pub(crate) async fn program(package: &str, what: &str, options: &Options) -> Result<PathBuf, String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let workspace = workspace.ok_or("this was compiled outside the workbook")?;
    options.say(format!("compiling {what}, once"));
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--package",
            package,
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
    executable(package, &said).ok_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = errors.lines().filter(|line| line.starts_with("error")).collect();
        format!("{what} could not be built: {}", last.join("; "))
    })
}

#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

/// The program among cargo's messages.
fn executable(package: &str, messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter_map(|message| message.executable)
        .find(|program| program.file_stem().is_some_and(|stem| stem == package))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let said = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                    {\"reason\":\"compiler-artifact\",\"executable\":\"/t/debug/containers\"}\n\
                    {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(
            executable("containers", said),
            Some(PathBuf::from("/t/debug/containers"))
        );
        assert_eq!(executable("dynamodb", said), None);
        assert_eq!(
            executable("containers", "{\"reason\":\"build-finished\",\"success\":false}"),
            None
        );
    }
}
