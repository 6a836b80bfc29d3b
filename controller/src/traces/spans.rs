//! The spans of a turn. Names and values are few, so that a collector can count by them; the exceptions are names of objects, on spans of
//! one object.

use std::fmt::Display;

use clew_core::model::ObjectName;
use clew_core::validate::RouteReport;
use tracing::field::{Empty, display};
use tracing::{Instrument, Span, info_span};

use super::TARGET;

/// One turn.
pub(crate) fn turn() -> Span {
    info_span!(
        target: TARGET,
        parent: None,
        "reconcile",
        clew.everything = Empty,
        clew.routes = Empty,
        clew.route = Empty,
        clew.generation = Empty,
        clew.result = Empty,
        otel.status_code = Empty,
    )
}

/// What a turn is about: everything there is, or these routes. One is named.
pub(crate) fn is_about(turn: &Span, everything: bool, routes: &[RouteReport]) {
    turn.record("clew.everything", everything)
        .record("clew.routes", count(routes.len()));
    if let [route] = routes {
        turn.record("clew.route", display(&route.name));
        if let Some(generation) = route.generation {
            turn.record("clew.generation", generation);
        }
    }
}

/// One of its steps.
pub(crate) fn step(name: &'static str) -> Span {
    info_span!(target: TARGET, "step", otel.name = name)
}

/// Waiting until the proxies of this many gateways have acknowledged what they were told.
pub(crate) fn waiting(gateways: usize) -> Span {
    info_span!(target: TARGET, "acknowledge", clew.gateways = count(gateways))
}

/// One write to the API server, to its end.
///
/// # Errors
/// Those of the write.
pub(crate) async fn writing<T, E: Display>(
    verb: &'static str,
    kind: &'static str,
    object: &ObjectName,
    write: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let span = info_span!(
        target: TARGET,
        "write",
        otel.name = format!("{verb} {kind}"),
        otel.kind = "client",
        k8s.object.kind = kind,
        k8s.namespace.name = object.namespace.as_str(),
        k8s.object.name = object.name.as_str(),
        clew.result = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
    let outcome = write.instrument(span.clone()).await;
    ended(&span, outcome.is_err());
    if let Err(why) = &outcome {
        span.record("otel.status_description", display(why));
    }
    outcome
}

/// What became of it, in the words of the metrics.
pub(crate) fn ended(span: &Span, failed: bool) {
    span.record("clew.result", if failed { "failed" } else { "applied" });
    if failed {
        span.record("otel.status_code", "ERROR");
    }
}

/// OpenTelemetry's whole numbers have a sign.
fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
