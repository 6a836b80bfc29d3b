//! `WebSocketPolicy` on HTTPRoutes that somebody has already: sessions find their pods and leave gracefully, and all else stays as it was.

mod carried_by_istio;
mod from_a_workstation;
mod in_part;
mod owned;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::issuer::Issuer;
use clew_e2e::manifests::NAMESPACE;
use clew_e2e::pod::{PORT, service};
use clew_e2e::visitors::{LONG, Visitors};
use clew_e2e::ws_client::{Session, Traffic};
use clew_e2e::{scene, wait};
use serde_json::{Value, json};

use crate::controller::LISTENERS;
use crate::{ALONE, FILTERED};
use owned::Owned;

const KEYS: usize = 100;
const SESSIONS: usize = 60;
const PARENT: (&str, &str) = (NAMESPACE, FILTERED.0);

/// The pod of a key is one of three, so that of a hundred keys without a policy two thirds stray each time.
fn many_stray(strays: usize) -> Result<()> {
    ensure!(
        strays > KEYS / 2,
        "only {strays} keys stray without a policy: the test sees nothing"
    );
    Ok(())
}

/// A pod that terminates closes its sessions with 1012, and the others stay.
async fn leaves(owned: &mut Owned, sessions: &mut [Session]) -> Result<usize> {
    owned.pods[0].terminate().await?;
    let leaving = owned.pods[0].name().to_owned();
    let mut closed = 0;
    for session in sessions.iter_mut().filter(|session| session.served_by == leaving) {
        let record = session.ended(LONG).await?;
        ensure!(record.code() == Some(1012) && record.is_whole(), "{record:?}");
        closed += 1;
    }
    ensure!(closed > 0, "nobody was on {leaving}");
    for session in sessions.iter().filter(|session| session.served_by != leaving) {
        session.check().await.context("who is not on the pod stays")?;
    }
    Ok(closed)
}

/// Somebody's own policy for the HTTPRoute.
fn theirs(namespace: &str, load_balancer: &Value) -> Value {
    json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "BackendTrafficPolicy",
        "metadata": {"name": "theirs", "namespace": namespace},
        "spec": {
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "chat"}],
            "loadBalancer": load_balancer,
        },
    })
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_on_somebodys_route_find_their_pods_and_nothing_else_changes() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (all, _) = crate::scene().await?;
    let mut owned = Owned::new(all, "owned", all.filtered.address, PARENT).await?;
    let (_, strays) = owned.strays(KEYS).await?;
    many_stray(strays)?;
    println!("without a policy: {strays} strays of {}", 2 * KEYS);
    let mut sessions = owned
        .visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_millis(200), 256))
        .await?;
    let admin = &all.filtered.admin;
    let listeners = admin.stats(LISTENERS).await?;
    ensure!(!listeners.is_empty(), "nothing is counted");

    let first = owned.policy("first", &["chat"]);
    let applied = owned.apply(&first).await?;
    let placed = owned.sticky(KEYS).await?;
    let (_, strays) = owned.strays(KEYS).await?;
    ensure!(strays == 0, "{strays} keys strayed");
    println!("with one: {KEYS} keys, 3 times: 0 strays");
    owned.plain_http_passes(&placed).await?;

    // Two for one HTTPRoute, and the one that is left.
    let second = owned.policy("second", &["chat"]);
    owned.client.apply(&second).await?;
    let said = owned.says(&second, "Accepted", "Conflicted").await?;
    ensure!(said.contains("owned/first"), "{said}");
    applied.delete().await?;
    applied.gone().await?;
    owned.says(&second, "Programmed", "Programmed").await?;
    let after = owned.sticky(KEYS).await?;
    ensure!(after == placed, "a key moved with the policy that has it");
    owned.refused_edits_take_nothing(&second, &placed).await?;

    // Somebody's own policy comes, and then says what ours would.
    let mut theirs = theirs(owned.name, &json!({"type": "RoundRobin"}));
    owned.client.apply(&theirs).await?;
    let said = owned.says(&second, "Accepted", "Conflicted").await?;
    ensure!(said.contains("owned/theirs"), "{said}");
    owned.nothing_is_left(&[owned.name]).await?;
    wait::until("theirs holds", LONG, async || {
        let (_, strays) = owned.strays(KEYS).await.ok()?;
        (strays > KEYS / 2).then_some(())
    })
    .await?;
    theirs["spec"]["loadBalancer"] = json!({
        "type": "ConsistentHash",
        "consistentHash": {"type": "Headers", "headers": [{"name": "x-clew-host"}]},
    });
    owned.client.apply(&theirs).await?;
    owned.says(&second, "Programmed", "Programmed").await?;
    let after = owned.sticky(KEYS).await?;
    ensure!(after == placed, "theirs carries keys elsewhere");
    owned.nothing_is_left(&[owned.name]).await?;
    owned.client.same(&theirs)?.delete().await?;
    owned
        .client
        .object(
            "gateway.envoyproxy.io/v1alpha1",
            "BackendTrafficPolicy",
            owned.name,
            &ours(&owned).await?,
        )
        .until("Envoy Gateway takes ours", |policy| {
            let ancestors = policy["status"]["ancestors"].as_array()?;
            let mut all = ancestors
                .iter()
                .flat_map(|one| one["conditions"].as_array())
                .flatten();
            all.find(|one| one["type"] == "Accepted" && one["status"] == "True")
                .map(|_| ())
        })
        .await?;
    let after = owned.sticky(KEYS).await?;
    ensure!(after == placed, "ours carries keys elsewhere than before");

    scene::all_answer(&sessions).await?;
    scene::none_lost(&sessions)?;
    println!("applied, conflict, takeover, somebody's own: 0 of {SESSIONS} sessions lost");
    drop(sessions);
    sessions = owned
        .visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_millis(50), 64))
        .await?;
    let closed = leaves(&mut owned, &mut sessions).await?;
    println!("{closed} sessions of a deleted pod: all closed with 1012, whole");
    sessions.retain(Session::is_live);
    let object = owned.client.same(&second)?;
    object.delete().await?;
    object.gone().await?;
    owned.nothing_is_left(&[owned.name]).await?;
    owned.visitors.welcome().await?;
    scene::all_answer(&sessions).await?;
    println!("{} sessions when the policy is gone: 0 lost", sessions.len());
    let now = admin.stats(LISTENERS).await?;
    ensure!(
        now == listeners,
        "a listener changed: {now:?} is not {listeners:?}"
    );
    owned.goes().await
}

