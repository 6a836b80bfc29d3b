//! The sessions of a gateway leave before its listeners change, and no new ones come until these have.

use std::time::Duration;

use crate::clock;
use crate::cluster::install::Installation;
use crate::failure::Failure;
use crate::operate::{Answers, Connection, Controller, Replicas, now};

/// Between two looks. Counts come once a second: one empty answer may be older than the drain.
const LOOK_AGAIN: Duration = Duration::from_millis(1250);

/// Drains the gateway, changes the installation, waits until its proxies have it, and lets sessions in again.
pub(super) async fn change(
    connection: &Connection,
    controller: &Controller,
    installation: &Installation,
) -> Result<(), Failure> {
    let replicas = controller.open(&connection.client).await?;
    let since = now(connection).await?;
    installation.drain(Some(&since.to_string())).await?;
    let left = |answers: &Answers| {
        let gateway = installation.proxies.to_string();
        let gateways = answers.gateways();
        let proxies = gateways
            .iter()
            .filter(|known| known.name == gateway)
            .flat_map(|known| &known.proxies);
        proxies
            .flat_map(|proxy| &proxy.live)
            .map(|live| live.sessions)
            .sum::<u64>()
    };
    let mut said = None;
    looked_at(&replicas, |answers| {
        let left = left(answers);
        if said != Some(left) {
            eprintln!("{left} sessions left");
        }
        let is_empty = left == 0 && said == Some(0);
        said = Some(left);
        is_empty
    })
    .await?;
    installation.make().await?;
    eprintln!("written; new sessions come again as soon as every proxy has it");
    looked_at(&replicas, |answers| {
        let gateway = installation.proxies.to_string();
        let gateways = answers.gateways();
        let mut proxies = gateways
            .iter()
            .filter(|known| known.name == gateway)
            .flat_map(|known| &known.proxies)
            .peekable();
        proxies.peek().is_some() && proxies.all(|proxy| proxy.installation == installation.mark)
    })
    .await?;
    installation.drain(None).await
}

/// Asks all controllers until what they say is so.
async fn looked_at(replicas: &Replicas, mut is_so: impl FnMut(&Answers) -> bool) -> Result<(), Failure> {
    loop {
        let answers = replicas.ask().await?;
        if is_so(&answers) {
            return Ok(());
        }
        clock::pause(LOOK_AGAIN).await;
    }
}
