//! What of a `clew run`: what it says of itself, what its Envoy says, and the manifests as they last were good.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Archive, about};
use crate::failure::Failure;
use crate::http;

/// What Envoy's administration interface says, as what.
const ENVOY: [(&str, &str); 5] = [
    ("/server_info", "envoy/server_info.yaml"),
    ("/config_dump", "envoy/config_dump.yaml"),
    ("/clusters?format=json", "envoy/clusters.yaml"),
    ("/listeners?format=json", "envoy/listeners.yaml"),
    ("/stats", "envoy/stats.txt"),
];

/// Collects what there is at an address, and in the state folder if it is on this machine.
///
/// # Errors
/// When nobody answers.
pub(crate) async fn of_standalone(
    archive: &mut Archive,
    address: SocketAddr,
    folder: Option<&Path>,
) -> Result<(), Failure> {
    let status = get(address, "/v1/status").await.map_err(|why| {
        Failure::unreachable(format!(
            "no clew run answers at {address}: {why}; --api or --state-dir say where it is"
        ))
    })?;
    archive.yaml("about.yaml", &about("clew run"))?;
    let admin: Option<SocketAddr> = status["envoy"]["admin"]
        .as_str()
        .and_then(|text| text.parse().ok());
    archive.yaml("status.yaml", &status)?;
    archive.add("sessions.yaml", get(address, "/v1/sessions").await)?;
    archive.add("drains.yaml", get(address, "/v1/drains").await)?;
    text(archive, "metrics.txt", address, "/metrics").await?;
    let is_elsewhere = |admin: SocketAddr| admin.ip().is_loopback() && !address.ip().is_loopback();
    match admin {
        Some(admin) if is_elsewhere(admin) => {
            archive.miss(
                "envoy/",
                "Envoy tells only its own machine, which is not this one".to_owned(),
            );
        }
        None => archive.miss("envoy/", "Envoy is not running".to_owned()),
        Some(admin) => {
            for (path, name) in ENVOY {
                match name.ends_with(".yaml") {
                    true => archive.add(name, get(admin, path).await)?,
                    false => text(archive, name, admin, path).await?,
                }
            }
        }
    }
    match folder {
        None => archive.miss("manifests.yaml", "the state folder is not said".to_owned()),
        Some(folder) => {
            archive.add("manifests.yaml", manifests(&folder.join("manifests")))?;
            match fs::read(folder.join("envoy/envoy.log")) {
                Ok(log) => archive.text("envoy/envoy.log", &log)?,
                Err(error) => archive.miss("envoy/envoy.log", error.to_string()),
            }
        }
    }
    Ok(())
}

async fn get(address: SocketAddr, path: &str) -> Result<Value, String> {
    let bytes = http::get(address, path)
        .await
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

async fn text(archive: &mut Archive, name: &str, address: SocketAddr, path: &str) -> Result<(), Failure> {
    match http::get(address, path).await {
        Ok(bytes) => archive.text(name, &bytes),
        Err(error) => {
            archive.miss(name, error.to_string());
            Ok(())
        }
    }
}

/// All that the state folder keeps, but for Secrets.
fn manifests(folder: &Path) -> Result<Vec<Value>, String> {
    let said = |error: std::io::Error| format!("{}: {error}", folder.display());
    let files: Result<Vec<PathBuf>, _> = fs::read_dir(folder)
        .map_err(said)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    let mut all = Vec::new();
    for path in files.map_err(said)? {
        let text = fs::read_to_string(&path).map_err(said)?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| error.to_string())?;
        all.extend(documents.into_iter().filter(|one| one["kind"] != "Secret"));
    }
    Ok(all)
}
