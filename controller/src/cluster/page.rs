//! The page for people, where the chart or somebody else asks for it, and what it reads: the routes as the watch has them, and what
//! the proxies say that poll this replica. Whoever may make a token may read it, as everything else that operators are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Json, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clew_core::model::ObjectName;
use clew_filter_config::rule::Backend;
use serde::Serialize;
use serde_json::{Value, json};

use super::kind::Kind;
use super::operators::Operators;
use super::seen::{Body, Seen};
use super::store::Store;
use crate::channel::Channel;
use crate::channel::drains::drains;
use crate::channel::sessions::Sessions;
use crate::packed::Packed;
use crate::status_page;

/// What the page's questions are answered from.
#[derive(Clone)]
struct Page {
    operators: Operators,
    channel: Arc<Channel>,
    store: Arc<Store>,
}

/// The page, and the three things that it asks for; in the same shapes as `clew run` has them.
pub(crate) fn router(operators: Operators, channel: Arc<Channel>, store: Arc<Store>) -> Router {
    Router::new()
        .route(
            "/v1/status",
            get(async |State(page): State<Page>, headers: HeaderMap| {
                page.answer(&headers, Page::status).await
            }),
        )
        .route(
            "/v1/sessions",
            get(async |State(page): State<Page>, headers: HeaderMap| {
                let sessions = |page: &Page| Sessions::new(&page.channel.live(), &page.backends());
                page.answer(&headers, sessions).await
            }),
        )
        .route(
            "/v1/drains",
            get(async |State(page): State<Page>, headers: HeaderMap| {
                let drains = |page: &Page| drains(&page.channel.live(), &page.backends());
                page.answer(&headers, drains).await
            }),
        )
        .with_state(Page {
            operators,
            channel,
            store,
        })
        .merge(status_page::router())
}

impl Page {
    async fn answer<T: Serialize>(&self, headers: &HeaderMap, what: impl FnOnce(&Self) -> T) -> Response {
        match self.operators.may_read(headers).await {
            Ok(()) => Json(what(self)).into_response(),
            Err(refusal) => refusal.into_response(),
        }
    }

    fn status(&self) -> Value {
        let gateways = self.channel.view().into_iter().map(|gateway| {
            json!({
                "name": gateway.name,
                "proxies": gateway.proxies.len(),
                "acknowledged": gateway.proxies.iter().filter(|proxy| proxy.acknowledged).count(),
            })
        });
        json!({
            "replica": self.operators.replica(),
            "ready": self.store.unknown().is_empty(),
            "gateways": gateways.collect::<Vec<_>>(),
            "routes": self.routes(),
        })
    }

    fn routes(&self) -> Vec<Value> {
        let shelves = self.store.lock();
        let shelf = shelves.get(&Kind::WebSocketRoute);
        let objects = shelf.into_iter().flat_map(|shelf| shelf.objects.clone());
        let routes: Vec<_> = objects.collect();
        // Others want the shelves, too, and routes may be many.
        drop(shelves);
        routes.iter().map(route).collect()
    }

    fn backends(&self) -> BTreeMap<String, Backend> {
        let gateways = self.channel.view();
        gateways
            .into_iter()
            .flat_map(|gateway| gateway.backends)
            .collect()
    }
}

/// A status of an older text says nothing of this one.
fn route((name, seen): &(ObjectName, Seen)) -> Value {
    let generation = match &seen.body {
        Body::Route(route) => route.open().and_then(|route| route.metadata.generation),
        _ => None,
    };
    let status = seen
        .status
        .as_ref()
        .and_then(Packed::open)
        .filter(|status| status.observed_generation == generation);
    json!({"namespace": name.namespace, "name": name.name, "status": status})
}
