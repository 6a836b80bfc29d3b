//! CDS: the channel, and one cluster for each backend under each policy. Rules that want the same share it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use xxhash_rust::xxh64::xxh64;

use super::endpoint::LoadAssignment;
use super::file::File;
use super::{Settings, seconds};
use crate::decoder;
use crate::model::{BackendShare, Outlier, Rule, Target, World};
use crate::render::rules::Drains;

/// The cluster by which the filter reaches the channel.
pub const CHANNEL: &str = "clew-channel";
/// Bytes that a connection may hold back, toward clients and backends alike.
pub(super) const BUFFER_BYTES: u32 = 1 << 20;
/// No limit: every session is a connection and a request for as long as it lives, and Envoy's own limit is 1024. The
/// filter counts sessions against a rule's limits, exactly and with a reason; Envoy would count plain requests too.
const UNLIMITED: u32 = u32::MAX;

pub(super) fn file(world: &World, settings: &Settings, drains: &Drains) -> File {
    let clusters: BTreeMap<_, _> = world
        .rules_here()
        .flat_map(|rule| rule.backends.iter().map(move |share| (rule, share)))
        .filter(|(_, share)| share.target == Target::Service)
        .map(|(rule, share)| (name(rule, share), (&share.id, Policy::of(rule))))
        .collect();
    let backends = clusters.iter().filter_map(|(name, (id, policy))| {
        let endpoints = LoadAssignment::of(name, id, world.backends.get(id)?, drains);
        Some(Cluster::backend(name, policy, endpoints))
    });
    File::new(
        &Some(Cluster::channel(settings))
            .into_iter()
            .chain(backends)
            .collect::<Vec<_>>(),
    )
}

/// The cluster of a backend under a rule's policy.
pub(super) fn name(rule: &Rule, share: &BackendShare) -> String {
    let policy = Policy::of(rule);
    if policy == Policy::default() {
        return share.id.to_string();
    }
    let bytes = format!("{policy:?}");
    format!("{}#{:08x}", share.id, xxh64(bytes.as_bytes(), 0) >> 32)
}

/// What of a rule is a matter of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Policy {
    max_pending: Option<u32>,
    outlier: Option<Outlier>,
}

impl Policy {
    fn of(rule: &Rule) -> Self {
        Self {
            max_pending: rule.resilience.max_pending,
            outlier: rule.resilience.outlier,
        }
    }
}

#[derive(Serialize)]
struct Cluster<'a> {
    #[serde(rename = "@type")]
    r#type: &'static str,
    name: &'a str,
    #[serde(rename = "type")]
    discovery: &'static str,
    load_assignment: LoadAssignment,
    #[serde(flatten)]
    balancing: Balancing,
    connect_timeout: &'static str,
    per_connection_buffer_limit_bytes: u32,
    circuit_breakers: CircuitBreakers,
    #[serde(skip_serializing_if = "Option::is_none")]
    outlier_detection: Option<Value>,
}

/// How one of several endpoints is chosen.
#[derive(Default, Serialize)]
struct Balancing {
    #[serde(skip_serializing_if = "Option::is_none")]
    lb_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maglev_lb_config: Option<Maglev>,
    #[serde(skip_serializing_if = "Option::is_none")]
    common_lb_config: Option<CommonLb>,
}

#[derive(Serialize)]
struct Maglev {
    table_size: u32,
}

#[derive(Serialize)]
struct CommonLb {
    healthy_panic_threshold: Percent,
}

#[derive(Serialize)]
struct Percent {
    value: u32,
}

#[derive(Serialize)]
struct CircuitBreakers {
    thresholds: [Thresholds; 2],
}

#[derive(Serialize)]
struct Thresholds {
    priority: &'static str,
    max_connections: u32,
    max_pending_requests: u32,
    max_requests: u32,
    max_retries: u32,
}

impl<'a> Cluster<'a> {
    fn channel(settings: &Settings) -> Self {
        Self {
            r#type: TYPE,
            name: CHANNEL,
            discovery: "STATIC",
            load_assignment: LoadAssignment::at(CHANNEL, [settings.channel]),
            balancing: Balancing::default(),
            connect_timeout: "1s",
            per_connection_buffer_limit_bytes: BUFFER_BYTES,
            circuit_breakers: CircuitBreakers::of(UNLIMITED),
            outlier_detection: None,
        }
    }

    fn backend(name: &'a str, policy: &Policy, load_assignment: LoadAssignment) -> Self {
        let balancing = Balancing {
            lb_policy: Some("MAGLEV"),
            maglev_lb_config: Some(Maglev {
                table_size: decoder::TABLE_SIZE,
            }),
            // A host that is out is never chosen because others are out too.
            common_lb_config: Some(CommonLb {
                healthy_panic_threshold: Percent { value: 0 },
            }),
        };
        Self {
            r#type: TYPE,
            name,
            discovery: "STATIC",
            load_assignment,
            balancing,
            connect_timeout: "5s",
            per_connection_buffer_limit_bytes: BUFFER_BYTES,
            circuit_breakers: CircuitBreakers::of(policy.max_pending.unwrap_or(UNLIMITED)),
            outlier_detection: policy.outlier.map(outlier),
        }
    }
}

const TYPE: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

impl CircuitBreakers {
    fn of(pending: u32) -> Self {
        let thresholds = ["DEFAULT", "HIGH"].map(|priority| Thresholds {
            priority,
            max_connections: UNLIMITED,
            max_pending_requests: pending,
            max_requests: UNLIMITED,
            max_retries: UNLIMITED,
        });
        Self { thresholds }
    }
}

/// The end of a WebSocket looks to Envoy like a failure of the connection: such failures are told apart from answers and
/// eject nobody, nor do rates of success.
fn outlier(outlier: Outlier) -> Value {
    json!({
        "consecutive_5xx": outlier.consecutive_failures,
        "base_ejection_time": seconds(outlier.ejection_ms),
        "max_ejection_time": seconds(outlier.ejection_ms.max(300_000)),
        "max_ejection_percent": 50,
        "split_external_local_origin_errors": true,
        "enforcing_consecutive_5xx": 100,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_consecutive_local_origin_failure": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "enforcing_failure_percentage": 0,
        "enforcing_failure_percentage_local_origin": 0,
    })
}
