//! A real OpenTelemetry Collector, and the spans that it was sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::address;
use crate::cluster::{START, part};
use crate::daemon::Daemon;

/// Where collectors take OTLP over HTTP.
const PORT: u16 = 4318;

/// One that writes to a file what it was sent, killed when dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    folder: PathBuf,
    daemon: Daemon,
}

/// A span, with what is said of who sent it.
#[derive(Debug, Clone)]
pub struct Span {
    /// Its trace.
    pub trace: String,
    /// Itself.
    pub id: String,
    /// Whose child it is; empty: nobody's.
    pub parent: String,
    /// What it is of.
    pub name: String,
    /// Attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Those of the sender.
    pub resource: BTreeMap<String, String>,
    /// It failed.
    pub is_error: bool,
}

impl Collector {
    /// Starts one at an address of its own, and waits until it takes traces.
    ///
    /// # Errors
    /// When it is not installed, or does not become ready.
    pub async fn start(folder: &Path) -> Result<Self> {
        let address = SocketAddr::from((address::next_in_cluster(), PORT));
        let folder = folder.join("collector");
        std::fs::create_dir_all(&folder)?;
        let config = json!({
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": address.to_string()}}}},
            "exporters": {"file": {"path": written(&folder), "append": true, "flush_interval": "50ms"}},
            "service": {"pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file"]}}},
        });
        std::fs::write(folder.join("config.yaml"), config.to_string())?;
        let mut collector = Self {
            address,
            daemon: launch(&folder)?,
            folder,
        };
        collector.ready().await?;
        Ok(collector)
    }

    /// Starts it again where it was, when it has been killed.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_again(&mut self) -> Result<()> {
        self.daemon = launch(&self.folder)?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let address = self.address;
        let listens = async || TcpStream::connect(address).await.ok();
        self.daemon.until("it listens", START, listens).await.map(drop)
    }

    /// Sends a signal: SIGKILL has nobody listen there, with SIGSTOP nobody answers.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.daemon.signal(signal)
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` says of it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every span that it has written so far.
    ///
    /// # Errors
    /// When what it wrote is not what its exporter writes.
    pub fn spans(&self) -> Result<Vec<Span>> {
        let text = std::fs::read_to_string(written(&self.folder)).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut spans = Vec::new();
        for line in whole.lines() {
            let request: Request = serde_json::from_str(line).with_context(|| line.to_owned())?;
            for sender in request.resource_spans {
                let of_sender = sender.scope_spans.into_iter().flat_map(|scope| scope.spans);
                let resource = texts(&sender.resource.attributes);
                spans.extend(of_sender.map(|span| Span {
                    attributes: texts(&span.attributes),
                    resource: resource.clone(),
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                    name: span.name,
                    is_error: span.status["code"] == 2,
                }));
            }
        }
        Ok(spans)
    }
}

/// OTLP as JSON: what is looked at of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    resource_spans: Vec<OfSender>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfSender {
    resource: Resource,
    scope_spans: Vec<OfScope>,
}

#[derive(Deserialize)]
struct Resource {
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
struct OfScope {
    spans: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    name: String,
    #[serde(default)]
    attributes: Vec<Attribute>,
    #[serde(default)]
    status: Value,
}

#[derive(Deserialize)]
struct Attribute {
    key: String,
    value: BTreeMap<String, Value>,
}

fn texts(attributes: &[Attribute]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text = |one: &Attribute| one.value.values().map(text).collect();
    attributes
        .iter()
        .map(|one| (one.key.clone(), text(one)))
        .collect()
}

fn written(folder: &Path) -> PathBuf {
    folder.join("traces.json")
}

fn launch(folder: &Path) -> Result<Daemon> {
    let mut command = Command::new(part("opentelemetry-collector")?);
    command.arg("--config").arg(folder.join("config.yaml"));
    Daemon::start("collector", &mut command, folder)
}
