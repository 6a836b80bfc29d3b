//! `clew sessions --watch`: who is connected, as they come and go.

use std::time::Duration;

use anyhow::{Context, Result};
use clew_e2e::scene::Scene;
use clew_e2e::standalone::watched::Watched;
use clew_e2e::wait;
use clew_e2e::ws_client::Traffic;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{SOON, by_room, rooms};

/// What is printed for programs, a document a line.
fn documents(stdout: &str) -> Result<Vec<Value>> {
    let lines = stdout.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Whether the last document counts so many.
fn counts(stdout: &str, sessions: usize) -> bool {
    let documents = documents(stdout).unwrap_or_default();
    documents.last().is_some_and(|last| last["total"] == sessions)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_printed_whenever_they_change_and_a_clew_that_went_away_is_asked_again() -> Result<()> {
    let mut scene = Scene::new(2, json!({"sessionKey": by_room()})).await?;
    let state = scene.state.path().to_string_lossy().into_owned();
    let watch = |more: &[&str]| Watched::start([&["sessions", "--state-dir", &state][..], more].concat());
    let tables = watch(&["-w"])?;
    let lines = watch(&["--watch", "-o", "json"])?;
    let yaml = watch(&["--watch", "-o", "yaml"])?;
    lines.shows("nobody is there", |said| counts(said, 0)).await?;
    let empty = |said: &str| said.ends_with("\n0 sessions\n");
    tables.shows("and in tables", empty).await?;

    let sessions = scene.open(&rooms(0..12), |_| Traffic::idle()).await?;
    lines.shows("twelve came", |said| counts(said, 12)).await?;
    sessions
        .iter()
        .skip(5)
        .for_each(|session| session.close(1000, "done"));
    lines.shows("seven left", |said| counts(said, 5)).await?;
    tables
        .shows("and in tables", |said| said.ends_with("\n5 sessions\n"))
        .await?;
    yaml.shows("and as YAML", |said| {
        said.rsplit("---\n")
            .next()
            .is_some_and(|last| last.contains("total: 5\n"))
    })
    .await?;

    scene.clew.signal(Signal::HUP)?;
    assert_eq!(scene.clew.end(SOON).await?, 0);
    let complains = || {
        [&tables, &lines, &yaml]
            .iter()
            .all(|one| !one.stderr().is_empty())
    };
    wait::until_true("all three say that it is gone", SOON, complains).await?;
    let began = Instant::now();
    wait::until_true("it is asked some times more", SOON, || {
        began.elapsed() > Duration::from_secs(3)
    })
    .await?;
    // By another port.
    let before = documents(&lines.stdout())?.len();
    scene.start_again().await?;
    lines
        .shows("it answers again", |said| {
            counts(said, 5) && documents(said).is_ok_and(|all| all.len() > before)
        })
        .await?;
    sessions
        .iter()
        .take(5)
        .for_each(|session| session.close(1000, "done"));
    lines.shows("the last left", |said| counts(said, 0)).await?;
    tables
        .shows("and in tables", |said| said.ends_with("\n0 sessions\n"))
        .await?;

    let (tables, lines, yaml) = (
        tables.interrupted().await?,
        lines.interrupted().await?,
        yaml.interrupted().await?,
    );
    for ended in [&tables, &lines, &yaml] {
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(ended.stderr.matches("asked again").count(), 1, "{ended:?}");
    }
    let mut documents = documents(&lines.stdout)?;
    println!("{} documents of sessions that came and went", documents.len());
    // The one that answered again after it was away comes in any case.
    let again = documents.len();
    documents.dedup();
    assert!(
        again - documents.len() <= 1,
        "what did not change was printed: {}",
        lines.stdout
    );
    let blocks: Vec<_> = tables.stdout.split("\n\nROUTE ").collect();
    assert!(
        blocks.len() > 3 && blocks.iter().all(|block| block.trim_end().ends_with(" sessions")),
        "{}",
        tables.stdout
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_terminal_the_tables_are_drawn_in_place_until_ctrl_c() -> Result<()> {
    let scene = Scene::new(2, json!({"sessionKey": by_room()})).await?;
    let state = scene.state.path().to_string_lossy().into_owned();
    let arguments = ["sessions", "-w", "--state-dir", &state];
    let (high, low) = (
        Watched::on_a_terminal(24, arguments)?,
        Watched::on_a_terminal(6, arguments)?,
    );
    let screen = |said: &str| said.rsplit("\x1b[H\x1b[J").next().unwrap_or_default().to_owned();
    let counts = |said: &str, sessions: &str| screen(said).contains(sessions);
    high.shows("nobody is there", |said| counts(said, "\n0 sessions"))
        .await?;
    let _sessions = scene.open(&rooms(0..12), |_| Traffic::idle()).await?;
    high.shows("twelve came", |said| counts(said, "\n12 sessions"))
        .await?;
    low.shows("twelve came", |said| counts(said, "\n12 sessions"))
        .await?;
    let (high, low) = (high.interrupted().await?, low.interrupted().await?);
    for ended in [&high, &low] {
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    }
    let (high, low) = (screen(&high.stdout), screen(&low.stdout));
    assert!(high.contains("chat-0") && high.contains("chat-1"), "{high}");
    assert!(low.contains("more lines") && low.lines().count() <= 6, "{low}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_read_enough_ends_it_and_who_never_answered_is_not_waited_for() -> Result<()> {
    let scene = Scene::new(1, json!({"sessionKey": by_room()})).await?;
    let state = scene.state.path().to_string_lossy().into_owned();
    let mut command = tokio::process::Command::new(clew_e2e::standalone::binary()?);
    command.args(["sessions", "-w", "--state-dir", &state]);
    let mut watched = command
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    drop(watched.stdout.take());
    let _sessions = scene.open(&rooms(0..3), |_| Traffic::idle()).await?;
    let ended = tokio::time::timeout(SOON, watched.wait()).await;
    assert_eq!(ended.context("it goes on")??.code(), Some(0));

    let nobody = clew_e2e::standalone::clew(["sessions", "-w", "--api", "127.0.0.1:1"]).await?;
    assert_eq!((nobody.code, nobody.stdout.as_str()), (3, ""), "{nobody:?}");
    Ok(())
}
