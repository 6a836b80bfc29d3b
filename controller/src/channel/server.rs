//! The channel over HTTP: `POST /v1/channel`, a bearer token, JSON both ways.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Json, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use clew_filter_config::channel::{PATH, Poll};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use super::Channel;

/// Live counts by rule and pod of a large proxy fit in this many bytes.
const LARGEST_POLL: usize = 32 << 20;

#[derive(Clone)]
struct Door {
    channel: Arc<Channel>,
    /// Of the token, so that a comparison takes equally long wherever they differ.
    token: [u8; 32],
}

/// Serves the channel for as long as the task lives.
///
/// # Errors
/// When the listener fails.
pub(crate) async fn serve(listener: TcpListener, channel: Arc<Channel>, token: &str) -> std::io::Result<()> {
    let door = Door {
        channel,
        token: Sha256::digest(token).into(),
    };
    let router = Router::new()
        .route(PATH, post(poll))
        .layer(DefaultBodyLimit::max(LARGEST_POLL))
        .with_state(door);
    axum::serve(listener, router).await
}

async fn poll(State(door): State<Door>, headers: HeaderMap, body: axum::body::Bytes) -> Response {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .map(Sha256::digest);
    if token.is_none_or(|token| token[..] != door.token) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let poll: Poll = match serde_json::from_slice(&body) {
        Ok(poll) => poll,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    match door.channel.poll(poll).await {
        Some(update) => Json(update).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}
