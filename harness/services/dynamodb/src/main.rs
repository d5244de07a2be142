//! DynamoDB's API: `dynamodb PORT` on the loopback interface, `dynamodb ADDRESS:PORT` elsewhere, as in a container. What it holds is in memory, and ends with it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use dynoxide::Database;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    let served = match argument.as_deref() {
        Some("--version") => {
            println!("dynamodb (dynoxide) {}", dynoxide::PRODUCT_VERSION);
            Ok(())
        }
        Some(place) => serve(place).await,
        None => Err("usage: dynamodb PORT, or dynamodb ADDRESS:PORT".to_owned()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(place: &str) -> Result<(), String> {
    let address = match place.parse::<u16>() {
        Ok(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        Err(_) => place.parse().map_err(|error| format!("`{place}`: {error}"))?,
    };
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| format!("failed to listen on {address}: {error}"))?;
    let database = Database::memory().map_err(|error| format!("failed to open a database: {error}"))?;
    dynoxide::server::serve_on(listener, database).await;
    Ok(())
}
