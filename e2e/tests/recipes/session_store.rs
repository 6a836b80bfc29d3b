//! Sessions in a store: the cookie is the key, and only pages of the host may use it.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use clew_e2e::recipe::Recipe;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_on_one_server_and_another_site_cannot_use_its_cookie() -> Result<()> {
    let recipe = Recipe::new("session-store")
        .await?
        .with("install-redis.sh")
        .await?;
    let printed = recipe
        .follow(&["The servers", "With Clew", "Without Clew", "Stop"])
        .await?;
    let tables = printed.figures();
    println!("with and without Clew: {tables:?}");
    let [with, without] = tables.as_slice() else {
        anyhow::bail!("{printed:?}");
    };
    let is = |table: &BTreeMap<&str, u64>, figures: &[(&str, u64)]| {
        figures
            .iter()
            .all(|(name, figure)| table.get(name) == Some(figure))
    };
    let both = [
        ("sent", 3000),
        ("got", 3000),
        ("lost", 0),
        ("doubled", 0),
        ("out of order", 0),
        ("let in with a made-up cookie", 0),
        ("closed by logout", 30),
        ("let in after logout", 0),
        ("closed by expiry", 30),
        ("let in after expiry", 0),
    ];
    ensure!(is(with, &both) && is(without, &both), "{printed:?}");
    let placed = [
        ("sessions on several servers", 0),
        ("let in from another Origin", 0),
    ];
    ensure!(is(with, &placed), "{printed:?}");
    let scattered = without.get("sessions on several servers").copied();
    ensure!(
        scattered > Some(10) && is(without, &[("let in from another Origin", 20)]),
        "the control: {printed:?}"
    );
    Ok(())
}
