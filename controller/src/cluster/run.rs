//! The life of `clew controller`: follow the cluster, turn whenever something changed, and leave it in order.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::kind::Kind;
use super::lease::{self, Candidate, Leadership};
use super::operators::Operators;
use super::secrets::Secrets;
use super::settings::Settings;
use super::store::Store;
use super::{Cluster, page, requests, server, watch as follow};
use crate::channel::Channel;
use crate::channel::leader::Leader;
use crate::channel::tokens::Tokens;
use crate::clock;
use crate::failure::Failure;
use crate::memory;
use crate::metrics::Metrics;

/// Changes that come together are one.
const TOGETHER: Duration = Duration::from_millis(10);
/// But none waits for longer.
const AT_MOST: Duration = Duration::from_millis(200);
/// The longest pause before what failed is tried again.
const LONGEST: Duration = Duration::from_secs(60);
/// Between two looks at who has acknowledged what.
const LOOK: Duration = Duration::from_millis(250);
/// The longest between two such looks.
const QUIET: Duration = Duration::from_secs(5);
/// Between two times at which memory that nobody needs any more goes back.
const REST: Duration = Duration::from_secs(10);
/// For answers that are on their way when we end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs until it is asked to end.
///
/// # Errors
/// When it cannot begin.
pub(crate) async fn run(settings: Settings) -> Result<ExitCode, Failure> {
    let settings = Arc::new(settings);
    let metrics = Arc::new(Metrics::new());
    let client = requests::counted(config().await?, &metrics)?;
    let mut end = end()?;
    let secrets = tokio::select! {
        secrets = secrets(&client, &settings.scope.namespace) => secrets,
        () = end.recv() => return Ok(ExitCode::SUCCESS),
    };
    let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
        Failure::unreachable(format!("CLEW0928: {} cannot be bound: {error}", settings.listen))
    })?;
    let store = Arc::<Store>::default();
    let (leadership, told) = (Arc::<Leadership>::default(), Arc::new(AtomicBool::new(false)));
    let channel = Channel::with_peers(super::epoch()?, secrets.seed, leadership.subscribe());

    let mut tasks = JoinSet::new();
    for kind in Kind::ALL {
        tasks.spawn(follow::follow(
            client.clone(),
            kind,
            settings.clone(),
            store.clone(),
        ));
    }
    let leases: Api<Lease> = Api::namespaced(client.clone(), &settings.scope.namespace);
    tasks.spawn(Candidate::new(leases.clone(), &settings, leadership.clone()).run());
    tasks.spawn(queued(store.subscribe(), metrics.clone()));
    tasks.spawn(at_rest());
    let (farewell, is_over) = watch::channel(false);
    let operators = Operators::new(client.clone(), &settings, channel.clone(), leadership.clone());
    let mut cluster = Cluster::new(
        client,
        &settings,
        store.clone(),
        channel.clone(),
        leadership.clone(),
        metrics.clone(),
    );
    let page = settings
        .status_page
        .then(|| page::router(operators.clone(), channel.clone(), store.clone()));
    let router = server::router(
        channel,
        Tokens::Each(secrets.channel),
        Leader::new(leadership.leader()),
        store,
        metrics,
        told.clone(),
        cluster.downloads(),
    )
    .merge(operators.router())
    .merge(page.unwrap_or_default())
    .into_make_service_with_connect_info::<SocketAddr>();
    tracing::info!(
        "serving on {}",
        listener.local_addr().map_or(settings.listen, |address| address)
    );
    let serving = tokio::spawn(
        axum::serve(listener, router)
            .with_graceful_shutdown(over(is_over))
            .into_future(),
    );

    let (ending, is_ending) = watch::channel(false);
    {
        let mut turning = std::pin::pin!(turn(&mut cluster, &told, is_ending));
        tokio::select! {
            () = &mut turning => {}
            () = end.recv() => {
                ending.send_replace(true);
                // What is being written is written to the end.
                let _ = tokio::time::timeout(FAREWELL, turning).await;
            }
        }
    }
    tracing::info!("ending: the Lease goes to whoever wants it");
    tasks.shutdown().await;
    let release = lease::release(&leases, &settings.identity, &leadership);
    // If nobody answers, it runs out.
    let _ = tokio::time::timeout(FAREWELL, release).await;
    farewell.send_replace(true);
    let _ = tokio::time::timeout(FAREWELL, serving).await;
    Ok(ExitCode::SUCCESS)
}

