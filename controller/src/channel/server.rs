//! The channel over HTTP: `POST /v1/channel`, a bearer token, JSON both ways.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Json, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use clew_filter_config::channel::{PATH, Poll};
use tokio::net::TcpListener;

use super::Channel;
use super::leader::Leader;
use super::tokens::Tokens;

/// Live counts by rule and pod of a large proxy fit in this many bytes.
const LARGEST_POLL: usize = 32 << 20;

#[derive(Clone)]
struct Door {
    channel: Arc<Channel>,
    tokens: Arc<Tokens>,
    /// Where there are several controllers.
    leader: Option<Leader>,
}

/// Serves the channel for as long as the task lives.
///
/// # Errors
/// When the listener fails.
pub(crate) async fn serve(listener: TcpListener, channel: Arc<Channel>, token: &str) -> std::io::Result<()> {
    axum::serve(listener, router(channel, Tokens::one(token), None)).await
}

/// The channel's one route.
pub(crate) fn router(channel: Arc<Channel>, tokens: Tokens, leader: Option<Leader>) -> Router {
    Router::new()
        .route(PATH, post(poll))
        .layer(DefaultBodyLimit::max(LARGEST_POLL))
        .with_state(Door {
            channel,
            tokens: Arc::new(tokens),
            leader,
        })
}

async fn poll(State(door): State<Door>, headers: HeaderMap, body: axum::body::Body) -> Response {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    // Nothing is read of whoever may not speak.
    let Some(gateway) = token.and_then(|token| door.tokens.gateway(token)) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let Ok(body) = axum::body::to_bytes(body, LARGEST_POLL).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let poll: Poll = match serde_json::from_slice(&body) {
        Ok(poll) => poll,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    if !gateway.is_empty() && gateway != poll.gateway {
        return StatusCode::FORBIDDEN.into_response();
    }
    if let Some(leader) = &door.leader {
        // What it says is known here too, should the one that leads go.
        let _open = door.channel.open(&poll);
        if let Some(answer) = leader.answer(&headers, &body).await {
            return answer;
        }
    }
    match door.channel.poll(poll).await {
        Some(update) => Json(update).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}
