//! TLS between a gateway and the pods, with certificates on both sides, as the user's own DestinationRule says it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::echo_server::EchoServer;
use clew_e2e::envoy::{PlainEnvoy, load_assignment};
use clew_e2e::pod::Pod;
use clew_e2e::visitors::LONG;
use clew_e2e::ws_client::{Session, Traffic};
use clew_e2e::{scene, wait};
use serde_json::{Value, json};

use super::mistakes::answered;
use super::shop::{Shop, install};
use super::{ISTIO, alone, documents};

const NAME: &str = "mtls";
const KEYS: usize = 60;

/// Two certificates that sign themselves, and their keys: the client's, and the pods'.
fn certificates() -> Result<[(String, String); 2]> {
    let input = documents(include_str!(
        "../../../../controller/core/tests/golden/https/input.yaml"
    ))?;
    let of = |name: &str| {
        let secret = input
            .iter()
            .find(|one| one["kind"] == "Secret" && one["metadata"]["name"] == name);
        let data = &secret.with_context(|| format!("no Secret {name}"))?["stringData"];
        let text = |field: &str| data[field].as_str().map(str::to_owned);
        let pair = text("tls.crt").zip(text("tls.key"));
        pair.context("no certificate and key")
    };
    Ok([of("chat-tls")?, of("rest-tls")?])
}

/// What stands before a pod's server in the pod: it lets in who has the client's certificate, and shows the pods'.
async fn guard(pod: &Pod, server: &EchoServer) -> Result<PlainEnvoy> {
    let [(client, _), (chain, key)] = certificates()?;
    let context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "common_tls_context": {
            "tls_certificates": [{"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}],
            "validation_context": {"trusted_ca": {"inline_string": client}},
        },
    });
    pod.server.refuse();
    wait::until("the port is free", LONG, async || {
        std::net::TcpListener::bind(pod.address()).ok().map(drop)
    })
    .await?;
    let cluster = json!({
        "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": load_assignment("backends", &[server.address()]),
    });
    let tls = json!({"name": "envoy.transport_sockets.tls", "typed_config": context});
    PlainEnvoy::start_behind(tls, pod.address(), cluster).await
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_wants_a_certificate_gets_the_one_of_the_users_rule() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let shop = Shop::closed(mesh, NAME).await?;
    let (mut servers, mut guards) = (Vec::new(), Vec::new());
    for pod in &shop.pods {
        let server = EchoServer::start(pod.name()).await?;
        guards.push(guard(pod, &server).await?);
        servers.push(server);
    }
    install(&mesh.cluster, NAME, &["--yes"]).await?.success()?;
    shop.client.apply(&shop.manifest).await?;
    shop.programmed().await?;
    answered(&shop, 503).await.context("plain HTTP")?;

    let folder = tempfile::tempdir()?;
    let [(chain, key), (pods, _)] = certificates()?;
    let file = |name: &str, text: &str| -> Result<Value> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(json!(path))
    };
    let mut tls = json!({
        "mode": "MUTUAL",
        "clientCertificate": file("cert.pem", &chain)?,
        "privateKey": file("key.pem", &key)?,
        "caCertificates": file("ca.pem", &pods)?,
        "subjectAltNames": ["example.org"],
    });
    let rule = |tls: &Value| {
        json!({
            "apiVersion": ISTIO, "kind": "DestinationRule", "metadata": {"name": "theirs", "namespace": NAME},
            "spec": {"host": format!("chat.{NAME}.svc.cluster.local"), "trafficPolicy": {"tls": tls}},
        })
    };
    shop.client.apply(&rule(&tls)).await?;
    shop.visitors.welcome().await?;
    let placed = shop.visitors.place(KEYS).await?;
    ensure!(shop.visitors.place(KEYS).await? == placed, "keys stray");
    for pod in &shop.pods {
        ensure!(
            placed.iter().any(|name| name == pod.name()),
            "{} has no key",
            pod.name()
        );
    }
    let traffic = Traffic::every(Duration::from_millis(50), 64);
    let sessions = shop.visitors.sessions(KEYS, traffic).await?;
    scene::all_answer(&sessions).await?;

    // Without a certificate of its own the gateway gets in no more; who is in stays.
    tls["mode"] = json!("SIMPLE");
    for field in ["clientCertificate", "privateKey"] {
        tls.as_object_mut().context("an object")?.remove(field);
    }
    shop.client.apply(&rule(&tls)).await?;
    answered(&shop, 503)
        .await
        .context("TLS without a client's certificate")?;
    scene::all_answer(&sessions).await?;
    let records: Vec<_> = sessions.iter().map(Session::record).collect();
    println!(
        "mTLS from the gateway to the pods: {KEYS} of {KEYS} keys at home, without a certificate 503; {} messages sent, {} lost, {} doubled or out of order",
        records.iter().map(|record| record.sent).sum::<u64>(),
        records.iter().map(|record| record.echoes.missing).sum::<u64>(),
        records.iter().map(|record| record.echoes.repeated).sum::<u64>(),
    );
    shop.client.same(&rule(&tls))?.delete().await?;
    shop.close().await
}
