//! A policy for a whole HTTPRoute whose rules come and go, and which its Gateway may not take.

use std::time::Duration;

use anyhow::{Result, ensure};
use clew_e2e::pod::PORT;
use clew_e2e::scene;
use clew_e2e::visitors::LONG;
use clew_e2e::wait;
use clew_e2e::ws_client::{Request, Traffic};
use serde_json::{Value, json};

use super::owned::Owned;
use super::{KEYS, PARENT, SESSIONS};
use crate::ALONE;

/// The status of a handshake of a foreign Origin.
async fn foreign(owned: &Owned, path: &str) -> Result<u16> {
    let request = Request::new(path)
        .host(&owned.visitors.host)
        .header("origin", "https://evil.example.org");
    owned.status(&request).await
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_no_policy_can_be_for_leaves_the_others_theirs() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (all, _) = crate::scene().await?;
    let owned = Owned::new(all, "parts", all.filtered.address, PARENT).await?;
    let policy = owned.policy("policy", &["chat"]);
    let object = owned.apply(&policy).await?;
    let placed = owned.sticky(KEYS).await?;
    let sessions = owned
        .visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_millis(200), 256))
        .await?;

    // One that splits comes beside it.
    let whole = owned.http_route("chat", "", &json!([{"name": "chat", "port": PORT}]));
    let mut split = whole.clone();
    let canary = json!({
        "name": "canary",
        "matches": [{"path": {"type": "PathPrefix", "value": "/canary"}}],
        "backendRefs": [{"name": "chat", "port": PORT, "weight": 9}, {"name": "chat", "port": PORT, "weight": 1}],
    });
    if let Some(rules) = split["spec"]["rules"].as_array_mut() {
        rules.push(canary);
    }
    owned.client.apply(&split).await?;
    let said = owned.says(&policy, "ResolvedRefs", "UnsupportedBackend").await?;
    ensure!(said.contains("rule canary of HTTPRoute parts/chat"), "{said}");
    wait::until(
        "the new rule takes handshakes, whatever their Origin",
        LONG,
        async || (foreign(&owned, "/canary").await.ok()? == 101).then_some(()),
    )
    .await?;
    ensure!(
        foreign(&owned, "/ws/7").await? == 403,
        "the policy is gone from its own rule"
    );
    wait::until(
        "what carries the policy is for its rule alone",
        LONG,
        async || (targets(&owned).await? == [json!("rooms")]).then_some(()),
    )
    .await?;
    ensure!(
        owned.sticky(KEYS).await? == placed,
        "a key moved when the other rule came"
    );
    owned.client.apply(&whole).await?;
    owned.says(&policy, "ResolvedRefs", "ResolvedRefs").await?;
    wait::until("what carries the policy is for all of it", LONG, async || {
        (targets(&owned).await? == [Value::Null]).then_some(())
    })
    .await?;
    ensure!(
        owned.sticky(KEYS).await? == placed,
        "a key moved when the other rule went"
    );
    scene::all_answer(&sessions).await?;
    scene::none_lost(&sessions)?;
    println!("a rule beside it came and went: {KEYS} keys stay, 0 of {SESSIONS} sessions lost");

    // A Gateway that does not take the HTTPRoute takes no policy for it.
    let mut elsewhere = whole.clone();
    elsewhere["spec"]["parentRefs"][0]["sectionName"] = json!("gone");
    owned.client.apply(&elsewhere).await?;
    let said = owned.says(&policy, "Accepted", "NoMatchingParent").await?;
    ensure!(
        said.contains("HTTPRoute parts/chat") && said.contains("no such listener"),
        "{said}"
    );
    owned.nothing_is_left(&[owned.name]).await?;
    owned.client.apply(&whole).await?;
    owned.says(&policy, "Programmed", "Programmed").await?;
    ensure!(
        owned.sticky(KEYS).await? == placed,
        "a key moved when the Gateway took it again"
    );

    object.delete().await?;
    object.gone().await?;
    owned.nothing_is_left(&[owned.name]).await?;
    owned.goes().await
}

/// For which rules of the HTTPRoute our BackendTrafficPolicies are; null: for all of it.
async fn targets(owned: &Owned) -> Option<Vec<Value>> {
    let carriers = owned.carriers().await?;
    let section = |one: &Value| one["spec"]["targetRefs"][0]["sectionName"].clone();
    Some(carriers.iter().map(section).collect())
}
