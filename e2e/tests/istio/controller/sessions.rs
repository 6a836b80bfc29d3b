//! The whole chain: the module installed, a route applied, sessions placed, a pod drained, and nothing left.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::istio::{self, Istio};
use clew_e2e::pod::Pod;
use clew_e2e::visitors::{LONG, Visitors};
use clew_e2e::wait;
use clew_e2e::ws_client::Traffic;
use rustix::process::Signal;
use tokio::time::{Instant, timeout};

use super::shop::{Shop, install};
use super::{SOON, alone};

const KEYS: usize = 300;
const SESSIONS: usize = 120;
/// When one comes, until no handshake misses any more on a busy machine: by rights it is a second.
const DISAGREE: Duration = Duration::from_secs(5);
/// The drain's timeout in a [`Shop`].
const WINDOW: Duration = Duration::from_secs(6);
/// By what a busy machine may be late.
const LATE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filter_is_installed_when_one_says_so_and_once() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let shop = Shop::closed(mesh, "installed").await?;
    let printed = install(&mesh.cluster, "installed", &["--print"]).await?;
    let list: serde_json::Value = serde_saphyr::from_str(printed.success()?)?;
    let plugin = &list["items"][0];
    ensure!(
        plugin["metadata"]["namespace"] == istio::NAMESPACE,
        "not where the pods are: {plugin:#}"
    );
    let plugin = shop.client.same(plugin)?;
    // Another sentence may have installed it.
    if plugin.get().await?.is_some() {
        plugin.delete().await?;
    }
    let refused = install(&mesh.cluster, "installed", &[]).await?;
    ensure!(
        refused.code == 2 && refused.stderr.contains("--yes"),
        "{refused:?}"
    );
    ensure!(plugin.get().await?.is_none(), "nobody said yes");
    let installed = install(&mesh.cluster, "installed", &["--yes"]).await?;
    installed.success()?;
    ensure!(installed.stderr.contains("cuts every WebSocket"), "{installed:?}");
    let again = install(&mesh.cluster, "installed", &["--yes"]).await?;
    ensure!(again.stderr.contains("installed already"), "{again:?}");
    shop.apply_route().await?;
    shop.close().await
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_find_their_pods_through_istio_and_a_deleted_pod_lets_its_sessions_go() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::open(mesh, "sessions").await?;
    let first = shop.visitors.place(KEYS).await?;
    for _ in 0..2 {
        let again = shop.visitors.place(KEYS).await?;
        let strays = first.iter().zip(&again).filter(|(a, b)| a != b).count();
        ensure!(strays == 0, "{strays} of {KEYS} keys strayed");
    }
    let mut load = BTreeMap::<&str, usize>::new();
    for pod in &first {
        *load.entry(pod).or_default() += 1;
    }
    ensure!(
        load.len() == 3 && load.values().all(|keys| *keys > KEYS / 6),
        "{load:?}"
    );
    let mut placed = first;
    for (n, asleep) in [(3, false), (4, false), (5, true)] {
        let istio = asleep.then_some(&mesh.istio);
        placed = one_joins(&mut shop, n, &placed, istio).await?;
    }
    let asked: usize = shop.pods.iter().map(|pod| pod.server.opened()).sum();
    let missed = missed(&shop.pods).len();
    let (admin, mut last) = (mesh.gateway.admin, None);
    let counted = wait::until("the filter has counted the same", SOON, async || {
        let counted = (
            shop.landed(admin, "missed").await.ok()?,
            shop.landed(admin, "hit").await.ok()?,
        );
        last = Some(counted);
        (counted == (missed, asked - missed)).then_some(())
    });
    let counted = counted.await;
    counted.with_context(|| format!("{missed} of {asked}, and it says {last:?}"))?;

    let mut sessions = shop
        .visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_millis(50), 64))
        .await?;
    let leaving = shop.pods[0].name().to_owned();
    let deleted = Instant::now();
    shop.pods[0].terminate().await?;
    let mut closed = Vec::new();
    for session in sessions.iter_mut().filter(|session| session.served_by == leaving) {
        let record = session.ended(SOON).await?;
        ensure!(record.code() == Some(1012) && record.is_whole(), "{record:?}");
        let (_, _, at) = record.close.context("a Close")?;
        closed.push(at - deleted);
    }
    closed.sort_unstable();
    let [soonest, .., latest] = closed[..] else {
        anyhow::bail!("nobody was on {leaving}");
    };
    ensure!(latest <= WINDOW + LATE, "the last Close came after {latest:?}");
    for session in sessions.iter().filter(|session| session.served_by != leaving) {
        session.check().await.context("who is not on the pod stays")?;
    }
    let placed = shop.visitors.place(KEYS).await?;
    ensure!(!placed.contains(&leaving), "nobody goes there any more");
    println!(
        "{KEYS} keys, 3 times: 0 strays; {} sessions of a deleted pod: all closed with 1012, whole, from {soonest:?} to {latest:?} after the deletion, where {WINDOW:?} were allowed",
        closed.len(),
    );
    shop.close().await
}

