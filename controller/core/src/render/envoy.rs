//! World → stand-alone Envoy's files: one bootstrap, and file xDS in JSON.
//!
//! Which file changes with what: a route edit changes `routes/*` and `clusters.json` and never
//! `listeners.json`, because one changed byte of a listener cuts its sockets. A renewed certificate changes one file of
//! `secrets/`, a new module the files of `extensions/`, new keys for tokens those of `jwt/`.

mod access_log;
mod action;
mod bootstrap;
mod cluster;
mod endpoint;
mod extension;
mod file;
mod jwt;
mod listener;
mod route;
mod secret;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use clew_filter_config::plugin::FailureMode;
use serde::Serialize;

use crate::model::World;
use crate::render::rules::Drains;

pub use bootstrap::bootstrap;
pub(super) use bootstrap::stats_tag;
pub use cluster::CHANNEL;
pub use file::File;

/// What the surroundings decide, not the manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder of the files, as Envoy sees it; absolute, without a slash at the end.
    pub folder: String,
    /// The filter's module, as Envoy sees it; absolute. Its name should change with its bytes.
    pub module: String,
    /// The sha256 of the module: 64 hex digits.
    pub module_sha256: String,
    /// Where the channel is served.
    pub channel: SocketAddr,
    /// The channel's bearer token.
    pub token: String,
    /// Envoy's admin address.
    pub admin: SocketAddr,
    /// `node.id`: what `xds.node.id` says.
    pub node: String,
    /// What a filter does that failed, or never heard of its rules.
    pub failure_mode: FailureMode,
    /// The file of the listeners' access log, as Envoy sees it, where there is to be one.
    pub access_log: Option<String>,
}

/// Everything that Envoy reads but the [`bootstrap`], in the order in which it must be written: what is named last may
/// refer to what was named before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// SDS, by path below [`Settings::folder`]: `secrets/…`. A file for each certificate.
    pub secrets: BTreeMap<String, File>,
    /// ECDS: `extensions/…`. A file for each gateway; it holds the channel's token.
    pub extensions: BTreeMap<String, File>,
    /// ECDS: `jwt/…`. A file for each gateway, with the keys by which its rules verify tokens.
    pub jwt: BTreeMap<String, File>,
    /// CDS: `clusters.json`, with the endpoints of each cluster.
    pub clusters: File,
    /// RDS: `routes/…`. A file for each socket.
    pub routes: BTreeMap<String, File>,
    /// LDS: `listeners.json`.
    pub listeners: File,
}

/// The path of CDS below [`Settings::folder`].
pub const CLUSTERS: &str = "clusters.json";
/// The path of LDS below [`Settings::folder`].
pub const LISTENERS: &str = "listeners.json";

/// Renders everything but the [`bootstrap`].
#[must_use]
pub fn render(world: &World, settings: &Settings, drains: &Drains) -> Rendered {
    Rendered {
        secrets: secret::files(world),
        extensions: extension::files(world, settings),
        jwt: jwt::files(world),
        clusters: cluster::file(world, settings, drains),
        routes: route::files(world),
        listeners: listener::file(world, settings),
    }
}

impl Rendered {
    /// Every file with its path below [`Settings::folder`], in the order in which they must be written.
    pub fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        let of = |files| BTreeMap::iter(files).map(|(path, file)| (String::as_str(path), file));
        of(&self.secrets)
            .chain(of(&self.extensions))
            .chain(of(&self.jwt))
            .chain([(CLUSTERS, &self.clusters)])
            .chain(of(&self.routes))
            .chain([(LISTENERS, &self.listeners)])
    }
}

/// A file below the folder that Envoy watches.
#[derive(Serialize)]
struct ConfigSource {
    path_config_source: PathConfigSource,
    resource_api_version: &'static str,
}

#[derive(Serialize)]
struct PathConfigSource {
    path: String,
}

fn watched(settings: &Settings, path: &str) -> ConfigSource {
    let path = format!("{}/{path}", settings.folder);
    ConfigSource {
        path_config_source: PathConfigSource { path },
        resource_api_version: "V3",
    }
}

#[derive(Serialize)]
struct Address {
    socket_address: SocketAddress,
}

#[derive(Serialize)]
struct SocketAddress {
    address: IpAddr,
    port_value: u16,
}

fn address(address: SocketAddr) -> Address {
    Address {
        socket_address: SocketAddress {
            address: address.ip(),
            port_value: address.port(),
        },
    }
}

/// A duration as protobuf's JSON writes it.
pub(super) fn seconds(millis: u64) -> String {
    match millis % 1000 {
        0 => format!("{}s", millis / 1000),
        rest => format!("{}.{rest:03}s", millis / 1000),
    }
}

#[cfg(test)]
mod tests;
