//! Pods, manifests and a running `clew`, set up as a test's first line.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;

use crate::address::{self, PORT};
use crate::echo_server::EchoServer;
use crate::manifests::{self, Folder, Pod};
use crate::standalone::{self, Clew, Options, Output, State};
use crate::wait;
use crate::ws_client::{Request, Session, Socket, Traffic};

/// The Service of a scene's pods.
pub const SERVICE: &str = "chat";
/// The name of a scene's route.
pub const ROUTE: &str = "chat";

/// A Service `chat` with pods `chat-0`…, a route `chat` with one rule on `/ws`, and `clew run`.
///
/// Fields drop in order: `clew` first, then what it needs, and its Envoy with the state.
#[derive(Debug)]
pub struct Scene {
    /// The running `clew`.
    pub clew: Clew,
    /// The pods' servers; removed ones stay, so that what they saw can be asked.
    pub servers: Vec<EchoServer>,
    /// The pods that the EndpointSlice names.
    pub pods: Vec<Pod>,
    /// The manifests.
    pub folder: Folder,
    /// The state folder.
    pub state: State,
    /// Whether load decides beside the key.
    bounded: bool,
}

impl Scene {
    /// `pods` servers, and a rule with this policy.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn new(pods: usize, policy: Value) -> Result<Self> {
        Self::with(
            pods,
            manifests::route(
                ROUTE,
                serde_json::json!([manifests::rule("rooms", "/ws", SERVICE, PORT, policy)]),
            ),
        )
        .await
    }

    /// `pods` servers, and this route.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn with(pods: usize, route: Value) -> Result<Self> {
        Self::as_told(pods, route, |_| Ok(())).await
    }

    /// The same, and `clew run` as `tell` changes it.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn as_told(
        pods: usize,
        route: Value,
        tell: impl FnOnce(&mut Options) -> Result<()>,
    ) -> Result<Self> {
        let folder = Folder::new()?;
        let state = State::new()?;
        let mut servers = Vec::new();
        for index in 0..pods {
            servers.push(EchoServer::start(&format!("{SERVICE}-{index}")).await?);
        }
        let pods: Vec<Pod> = servers.iter().map(|s| Pod::new(s.name(), s.address())).collect();
        folder.put("gateway", &manifests::gateway(address::next()))?;
        folder.put("service", &manifests::service(SERVICE, PORT))?;
        folder.put("endpoints", &manifests::endpoint_slice(SERVICE, PORT, &pods))?;
        folder.put("route", &route)?;
        let mut options = Options::new(folder.path(), state.path());
        tell(&mut options)?;
        let clew = Clew::start(&options).await?;
        state.owns(clew.ready.pid);
        let bounded = route.to_string().contains("boundedLoad");
        let scene = Self {
            bounded,
            clew,
            servers,
            pods,
            folder,
            state,
        };
        scene.settled().await?;
        Ok(scene)
    }

    /// Where sessions enter.
    pub fn gateway(&self) -> SocketAddr {
        self.clew.gateway()
    }

    /// The server of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn server(&self, name: &str) -> Result<&EchoServer> {
        self.servers
            .iter()
            .find(|s| s.name() == name)
            .with_context(|| format!("no server {name}"))
    }

    /// Saves the EndpointSlice as the pods are now, and does not wait.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn save_pods(&self) -> Result<()> {
        self.folder
            .put("endpoints", &manifests::endpoint_slice(SERVICE, PORT, &self.pods))?;
        Ok(())
    }

    /// Starts one more pod and saves; does not wait for it to be used.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn add_pod(&mut self) -> Result<String> {
        let name = format!("{SERVICE}-{}", self.servers.len());
        let server = EchoServer::start(&name).await?;
        self.pods.push(Pod::new(&name, server.address()));
        self.servers.push(server);
        self.save_pods()?;
        Ok(name)
    }

    /// Takes a pod out of the EndpointSlice; its server runs on.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn remove_pod(&mut self, name: &str) -> Result<()> {
        self.pods.retain(|pod| pod.name != name);
        self.save_pods()
    }

    /// Marks a pod as terminating.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn terminate_pod(&mut self, name: &str) -> Result<()> {
        self.pods
            .iter_mut()
            .filter(|pod| pod.name == name)
            .for_each(|pod| pod.terminating = true);
        self.save_pods()
    }

    /// Waits until Envoy and the filter agree on the pods, on all workers (which learn of a change within one tick, but
    /// not at the same moment): sessions of many keys, four each, land where the filter wanted, those of one key on
    /// one pod, and together on every pod that may take sessions and on no other.
    ///
    /// # Errors
    /// When that does not happen within 30 s, or longer where it takes many sessions to see.
    pub async fn settled(&self) -> Result<()> {
        let takes_sessions = |pod: &&Pod| pod.ready && !pod.terminating;
        let wanted: BTreeSet<String> = self
            .pods
            .iter()
            .filter(takes_sessions)
            .map(|pod| pod.address.to_string())
            .collect();
        let keys = 64.max(16 * wanted.len());
        let limit = Duration::from_secs(30 + keys as u64 / 20);
        let mut last = String::new();
        let settled = wait::until("Envoy and the filter agree on the pods", limit, async || {
            let round = next_mark();
            let probes = (0..4 * keys).map(|probe| self.probe(format!("probe-{round}-{}", probe % keys)));
            let landed: Result<Vec<(String, String)>> = stream::iter(probes).buffered(16).try_collect().await;
            let landed = landed.inspect_err(|error| last = format!("{error:#}")).ok()?;
            let pods: BTreeSet<String> = landed.iter().map(|(_, pod)| pod.clone()).collect();
            // A pod that its own address does not lead to is asked for by another value, which is nobody's address.
            let is_address = |wish: &str| self.servers.iter().any(|s| s.address().to_string() == wish);
            let stray = landed.iter().find(|(wish, pod)| wish != pod && is_address(wish));
            let two = landed.iter().zip(landed.iter().skip(keys));
            let divided = two.filter(|_| !self.bounded).find(|(one, two)| one != two);
            last = format!(
                "on {} pods of {}; a stray: {stray:?}; one key on two pods: {divided:?}",
                pods.len(),
                wanted.len()
            );
            (stray.is_none() && divided.is_none() && pods == wanted).then_some(())
        });
        let settled = settled.await;
        settled.with_context(|| last)
    }

    /// Where the filter wanted a session of this key, and where it was.
    async fn probe(&self, key: String) -> Result<(String, String)> {
        let mark = next_mark().to_string();
        let request = Request::new(format!("/ws/{key}?room={key}"))
            .header("x-room", key.as_str())
            .header("cookie", format!("sid={key}"))
            .header("x-probe", mark.as_str());
        let socket = request.open(self.gateway()).await?;
        let server = self.server(&socket.served_by())?;
        socket.goodbye().await?;
        let connections = server.connections();
        let seen = connections
            .iter()
            .rev()
            .find(|c| c.head.header("x-probe").as_deref() == Some(&mark));
        let seen = seen.context("the server does not know the probe")?;
        let wish = seen.head.header("x-clew-host").unwrap_or_default();
        Ok((wish, server.address().to_string()))
    }

    /// Opens sessions, at most 32 handshakes at once, in the order of the requests.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn open(
        &self,
        requests: &[Request],
        traffic: impl Fn(usize) -> Traffic,
    ) -> Result<Vec<Session>> {
        let sockets: Vec<Socket> = stream::iter(requests)
            .map(|request| request.open(self.gateway()))
            .buffered(32)
            .try_collect()
            .await?;
        Ok(sockets
            .into_iter()
            .enumerate()
            .map(|(i, socket)| socket.session(traffic(i)))
            .collect())
    }

    /// Where each request lands: the server's name. At most 32 at once.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn place(&self, requests: &[Request]) -> Result<Vec<String>> {
        place(self.gateway(), requests).await
    }

    /// Runs a command over this scene's folder and state.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn command(&self, name: &str, arguments: &[&str]) -> Result<Output> {
        let (folder, state) = (
            self.folder.path().to_string_lossy(),
            self.state.path().to_string_lossy(),
        );
        let mut all = vec![name, "-f", &*folder, "--state-dir", &*state];
        all.extend_from_slice(arguments);
        standalone::clew(all).await
    }

    /// Starts `clew run` again with the same folder and state.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_again(&mut self) -> Result<()> {
        self.clew = Clew::start(&Options::new(self.folder.path(), self.state.path())).await?;
        self.state.owns(self.clew.ready.pid);
        Ok(())
    }
}

/// Where each request lands: the server's name. At most 32 at once.
///
/// # Errors
/// When one is refused.
pub async fn place(gateway: SocketAddr, requests: &[Request]) -> Result<Vec<String>> {
    stream::iter(requests)
        .map(|request| request.place(gateway))
        .buffered(32)
        .try_collect()
        .await
}

/// How many sessions are not live any more, with what happened to the first.
///
/// # Errors
/// When there is one.
pub fn none_lost(sessions: &[Session]) -> Result<()> {
    let lost: Vec<&Session> = sessions
        .iter()
        .filter(|s| !s.is_live() || !s.record().is_whole())
        .collect();
    match lost.first() {
        None => Ok(()),
        Some(first) => bail!(
            "{} of {} lost; the first: {:?}",
            lost.len(),
            sessions.len(),
            first.record()
        ),
    }
}

/// Every session still answers.
///
/// # Errors
/// When one does not.
pub async fn all_answer(sessions: &[Session]) -> Result<()> {
    none_lost(sessions)?;
    stream::iter(sessions)
        .map(|session| session.check())
        .buffer_unordered(64)
        .try_collect::<()>()
        .await?;
    none_lost(sessions)
}

fn next_mark() -> u64 {
    static MARKS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    MARKS.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
