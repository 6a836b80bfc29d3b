//! The way to the collector. It is taken by the exporter's own thread, which waits for each answer, so that no turn ever does.

use std::error::Error;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::{Builder, Runtime};
use tracing::dispatcher::{Dispatch, with_default};

use super::environment::Wanted;
use crate::clock;

/// The most bytes of an answer. It is read for what was rejected, and nothing else.
const ANSWER: usize = 64 * 1024;
/// The shortest between two complaints of it.
const AGAIN: Duration = Duration::from_secs(60);

/// Who takes the spans.
struct Collector<C> {
    client: Client<C, Full<Bytes>>,
    patience: Duration,
    /// Of its own, because the exporter's thread has none.
    runtime: Runtime,
    said: Mutex<Said>,
}

/// What was last said of it.
#[derive(Default)]
struct Said {
    is_away: bool,
    /// When it was last said to be away.
    at: Option<Instant>,
}

impl<C> fmt::Debug for Collector<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

/// What sends to the one that is named.
///
/// # Errors
/// When the name is none, or what it takes is not there.
pub(super) fn client(wanted: &Wanted) -> Result<impl HttpClient + use<>, String> {
    let endpoint: Uri = wanted
        .endpoint
        .parse()
        .map_err(|error| format!("the endpoint is no URL: {error}"))?;
    // The API server's client has all that it takes.
    let is_encrypted = endpoint.scheme_str() == Some("https");
    let mut config = kube::Config::new(endpoint);
    config.root_cert_file.clone_from(&wanted.authorities);
    // A machine that needs no certificates may have none.
    config.root_cert = (!is_encrypted).then(Vec::new);
    let connector = config.rustls_https_connector().map_err(|error| causes(&error))?;
    Ok(Collector {
        // What was open a while ago is closed by now: batches are seconds apart.
        client: Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector),
        patience: wanted.patience,
        runtime: Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("no thread to export on: {error}"))?,
        said: Mutex::default(),
    })
}

impl<C: Connect + Clone + Send + Sync + 'static> Collector<C> {
    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = async {
            let (head, body) = self.client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        let patience = self.patience;
        let answer = tokio::time::timeout(patience, answer).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {patience:?}").into()))
    }

    /// Says once that it is away, and once that it is back; of one that comes and goes not more often than somebody wants to read.
    fn note(&self, at: &Uri, answer: &Result<Response<Bytes>, HttpError>) {
        let why = match answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers {}", answer.status())),
            Err(error) => Some(causes(&**error)),
        };
        // A name and a password may stand before the host.
        let host = at.host().unwrap_or_default();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        match why {
            Some(why) if !said.is_away && said.at.is_none_or(|at| now.duration_since(at) >= AGAIN) => {
                (said.is_away, said.at) = (true, Some(now));
                tracing::warn!(
                    "CLEW0931: the collector at {host} takes no traces: {why}; until it does they are lost, and nothing else is"
                );
            }
            None if said.is_away => {
                said.is_away = false;
                tracing::info!("the collector at {host} takes traces again");
            }
            _ => {}
        }
    }
}

#[async_trait]
impl<C: Connect + Clone + Send + Sync + 'static> HttpClient for Collector<C> {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let at = request.uri().clone();
        // What the parts of a client log of each attempt would be the same every few seconds.
        let exchange = || self.runtime.block_on(self.exchange(request));
        let answer = with_default(&Dispatch::none(), exchange);
        self.note(&at, &answer);
        answer
    }
}

/// What an error says, and the errors behind it.
fn causes(error: &(dyn Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |error| (*error).source());
    let all: Vec<_> = all.map(ToString::to_string).collect();
    all.join(": ")
}
