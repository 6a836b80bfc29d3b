//! The sessions of a gateway leave before its listeners change, and no new ones come until these have.

use std::time::Duration;

use crate::channel::view::ProxyView;
use crate::cli::output;
use crate::clock;
use crate::cluster::install::Installation;
use crate::failure::Failure;
use crate::operate::{Answers, Connection, Controller, now};

/// Between two looks. Counts come once a second: one empty answer may be older than the drain.
const LOOK_AGAIN: Duration = Duration::from_millis(1250);
/// Proxies have a new installation within about a minute; whoever has not after this is named, and keeps nobody out any longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Drains the gateway, changes the installation, and waits until its proxies have it. However that ends, sessions are let in again.
pub(super) async fn change(
    connection: &Connection,
    controller: &Controller,
    installation: &Installation,
) -> Result<(), Failure> {
    // Asked anew each time: a token of the controllers' lives for ten minutes, and a drain may take longer.
    let ask = async || controller.ask(&connection.client).await;
    ask().await?;
    let since = now(connection).await?;
    installation.drain(Some(&since.to_string())).await?;
    let changed = tokio::select! {
        changed = emptied_and_changed(ask, installation) => changed,
        _ = tokio::signal::ctrl_c() => Err(Failure::refused("stopped; new sessions come again")),
    };
    let opened = installation.drain(None).await;
    changed.and(opened)
}

async fn emptied_and_changed(
    ask: impl AsyncFn() -> Result<Answers, Failure>,
    installation: &Installation,
) -> Result<(), Failure> {
    let gateway = installation.proxies.to_string();
    let mut before = None;
    loop {
        let proxies = proxies(&ask().await?, &gateway);
        let live = proxies.iter().flat_map(|proxy| &proxy.live);
        let left: u64 = live.map(|live| live.sessions).sum();
        if before != Some(left) {
            eprintln!("{} left", output::plural(left, "session"));
        }
        if left == 0 && before == Some(0) {
            break;
        }
        before = Some(left);
        clock::pause(LOOK_AGAIN).await;
    }
    installation.make().await?;
    eprintln!("written; new sessions come again as soon as every proxy has it");
    let began = clock::now();
    loop {
        let proxies = proxies(&ask().await?, &gateway);
        let mut older = proxies
            .iter()
            .filter(|proxy| proxy.installation != installation.mark)
            .peekable();
        if !proxies.is_empty() && older.peek().is_none() {
            return Ok(());
        }
        if clock::now().duration_since(began) > PATIENCE {
            let named: Vec<_> = older.map(ProxyView::called).collect();
            return Err(Failure::unreachable(format!(
                "after {} s these proxies do not say that they have it, and when they get it, what is open there then is cut: {}",
                PATIENCE.as_secs(),
                named.join(", ")
            )));
        }
        clock::pause(LOOK_AGAIN).await;
    }
}

/// What the gateway's proxies say, by all controllers together.
fn proxies(answers: &Answers, gateway: &str) -> Vec<ProxyView> {
    let gateways = answers.gateways().into_iter();
    gateways
        .filter(|known| known.name == gateway)
        .flat_map(|known| known.proxies)
        .collect()
}
