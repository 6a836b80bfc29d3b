//! Which pods leave, and how many sessions are still on each.

use std::collections::BTreeMap;

use clew_filter_config::channel::Live;
use clew_filter_config::rule::{Backend, Pod};
use serde::Serialize;

/// One of `/v1/drains`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Drain {
    pod: String,
    backend: String,
    address: String,
    since_ms: u64,
    timeout_ms: u64,
    sessions: u64,
}

/// Of what the proxies say, and of the backends as they are in force.
pub(crate) fn drains(live: &[Live], backends: &BTreeMap<String, Backend>) -> Vec<Drain> {
    let drain = |id: &String, pod: &Pod| {
        let draining = pod.draining?;
        let on_it = live
            .iter()
            .filter(|one| one.backend == *id && one.pod == pod.name);
        Some(Drain {
            pod: pod.name.clone(),
            backend: id.clone(),
            address: pod.address.clone(),
            since_ms: draining.since_ms,
            timeout_ms: draining.timeout_ms,
            sessions: on_it.map(|one| one.sessions).sum(),
        })
    };
    backends
        .iter()
        .flat_map(|(id, backend)| backend.pods.iter().filter_map(move |pod| drain(id, pod)))
        .collect()
}
