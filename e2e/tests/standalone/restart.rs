//! Whoever dies, the sessions that can live on do.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clew_e2e::address::PORT;
use clew_e2e::manifests;
use clew_e2e::scene::{self, ROUTE, SERVICE, Scene};
use clew_e2e::ws_client::{Request, Session, Traffic};
use clew_e2e::{http, process, wait};
use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::{SOON, by_room, rooms};

const SESSIONS: usize = 200;

/// A route edit that leads one more path to the pods, seen to be in force.
async fn an_edit_works(scene: &Scene, path: &str) -> Result<()> {
    let policy = json!({"sessionKey": by_room()});
    let rules = json!([
        manifests::rule("rooms", "/ws", SERVICE, PORT, policy.clone()),
        manifests::rule("more", path, SERVICE, PORT, policy),
    ]);
    scene.folder.put("route", &manifests::route(ROUTE, rules))?;
    let probe = Request::new(format!("{path}?room=1"));
    wait::until("an edit works", SOON, async || {
        probe.place(scene.gateway()).await.ok()
    })
    .await?;
    Ok(())
}

async fn with_sessions(policy: serde_json::Value, count: usize) -> Result<(Scene, Vec<Session>)> {
    let scene = Scene::new(4, policy).await?;
    let traffic = |i: usize| match i % 2 {
        0 => Traffic::idle(),
        _ => Traffic::every(Duration::from_millis(250), 300),
    };
    let sessions = scene.open(&rooms(0..count), traffic).await?;
    Ok((scene, sessions))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_clew_comes_back_to_its_envoy_and_no_session_is_lost() -> Result<()> {
    let (mut scene, sessions) = with_sessions(json!({"sessionKey": by_room()}), SESSIONS).await?;
    let before = scene.clew.ready.clone();
    let homes = scene.place(&rooms(0..100)).await?;
    scene.clew.kill().await?;
    scene::all_answer(&sessions).await?;
    assert_eq!(
        scene.place(&rooms(0..100)).await?,
        homes,
        "new sessions are placed as before without it"
    );

    scene.start_again().await?;
    let after = &scene.clew.ready;
    assert_eq!(
        (after.pid, &after.listeners),
        (before.pid, &before.listeners),
        "adopted, not restarted"
    );
    scene::all_answer(&sessions).await?;
    assert_eq!(scene.place(&rooms(0..100)).await?, homes, "the seed is the same");
    an_edit_works(&scene, "/after").await?;
    scene::all_answer(&sessions).await?;
    println!("kill -9 of `clew run` with {SESSIONS} sessions: adopted, 0 lost, then an edit works");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_leaves_envoy_running_for_the_next_clew() -> Result<()> {
    let (mut scene, sessions) = with_sessions(json!({"sessionKey": by_room()}), 40).await?;
    let envoy = scene.clew.ready.pid;
    scene.clew.signal(Signal::HUP)?;
    assert_eq!(scene.clew.end(SOON).await?, 0);
    scene::all_answer(&sessions).await?;
    scene.start_again().await?;
    assert_eq!(scene.clew.ready.pid, envoy);
    scene::all_answer(&sessions).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_to_drain_outlives_the_clew_that_took_it() -> Result<()> {
    let policy = json!({"sessionKey": by_room(), "drain": {"timeout": "1s"}});
    let (mut scene, _) = with_sessions(policy, 0).await?;
    let keys = rooms(0..100);
    let leaving = scene.pods[0].name.clone();
    let homes = scene.place(&keys).await?;
    assert!(homes.contains(&leaving), "it has keys");
    let state = scene.state.path().to_string_lossy().into_owned();
    let drain = async |more: &[&str]| {
        let asked = ["drain", &leaving, "--state-dir", &state];
        clew_e2e::standalone::clew(asked.iter().chain(more))
            .await?
            .success()
            .map(drop)
    };
    drain(&[]).await?;
    scene.clew.signal(Signal::HUP)?;
    assert_eq!(scene.clew.end(SOON).await?, 0);
    scene.start_again().await?;
    let placed = scene.place(&keys).await?;
    assert!(!placed.contains(&leaving), "it takes sessions again: {placed:?}");
    drain(&["--cancel"]).await?;
    wait::until("its keys are back", SOON, async || {
        (scene.place(&keys).await.ok()? == homes).then_some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_that_died_is_started_again() -> Result<()> {
    let (scene, mut sessions) = with_sessions(json!({"sessionKey": by_room()}), 10).await?;
    let envoy = scene.clew.ready.pid;
    let said = scene.clew.stderr().len();
    assert!(process::signal(envoy, Signal::KILL));
    for session in &mut sessions {
        assert_eq!(
            session.ended(SOON).await?.code(),
            Some(1006),
            "the fault happened"
        );
    }
    let place = async || Request::new("/ws?room=1").place(scene.gateway()).await.ok();
    wait::until("sessions again", SOON, place).await?;
    process::naming(scene.state.path())
        .into_iter()
        .for_each(|pid| scene.state.owns(pid));
    assert!(!process::lives(envoy));
    assert!(
        scene.clew.stderr()[said..].to_lowercase().contains("envoy"),
        "{}",
        scene.clew.stderr()
    );
    let metrics = http::get(scene.clew.ready.api, "/metrics").await?;
    let counted = |line: &&str| line.contains("envoy") && line.contains("restart") && line.ends_with(" 1");
    assert!(metrics.lines().any(|line| counted(&line)), "{metrics}");
    an_edit_works(&scene, "/after").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_every_session_by_the_rules_and_ends_0() -> Result<()> {
    let policy =
        json!({"sessionKey": by_room(), "drain": {"timeout": "6s", "closeCode": 1001, "closeReason": "bye"}});
    let (mut scene, mut sessions) = with_sessions(policy, 60).await?;
    let envoy = scene.clew.ready.pid;
    let began = Instant::now();
    scene.clew.signal(Signal::TERM)?;
    for session in &mut sessions {
        let record = session.ended(SOON).await?;
        let (code, reason, at) = record
            .close
            .clone()
            .with_context(|| format!("no Close: {record:?}"))?;
        assert_eq!((code, reason.as_str()), (Some(1001), "bye"));
        assert!(
            at - began <= Duration::from_secs(6) && record.is_whole(),
            "{record:?}"
        );
    }
    assert_eq!(scene.clew.end(SOON).await?, 0);
    wait::until_true("Envoy is gone", SOON, || !process::lives(envoy)).await?;
    assert_eq!(
        scene.clew.rest_of_stdout(),
        "",
        "nothing but the ready line on stdout"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_sessions_of_a_rule_that_is_gone_as_it_last_said() -> Result<()> {
    let policy = json!({"sessionKey": by_room(), "drain": {"timeout": "4s"}});
    let (mut scene, mut sessions) = with_sessions(policy, 20).await?;
    scene.folder.remove("route")?;
    let request = Request::new("/ws?room=1");
    wait::until("the route is gone", SOON, async || {
        request.place(scene.gateway()).await.is_err().then_some(())
    })
    .await?;
    scene::all_answer(&sessions).await?;
    // Not even the one who took the rule away has to be there.
    scene.clew.signal(Signal::HUP)?;
    assert_eq!(scene.clew.end(SOON).await?, 0);
    scene.start_again().await?;
    let began = Instant::now();
    scene.clew.signal(Signal::TERM)?;
    let mut last = Duration::ZERO;
    for session in &mut sessions {
        let record = session.ended(SOON).await?;
        let (code, _, at) = record
            .close
            .clone()
            .with_context(|| format!("no Close: {record:?}"))?;
        assert!(code == Some(1012) && record.is_whole(), "{record:?}");
        last = last.max(at - began);
    }
    assert!(
        last > Duration::from_secs(1) && last <= Duration::from_secs(4),
        "the last left after {last:?}"
    );
    assert_eq!(scene.clew.end(SOON).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sigterm_ends_at_once() -> Result<()> {
    let policy = json!({"sessionKey": by_room(), "drain": {"timeout": "10m"}});
    let (mut scene, sessions) = with_sessions(policy, 20).await?;
    let said = scene.clew.stderr().len();
    scene.clew.signal(Signal::TERM)?;
    wait::until_true("the first is heard", SOON, || scene.clew.stderr().len() > said).await?;
    scene.clew.signal(Signal::TERM)?;
    let code = scene.clew.end(Duration::from_secs(10)).await?;
    if code != 130 {
        bail!("exit {code}: {}", scene.clew.stderr());
    }
    drop(sessions);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seed_is_made_once_for_its_owner_alone() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new(2, json!({"sessionKey": by_room()})).await?;
    let files = std::fs::read_dir(scene.state.path())?;
    let seed = files
        .filter_map(Result::ok)
        .find(|file| file.file_name().to_string_lossy().contains("seed"))
        .context("no seed in the state folder")?;
    assert_eq!(seed.metadata()?.permissions().mode() & 0o777, 0o600);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_and_sessions_say_who_is_where() -> Result<()> {
    let (scene, sessions) = with_sessions(json!({"sessionKey": by_room()}), 40).await?;
    let state = scene.state.path().to_string_lossy().into_owned();
    let ask = async |command: &str| {
        clew_e2e::standalone::clew([command, "--state-dir", &state, "-o", "json"])
            .await?
            .json()
    };
    let status = ask("status").await?;
    assert!(status.to_string().contains("Programmed"), "{status}");
    // Live counts come with the next poll.
    let here = |pod: &str| sessions.iter().filter(|s| s.served_by == pod).count();
    wait::until("the counts by pod", SOON, async || {
        let listed = ask("sessions").await.ok()?.to_string();
        let mut pods = scene.pods.iter().map(|pod| (pod.name.as_str(), here(&pod.name)));
        let known =
            |(pod, n): (&str, usize)| n == 0 || (listed.contains(pod) && listed.contains(&format!(":{n}")));
        pods.all(known).then_some(())
    })
    .await?;
    for path in ["/healthz", "/readyz"] {
        http::get(scene.clew.ready.api, path).await?;
    }
    let metrics = http::get(scene.clew.ready.api, "/metrics").await?;
    for name in [
        "clew_controller_reconcile_total",
        "clew_controller_routes",
        "clew_controller_build_info",
    ] {
        assert!(metrics.contains(name), "{name} is not in {metrics}");
    }
    Ok(())
}
