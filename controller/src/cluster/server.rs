//! What proxies and probes ask for: the channel, the module, health, metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::downloads::Downloads;
use super::store::Store;
use crate::channel::leader::Leader;
use crate::channel::tokens::Tokens;
use crate::channel::{Channel, server};
use crate::metrics::{Metrics, OPENMETRICS};
use crate::module;

/// Where the module is: its SHA-256 and an ending.
pub(crate) const MODULES: &str = "/module/";

/// What is served.
#[derive(Clone)]
struct Served {
    channel: Arc<Channel>,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    /// A turn has told the filters all that there is.
    told: Arc<AtomicBool>,
    module: Arc<str>,
    downloads: Arc<Downloads>,
}

/// All of it.
pub(crate) fn router(
    channel: Arc<Channel>,
    tokens: Tokens,
    leader: Leader,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    told: Arc<AtomicBool>,
    downloads: Arc<Downloads>,
) -> Router {
    let served = Served {
        channel: Arc::clone(&channel),
        store,
        metrics,
        told,
        module: module_file().into(),
        downloads,
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route(
            "/metrics",
            get(async |State(served): State<Served>| {
                let text = served.metrics.text(&served.channel.proxies());
                ([(header::CONTENT_TYPE, OPENMETRICS)], text)
            }),
        )
        .route(&format!("{MODULES}{{file}}"), get(wasm))
        .with_state(served)
        .merge(server::router(channel, tokens, Some(leader)))
}

/// What the module is called: a path that changes with every byte of it.
pub(crate) fn module_file() -> String {
    format!("{}.wasm", module::sha256())
}

async fn ready(State(served): State<Served>) -> (StatusCode, String) {
    let lacks = served.store.unknown();
    if lacks.is_empty() && served.told.load(Ordering::Acquire) {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready\n{}\n", lacks.join("\n")),
    )
}

async fn wasm(
    State(served): State<Served>,
    ConnectInfo(who): ConnectInfo<SocketAddr>,
    Path(file): Path<String>,
) -> Response {
    let is_there = *file == *served.module;
    served.downloads.note(who.ip().to_canonical(), is_there);
    match is_there {
        true => ([(header::CONTENT_TYPE, "application/wasm")], module::BYTES).into_response(),
        false => {
            tracing::warn!(
                "CLEW0929: {who} asks for module {file}, which is not the one that is served; clew install says which is"
            );
            StatusCode::NOT_FOUND.into_response()
        }
    }
}
