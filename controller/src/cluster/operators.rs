//! What operators ask a controller for, and whose question is answered. They come through the API server, which proxies to our
//! pod and passes no credentials on. So they bring a token in a header of its own: one that the API server made for them, for
//! nobody but us and for minutes, of an account that may do nothing ([`READER`]). Who may make one, RBAC says.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Json, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::{Api, PostParams};
use kube::{Client, api::ObjectMeta};
use serde_json::json;
use tokio::sync::Semaphore;

use super::lease::Leadership;
use super::rights;
use super::settings::{Scope, Settings};
use crate::channel::Channel;
use crate::channel::view::ReplicaView;
use crate::module;

/// Where it is asked for.
pub(crate) const GATEWAYS: &str = "/v1/gateways";
/// The query of whoever also wants to know what our account may not do, which the API server is asked then.
pub(crate) const RIGHTS: &str = "rights";
/// The header that the token is in.
pub(crate) const TOKEN: &str = "x-clew-token";
/// Whom the token is for.
pub(crate) const AUDIENCE: &str = "clew.dev";
/// The account that operators make tokens of.
pub(crate) const READER: &str = "clew-reader";

/// Longer ones are none.
const LONGEST_TOKEN: usize = 8192;
/// The API server is asked about so many at once: whoever sends us rubbish makes it no work to speak of.
const REVIEWS: usize = 4;

/// What they are answered with.
#[derive(Clone)]
pub(crate) struct Operators {
    client: Client,
    channel: Arc<Channel>,
    leadership: Arc<Leadership>,
    reviews: Arc<Semaphore>,
    identity: Arc<str>,
    scope: Arc<Scope>,
    /// As a token's review names it.
    reader: Arc<str>,
}

impl Operators {
    pub(crate) fn new(
        client: Client,
        settings: &Settings,
        channel: Arc<Channel>,
        leadership: Arc<Leadership>,
    ) -> Self {
        Self {
            client,
            channel,
            leadership,
            reviews: Arc::new(Semaphore::new(REVIEWS)),
            identity: settings.identity.as_str().into(),
            scope: Arc::new(settings.scope.clone()),
            reader: format!("system:serviceaccount:{}:{READER}", settings.scope.namespace).into(),
        }
    }

    /// The one route.
    pub(crate) fn router(self) -> Router {
        Router::new().route(GATEWAYS, get(gateways)).with_state(self)
    }

    /// Who answers.
    pub(super) fn replica(&self) -> serde_json::Value {
        json!({"name": *self.identity, "version": env!("CARGO_PKG_VERSION"), "leads": self.leadership.is_ours()})
    }

    /// Whether a token is one that was made for us, of the account that operators use.
    pub(super) async fn may_read(&self, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
        let token = headers.get(TOKEN).and_then(|value| value.to_str().ok());
        let Some(token) = token.filter(|token| (1..=LONGEST_TOKEN).contains(&token.len())) else {
            return Err((
                StatusCode::UNAUTHORIZED,
                format!("no token of {} in {TOKEN}", self.reader),
            ));
        };
        let Ok(_turn) = self.reviews.try_acquire() else {
            return Err((StatusCode::TOO_MANY_REQUESTS, "too many ask at once".to_owned()));
        };
        let review = TokenReview {
            metadata: ObjectMeta::default(),
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            status: None,
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|error| {
            tracing::warn!("CLEW0941: no token can be reviewed: {error}");
            (
                StatusCode::BAD_GATEWAY,
                format!("the controller cannot have a token reviewed: {error}"),
            )
        })?;
        match status
            .status
            .is_some_and(|status| is_reader(&status, &self.reader))
        {
            true => Ok(()),
            false => Err((
                StatusCode::UNAUTHORIZED,
                format!("the token is none of {} for {AUDIENCE}", self.reader),
            )),
        }
    }
}

fn is_reader(status: &TokenReviewStatus, reader: &str) -> bool {
    let user = status.user.as_ref().and_then(|user| user.username.as_deref());
    let audiences = status.audiences.iter().flatten();
    status.authenticated == Some(true)
        && user == Some(reader)
        // A server that knows no audiences would let any token of the account pass.
        && audiences.into_iter().any(|audience| audience == AUDIENCE)
}

async fn gateways(
    State(operators): State<Operators>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = operators.may_read(&headers).await {
        return refusal.into_response();
    }
    let lacks = match query.as_deref() {
        Some(RIGHTS) => rights::lacking(&operators.client, &operators.scope).await,
        _ => Ok(None),
    };
    Json(ReplicaView {
        replica: operators.identity.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        module: module::sha256(),
        leads: operators.leadership.is_ours(),
        lacks: lacks.unwrap_or_default(),
        watched: operators.scope.watched.clone(),
        gateways: operators.channel.view(),
    })
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::{AUDIENCE, TokenReviewStatus, is_reader};
    use k8s_openapi::api::authentication::v1::UserInfo;

    #[test]
    fn only_a_token_for_us_of_the_readers_account_counts() {
        let reader = "system:serviceaccount:clew-system:clew-reader";
        for (authenticated, user, audience, expected) in [
            (true, reader, Some(AUDIENCE), true),
            (false, reader, Some(AUDIENCE), false),
            (
                true,
                "system:serviceaccount:shop:clew-reader",
                Some(AUDIENCE),
                false,
            ),
            (true, reader, Some("https://kubernetes.default.svc"), false),
            (true, reader, None, false),
        ] {
            let status = TokenReviewStatus {
                authenticated: Some(authenticated),
                user: Some(UserInfo {
                    username: Some(user.to_owned()),
                    ..UserInfo::default()
                }),
                audiences: audience.map(|audience| vec![audience.to_owned()]),
                error: None,
            };
            assert_eq!(is_reader(&status, reader), expected, "{status:?}");
        }
    }
}
