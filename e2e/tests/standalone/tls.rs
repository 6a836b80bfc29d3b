//! Sessions over TLS: which edits of a port with certificates they notice.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use clew_e2e::address;
use clew_e2e::manifests;
use clew_e2e::scene::{self, ROUTE, Scene};
use clew_e2e::tls::{Certificate, Door};
use clew_e2e::wait;
use clew_e2e::ws_client::{Session, Traffic};
use serde_json::{Value, json};

use crate::foreseen::diff;
use crate::{SOON, by_room, rooms};

const SESSIONS: usize = 24;
const CHAT: &str = "chat.example.com";
const OTHER: &str = "other.example.com";
/// Envoy ends who came by one that goes, in its own time.
const DRAINING: &str = "listener_manager.total_filter_chains_draining";
const IN_PLACE: &str = "listener_manager.listener_in_place_updated";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_over_tls_stay_when_a_certificate_changes_and_a_host_comes() -> Result<()> {
    let scene = Scene::new(3, json!({"sessionKey": by_room()})).await?;
    let plain = scene.open(&rooms(0..SESSIONS), |_| Traffic::idle()).await?;
    let old = Certificate::new(CHAT)?;
    scene.folder.put("tls", &old.secret("tls"))?;
    scene.folder.put("gateway", &gateway(&scene, &[(CHAT, "tls")]))?;
    let (door, first) = enters(&scene, &old, 0).await?;

    // Who connects sees the new certificate, and who is connected stays.
    let new = Certificate::new(CHAT)?;
    let (code, said) = diff(&scene, ("tls", &new.secret("tls"))).await?;
    let changed = json!([{"action": "changed", "name": format!("{}/tls", manifests::NAMESPACE), "what": "the certificate of a listener"}]);
    ensure!(
        code == 1 && said["secrets"] == changed && said["listeners"] == json!([]),
        "{said:#}"
    );
    scene.folder.put("tls", &new.secret("tls"))?;
    let (new_door, second) = enters(&scene, &new, SESSIONS).await?;
    let refused = rooms(0..1).remove(0).send(door.address).await;
    ensure!(refused.is_err(), "the old certificate is still shown");

    // One more host on the port: foreseen, and so it is.
    let other = Certificate::new(OTHER)?;
    scene.folder.put("other", &other.secret("other"))?;
    let both = gateway(&scene, &[(CHAT, "tls"), (OTHER, "other")]);
    let (code, said) = diff(&scene, ("gateway", &both)).await?;
    ensure!(
        code == 1
            && said["addedListeners"][0]["why"] == "it gets more hosts"
            && said["listeners"] == json!([])
            && said["ended"] == 0,
        "{said:#}"
    );
    scene.folder.put("gateway", &both)?;
    let (_other_door, third) = enters(&scene, &other, 2 * SESSIONS).await?;
    let admin = scene.clew.ready.admin;
    ensure!(admin.stats(IN_PLACE).await?.get(IN_PLACE) == Some(&1));
    let all = || [&plain, &first, &second, &third].into_iter();
    for sessions in all() {
        scene::all_answer(sessions).await?;
        scene::none_lost(sessions)?;
    }

    // A host that goes takes a filter chain along, which is said before; those who did not come by it stay.
    let only_other = gateway(&scene, &[(OTHER, "other")]);
    let rule = format!("{}/{ROUTE}/rooms", manifests::NAMESPACE);
    wait::until("it counts who is connected", SOON, async || {
        let (code, said) = diff(&scene, ("gateway", &only_other)).await.ok()?;
        let listener = &said["listeners"][0];
        let is_said = listener["address"] == secure(&scene).to_string() && listener["rules"] == json!([rule]);
        (code == 1 && is_said && said["ended"] == 4 * SESSIONS).then_some(())
    })
    .await?;
    scene.folder.put("gateway", &only_other)?;
    wait::until("the filter chain of the host goes", SOON, async || {
        let stats = admin.stats(DRAINING).await.ok()?;
        (stats.get(DRAINING) == Some(&1)).then_some(())
    })
    .await?;
    for sessions in [&plain, &third] {
        scene::all_answer(sessions).await?;
        scene::none_lost(sessions)?;
    }
    println!(
        "{SESSIONS} sessions each: with another certificate, another host on the port and one less 0 of those who stay were lost"
    );
    drop((door, new_door));
    Ok(())
}

/// Beside the scene's own port.
fn secure(scene: &Scene) -> SocketAddr {
    SocketAddr::new(scene.gateway().ip(), address::PORT + 1)
}

/// The scene's Gateway, and a listener with TLS for each host and Secret, all on one port.
fn gateway(scene: &Scene, hosts: &[(&str, &str)]) -> Value {
    let mut gateway = manifests::gateway(scene.gateway());
    let listeners = gateway["spec"]["listeners"].as_array_mut();
    listeners.into_iter().for_each(|listeners| {
        listeners.extend(hosts.iter().map(|(host, secret)| {
            json!({
                "name": secret, "port": secure(scene).port(), "protocol": "HTTPS", "hostname": host,
                "tls": {"certificateRefs": [{"name": secret}]},
            })
        }));
    });
    gateway
}

/// Opens sessions with keys from `from` on through TLS, as soon as the certificate is shown.
async fn enters(scene: &Scene, certificate: &Certificate, from: usize) -> Result<(Door, Vec<Session>)> {
    let door = certificate.door(secure(scene)).await?;
    let host = certificate.host();
    let probe = rooms(from..from + 1).remove(0).host(host);
    wait::until("the certificate is shown", SOON, async || {
        probe.place(door.address).await.ok()
    })
    .await?;
    let mut sessions = Vec::new();
    for request in rooms(from..from + SESSIONS) {
        let socket = request.host(host).open(door.address).await?;
        sessions.push(socket.session(Traffic::every(std::time::Duration::from_millis(200), 500)));
    }
    Ok((door, sessions))
}
