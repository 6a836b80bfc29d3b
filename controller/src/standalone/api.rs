//! Our own port: health, metrics, and what `clew status`, `clew sessions`, `clew drain` and the page at `/` ask for.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Json, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::view::View;
use crate::http::CHANGES;
use crate::metrics::{Metrics, OPENMETRICS};
use crate::status_page;

/// An operator wants pods drained, or kept.
#[derive(Debug)]
pub(super) struct Order {
    /// `namespace/name`, `name` or `ip:port`.
    pub(super) backend: String,
    pub(super) what: What,
    /// The names of the pods, or why there are none.
    pub(super) answer: oneshot::Sender<Result<Vec<String>, String>>,
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// Within this many milliseconds, or the rules' time.
    Drain(Option<u64>),
    Cancel,
}

#[derive(Clone)]
struct Api {
    view: View,
    metrics: Arc<Metrics>,
    orders: mpsc::Sender<Order>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DrainRequest {
    backend: String,
    #[serde(default)]
    timeout_ms: Option<u64>,
}

/// Serves until the task is dropped.
pub(super) async fn serve(
    listener: TcpListener,
    view: View,
    metrics: Arc<Metrics>,
    orders: mpsc::Sender<Order>,
) -> std::io::Result<()> {
    let router = status_page::router()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route(
            "/metrics",
            get(async |State(api): State<Api>| {
                let text = api.metrics.text(&api.view.proxies());
                ([(header::CONTENT_TYPE, OPENMETRICS)], text)
            }),
        )
        .route(
            "/v1/status",
            get(async |State(api): State<Api>| Json(api.view.status())),
        )
        .route(
            "/v1/sessions",
            get(async |State(api): State<Api>| Json(api.view.sessions())),
        )
        .route(
            "/v1/drains",
            get(async |State(api): State<Api>| Json(api.view.drains())).post(order),
        )
        .route("/v1/drains/{*backend}", delete(cancel))
        .with_state(Api {
            view,
            metrics,
            orders,
        });
    axum::serve(
        listener,
        router.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .await
}

async fn ready(State(api): State<Api>) -> (StatusCode, &'static str) {
    match api.view.is_ready() {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn order(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response {
    if let Some(refusal) = refusal(peer, &headers) {
        return refusal;
    }
    match serde_json::from_slice::<DrainRequest>(&body) {
        Ok(request) => api.send(request.backend, What::Drain(request.timeout_ms)).await,
        Err(error) => problem(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

async fn cancel(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Path(backend): Path<String>,
) -> Response {
    match refusal(peer, &headers) {
        Some(refusal) => refusal,
        None => api.send(backend, What::Cancel).await,
    }
}

impl Api {
    async fn send(&self, backend: String, what: What) -> Response {
        let (answer, answered) = oneshot::channel();
        let busy = || {
            problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "clew run is about to end".to_owned(),
            )
        };
        if self
            .orders
            .send(Order {
                backend,
                what,
                answer,
            })
            .await
            .is_err()
        {
            return busy();
        }
        match answered.await {
            Ok(Ok(pods)) => Json(json!({"pods": pods})).into_response(),
            Ok(Err(why)) => problem(StatusCode::NOT_FOUND, why),
            Err(_) => busy(),
        }
    }
}

/// Only programs of this machine may change anything, and no page that a browser of this machine shows: it can send
/// neither our header nor a request without Origin to another origin.
fn refusal(peer: SocketAddr, headers: &HeaderMap) -> Option<Response> {
    if peer.ip().is_loopback() && headers.contains_key(CHANGES) && !headers.contains_key(header::ORIGIN) {
        return None;
    }
    Some(problem(
        StatusCode::FORBIDDEN,
        format!("changes are taken from this machine only, with the header {CHANGES} and without Origin"),
    ))
}

fn problem(status: StatusCode, message: String) -> Response {
    (status, Json(json!({"error": message}))).into_response()
}

#[cfg(test)]
mod tests {
    use super::refusal;
    use crate::http::CHANGES;
    use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

    fn is_refused(peer: &str, headers: &[HeaderName]) -> bool {
        let value = |name: &HeaderName| (name.clone(), HeaderValue::from_static("1"));
        let headers: HeaderMap = headers.iter().map(value).collect();
        refusal(peer.parse().unwrap(), &headers).is_some()
    }

    #[test]
    fn changes_are_taken_from_programs_of_this_machine_only() {
        let ours = HeaderName::from_static(CHANGES);
        assert!(!is_refused("127.0.0.1:1", std::slice::from_ref(&ours)));
        assert!(!is_refused("[::1]:1", std::slice::from_ref(&ours)));
        assert!(is_refused("127.0.0.1:1", &[]), "a form in a browser");
        assert!(
            is_refused("127.0.0.1:1", &[ours.clone(), header::ORIGIN]),
            "a script in a browser"
        );
        assert!(is_refused("192.0.2.1:1", &[ours]), "another machine");
    }
}
