//! Traces, where the environment names an OpenTelemetry collector: of each turn what it was about, how long its steps took and what it
//! wrote. Where none is named, nothing of this is made, and a span costs a look at a flag.

mod collector;
mod environment;
mod spans;

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use environment::Wanted;
pub(crate) use spans::{ended, is_about, step, turn, waiting, writing};

/// The target of the spans that are exported. Logs do not show them, and whatever else is traced or logged is not exported: what the
/// exporter itself does is not, above all.
const TARGET: &str = "clew::traces";

/// What is not at the collector this long after the end of everything else never gets there.
const FLUSH: Duration = Duration::from_secs(3);

/// Where finished spans go.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// As OpenTelemetry's environment variables say. None: they name no collector.
    ///
    /// # Errors
    /// When they say what cannot be done, with what it is.
    pub(crate) fn from_environment() -> Result<Option<Self>, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let wanted = Wanted::read(variable);
        let traces = wanted.and_then(|wanted| wanted.as_ref().map(Self::new).transpose());
        traces.map_err(|why| format!("CLEW0930: nothing is traced: {why}"))
    }

    fn new(wanted: &Wanted) -> Result<Self, String> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector::client(wanted)?)
            .build()
            .map_err(|error| error.to_string())?;
        // What was said of us counts more than what we say.
        let resource = Resource::builder_empty()
            .with_service_name("clew")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_detectors(&[
                Box::new(TelemetryResourceDetector),
                Box::new(EnvResourceDetector::new()),
            ]);
        let resource = match &wanted.service {
            Some(name) => resource.with_service_name(name.clone()),
            None => resource,
        };
        Ok(Self {
            provider: SdkTracerProvider::builder()
                .with_resource(resource.build())
                .with_batch_exporter(exporter)
                .build(),
        })
    }

    /// What hands it the spans.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let scope = InstrumentationScope::builder("clew").with_version(env!("CARGO_PKG_VERSION"));
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer_with_scope(scope.build()))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(filter_fn(is_traced))
    }

    /// Sends what is left, if the collector takes it in time.
    pub(crate) fn end(self) {
        // Nobody is left who could be told.
        let _ = self.provider.shutdown_with_timeout(FLUSH);
    }
}

/// Whether it is a span of these.
pub(crate) fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == TARGET
}

#[cfg(test)]
mod tests;
