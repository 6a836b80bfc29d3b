//! The controller's own metrics, in Prometheus' text format: under names of Clew's, and under those that dashboards for controllers
//! made with controller-runtime and client-go know, where they mean the same.

mod places;
mod queue;
#[cfg(test)]
mod reference;

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::channel::view::ProxyView;
use crate::clock;
use crate::cluster::Kind;

use queue::Queue;

/// What [`Metrics::text`] is.
pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    reconciles: Family<Result, Counter>,
    duration: Histogram,
    routes: Family<Condition, Gauge<i64, AtomicI64>>,
    envoy_restarts: Counter,
    writes: Family<Written, Counter>,
    leader: Gauge<i64, AtomicI64>,
    runtime: Runtime,
    /// The changes that wait for a turn.
    pub(crate) queue: Queue,
}

/// What controller-runtime and client-go call it.
#[derive(Debug)]
struct Runtime {
    reconciles: Family<Reconcile, Counter>,
    errors: Family<Controller, Counter>,
    duration: Family<Controller, Histogram>,
    leader: Family<Lease, Gauge<i64, AtomicI64>>,
    requests: Family<Request, Counter>,
}

/// The one that there is.
const CONTROLLER: Controller = Controller {
    controller: "websocketroute",
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconcile {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    code: String,
    method: String,
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lease {
    name: &'static str,
}

impl Runtime {
    fn new(registry: &mut Registry) -> Self {
        let buckets = || Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let runtime = Self {
            reconciles: Family::default(),
            errors: Family::default(),
            duration: Family::new_with_constructor(buckets),
            leader: Family::default(),
            requests: Family::default(),
        };
        registry.register(
            "rest_client_requests",
            "Requests to the API server, by their answer's status, method and host",
            runtime.requests.clone(),
        );
        registry.register(
            "controller_runtime_reconcile",
            "Turns, by controller and result",
            runtime.reconciles.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_errors",
            "Turns in which something failed, by controller",
            runtime.errors.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "How long a turn takes, by controller",
            runtime.duration.clone(),
        );
        registry.register(
            "leader_election_master_status",
            "Whether this replica holds the Lease",
            runtime.leader.clone(),
        );
        // Before the first turn too.
        drop(runtime.errors.get_or_create(&CONTROLLER));
        runtime
    }

    fn reconciled(&self, applied: bool, took: Duration) {
        let reconcile = Reconcile {
            controller: CONTROLLER.controller,
            result: if applied { "success" } else { "error" },
        };
        self.reconciles.get_or_create(&reconcile).inc();
        if !applied {
            self.errors.get_or_create(&CONTROLLER).inc();
        }
        self.duration
            .get_or_create(&CONTROLLER)
            .observe(took.as_secs_f64());
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Written {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Condition {
    condition: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut all = Registry::default();
        let runtime = Runtime::new(&mut all);
        let queue = Queue::new(&mut all);
        let registry = all.sub_registry_with_prefix("clew_controller");
        let metrics = Self {
            reconciles: Family::default(),
            duration: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            routes: Family::default(),
            envoy_restarts: Counter::default(),
            writes: Family::default(),
            leader: Gauge::default(),
            runtime,
            queue,
            registry: Registry::default(),
        };
        registry.register(
            "reconcile",
            "Turns from the manifests to what is in force, by result",
            metrics.reconciles.clone(),
        );
        registry.register(
            "reconcile_duration_seconds",
            "How long a turn takes",
            metrics.duration.clone(),
        );
        registry.register(
            "routes",
            "Routes by the condition that they are in. Those that are not programmed at every parent are accepted ones",
            metrics.routes.clone(),
        );
        registry.register(
            "envoy_restarts",
            "How often Envoy ended and was started again",
            metrics.envoy_restarts.clone(),
        );
        registry.register(
            "writes",
            "Writes to the API server of objects and statuses, by kind",
            metrics.writes.clone(),
        );
        registry.register(
            "leader",
            "Whether this replica is the one that writes to the cluster",
            metrics.leader.clone(),
        );
        let build = Family::<[(&str, &str); 1], Gauge>::default();
        build
            .get_or_create(&[("version", env!("CARGO_PKG_VERSION"))])
            .set(1);
        registry.register("build_info", "The version that runs", build);
        Self {
            registry: all,
            ..metrics
        }
    }

    /// A turn is over.
    pub(crate) fn reconciled(&self, applied: bool, took: Duration) {
        let result = if applied { "applied" } else { "failed" };
        self.reconciles.get_or_create(&Result { result }).inc();
        self.duration.observe(took.as_secs_f64());
        self.runtime.reconciled(applied, took);
    }

    /// The API server was asked something.
    pub(crate) fn requested(&self, code: String, method: &str, host: &str) {
        let request = Request {
            code,
            method: method.to_owned(),
            host: host.to_owned(),
        };
        self.runtime.requests.get_or_create(&request).inc();
    }

    /// How many routes are as they ask, how many were refused or lack something, and how many of the former are not in force everywhere.
    pub(crate) fn routes(&self, accepted: usize, refused: usize, unprogrammed: usize) {
        let all = [
            ("Accepted", accepted),
            ("Refused", refused),
            ("NotProgrammed", unprogrammed),
        ];
        for (condition, routes) in all {
            self.routes
                .get_or_create(&Condition { condition })
                .set(i64::try_from(routes).unwrap_or(i64::MAX));
        }
    }

    /// Envoy had to be started again.
    pub(crate) fn envoy_restarted(&self) {
        self.envoy_restarts.inc();
    }

    /// Whether this replica writes.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
        let lease = Lease {
            name: crate::cluster::LEASE,
        };
        self.runtime.leader.get_or_create(&lease).set(leads.into());
    }

    /// An object is written, or removed.
    pub(crate) fn wrote(&self, kind: Kind) {
        self.count(kind.resource().kind);
    }

    /// A route's status is written.
    pub(crate) fn wrote_status(&self) {
        self.count("WebSocketRoute/status".to_owned());
    }

    fn count(&self, kind: String) {
        self.writes.get_or_create(&Written { kind }).inc();
    }

    pub(crate) fn envoy_restarts(&self) -> u64 {
        self.envoy_restarts.get()
    }

    /// All of it, and where the sessions of these proxies are.
    pub(crate) fn text(&self, proxies: &[ProxyView]) -> String {
        self.queue.look(clock::now());
        let mut now = Registry::default();
        places::register(proxies, &mut now);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode_registry(&mut text, &self.registry);
        let _ = text::encode_registry(&mut text, &now);
        let _ = text::encode_eof(&mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;
    use super::places::tests::proxy;
    use std::time::Duration;

    #[test]
    fn the_promised_names_are_there() {
        let metrics = Metrics::new();
        metrics.reconciled(true, Duration::from_millis(3));
        metrics.reconciled(false, Duration::from_millis(3));
        metrics.routes(2, 1, 1);
        metrics.leads(true);
        metrics.requested("200".to_owned(), "GET", "a:443");
        let text = metrics.text(&[proxy(&[("shop/chat/rooms", "chat-0", 7)])]);
        for line in [
            "clew_controller_sessions{clew_proxy=\"edge-0.infra\",clew_backend=\"shop/chat:80\",clew_pod=\"chat-0\"} 7",
            "clew_controller_reconcile_total{result=\"applied\"} 1",
            "clew_controller_reconcile_total{result=\"failed\"} 1",
            "clew_controller_reconcile_duration_seconds_count 2",
            "clew_controller_routes{condition=\"Accepted\"} 2",
            "clew_controller_routes{condition=\"Refused\"} 1",
            "clew_controller_routes{condition=\"NotProgrammed\"} 1",
            concat!(
                "clew_controller_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
            "controller_runtime_reconcile_total{controller=\"websocketroute\",result=\"success\"} 1",
            "controller_runtime_reconcile_total{controller=\"websocketroute\",result=\"error\"} 1",
            "controller_runtime_reconcile_errors_total{controller=\"websocketroute\"} 1",
            "controller_runtime_reconcile_time_seconds_count{controller=\"websocketroute\"} 2",
            "rest_client_requests_total{code=\"200\",method=\"GET\",host=\"a:443\"} 1",
            "leader_election_master_status{name=\"clew-controller\"} 1",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
}
