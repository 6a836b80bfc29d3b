use std::path::PathBuf;
use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use super::environment::Wanted;
use super::{Traces, is_traced, step, turn};

fn read(variables: &[(&str, &str)]) -> Result<Option<Wanted>, String> {
    Wanted::read(|name| {
        let named = variables.iter().find(|(known, _)| *known == name);
        named.map(|(_, value)| (*value).to_owned())
    })
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

#[test]
fn nothing_is_traced_where_no_collector_is_named_or_traces_are_not_wanted() {
    assert_eq!(read(&[("OTEL_SERVICE_NAME", "thread")]), Ok(None));
    assert_eq!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "true")]), Ok(None));
    assert_eq!(read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
}

#[test]
fn what_is_said_of_traces_counts_more_than_what_is_said_of_all() {
    let wanted = read(&[
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/v1/traces"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_SERVICE_NAME", "thread"),
    ]);
    let expected = Wanted {
        endpoint: "https://traces/v1/traces".to_owned(),
        authorities: Some(PathBuf::from("/ca.pem")),
        patience: Duration::from_secs(1),
        service: Some("thread".to_owned()),
    };
    assert_eq!(wanted, Ok(Some(expected)));
}

#[test]
fn a_protocol_that_is_not_spoken_is_refused() {
    let refused = read(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err();
    assert!(refused.contains("grpc") && refused.contains("4318"), "{refused}");
}

#[test]
fn an_endpoint_that_is_no_url_is_refused() {
    let wanted = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a b")])
        .unwrap()
        .unwrap();
    assert!(Traces::new(&wanted).is_err());
}

/// Whoever asks for spans of any target is asked for nothing by those that are exported.
#[test]
fn logs_see_no_span_that_is_exported_and_exports_see_no_other() {
    let traces = Traces {
        provider: SdkTracerProvider::default(),
    };
    let subscriber = tracing_subscriber::registry().with(traces.layer());
    tracing::subscriber::with_default(subscriber, || {
        assert!(!turn().is_disabled());
        assert!(tracing::error_span!("another").is_disabled());
    });
    let is_log = tracing_subscriber::filter::filter_fn(|metadata| !is_traced(metadata));
    let logs = tracing_subscriber::fmt::layer().with_filter(is_log);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(logs), || {
        assert!(turn().is_disabled() && step("render").is_disabled());
        assert!(!tracing::error_span!("another").is_disabled());
    });
}
