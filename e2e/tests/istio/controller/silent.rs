//! A module that Istio's agent cannot get: it answers everything with 403, and the status says so.

use anyhow::{Context, Result, ensure};
use clew_e2e::wait;
use clew_e2e::ws_client::Answer;
use serde_json::{Value, json};
use std::time::Duration;

use super::shop::{Shop, install};
use super::{CLEW, SOON, alone, condition};

/// What a proxy is given to ask, and then some.
const LONG: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_cannot_be_got_is_said_in_the_status_and_mended_by_another_install() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let shop = Shop::open(mesh, "silent").await?;
    let printed = install(&mesh.cluster, "silent", &["--print"]).await?;
    let list: Value = serde_saphyr::from_str(printed.success()?)?;
    let plugin = &list["items"][0];

    let mut wrong = plugin.clone();
    wrong["spec"]["sha256"] = json!("0".repeat(64));
    shop.client.apply(&wrong).await?;
    wait::until("the agent lets nobody through", SOON, async || {
        match shop.visitors.request(0).send(shop.visitors.gateway).await.ok()? {
            Answer::Refused(head, _) if head.status == 403 => Some(()),
            _ => None,
        }
    })
    .await?;
    let message = silent(&shop, "another sha256").await?;
    ensure!(
        message.starts_with("1 of 1 ready pods") && message.contains("istio-ingressgateway-0"),
        "{message}"
    );
    let events = "/apis/events.k8s.io/v1/namespaces/silent/events";
    wait::until("an Event says it too", SOON, async || {
        let list: Value = serde_json::from_str(&shop.client.text(events).await.ok()?).ok()?;
        let all = list["items"].as_array()?;
        all.iter()
            .any(|event| event["reason"] == "FilterNotInstalled" && event["type"] == "Warning")
            .then_some(())
    })
    .await?;

    let mut gone = plugin.clone();
    let url = plugin["spec"]["url"].as_str().context("a url")?;
    let (folder, _) = url.rsplit_once('/').context("a path")?;
    gone["spec"]["url"] = json!(format!("{folder}/{}.wasm", "0".repeat(64)));
    shop.client.apply(&gone).await?;
    silent(&shop, "does not serve").await?;

    install(&mesh.cluster, "silent", &["--yes"]).await?.success()?;
    shop.programmed().await?;
    wait::until("handshakes get through again", LONG, async || {
        shop.visitors.request(0).place(shop.visitors.gateway).await.ok()
    })
    .await?;
    shop.close().await
}

/// Waits until the status says why nobody asks.
async fn silent(shop: &Shop, why: &str) -> Result<String> {
    let route = shop.client.object(CLEW, "WebSocketRoute", "silent", "chat");
    wait::until(&format!("the status says: {why}"), LONG, async || {
        let route = route.get().await.ok()??;
        let (status, reason, message) = condition(&route, "Programmed")?;
        (status == "False" && reason == "FilterNotInstalled" && message.contains(why)).then_some(message)
    })
    .await
}
