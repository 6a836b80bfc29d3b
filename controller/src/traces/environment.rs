//! What OpenTelemetry's environment variables say of traces. The exporter reads for itself where they go and with which headers, the
//! processor how many at once.

use std::path::PathBuf;
use std::time::Duration;

/// By then a collector has answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    /// Where traces go: this for traces, or a path below this for all that is exported.
    pub(super) endpoint: String,
    /// Whose certificates a collector may have. None: the machine's.
    pub(super) authorities: Option<PathBuf>,
    /// For how long one answer is waited for.
    pub(super) patience: Duration,
    /// What we are called there.
    pub(super) service: Option<String>,
}

impl Wanted {
    /// `variable`: its value, where it has one.
    ///
    /// # Errors
    /// When they ask for a protocol that is not spoken.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let of_traces = |what: &str| {
            variable(&format!("OTEL_EXPORTER_OTLP_TRACES_{what}"))
                .or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{what}")))
        };
        let is =
            |name: &str, value: &str| variable(name).is_some_and(|said| said.eq_ignore_ascii_case(value));
        let Some(endpoint) = of_traces("ENDPOINT") else {
            return Ok(None);
        };
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        if let Some(protocol) = of_traces("PROTOCOL").filter(|protocol| protocol != "http/protobuf") {
            return Err(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, and only http/protobuf is spoken; collectors take it on port 4318"
            ));
        }
        let milliseconds = of_traces("TIMEOUT").and_then(|timeout| timeout.parse().ok());
        Ok(Some(Self {
            endpoint,
            authorities: of_traces("CERTIFICATE").map(PathBuf::from),
            patience: milliseconds.map_or(PATIENCE, Duration::from_millis),
            service: variable("OTEL_SERVICE_NAME"),
        }))
    }
}
