//! What can be asked of a running `clew run`: the last outcome, and what the filters say at this moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clew_core::model::{ObjectName, Parent};
use clew_core::status::{Applied, Progress, status};
use clew_core::validate::RouteReport;
use clew_crds::status::WebSocketRouteStatus;
use clew_filter_config::rule::{Backend, Draining};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

use crate::channel::Channel;
use crate::channel::drains::{Drain, drains};
use crate::channel::sessions::Sessions;
use crate::channel::view::ProxyView;
use crate::clock;
use crate::finding::Finding;

/// The last outcome of a turn.
#[derive(Debug, Default)]
pub(super) struct Last {
    pub(super) routes: Vec<RouteReport>,
    pub(super) findings: Vec<Finding>,
    /// By gateway.
    pub(super) backends: BTreeMap<String, BTreeMap<String, Backend>>,
    /// What Envoy or the state folder said against it.
    pub(super) failed: Option<String>,
    pub(super) envoy: Option<Envoy>,
    pub(super) listeners: Vec<SocketAddr>,
    pub(super) ready: bool,
    /// Set while everything drains.
    pub(super) draining: Option<Draining>,
    statuses: BTreeMap<ObjectName, WebSocketRouteStatus>,
}

/// Envoy, as the ready line and the status speak of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Envoy {
    pub(super) version: String,
    pub(super) pid: u32,
    pub(super) admin: SocketAddr,
    pub(super) restarts: u64,
}

/// Shared between the turns and those who ask.
#[derive(Clone, Debug)]
pub(super) struct View {
    last: Arc<Mutex<Last>>,
    channel: Arc<Channel>,
}

/// `/v1/status`.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    ready: bool,
    draining: bool,
    envoy: Option<Envoy>,
    listeners: Vec<SocketAddr>,
    gateways: Vec<Gateway>,
    routes: Vec<Route>,
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Gateway {
    name: String,
    proxies: usize,
    acknowledged: usize,
}

#[derive(Debug, Serialize)]
struct Route {
    namespace: String,
    name: String,
    source: String,
    status: WebSocketRouteStatus,
}

impl View {
    pub(super) fn new(channel: Arc<Channel>) -> Self {
        Self {
            last: Arc::default(),
            channel,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_ready(&self) -> bool {
        let last = self.lock();
        last.ready && last.draining.is_none()
    }

    pub(super) fn status(&self) -> Status {
        let mut last = self.lock();
        let last = &mut *last;
        let standing: BTreeMap<_, _> = last
            .backends
            .keys()
            .map(|gateway| (gateway.as_str(), self.channel.standing(gateway)))
            .collect();
        let progress =
            |parent: &Parent| match (&last.failed, standing.get(parent.name().to_string().as_str())) {
                (Some(what), _) => Progress::Failed(what.clone()),
                (None, None) => Progress::Prepared,
                (None, Some(standing)) => Progress::Applied(Applied {
                    acknowledged: standing.proxies - standing.behind,
                    connected: standing.proxies,
                }),
            };
        let now = Time(
            i64::try_from(clock::unix_ms())
                .ok()
                .and_then(|ms| Timestamp::from_millisecond(ms).ok())
                .unwrap_or_default(),
        );
        last.statuses = last
            .routes
            .iter()
            .map(|route| {
                (
                    route.name.clone(),
                    status(route, progress, last.statuses.get(&route.name), &now),
                )
            })
            .collect();
        let routes = last.routes.iter().filter_map(|route| {
            Some(Route {
                namespace: route.name.namespace.to_string(),
                name: route.name.name.to_string(),
                source: route.source.to_string(),
                status: last.statuses.get(&route.name)?.clone(),
            })
        });
        Status {
            ready: last.ready,
            draining: last.draining.is_some(),
            envoy: last.envoy.clone(),
            listeners: last.listeners.clone(),
            gateways: standing
                .iter()
                .map(|(name, standing)| Gateway {
                    name: (*name).to_owned(),
                    proxies: standing.proxies,
                    acknowledged: standing.proxies - standing.behind,
                })
                .collect(),
            routes: routes.collect(),
            findings: last.findings.clone(),
        }
    }

    pub(super) fn proxies(&self) -> Vec<ProxyView> {
        self.channel.proxies()
    }

    pub(super) fn sessions(&self) -> Sessions {
        Sessions::new(&self.channel.live(), &self.backends())
    }

    pub(super) fn drains(&self) -> Vec<Drain> {
        drains(&self.channel.live(), &self.backends())
    }

    fn backends(&self) -> BTreeMap<String, Backend> {
        self.lock()
            .backends
            .values()
            .flatten()
            .map(|(id, backend)| (id.clone(), backend.clone()))
            .collect()
    }
}
