use clew_filter_config::metrics;
use serde_json::{Value, json};

use super::{CLUSTERS, LISTENERS, Settings, address, watched};

/// What Envoy is started with. Everything that may change while it runs is elsewhere.
#[must_use]
pub fn bootstrap(settings: &Settings) -> Value {
    json!({
        "node": {"id": settings.node, "cluster": "clew"},
        "admin": {"address": address(settings.admin)},
        "dynamic_resources": {
            "cds_config": watched(settings, CLUSTERS),
            "lds_config": watched(settings, LISTENERS),
        },
        "stats_config": {
            "stats_tags": metrics::LABELS.map(stats_tag),
            "histogram_bucket_settings": [{
                "match": {"suffix": metrics::SESSION_DURATION},
                "buckets": SESSION_DURATION_BUCKETS,
            }],
        },
        "layered_runtime": {
            "layers": [{
                "name": "clew",
                // Envoy's own limit is a program of 100 instructions, which a list of subprotocols can pass.
                "static_layer": {"re2.max_program_size.error_level": u32::MAX, "re2.max_program_size.warn_level": u32::MAX},
            }],
        },
    })
}

/// Milliseconds: from a hundredth of a second to a day.
const SESSION_DURATION_BUCKETS: [u32; 11] = [
    10, 100, 1_000, 10_000, 60_000, 300_000, 900_000, 3_600_000, 14_400_000, 43_200_000, 86_400_000,
];

/// Takes a label out of a stat's name: what the first group matches is cut from the name, the second is the value.
pub(in crate::render) fn stats_tag(label: &str) -> Value {
    let is = regex_syntax::escape(metrics::LABEL_IS);
    let end = regex_syntax::escape(metrics::LABEL_END);
    json!({"tag_name": label, "regex": format!(r"^wasmcustom\.(?:.*{end})?({label}{is}(.*?){end})")})
}
