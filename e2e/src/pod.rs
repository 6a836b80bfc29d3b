//! A pod of a cluster where no kubelet runs: a real server on an address of its own, and what the API server has of it.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::address;
use crate::cluster::{Client, START};
use crate::echo_server::EchoServer;
use crate::wait;

mod registration;
mod second;

pub use registration::any_spec;
pub(crate) use registration::{Registrant, Registration};
pub use second::Entering;

/// The port of every Service.
pub const PORT: u16 = 8080;
/// The port of every pod.
pub const TARGET_PORT: u16 = 9000;

/// A Service of pods.
pub fn service(namespace: &str, name: &str) -> Value {
    let port =
        json!({"name": "ws", "port": PORT, "targetPort": TARGET_PORT, "appProtocol": "kubernetes.io/ws"});
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [port]},
    })
}

/// One pod of a Service, with an EndpointSlice of its own. Its server dies when it is dropped; what the API server has stays.
#[derive(Debug)]
pub struct Pod {
    /// The server, which lives on when the API server has forgotten the pod.
    pub server: EchoServer,
    /// What it was before it was started again: their sessions live on.
    before: Vec<EchoServer>,
    registration: Registration,
}

impl Pod {
    /// Starts a ready one.
    ///
    /// # Errors
    /// When it cannot listen, or the API server refuses an object.
    pub async fn start(client: &Client, namespace: &str, service: &str, name: &str) -> Result<Self> {
        Self::start_as(any_spec(), client, namespace, service, name).await
    }

    /// [`Pod::start`] on a node of this name.
    ///
    /// # Errors
    /// As there.
    pub async fn start_on(
        node: &str,
        client: &Client,
        namespace: &str,
        service: &str,
        name: &str,
    ) -> Result<Self> {
        let mut spec = any_spec();
        spec["nodeName"] = json!(node);
        Self::start_as(spec, client, namespace, service, name).await
    }

    /// [`Pod::start`] with a spec of its own.
    ///
    /// # Errors
    /// As there.
    pub async fn start_as(
        spec: Value,
        client: &Client,
        namespace: &str,
        service: &str,
        name: &str,
    ) -> Result<Self> {
        let address = SocketAddr::from((address::next_in_cluster(), TARGET_PORT));
        let server = EchoServer::start_on(name, address).await?;
        let registration = Registration::new(Registrant {
            client: client.clone(),
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            name: name.to_owned(),
            labels: json!({"app": service}),
            spec,
            port: "ws",
            address,
        });
        Ok(Self {
            server,
            before: Vec::new(),
            registration: registration.await?,
        })
    }

    /// Its name, which its server answers with.
    pub fn name(&self) -> &str {
        self.server.name()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Listens again, after its server has been told to refuse connections.
    ///
    /// # Errors
    /// When somebody else listens there.
    pub async fn listen(&mut self) -> Result<()> {
        let again = EchoServer::start_on(self.name(), self.address()).await?;
        self.before.push(std::mem::replace(&mut self.server, again));
        Ok(())
    }

    /// Refuses connections, and then lets them wait to be accepted for ever, as long as the caller keeps what this returns. No more than a few can wait.
    ///
    /// # Errors
    /// When nobody can wait there.
    pub async fn hang(&self) -> Result<(TcpListener, [TcpStream; 2])> {
        self.server.refuse();
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        let free = wait::until("the port is free", START, async || {
            socket.bind(self.address()).ok()
        });
        free.await?;
        let listener = socket.listen(1)?;
        let connect = || TcpStream::connect(self.address());
        Ok((listener, [connect().await?, connect().await?]))
    }

    /// Passes its readiness probe, or fails it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn set_ready(&mut self, ready: bool) -> Result<()> {
        self.registration.set_ready(ready).await
    }

    /// Is deleted as `kubectl delete pod`, an eviction or a smaller Deployment do it: the object has a deletion timestamp, the endpoint is
    /// terminating, and both stay.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn terminate(&mut self) -> Result<()> {
        self.registration.terminate().await
    }

    /// Is gone from the API server, as when its grace period is over. Its server runs on.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn remove(&self) -> Result<()> {
        self.registration.remove().await
    }
}
