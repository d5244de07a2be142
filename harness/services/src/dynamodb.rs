//! DynamoDB's API: as a process, the workbook's own program around an emulator; as a container, Amazon's.

use std::process::Command;

use tokio::sync::OnceCell;

use crate::built;
use crate::container::Plan;
use crate::endpoint::Endpoint;
use crate::find::Program;
use crate::options::Options;

/// The package in `harness/services/dynamodb`, and its program.
pub(crate) const PACKAGE: &str = "dynamodb";

/// The program, which is in no distribution: compiled when it is first needed.
///
/// # Errors
/// Why there is none, as a fragment.
pub(crate) async fn program(options: &Options) -> Result<Program, String> {
    static PROGRAM: OnceCell<Program> = OnceCell::const_new();
    let built = PROGRAM.get_or_try_init(|| async {
        let path = built::program(PACKAGE, "the local DynamoDB server", options).await?;
        Program::inspect(path, Vec::new())
    });
    built.await.cloned()
}

pub(crate) fn command(program: &Program, port: u16) -> Command {
    let mut command = program.command("");
    command.arg(port.to_string());
    command
}

/// The image's own entry point is `java`; `-sharedDb` holds one database for all credentials and regions, as the other
/// program does.
pub(crate) fn plan() -> Plan {
    let words = [
        "-jar",
        "DynamoDBLocal.jar",
        "-inMemory",
        "-sharedDb",
        "-port",
        "8000",
    ];
    Plan {
        port: 8000,
        command: words.map(str::to_owned).to_vec(),
        ..Plan::default()
    }
}

pub(crate) fn endpoint(port: u16) -> Endpoint {
    Endpoint::DynamoDb {
        host: "127.0.0.1".to_owned(),
        port,
    }
}
