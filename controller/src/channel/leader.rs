//! The replica that leads. It waits for what proxies hold, and a proxy's polls come in at any replica, so the others pass
//! them on.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use clew_filter_config::channel::PATH;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::watch;

use super::LONGEST_WAIT;

/// On a poll that was passed on, which goes no further.
const PASSED_ON: HeaderName = HeaderName::from_static("x-clew-passed-on");
/// Whoever does not take a connection within this is taken for gone.
const CONNECTS: Duration = Duration::from_millis(500);
/// Longer than it lets a poll wait.
const ANSWERS: Duration = LONGEST_WAIT.saturating_mul(2);

/// The way to the replica that leads.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    at: watch::Receiver<Option<SocketAddr>>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Leader {
    /// `at`: where it is; None: here, or nobody knows.
    pub(crate) fn new(at: watch::Receiver<Option<SocketAddr>>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECTS));
        connector.set_nodelay(true);
        Self {
            at,
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// What it answers to a poll with these headers and this body. None: it is not to be asked, or does not answer, and
    /// whoever was asked first says what it knows.
    pub(super) async fn answer(&self, headers: &HeaderMap, poll: &Bytes) -> Option<Response> {
        let at = (*self.at.borrow()).filter(|_| !headers.contains_key(PASSED_ON))?;
        let mut request = Request::post(format!("http://{at}{PATH}"))
            .header(PASSED_ON, HeaderValue::from_static("1"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = headers.get(AUTHORIZATION) {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::new(poll.clone())).ok()?;
        let answer = tokio::time::timeout(ANSWERS, self.client.request(request)).await;
        let answer = answer.ok()?.inspect_err(|error| {
            tracing::debug!("the replica that leads does not answer at {at}: {error}");
        });
        Some(answer.ok()?.map(Body::new))
    }
}

#[cfg(test)]
mod tests {
    use std::future::IntoFuture;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use clew_filter_config::channel::{PATH, Poll, Update};
    use http::Request;
    use http_body_util::{BodyExt, Full};
    use tokio::net::TcpListener;
    use tokio::sync::watch;
    use tokio::task::JoinHandle;

    use super::Leader;
    use crate::channel::tokens::Tokens;
    use crate::channel::{Channel, Snapshot, server};

    /// A replica at an address of its own.
    struct Replica {
        channel: Arc<Channel>,
        at: SocketAddr,
        serving: JoinHandle<std::io::Result<()>>,
    }

    impl Replica {
        async fn start(epoch: &str, leader: &watch::Sender<Option<SocketAddr>>, leads: bool) -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let at = listener.local_addr().unwrap();
            let leads = watch::Sender::new(leads).subscribe();
            let channel = Channel::with_peers(epoch.to_owned(), "seed".into(), leads);
            channel.publish("ns/edge", Snapshot::default());
            let leader = Leader::new(leader.subscribe());
            let router = server::router(channel.clone(), Tokens::one("t"), Some(leader));
            Self {
                channel,
                at,
                serving: tokio::spawn(axum::serve(listener, router).into_future()),
            }
        }

        async fn poll(&self, have: Option<&str>) -> Option<Update> {
            let poll = Poll {
                gateway: "ns/edge".into(),
                proxy: "x".into(),
                have: have.map(str::to_owned),
                ..Poll::default()
            };
            let request = Request::post(format!("http://{}{PATH}", self.at))
                .header("authorization", "Bearer t")
                .body(Full::new(serde_json::to_vec(&poll).unwrap().into()))
                .unwrap();
            let client = Leader::new(watch::Sender::new(None).subscribe()).client;
            let answer = client.request(request).await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.status());
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (!body.is_empty()).then(|| serde_json::from_slice(&body).unwrap())
        }
    }

    #[tokio::test]
    async fn what_a_proxy_says_to_any_replica_reaches_the_one_that_leads_while_it_lives() {
        let (here, at) = (watch::Sender::new(None), watch::Sender::new(None));
        let leader = Replica::start("l", &here, true).await;
        let other = Replica::start("o", &at, false).await;
        at.send_replace(Some(leader.at));

        let told = other.poll(None).await.unwrap().version;
        assert!(told.starts_with("l:"), "{told}");
        assert_eq!(leader.channel.standing("ns/edge").behind, 1);
        other.poll(Some(&told)).await;
        let standing = leader.channel.standing("ns/edge");
        assert_eq!((standing.proxies, standing.behind), (1, 0));
        assert_eq!(other.channel.proxies().len(), 1, "the other knows of it too");

        leader.serving.abort();
        let _ = leader.serving.await;
        let told = other.poll(None).await.unwrap().version;
        assert!(told.starts_with("o:"), "{told}");
    }

    #[tokio::test]
    async fn two_that_take_each_other_for_the_one_that_leads_answer_all_the_same() {
        let (a, b) = (watch::Sender::new(None), watch::Sender::new(None));
        let (one, two) = (
            Replica::start("a", &a, false).await,
            Replica::start("b", &b, false).await,
        );
        a.send_replace(Some(two.at));
        b.send_replace(Some(one.at));
        let told = one.poll(None).await.unwrap().version;
        assert!(told.starts_with("b:"), "{told}");
    }
}
