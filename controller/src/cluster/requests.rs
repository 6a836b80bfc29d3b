//! Counts what is asked of the API server.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::Service;
use tower::layer::layer_fn;

use crate::failure::Failure;
use crate::metrics::Metrics;

/// A client whose requests are counted.
///
/// # Errors
/// When the configuration cannot be used.
pub(crate) fn counted(config: Config, metrics: &Arc<Metrics>) -> Result<Client, Failure> {
    let host: Arc<str> = config
        .cluster_url
        .authority()
        .map_or_else(String::new, ToString::to_string)
        .into();
    let layer = layer_fn(|inner| Counted {
        inner,
        host: host.clone(),
        metrics: metrics.clone(),
    });
    let builder = ClientBuilder::try_from(config).map_err(|error| {
        Failure::unreachable(format!("the cluster's configuration cannot be used: {error}"))
    })?;
    Ok(builder.with_layer(&layer).build())
}

#[derive(Debug)]
struct Counted<S> {
    inner: S,
    host: Arc<str>,
    metrics: Arc<Metrics>,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.method().as_str().to_owned();
        let (host, metrics) = (self.host.clone(), self.metrics.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            // What client-go writes where there is no answer.
            let code = answer.as_ref().map_or_else(
                |_| "<error>".to_owned(),
                |answer| answer.status().as_str().to_owned(),
            );
            metrics.requested(code, &method, &host);
            answer
        })
    }
}