/// A control plane that is asleep until this is dropped.
struct Asleep<'i>(&'i Istio);

impl<'i> Asleep<'i> {
    fn new(istio: &'i Istio) -> Result<Self> {
        istio.signal(Signal::STOP)?;
        Ok(Self(istio))
    }
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT).ok();
    }
}

/// A pod more, while handshakes go on: it takes keys, and no other key moves. Envoy and the filter need not hear of it at the same moment; with
/// this `istio`, which is asleep until handshakes miss, they do not.
#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
async fn one_joins(
    shop: &mut Shop,
    n: usize,
    before: &[String],
    istio: Option<&Istio>,
) -> Result<Vec<String>> {
    let name = format!("sessions-{n}");
    let known = missed(&shop.pods).len();
    let joining = async {
        let asleep = istio.map(Asleep::new).transpose()?;
        let pod = shop.pod(n).await?;
        if asleep.is_some() {
            let one_misses = || missed(shop.pods.iter().chain([&pod])).len() > known;
            wait::until_true("the filter alone knows it", SOON, one_misses).await?;
        }
        drop(asleep);
        Ok::<_, anyhow::Error>((pod, Instant::now()))
    };
    let ((pod, told), after) = tokio::try_join!(joining, taking(&shop.visitors, &name))?;
    shop.pods.push(pod);
    let elsewhere = before.iter().zip(&after);
    let elsewhere = elsewhere.filter(|(before, after)| before != after && **after != name);
    let elsewhere = elsewhere.count();
    ensure!(
        elsewhere == 0,
        "{elsewhere} keys moved between pods that were there before"
    );
    let mut missed = missed(&shop.pods);
    missed.sort_unstable();
    let missed = missed.get(known..).unwrap_or_default();
    let last = missed.last().map(|last| *last - told).unwrap_or_default();
    println!(
        "{name} comes{}: {} handshakes miss, the last {last:?} after everybody could know it",
        if istio.is_some() {
            ", and istiod is late"
        } else {
            ""
        },
        missed.len()
    );
    ensure!(last <= DISAGREE, "{missed:?}");
    Ok(after)
}

/// Handshakes of all keys, again and again, none of which is refused, until two looks in a row find the same, and keys on a pod that joins.
async fn taking(visitors: &Visitors, joins: &str) -> Result<Vec<String>> {
    let mut before = Vec::new();
    let taking = async {
        loop {
            let placed = visitors.place(KEYS).await?;
            if placed == before && placed.iter().any(|pod| pod == joins) {
                return Ok(placed);
            }
            before = placed;
        }
    };
    let taken = timeout(LONG, taking).await;
    taken.context("the new pod has taken its keys")?
}

/// When sessions came to other pods than the filter wished.
fn missed<'p>(pods: impl IntoIterator<Item = &'p Pod>) -> Vec<Instant> {
    let pods: Vec<_> = pods.into_iter().collect();
    let addresses: Vec<_> = pods.iter().map(|pod| pod.address().to_string()).collect();
    let mut missed = Vec::new();
    for (pod, here) in pods.iter().zip(&addresses) {
        for connection in pod.server.connections() {
            let wish = connection.head.header("x-clew-host").unwrap_or_default();
            if wish != *here && addresses.contains(&wish) {
                missed.push(connection.opened);
            }
        }
    }
    missed
}