/// The name of the BackendTrafficPolicy that is ours.
async fn ours(owned: &Owned) -> Result<String> {
    wait::until("there is one of ours again", LONG, async || {
        let carriers = owned.carriers().await?;
        carriers.first()?["metadata"]["name"].as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_refused_takes_nothing_from_another_one() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (all, _) = crate::scene().await?;
    let owned = Owned::new(all, "twofold", all.filtered.address, PARENT).await?;
    owned.client.apply(&service(owned.name, "canary")).await?;
    let backends = json!([
        {"name": "chat", "port": PORT, "weight": 9}, {"name": "canary", "port": PORT, "weight": 1},
    ]);
    let split = owned.http_route("split", "split.", &backends);
    owned.client.apply(&split).await?;
    let policy = owned.policy("both", &["split", "chat"]);
    let object = owned.apply(&policy).await?;
    let said = owned.says(&policy, "ResolvedRefs", "UnsupportedBackend").await?;
    ensure!(
        said.contains("targetRefs[0]") && said.contains("WebSocketRoute"),
        "{said}"
    );
    let placed = owned.sticky(KEYS).await?;
    let (_, strays) = owned.strays(KEYS).await?;
    ensure!(strays == 0, "{strays} keys strayed");

    // An HTTPRoute that comes later, and whose rule has no name.
    let missing = owned.policy("missing", &["later"]);
    owned.client.apply(&missing).await?;
    owned.says(&missing, "Accepted", "TargetNotFound").await?;
    let mut later = owned.http_route("later", "later.", &json!([{"name": "chat", "port": PORT}]));
    let rule = later["spec"]["rules"][0].as_object_mut();
    rule.context("a rule")?.remove("name");
    owned.client.apply(&later).await?;
    owned.says(&missing, "Programmed", "Programmed").await?;
    let visitors = at(all.filtered.address, "later.twofold.example.com");
    let after = visitors.settled("keys stay", KEYS, |_| true).await?;
    ensure!(after == placed, "a rule without a name has keys elsewhere");
    for object in [&missing, &policy, &split, &later] {
        owned.client.same(object)?.delete().await?;
    }
    object.gone().await?;
    owned.nothing_is_left(&[owned.name]).await?;
    owned.goes().await
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_protects_somebodys_route_protects_it_with_a_policy_too() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (all, _) = crate::scene().await?;
    let owned = Owned::new(all, "protected", all.filtered.address, PARENT).await?;
    let issuer = Issuer::rs256("one")?;
    let keys = json!({"keys": [issuer.jwk()]}).to_string();
    let guard = json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "SecurityPolicy",
        "metadata": {"name": "tokens", "namespace": owned.name},
        "spec": {
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "chat"}],
            "jwt": {"providers": [{
                "name": "one", "issuer": "https://issuer.example.com",
                "localJWKS": {"type": "Inline", "inline": keys},
            }]},
        },
    });
    owned.client.apply(&guard).await?;
    let refused = async || {
        let status = owned.status(&owned.visitors.request(0)).await.ok()?;
        (status == 401).then_some(())
    };
    wait::until("who has no token is refused", LONG, refused).await?;
    let token =
        issuer.token(&json!({"iss": "https://issuer.example.com", "sub": "me", "exp": 4_000_000_000_u64}))?;
    let policy = owned.policy("policy", &["chat"]);
    let object = owned.apply(&policy).await?;
    let with_token = |key: usize| {
        owned
            .visitors
            .request(key)
            .header("authorization", format!("Bearer {token}"))
    };
    let (mut placed, mut before) = (Vec::new(), None);
    wait::until("keys stay", LONG, async || {
        let requests: Vec<_> = (0..KEYS).map(with_token).collect();
        placed = scene::place(all.filtered.address, &requests).await.ok()?;
        (before.replace(placed.clone()).as_ref() == Some(&placed)).then_some(())
    })
    .await?;
    for (key, pod) in placed.iter().enumerate() {
        let outcome = owned.visitors.ask(&with_token(key)).await?;
        ensure!(outcome.by == *pod, "key {key} strayed");
        let status = owned.status(&owned.visitors.request(key)).await?;
        ensure!(status == 401, "key {key} got in without a token: {status}");
    }
    println!("{KEYS} handshakes without a token: all refused with 401; with one: 0 strays");
    object.delete().await?;
    object.gone().await?;
    for object in [&guard, &owned.http_route("chat", "", &json!([]))] {
        owned.client.same(object)?.delete().await?;
    }
    owned.nothing_is_left(&[owned.name]).await
}

/// Where a host is reached.
fn at(gateway: std::net::SocketAddr, host: &str) -> Visitors {
    Visitors {
        gateway,
        host: host.to_owned(),
    }
}
