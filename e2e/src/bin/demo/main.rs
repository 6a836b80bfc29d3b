//! The main job in a minute: sessions find their pod by key, stay there when a pod joins, and leave gracefully when
//! one drains. Real WebSockets through a real Envoy; exit 0 only if everything went as promised.
#![expect(clippy::print_stdout, reason = "the output of a program")]

mod client;
mod screen;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clew_e2e::scene::Scene;
use clew_e2e::statistics::peak;
use clew_e2e::wait;
use clew_e2e::ws_client::Request;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rustix::process::Signal;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use client::{Account, Client};
use screen::{Progress, act, homes, say};

const SESSIONS: usize = 300;
const KEYS: usize = 60;
const COUNTED_KEYS: usize = 2000;
const DRAIN: Duration = Duration::from_secs(20);
const WINDOW: f64 = 5.0;
const SOON: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return ExitCode::from(3);
    };
    let played = tokio::select! {
        played = play() => played,
        // Everything that was started goes with what `play` holds.
        _ = tokio::signal::ctrl_c() => return ExitCode::from(130),
        _ = terminate.recv() => return ExitCode::from(143),
    };
    match played {
        Ok(faults) if faults.is_empty() => {
            println!("\nAll as promised.");
            ExitCode::SUCCESS
        }
        Ok(faults) => {
            println!("\nNot as promised:");
            faults.iter().for_each(|fault| say(fault));
            ExitCode::FAILURE
        }
        Err(e) => {
            println!("\nThe demo broke: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn key(number: usize) -> String {
    format!("room-{number}")
}

fn requests(count: usize) -> Vec<Request> {
    (0..count)
        .map(|number| Request::new(format!("/ws?room={}", key(number))))
        .collect()
}

/// The whole play; what was not as promised.
async fn play() -> Result<Vec<String>> {
    let began = Instant::now();
    let mut faults = Vec::new();
    act("Three backends, one WebSocketRoute, `clew run` with a real Envoy");
    let mut scene = Scene::new(
        3,
        json!({
            "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]},
            "drain": {"timeout": format!("{}s", DRAIN.as_secs()), "closeCode": 1012, "closeReason": "moving"},
        }),
    )
    .await?;
    let gateway = scene.gateway();
    let ready = &scene.clew.ready;
    say(&format!(
        "Envoy {} listens on {gateway}; ready after {:.1?}",
        ready.envoy,
        began.elapsed()
    ));

    act(&format!(
        "{SESSIONS} sessions from {KEYS} keys: where each key lives"
    ));
    let mut clients: Vec<Client> = stream::iter(0..SESSIONS)
        .map(async |number| Client::open(number, &key(number % KEYS), gateway).await)
        .buffered(16)
        .try_collect()
        .await?;
    let strays = show_homes(&clients);
    say(&format!("sessions that strayed from their key's pod: {strays}"));
    if strays > 0 {
        faults.push(format!("{strays} sessions strayed from their key's pod"));
    }

    act("A fourth backend joins");
    let counted = requests(COUNTED_KEYS);
    let before = scene.place(&counted).await?;
    let joined = scene.add_pod().await?;
    scene.settled().await?;
    let after = scene.place(&counted).await?;
    let moved = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .count();
    let minimum = after.iter().filter(|home| **home == joined).count();
    let innocent = before
        .iter()
        .zip(&after)
        .filter(|(b, a)| b != a && **a != joined)
        .count();
    let ratio = moved as f64 / minimum as f64;
    say(&format!(
        "{moved} of {COUNTED_KEYS} keys moved, {minimum} is the minimum: ratio {ratio:.3}"
    ));
    say(&format!(
        "keys that moved between the three that were there: {innocent}"
    ));
    if moved != minimum || innocent > 0 {
        faults.push(format!(
            "{moved} keys moved where {minimum} had to, {innocent} of them innocent"
        ));
    }
    let lost = clients.iter().filter(|c| !c.session.is_live()).count();
    say(&format!("live sessions lost: {lost} of {SESSIONS}"));
    if lost > 0 {
        faults.push(format!("{lost} sessions were lost when a pod joined"));
    }

    drain(&mut scene, &mut clients, &mut faults).await?;
    settle_accounts(&scene, &clients, &mut faults).await?;

    if std::env::var_os("KEEP").is_some_and(|keep| keep != "0") {
        act("Left running (KEEP): try it, and end it with Ctrl-C");
        say(&format!(
            "ws://{gateway}/ws?room=YOUR-KEY&announce=1     echoes; says which backend it is"
        ));
        say(&format!(
            "http://{}/stats/prometheus     Envoy's numbers",
            scene.clew.ready.admin.address
        ));
        say(&format!(
            "{}     the manifests: edit them, and see",
            scene.folder.path().display()
        ));
        tokio::signal::ctrl_c().await?;
    }
    drop(clients);
    scene.clew.signal(Signal::TERM)?;
    let code = scene.clew.end(DRAIN + SOON).await?;
    if code != 0 {
        faults.push(format!("`clew run` ended with {code}: {}", scene.clew.stderr()));
    }
    println!("\n{:.0?} in all.", began.elapsed());
    Ok(faults)
}

/// Prints the homes of all keys; how many sessions are not where their key's first session is.
fn show_homes(clients: &[Client]) -> usize {
    let mut home_of: BTreeMap<&str, &str> = BTreeMap::new();
    let mut sessions = BTreeMap::new();
    let mut strays = 0;
    for client in clients {
        let home = home_of.entry(&client.key).or_insert(&client.session.served_by);
        strays += usize::from(*home != client.session.served_by);
        *sessions.entry(client.session.served_by.clone()).or_default() += 1;
    }
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, home) in home_of {
        keys.entry(home.to_owned()).or_default().push(key.to_owned());
    }
    homes(&keys, &sessions);
    strays
}

/// Marks a pod as terminating and watches its sessions leave.
async fn drain(scene: &mut Scene, clients: &mut [Client], faults: &mut Vec<String>) -> Result<()> {
    let victim = scene.pods[1].name.clone();
    let gateway = scene.gateway();
    let there = |clients: &[Client]| clients.iter().filter(|c| c.session.served_by == victim).count();
    let all = there(clients);
    act(&format!(
        "{victim} drains: its {all} sessions leave within {} s, and come back at once",
        DRAIN.as_secs()
    ));
    let began = Instant::now();
    scene.terminate_pod(&victim)?;
    let mut progress = Progress::new();
    while there(clients) > 0 {
        if began.elapsed() > DRAIN + SOON {
            bail!("{} sessions are still on {victim}", there(clients));
        }
        let gone = |client: &Client| client.session.record().end.is_some();
        wait::until_true("someone is sent away", DRAIN, || clients.iter().any(gone)).await?;
        for client in clients.iter_mut() {
            client.return_if_sent_away(gateway).await?;
        }
        let left = all - there(clients);
        progress.show(left, all, &format!("{:>4.1} s", began.elapsed().as_secs_f64()));
    }
    progress.end();
    let moments = |pick: fn(&Client) -> Vec<Instant>| -> Vec<f64> {
        clients
            .iter()
            .flat_map(pick)
            .map(|at| at.duration_since(began).as_secs_f64())
            .collect()
    };
    let closes = moments(|client| {
        client
            .past
            .iter()
            .filter_map(|s| Some(s.record().close?.2))
            .collect()
    });
    let returns = moments(|client| client.returns.clone());
    let last = closes.iter().copied().fold(0.0, f64::max);
    let rate = all as f64 / DRAIN.as_secs_f64();
    let busiest = peak(&returns, WINDOW) as f64 / WINDOW;
    say(&format!("the last one left after {last:.1} s"));
    say(&format!(
        "reconnects: {rate:.1}/s on average, {busiest:.1}/s in the busiest {WINDOW} s: {:.2} × N/T",
        busiest / rate
    ));
    let new = clients.iter().filter(|c| c.session.served_by == victim).count();
    if new > 0 || last > DRAIN.as_secs_f64() {
        faults.push(format!(
            "{new} sessions went to the draining pod; the last one left after {last:.1} s"
        ));
    }
    Ok(())
}

/// Ends every session and compares what both sides say.
async fn settle_accounts(scene: &Scene, clients: &[Client], faults: &mut Vec<String>) -> Result<()> {
    act("The account of all sessions");
    let sent_away: usize = clients.iter().map(|c| c.past.len()).sum();
    let bystanders = clients
        .iter()
        .filter(|c| c.past.is_empty() && !c.session.is_live())
        .count();
    clients
        .iter()
        .for_each(|client| client.session.close(1000, "the end"));
    let over = |client: &Client| client.session.record().end.is_some();
    wait::until_true("every session has ended", SOON, || clients.iter().all(over)).await?;
    let account = Account::of(clients, &scene.servers)?;
    let Account {
        sent,
        lost,
        received,
        damaged,
        codes,
        unclosed,
    } = &account;
    let by_code: Vec<String> = codes.iter().map(|(code, n)| format!("{n} × {code}")).collect();
    say(&format!(
        "closed: {} (1012 by the drain, 1000 by the client at the end)",
        by_code.join(", ")
    ));
    say(&format!("client → server: {sent} messages, {lost} lost"));
    say(&format!(
        "server → client: {received} messages, {damaged} lost, cut or repeated"
    ));
    say(&format!(
        "sessions of other pods that were disturbed: {bystanders}; backends that saw no Close: {unclosed}"
    ));
    let orderly = codes.get(&1012) == Some(&sent_away) && codes.get(&1000) == Some(&SESSIONS);
    if lost + damaged > 0 || bystanders + unclosed > 0 || !orderly {
        faults.push(format!(
            "{account:?}, {sent_away} sent away, {bystanders} disturbed"
        ));
    }
    Ok(())
}
