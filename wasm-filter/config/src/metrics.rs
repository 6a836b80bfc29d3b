//! Names of the filter's metrics. Each is defined in Envoy as `clew_route=.=NAMESPACE/NAME/RULE;.;METRIC`, with one
//! more `LABEL=.=VALUE;.;` for each further label; a tag-extraction rule in the bootstrap turns these into labels.

/// Separates a label's name from its value inside an Envoy stat name.
pub const LABEL_IS: &str = "=.=";
/// Ends a label inside an Envoy stat name.
pub const LABEL_END: &str = ";.;";

/// Label of every metric: `namespace/name/rule`.
pub const LABEL_ROUTE: &str = "clew_route";
/// Gauge: sessions that are open.
pub const SESSIONS_ACTIVE: &str = "clew_sessions_active";
/// Counter: sessions that got their 101.
pub const SESSIONS_OPENED: &str = "clew_sessions_opened_total";
/// Counter, label `reason` = client | server (whose Close came first) | aborted (without any Close) | what the filter
/// closed them for: drain | reset (at a drain's deadline) | idle | duration | token_expired | message_size | message_rate |
/// protocol_error (what RFC 6455 forbids, where a limit on messages holds): sessions that ended.
pub const SESSIONS_CLOSED: &str = "clew_sessions_closed_total";
/// Counter, label `result` = accepted (101) | accepted_origin_reported (101, though the Origin would be refused if the
/// policy did not only report) | failed (any other answer) | `refused_` and the reason of the refusal: upgrade
/// requests by outcome, each once.
pub const HANDSHAKES: &str = "clew_handshakes_total";
/// Counter, label `result` = hit (the pod of its token or key) | new (neither decided) | moved (its token's pod takes no
/// sessions any more) | missed (Envoy went elsewhere than the filter wanted): where sessions landed. And, beside one of
/// these, `invalid`: a request brought a token that is none of ours, or is too old.
pub const AFFINITY: &str = "clew_affinity_total";
/// Counter, label `how` = close_frame | reset: sessions that a drain ended.
pub const DRAIN_CLOSES: &str = "clew_drain_closes_total";
/// Counter, label `direction` = received (from the client) | sent (to the client): whole data messages.
pub const MESSAGES: &str = "clew_messages_total";
/// Counter, label `direction`: bytes of WebSocket frames.
pub const BYTES: &str = "clew_bytes_total";
/// Counter: bytes from the server that came after a drain's Close to the client and could not be delivered
/// (RFC 6455, 5.5.1).
pub const DRAIN_DROPPED_BYTES: &str = "clew_drain_dropped_bytes_total";
/// Histogram, milliseconds, to a quarter of a second: how long sessions lived.
pub const SESSION_DURATION: &str = "clew_session_duration_ms";

/// Every label that a stat name can carry, for the bootstrap's tag extraction.
pub const LABELS: [&str; 5] = [LABEL_ROUTE, "reason", "result", "how", "direction"];
