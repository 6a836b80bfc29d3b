use crate::model::{BackendShare, Rule, Target};

/// What is done with some of the handshakes that a rule's match takes.
pub(super) struct Step<'a> {
    /// With those for which the filter chose this backend; None: with all.
    pub(super) backend: Option<String>,
    /// Only with upgrades to WebSocket.
    pub(super) upgrade: bool,
    /// Milliseconds; None: as long as it takes.
    pub(super) timeout_ms: Option<u64>,
    /// Where they go.
    pub(super) share: &'a BackendShare,
}

/// In the order in which they are tried: the backend that the filter chose, then the one on which the first look-up lands.
/// Where backends are dealt by weight a key has no say, so each route has one backend.
pub(super) fn steps(rule: &Rule) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    if rule.backends.len() > 1 {
        for share in &rule.backends {
            steps.extend(of(rule, share, Some(share.id.to_string())));
        }
    }
    // The heaviest that exists, of equal ones the first.
    let first = rule
        .backends
        .iter()
        .rev()
        .max_by_key(|share| (share.target == Target::Service, share.weight));
    steps.extend(first.into_iter().flat_map(|share| of(rule, share, None)));
    steps
}

/// The timeout is that of handshakes: an answer to plain HTTP, such as a long poll, may take longer.
fn of<'a>(rule: &Rule, share: &'a BackendShare, backend: Option<String>) -> Vec<Step<'a>> {
    let timeout_ms = Some(rule.handshake_timeout_ms).filter(|ms| *ms > 0 && share.target == Target::Service);
    let step = |upgrade, timeout_ms| Step {
        backend: backend.clone(),
        upgrade,
        timeout_ms,
        share,
    };
    match timeout_ms {
        Some(_) => vec![step(true, timeout_ms), step(false, None)],
        None => vec![step(false, None)],
    }
}
