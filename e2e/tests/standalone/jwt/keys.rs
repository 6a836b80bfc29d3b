//! Keys and routes change under live sessions.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_under_live_sessions_and_broken_ones_change_nothing() -> Result<()> {
    const EDITS: usize = 20;
    let (first, partner) = (Issuer::rs256("key-0")?, Issuer::es256("partner")?);
    let mut scene = scene_with(&first, &partner).await?;
    let admin = scene.clew.ready.admin;
    let listeners = admin.stats("^listener_manager\\.").await?;
    let requests: Result<Vec<Request>> = (0..60)
        .map(|user| Ok(bearer(&first.token(&claims(user))?)))
        .collect();
    let live = scene.open(&requests?, |_| Traffic::idle()).await?;

    // Each edit takes the older of two keys away and adds one.
    let mut current = first;
    for edit in 0..EDITS {
        let next = Issuer::es256(&format!("key-{}", edit + 1))?;
        save_keys(&scene, "issuer", &[&next])?;
        let (new, old) = (
            bearer(&next.token(&claims(0))?),
            bearer(&current.token(&claims(0))?),
        );
        until_all("the new key counts", async || opens(&scene, &new).await).await?;
        until_all("the old one does not", async || refused(&scene, &old).await).await?;
        current = next;
    }
    scene::all_answer(&live).await?;
    ensure!(
        admin.stats("^listener_manager\\.").await? == listeners,
        "a listener was touched"
    );

    // A broken set, a Secret that is gone, and both across a restart: the last good keys stay.
    let good = bearer(&current.token(&claims(0))?);
    let said = scene.clew.stderr().len();
    scene.folder.put(
        "issuer",
        &manifests::secret("issuer", "jwks", r#"{"keys": [{"kty": "RSA"}]}"#),
    )?;
    scene.clew.says(said, "CLEW0128").await?;
    ensure!(
        opens(&scene, &good).await,
        "a broken key set took the good keys away"
    );
    let said = scene.clew.stderr().len();
    scene.folder.remove("issuer")?;
    scene.clew.says(said, "CLEW0124").await?;
    ensure!(
        opens(&scene, &good).await,
        "a Secret that is gone took the good keys away"
    );
    scene.clew.kill().await?;
    scene.start_again().await?;
    ensure!(opens(&scene, &good).await, "a restart took the good keys away");
    ensure!(
        refused(&scene, &Request::new("/verified")).await,
        "nothing is verified any more"
    );

    // A set without keys is meant so.
    save_keys(&scene, "issuer", &[])?;
    until_all("every token is refused", async || refused(&scene, &good).await).await?;
    scene::all_answer(&live).await?;
    println!(
        "{EDITS} rotations under {} sessions: 0 lost, no listener touched",
        live.len()
    );
    Ok(())
}

/// An edit of who is asked for what never lets anybody in whom neither the old rule nor the new one takes, nor refuses whom
/// both take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_taken_before_and_after_an_edit_is_taken_throughout() -> Result<()> {
    const EDITS: usize = 10;
    let (issuer, partner) = (Issuer::rs256("one")?, Issuer::es256("two")?);
    let scene = scene_with(&issuer, &partner).await?;
    let gateway = scene.gateway();
    let good = bearer(&issuer.token(&claims(0))?);
    let mail = bearer(&issuer.token(&but(claims(0), "aud", "mail"))?);
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let pouring = tokio::spawn(async move {
        let (mut taken, mut wrong) = (0, Vec::new());
        while stopped.try_recv().is_err() {
            match good.place(gateway).await {
                Ok(_) => taken += 1,
                Err(error) => wrong.push(error.to_string()),
            }
            if let Ok(Answer::Opened(_)) = mail.send(gateway).await {
                wrong.push("a token for others was taken".to_owned());
            }
        }
        (taken, wrong)
    });
    for edit in 0..EDITS {
        let mut edited = route();
        let jwt = &mut edited["spec"]["rules"][0]["security"]["jwt"];
        jwt["audiences"] = if edit % 2 == 0 {
            json!(["chat"])
        } else {
            json!(["rooms", "chat"])
        };
        let rooms = bearer(&issuer.token(&but(claims(0), "aud", "rooms"))?);
        scene.folder.put("route", &edited)?;
        until_all("the edit is in force", async || {
            if edit % 2 == 0 {
                refused(&scene, &rooms).await
            } else {
                opens(&scene, &rooms).await
            }
        })
        .await?;
    }
    let _ = stop.send(());
    let (taken, wrong) = pouring.await?;
    ensure!(wrong.is_empty(), "{} of {taken} wrong: {}", wrong.len(), wrong[0]);
    println!("{EDITS} edits of the audiences while {taken} handshakes poured in: every one was taken");
    Ok(())
}
