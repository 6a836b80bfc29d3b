//! Autobahn|Testsuite's fuzzing client judges a strict server through Clew as it judges it directly.
#![expect(clippy::print_stdout, reason = "what a run found is read in its output")]

use std::collections::BTreeMap;
use std::io::{Write, stderr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clew_e2e::autobahn::{CASES, Comparison, StrictServer, Suite, Verdicts};
use clew_e2e::envoy::{PlainEnvoy, load_assignment};
use clew_e2e::manifests::{self, Folder, Pod};
use clew_e2e::standalone::{Clew, Options, State};
use clew_e2e::ws_client::Request;
use clew_e2e::{address, wait};
use serde_json::json;

/// Framing, control frames, reserved bits, fragments, UTF-8, closes; and one of each kind that is compressed.
const SHORT: [&str; 13] = [
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*", "12.1.1", "12.2.1", "12.3.1", "13.1.1", "13.6.1",
];
const CLIENTS: usize = 3;
/// In the middle of which a second passes.
const SLOW: [&str; 2] = ["5.19", "5.20"];

/// `clew run` before a server.
struct Through {
    clew: Clew,
    _state: State,
    _folder: Folder,
}

impl Through {
    async fn start(server: &StrictServer) -> Result<Self> {
        let (folder, state) = (Folder::new()?, State::new()?);
        let (name, port) = ("strict", server.address.port());
        let rule = manifests::rule("all", "/ws", name, port, json!({}));
        folder.put("gateway", &manifests::gateway(address::next()))?;
        folder.put("service", &manifests::service(name, port))?;
        let pods = [Pod::new("strict-0", server.address)];
        folder.put("endpoints", &manifests::endpoint_slice(name, port, &pods))?;
        folder.put("route", &manifests::route(name, json!([rule])))?;
        let clew = Clew::start(&Options::new(folder.path(), state.path())).await?;
        state.owns(clew.ready.pid);
        wait::until("a session", Duration::from_secs(30), async || {
            Request::new("/ws").open(clew.gateway()).await.ok()
        })
        .await?
        .goodbye()
        .await?;
        Ok(Self {
            clew,
            _state: state,
            _folder: folder,
        })
    }
}

/// Directly and through Clew at the same time, by so many clients each; by one, one after the other.
async fn both(suite: &Suite, clients: usize, patterns: &[&str]) -> Result<(Verdicts, Verdicts)> {
    let (near, behind) = (suite.server().await?, suite.server().await?);
    let through = Through::start(&behind).await?;
    let (began, done) = (Instant::now(), AtomicUsize::new(0));
    let direct = suite.run(near.address, clients, patterns, |_| {});
    let clew = suite.run(through.clew.gateway(), clients, patterns, |verdict| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(20) {
            // On stderr, and past the test's own capture: a full run takes minutes.
            let _ = writeln!(
                stderr(),
                "{done} cases after {:.0?}, the last {}",
                began.elapsed(),
                verdict.case
            );
        }
    });
    if clients == 1 {
        return Ok((direct.await?, clew.await?));
    }
    let (direct, clew) = tokio::join!(direct, clew);
    Ok((direct?, clew?))
}

/// How many cases got which verdict.
fn table(verdicts: &Verdicts) -> String {
    let mut counts = BTreeMap::<_, usize>::new();
    for verdict in verdicts.values() {
        *counts
            .entry((&verdict.behavior, &verdict.behavior_close))
            .or_default() += 1;
    }
    format!("{counts:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autobahn_finds_no_difference_through_clew() -> Result<()> {
    let suite = Suite::installed().await?;
    let full = std::env::var_os("CLEW_E2E_FULL").is_some();
    let (direct, mut clew) = both(&suite, CLIENTS, if full { &["*"] } else { &SHORT }).await?;
    println!(
        "{} cases: directly {}, through Clew {}",
        direct.len(),
        table(&direct),
        table(&clew)
    );
    ensure!(!full || direct.len() == CASES, "not all cases ran");
    ensure!(
        direct.values().filter(|v| v.behavior == "OK").count() > direct.len() * 9 / 10,
        "the server is not strict, or the suite is broken: {direct:?}"
    );
    // Some verdicts hang on time, and all of this shares one machine: a case that differs is judged once more, alone.
    let suspects = Comparison::of(&direct, &clew).differ;
    let mut settled = direct;
    if !suspects.is_empty() {
        for case in &suspects {
            println!("again, for {:?} became {:?}", settled.get(case), clew.get(case));
        }
        let patterns: Vec<&str> = suspects.iter().map(String::as_str).collect();
        let (again_direct, again_clew) = both(&suite, 1, &patterns).await?;
        settled.extend(again_direct);
        clew.extend(again_clew);
    }
    let compared = Comparison::of(&settled, &clew);
    println!(
        "OK in one run and NON-STRICT in the other: {:?}",
        compared.strictness
    );
    for case in &compared.differ {
        println!(
            "directly {:?}, through Clew {:?}",
            settled.get(case),
            clew.get(case)
        );
    }
    ensure!(
        compared.differ.is_empty(),
        "verdicts that differ: {:?}",
        compared.differ
    );

    // The control: an Envoy that ends sessions by itself is found out.
    let server = suite.server().await?;
    let cluster =
        json!({"type": "STATIC", "load_assignment": load_assignment("backends", &[server.address])});
    let impatient = json!({"common_http_protocol_options": {"max_stream_duration": "0.3s"}});
    let envoy = PlainEnvoy::start_with(cluster, json!([]), 2, impatient).await?;
    let control = suite.run(envoy.gateway, 1, &SLOW, |_| {}).await?;
    let settled: Verdicts = settled
        .into_iter()
        .filter(|(case, _)| control.contains_key(case))
        .collect();
    let found = Comparison::of(&settled, &control).differ;
    println!("the control differs in {} of {}", found.len(), control.len());
    ensure!(
        found.len() == SLOW.len(),
        "sessions that end too early are not seen"
    );
    Ok(())
}
