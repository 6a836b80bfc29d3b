//! GraphQL, MQTT and SignalR: each finds its servers by its subprotocol, and everybody of a room is on one of them.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use clew_e2e::recipe::Recipe;

const KINDS: [&str; 3] = ["graphql", "mqtt", "signalr"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_of_a_room_hears_all_that_is_said_there_whatever_they_speak() -> Result<()> {
    let recipe = Recipe::new("subprotocols").await?;
    let printed = recipe
        .follow(&["The servers", "With Clew", "Without Clew", "Stop"])
        .await?;
    let tables = printed.figures();
    println!("with and without Clew: {tables:?}");
    let [with, without] = tables.as_slice() else {
        anyhow::bail!("{printed:?}");
    };
    let figure = |table: &BTreeMap<&str, u64>, kind: &str, name: &str| {
        table.get(format!("{kind}, {name}").as_str()).copied()
    };
    for kind in KINDS {
        for (name, is) in [
            ("people", 30),
            ("refused", 0),
            ("sent", 1200),
            ("got", 6000),
            ("lost", 0),
            ("doubled", 0),
            ("out of order", 0),
        ] {
            ensure!(
                figure(with, kind, name) == Some(is),
                "{kind}, {name}: {printed:?}"
            );
        }
        let lost = figure(without, kind, "lost");
        let refused = figure(without, kind, "refused");
        ensure!(
            lost > Some(0) || refused > Some(0),
            "the control, {kind}: {printed:?}"
        );
    }
    Ok(())
}
