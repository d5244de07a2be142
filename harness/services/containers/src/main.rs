//! Starts one container through `testcontainers`: an [`Order`] as JSON on standard input, the container's number on
//! standard output, and why not on standard error.
//!
//! The container goes on when this program ends. Whoever ordered it removes it; the labels in the order tell a later run
//! whose it was.

use std::io::Read;
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use services::Order;
use testcontainers::bollard::models::PortBinding;
use testcontainers::core::{IntoContainerPort, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match start().await {
        Ok(id) => {
            println!("{id}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn start() -> Result<String, Box<dyn std::error::Error>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let order: Order = serde_json::from_str(&text)?;
    let container = request(&order).start().await?;
    // Dropping it would remove the container.
    Ok(ManuallyDrop::new(container).id().to_owned())
}

fn request(order: &Order) -> ContainerRequest<GenericImage> {
    let (name, tag) = order.name_and_tag();
    let mut image = GenericImage::new(name, tag);
    if let Some(entry_point) = &order.entry_point {
        image = image.with_entrypoint(entry_point);
    }
    let mut request = image
        .with_exposed_port(order.port.tcp())
        .with_labels(&order.labels)
        .with_cmd(&order.command);
    let port = order.port;
    if order.host_network {
        request = request.with_network("host");
    } else {
        request = request.with_host_config_modifier(move |host| {
            // By itself it publishes on every interface of this machine.
            let loopback = PortBinding {
                host_ip: Some("127.0.0.1".to_owned()),
                host_port: Some(String::new()),
            };
            host.publish_all_ports = Some(false);
            host.port_bindings = Some([(format!("{port}/tcp"), Some(vec![loopback]))].into());
        });
    }
    for (name, value) in &order.environment {
        request = request.with_env_var(name, value);
    }
    for (volume, path) in &order.volumes {
        request = request.with_mount(Mount::volume_mount(volume, path));
    }
    request
}
