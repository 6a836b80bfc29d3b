//! A way to the API server on which whoever takes it can be killed at a write of the test's choice, or hear nothing of Leases.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::{Client, Cluster};
use crate::process;

/// When in the life of a write its author dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// It never gets to the API server.
    Before,
    /// The API server has taken it, and the answer never arrives.
    After,
}

/// Passes on what it is asked, one write after the other, and counts them. Renewals of the Lease are not counted: they come with time.
#[derive(Debug)]
pub struct Relay {
    /// By which a program takes this way.
    pub kubeconfig: PathBuf,
    shared: Arc<Shared>,
    struck: watch::Receiver<Option<String>>,
    serving: JoinHandle<()>,
}

struct Shared {
    api_server: kube::Client,
    /// Of whoever takes this way: what an earlier one still had to say is not heard.
    life: AtomicUsize,
    writes: Mutex<Writes>,
    struck: watch::Sender<Option<String>>,
    /// What is asked about Leases waits.
    holds_leases: watch::Sender<bool>,
}

#[derive(Default)]
struct Writes {
    passed: usize,
    /// Who is to die, and where.
    victim: Option<(u32, Aim)>,
    struck: BTreeSet<(String, Moment)>,
}

#[derive(Clone, Copy)]
enum Aim {
    At(usize, Moment),
    /// Wherever nobody has died yet.
    Anywhere,
}

impl Writes {
    fn moment(&self, write: &str) -> Option<(u32, Moment)> {
        let (victim, aim) = self.victim?;
        let is_new = |moment: &Moment| !self.struck.contains(&(write.to_owned(), *moment));
        let moment = match aim {
            Aim::At(at, moment) => (at == self.passed).then_some(moment),
            Aim::Anywhere => [Moment::Before, Moment::After].into_iter().find(is_new),
        };
        Some((victim, moment?))
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Relay {
    /// Opens the way. Whoever takes it may do everything.
    ///
    /// # Errors
    /// When nobody can listen.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        Self::start_as(cluster, &cluster.kubeconfig()).await
    }

    /// Opens the way for somebody with this kubeconfig.
    ///
    /// # Errors
    /// When nobody can listen, or that is no kubeconfig.
    pub async fn start_as(cluster: &Cluster, kubeconfig: &Path) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (sender, struck) = watch::channel(None);
        let shared = Arc::new(Shared {
            api_server: Client::new(kubeconfig).await?.kube(),
            life: AtomicUsize::new(0),
            writes: Mutex::default(),
            struck: sender,
            holds_leases: watch::Sender::new(false),
        });
        Ok(Self {
            kubeconfig: cluster
                .kubeconfig_by(&format!("relay-{}", address.port()), &format!("http://{address}"))?,
            serving: tokio::spawn(serve(listener, shared.clone())),
            shared,
            struck,
        })
    }

    /// A new life begins, and its writes are counted from 0. The author of the write `at` is killed.
    pub async fn strike(&self, at: usize, moment: Moment, victim: u32) {
        self.begin(Some((victim, Aim::At(at, moment)))).await;
    }

    /// A new life begins. It is ended at the first write at which none has been, before or after, since [`Relay::forget`].
    pub async fn strike_anywhere(&self, victim: u32) {
        self.begin(Some((victim, Aim::Anywhere))).await;
    }

    /// Whoever writes what was written before can be killed at it again.
    pub async fn forget(&self) {
        self.shared.writes.lock().await.struck.clear();
    }

    /// Whether what is asked about Leases waits from now on, until this is taken back.
    pub fn hold_leases(&self, holds: bool) {
        self.shared.holds_leases.send_replace(holds);
    }

    /// A new life begins, and nobody is killed.
    pub async fn spare(&self) {
        self.begin(None).await;
    }

    async fn begin(&self, victim: Option<(u32, Aim)>) {
        let mut writes = self.shared.writes.lock().await;
        self.shared.life.fetch_add(1, Ordering::SeqCst);
        self.shared.struck.send_replace(None);
        (writes.passed, writes.victim) = (0, victim);
    }

    /// How many writes of this life have got to the API server.
    pub async fn writes(&self) -> usize {
        self.shared.writes.lock().await.passed
    }

    /// Waits until the strike has been made, and says at which write.
    ///
    /// # Errors
    /// When the way is closed.
    pub async fn struck(&self) -> Result<String> {
        let mut struck = self.struck.clone();
        let write = struck.wait_for(Option::is_some).await?;
        write.clone().context("a write")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((io, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let shared = shared.clone();
                async move { shared.answer(request).await }
            });
            // Whoever is killed does not close in order.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(io), answer)
                .await;
        });
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let life = self.life.load(Ordering::SeqCst);
        let write = format!("{} {}", request.method(), request.uri().path());
        let is_write = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let is_of_lease = request.uri().path().contains("/leases/");
        let is_renewal = *request.method() == Method::PUT && is_of_lease;
        let request = ours(request).await?;
        if is_of_lease {
            let mut holds = self.holds_leases.subscribe();
            holds.wait_for(|holds| !holds).await?;
        }
        if !is_write || is_renewal {
            return self.pass(request).await;
        }
        let mut writes = self.writes.lock().await;
        let is_over = life != self.life.load(Ordering::SeqCst) || self.struck.borrow().is_some();
        if is_over {
            bail!("its author is dead");
        }
        let strike = writes.moment(&write);
        let answer = match strike {
            Some((_, Moment::Before)) => Err(anyhow!("not passed on")),
            _ => self.pass(request).await,
        };
        writes.passed += usize::from(answer.is_ok());
        let Some((victim, moment)) = strike else {
            return answer;
        };
        process::signal(victim, Signal::KILL);
        writes.victim = None;
        writes.struck.insert((write.clone(), moment));
        self.struck.send_replace(Some(format!("{moment:?} {write}")));
        bail!("its author is dead")
    }

    async fn pass(&self, request: Request<Body>) -> Result<Response<Body>> {
        let mut response = self.api_server.send(request).await?;
        for hop in [CONNECTION, TRANSFER_ENCODING] {
            response.headers_mut().remove(hop);
        }
        Ok(response)
    }
}

/// The request as the test's own client sends it.
async fn ours(request: Request<Incoming>) -> Result<Request<Body>> {
    let (mut head, body) = request.into_parts();
    for hop in [HOST, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        head.headers.remove(hop);
    }
    let body = body.collect().await?.to_bytes();
    Ok(Request::from_parts(head, Body::from(body)))
}
