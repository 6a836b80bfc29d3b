//! A `clew run` that is told to end while it starts leaves no Envoy behind that nobody knows, and takes none along that was there before.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clew_e2e::scene::Scene;
use clew_e2e::standalone::{Clew, Options, State};
use clew_e2e::{process, scene, wait};
use rustix::process::Signal;
use serde_json::json;
use tokio::process::Child;
use tokio::time::timeout;

use crate::{SOON, by_room, rooms};

/// Where the fault falls within a start is not ours to say, so there are several.
const TRIES: usize = 8;

/// Ends a `clew run` as soon as a condition holds of it; its exit code.
async fn interrupted(options: &Options, holds: impl Fn(u32) -> bool) -> Result<i32> {
    let mut child: Child = Clew::spawn(options)?;
    let pid = child.id().context("it runs")?;
    let there = async {
        while process::lives(pid) && !holds(pid) {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, there).await.context("it does not come so far")?;
    ensure!(process::signal(pid, Signal::TERM), "it is over already");
    let status = timeout(SOON, child.wait()).await.context("it does not end")??;
    Ok(status.code().unwrap_or(-1))
}

/// Whether a process handles SIGTERM (proc_pid_status(5)): before it does, the kernel ends it.
fn handles_sigterm(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << (Signal::TERM.as_raw() - 1)) != 0)
}

/// Whether it has begun to start somebody.
fn has_begun(state: &Path, clew: u32) -> bool {
    process::naming(state).into_iter().any(|pid| pid != clew)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_that_is_being_started_ends_with_the_clew_that_starts_it() -> Result<()> {
    let mut early = 0;
    for _ in 0..TRIES {
        let state = State::new()?;
        let folder = tempfile::tempdir()?;
        let options = Options::new(folder.path(), state.path());
        let code = interrupted(&options, |clew| has_begun(state.path(), clew)).await?;
        // One that was ready ends as it should.
        ensure!([0, 130].contains(&code), "exit {code}");
        early += usize::from(code == 130);
        let left = || process::naming(state.path());
        wait::until_true("nobody is left", SOON, || left().is_empty())
            .await
            .with_context(|| format!("left behind: {:?}", left()))?;
    }
    ensure!(early > 0, "nobody was interrupted early");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_that_was_there_before_outlives_a_clew_that_ends_before_it_has_adopted_it() -> Result<()> {
    let mut scene = Scene::new(2, json!({"sessionKey": by_room()})).await?;
    let envoy = scene.clew.ready.pid;
    scene.clew.signal(Signal::HUP)?;
    ensure!(scene.clew.end(SOON).await? == 0, "it leaves");
    let options = Options::new(scene.folder.path(), scene.state.path());
    let mut early = 0;
    for _ in 0..TRIES {
        // One that was ready drains, and its Envoy ends.
        match interrupted(&options, handles_sigterm).await? {
            130 => early += 1,
            code => {
                ensure!(code == 0, "exit {code}");
                break;
            }
        }
        ensure!(process::lives(envoy), "Envoy was taken along");
    }
    ensure!(early > 0, "nobody was interrupted early");
    println!("{early} times interrupted before it was ready: Envoy lives");
    if early == TRIES {
        scene.start_again().await?;
        ensure!(scene.clew.ready.pid == envoy, "adopted");
        let sessions = scene
            .open(&rooms(0..4), |_| clew_e2e::ws_client::Traffic::idle())
            .await?;
        scene::all_answer(&sessions).await?;
    }
    Ok(())
}
