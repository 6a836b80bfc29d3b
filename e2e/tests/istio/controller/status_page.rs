//! The controller's page: nothing to who has no token, and to who has one what is open in the cluster, in a real browser.

use anyhow::{Context, Result, ensure};
use clew_e2e::browser::Browser;
use clew_e2e::controller::NAMESPACE;
use clew_e2e::http;
use clew_e2e::workstation::clew;
use clew_e2e::ws_client::Traffic;
use hyper::Method;

use super::shop::Shop;
use super::{SOON, alone};

const KEYS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_asks_for_a_token_and_then_shows_routes_sessions_and_a_drain() -> Result<()> {
    let (mesh, controller) = alone().await?;
    let address = controller.as_ref().context("a controller")?.address;
    let mut shop = Shop::open(mesh, "shown").await?;
    let mut sessions = shop.visitors.sessions(KEYS, Traffic::idle()).await?;
    for path in ["/v1/status", "/v1/sessions", "/v1/drains"] {
        let (status, said) = http::send(Method::GET, address, path, "").await?;
        ensure!(
            status == 401 && !said.contains("shown"),
            "{path}: {status} {said}"
        );
    }
    let mut page = Browser::open(address).await?;
    page.sees("document.querySelector('#token')?.checkVisibility()", SOON)
        .await?;
    ensure!(page.evaluate("document.querySelector('#view').checkVisibility()")? == false);

    // As a person does who knows a wrong one, and then makes one by the command that the page names.
    let enters = |page: &mut Browser, token: &str| -> Result<()> {
        page.evaluate("document.querySelector('#token').focus()")?;
        page.types(token)?;
        page.presses("Enter", 13, "\r")
    };
    enters(&mut page, "a.b.c")?;
    page.sees(
        "document.querySelector('#refusal').textContent.includes('clew-reader')",
        SOON,
    )
    .await?;
    let command = page.evaluate("document.querySelector('#command').textContent")?;
    let command = command.as_str().context("a command")?;
    ensure!(command.contains(NAMESPACE), "{command}");
    let made = mesh.cluster.kubectl(command.split(' ').skip(1)).await?;
    enters(&mut page, made.success()?.trim())?;
    page.sees(
        &format!("document.querySelector('#sessions').textContent === '{KEYS}'"),
        SOON,
    )
    .await?;
    page.sees(
        "[...document.querySelectorAll('#routes tbody tr')].some(row => row.innerText.startsWith('shown/chat') && row.innerText.includes('✓'))",
        SOON,
    )
    .await?;
    let text = page.text()?;
    ensure!(text.contains("clew-0") && text.contains("which leads"), "{text}");

    let leaving = sessions[0].served_by.clone();
    let there = sessions
        .iter()
        .filter(|session| session.served_by == leaving)
        .count();
    let leaving = shop
        .pods
        .iter()
        .position(|pod| pod.name() == leaving)
        .context("its pod")?;
    let leaving = shop.pods.swap_remove(leaving);
    let admin = mesh.cluster.kubeconfig();
    let drained = clew(&admin, &["drain", leaving.name(), "--namespace", "shown"]).await?;
    drained.success()?;
    page.sees(
        &format!(
            "document.querySelector('#drains tbody')?.innerText.includes('{}')",
            leaving.name()
        ),
        SOON,
    )
    .await?;
    page.sees(
        &format!(
            "document.querySelector('#sessions').textContent === '{}'",
            KEYS - there
        ),
        SOON,
    )
    .await?;
    for session in sessions
        .iter_mut()
        .filter(|session| session.served_by == leaving.name())
    {
        session.ended(SOON).await?;
    }
    // A door that was shut twice is all that the browser complains of.
    let refused = page.complaints().iter().filter(|said| said.contains("401"));
    ensure!(
        refused.count() == page.complaints().len(),
        "{:#?}",
        page.complaints()
    );
    shop.close().await
}