/// Turns until the end.
pub(super) async fn turn(cluster: &mut Cluster, told: &AtomicBool, mut is_ending: watch::Receiver<bool>) {
    let mut changes = cluster.store.subscribe();
    let mut lead = cluster.leadership.subscribe();
    let mut said = cluster.channel.subscribe();
    let mut look = None;
    let mut backoff = Backoff::new(LONGEST);
    while !cluster.store.unknown().is_empty() {
        tokio::select! {
            _ = changes.changed() => {}
            _ = is_ending.changed() => return,
        }
    }
    loop {
        let taken = *changes.borrow_and_update();
        // Who leads from before a turn on does not need another one for that.
        if lead.has_changed().unwrap_or_default() {
            lead.mark_unchanged();
            cluster.memory.look_at_everything();
        }
        cluster.metrics.queue.begins(taken, clock::now());
        let failed = cluster.reconcile().await;
        if cluster.has_looked_at_everything {
            cluster.give_back();
        }
        cluster.metrics.queue.ended(failed, clock::now());
        told.store(true, Ordering::Release);
        let again = match failed {
            true => Some(Instant::now() + backoff.next()),
            false => {
                backoff.reset();
                cluster.again().map(Instant::from_std)
            }
        };
        loop {
            tokio::select! {
                _ = is_ending.changed() => return,
                _ = changes.changed() => break together(&mut changes).await,
                _ = lead.changed() => break cluster.memory.look_at_everything(),
                () = until(again) => break,
                // Every poll is one; what matters is who holds what.
                _ = said.changed(), if look.is_none() => look = Some(Instant::now() + LOOK),
                () = until(look) => {
                    look = None;
                    said.mark_unchanged();
                    if cluster.listen() {
                        break;
                    }
                }
                // Who falls silent does not say so.
                () = clock::pause(QUIET) => {
                    if cluster.listen() {
                        break;
                    }
                }
            }
        }
    }
}

/// What is served while nothing changes leaves something to give back, too.
async fn at_rest() {
    loop {
        clock::pause(REST).await;
        memory::give_back();
    }
}

/// Counts the changes as they come, also while a turn is under way.
async fn queued(mut changes: watch::Receiver<u64>, metrics: Arc<Metrics>) {
    while changes.changed().await.is_ok() {
        metrics.queue.came(*changes.borrow_and_update(), clock::now());
    }
}

/// Resolves when changes have ceased to come.
async fn together(changes: &mut watch::Receiver<u64>) {
    let latest = Instant::now() + AT_MOST;
    while tokio::time::timeout_at(latest.min(Instant::now() + TOGETHER), changes.changed())
        .await
        .is_ok()
        && Instant::now() < latest
    {}
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn over(mut is_over: watch::Receiver<bool>) {
    // Whoever would say so being gone says it too.
    let _ = is_over.wait_for(|over| *over).await;
}

async fn config() -> Result<Config, Failure> {
    Config::infer()
        .await
        .map_err(|error| Failure::unreachable(format!("no cluster is configured: {error}; set KUBECONFIG")))
}

async fn secrets(client: &Client, namespace: &str) -> Secrets {
    let mut backoff = Backoff::new(LONGEST);
    loop {
        match Secrets::open(client, namespace).await {
            Ok(secrets) => return secrets,
            Err(failure) => {
                tracing::error!("{failure}");
                clock::pause(backoff.next()).await;
            }
        }
    }
}

struct End {
    terminate: Signal,
    interrupt: Signal,
}

fn end() -> Result<End, Failure> {
    let of = |kind| {
        signal(kind).map_err(|error| Failure::unreachable(format!("signals cannot be received: {error}")))
    };
    Ok(End {
        terminate: of(SignalKind::terminate())?,
        interrupt: of(SignalKind::interrupt())?,
    })
}

impl End {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
