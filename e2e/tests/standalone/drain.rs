//! A pod that leaves lets its sessions go: each with a Close, between two messages, spread over the window.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::echo_server::{Behaviour, Say};
use clew_e2e::process;
use clew_e2e::scene::{self, Scene};
use clew_e2e::standalone::watched::Watched;
use clew_e2e::statistics::{CHANCE, evenly_spread, peak};
use clew_e2e::wait;
use clew_e2e::wire::End;
use clew_e2e::ws_client::{Request, Session, Socket, Traffic};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::{SOON, by_room, rooms};

const ON_THE_POD: usize = 300;
const ELSEWHERE: usize = 90;
const REASON: &str = "moving house";

/// Idle, with a heartbeat of the server, or chatty: by turns.
fn temper(index: usize) -> (Behaviour, Traffic) {
    let idle = (Behaviour::default(), Traffic::idle());
    match index % 3 {
        0 => idle,
        1 => (
            Behaviour {
                ping: Some(Duration::from_millis(400)),
                ..idle.0
            },
            idle.1,
        ),
        _ => {
            let gap = Duration::from_millis(15);
            let say = Say {
                every: Duration::from_millis(1500),
                size: 200 << 10,
                pieces: 6,
                gap,
            };
            let traffic = Traffic {
                pieces: 3,
                gap: Duration::from_millis(5),
                ..Traffic::every(gap * 40, 3000)
            };
            (
                Behaviour {
                    say: Some(say),
                    ..idle.0
                },
                traffic,
            )
        }
    }
}

/// Sessions of all tempers on `pod`, and some on the others.
async fn populate(
    scene: &Scene,
    pod: &str,
    here: usize,
    elsewhere: usize,
) -> Result<(Vec<Session>, Vec<Session>)> {
    let (mut on_it, mut others) = (Vec::new(), Vec::new());
    let mut keys = 0..;
    while on_it.len() < here || others.len() < elsewhere {
        let batch: Vec<Request> = rooms(keys.by_ref().take(64));
        let homes = scene.place(&batch).await?;
        let picked: Vec<(Request, bool, Traffic)> = batch
            .into_iter()
            .zip(homes)
            .filter_map(|(request, home)| {
                let (group, limit) = if home == pod {
                    (&mut on_it, here)
                } else {
                    (&mut others, elsewhere)
                };
                let (behaviour, traffic) = temper(group.len());
                (group.len() < limit).then(|| {
                    group.push(None);
                    (request.behave(&behaviour), home == pod, traffic)
                })
            })
            .collect();
        let opened: Vec<(Session, bool)> = stream::iter(picked)
            .map(async |(request, here, traffic)| {
                let session = request.open(scene.gateway()).await?.session(traffic);
                Ok::<_, anyhow::Error>((session, here))
            })
            .buffered(32)
            .try_collect()
            .await?;
        for (session, here) in opened {
            let group = if here { &mut on_it } else { &mut others };
            let place = group
                .iter_mut()
                .find(|place| place.is_none())
                .context("a place")?;
            *place = Some(session);
        }
    }
    Ok((
        on_it.into_iter().flatten().collect(),
        others.into_iter().flatten().collect(),
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_session_of_a_terminating_pod_leaves_orderly_and_evenly() -> Result<()> {
    let timeout = Duration::from_secs(if crate::full() { 60 } else { 30 });
    let drain =
        json!({"timeout": format!("{}s", timeout.as_secs()), "closeCode": 1012, "closeReason": REASON});
    let mut scene = Scene::new(4, json!({"sessionKey": by_room(), "drain": drain})).await?;
    let victim = scene.pods[2].name.clone();
    let (mut leaving, staying) = populate(&scene, &victim, ON_THE_POD, ELSEWHERE).await?;
    assert!(leaving.iter().all(|s| s.served_by == victim) && staying.iter().all(|s| s.served_by != victim));
    let chatty = || leaving.iter().skip(2).step_by(3);
    wait::until_true("every chatty session has had a large message", SOON, || {
        chatty().all(|s| s.record().server.received > 0 && s.record().echoes.received > 0)
    })
    .await?;

    let opened_before = scene.server(&victim)?.opened();
    let began = Instant::now();
    scene.terminate_pod(&victim)?;
    // The window begins when the channel has told the filter, which is when new sessions stay away.
    let keys = rooms(100_000..100_060);
    wait::until("nothing new goes to the pod", SOON, async || {
        let homes = scene.place(&keys).await.ok()?;
        homes.iter().all(|home| *home != victim).then_some(())
    })
    .await?;
    let opened_by_then = scene.server(&victim)?.opened();
    assert!(
        opened_by_then - opened_before <= keys.len(),
        "at most the sessions that raced with the save"
    );

    // New sessions all through the window, none of them to the pod.
    let mut newcomers = 0;
    while leaving.iter().any(Session::is_live) && began.elapsed() < timeout + SOON {
        let homes = scene
            .place(&rooms(200_000 + newcomers..200_030 + newcomers))
            .await?;
        newcomers += homes.len();
        assert!(homes.iter().all(|home| *home != victim));
        let live = || leaving.iter().filter(|s| s.is_live()).count();
        let now = live();
        wait::until_true("some more closes", SOON, || live() + 10 < now || live() == 0).await?;
    }
    assert_eq!(
        scene.server(&victim)?.opened(),
        opened_by_then,
        "nothing new on the draining pod"
    );

    let mut records = Vec::new();
    for session in &mut leaving {
        records.push(session.ended(SOON).await?);
    }
    let mut moments = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let (code, reason, at) = record
            .close
            .clone()
            .with_context(|| format!("no Close for {index}: {record:?}"))?;
        assert_eq!((code, reason.as_str()), (Some(1012), REASON), "session {index}");
        assert!(record.is_whole(), "session {index}: {record:?}");
        assert_eq!(record.end.map(|(end, _)| end), Some(End::Fin), "session {index}");
        moments.push((at - began).as_secs_f64());
    }
    let last = moments.iter().copied().fold(0.0, f64::max);
    let (distance, p) = evenly_spread(moments.clone(), 0.0, timeout.as_secs_f64())?;
    let fair = ON_THE_POD as f64 / timeout.as_secs_f64();
    println!(
        "{ON_THE_POD} closes in {timeout:?}: the last after {last:.2} s; distance from even {distance:.4}, p = {p:.3}; \
         busiest second {} for {fair:.1} on average; {newcomers} newcomers elsewhere",
        peak(&moments, 1.0)
    );
    assert!(
        last <= timeout.as_secs_f64(),
        "the last Close came after {last} s"
    );
    assert!(
        p > CHANCE,
        "the closes are not evenly spread: distance {distance}, p = {p}: {moments:?}"
    );

    // The server's side: a Close for each, nothing cut, and all that the clients sent.
    let mut tail = 0;
    let connections = scene.server(&victim)?.connections();
    for (index, (session, record)) in leaving.iter().zip(&records).enumerate() {
        let theirs = connections
            .iter()
            .rev()
            .find(|c| session.target == c.head.target)
            .with_context(|| format!("the connection of session {index}"))?;
        let seen = theirs.record();
        assert!(
            seen.close.is_some(),
            "the backend saw no Close of session {index}: {seen:?}"
        );
        assert_eq!(seen.end.map(|(end, _)| end), Some(End::Fin));
        assert!(
            !seen.cut && seen.foreign == 0 && seen.client.is_whole(),
            "{seen:?}"
        );
        assert_eq!(seen.client.received, record.sent, "messages of client {index}");
        let undelivered = seen.sent - record.server.received;
        // One every 1.5 s: what the server began within a round trip of the Close.
        assert!(undelivered <= 1, "session {index}: {undelivered} undelivered");
        tail += undelivered;
    }
    println!(
        "messages lost or cut: 0 either way; {tail} of the servers' came after the Close of {ON_THE_POD} sessions"
    );

    scene::all_answer(&staying).await?;
    counted(&scene, ON_THE_POD, Some(0)).await
}

/// Waits until Envoy, which merges its workers' counts every few seconds, has counted so many closes of drains, and so
/// many of them as resets.
async fn counted(scene: &Scene, closes: usize, resets: Option<usize>) -> Result<()> {
    let admin = scene.clew.ready.admin;
    let count = async |how| {
        let value = admin.metric("clew_drain_closes_total", &[("how", how)]).await;
        value.ok().map(|value| value.round() as usize)
    };
    let mut last = None;
    let counted = wait::until(
        "each close is counted once",
        Duration::from_secs(10),
        async || {
            let counts = (count("close_frame").await?, count("reset").await?);
            last = Some(counts);
            (counts.0 + counts.1 == closes && resets.is_none_or(|resets| counts.1 == resets)).then_some(())
        },
    );
    let counted = counted.await;
    counted.with_context(|| format!("(close frames, resets): {last:?} of {closes}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_is_given_up_and_counted() -> Result<()> {
    let drain = json!({"timeout": "8s"});
    let mut scene = Scene::new(2, json!({"sessionKey": by_room(), "drain": drain})).await?;
    let victim = scene.pods[0].name.clone();
    let stubborn = |_| Traffic {
        stubborn: true,
        ..Traffic::every(Duration::from_millis(200), 100)
    };
    let sessions = scene.open(&rooms(0..24), stubborn).await?;
    let (mut leaving, staying): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|s| s.served_by == victim);
    assert!(!leaving.is_empty() && !staying.is_empty());
    scene.terminate_pod(&victim)?;
    let began = Instant::now();
    for session in &mut leaving {
        let record = session.ended(SOON).await?;
        let (code, reason, _) = record
            .close
            .context("a Close, whatever the client does with it")?;
        assert_eq!(
            (code, reason.as_str()),
            (Some(1012), "moving"),
            "the defaults of the API"
        );
    }
    let lasted = began.elapsed();
    assert!(
        lasted < Duration::from_secs(8 + 2),
        "the last session went after {lasted:?}"
    );
    let connections = scene.server(&victim)?.connections();
    let of_sessions = connections
        .iter()
        .filter(|c| leaving.iter().any(|s| s.target == c.head.target));
    let orderly = of_sessions.filter(|c| c.record().close.is_some()).count();
    println!(
        "{} stubborn sessions gone after {lasted:?}; the server saw a Close for {orderly}",
        leaving.len()
    );
    counted(&scene, leaving.len(), None).await?;
    scene::none_lost(&staying)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_falls_silent_after_a_burst_gets_its_close_frame_too() -> Result<()> {
    let drain = json!({"timeout": "8s"});
    let mut scene = Scene::new(2, json!({"sessionKey": by_room(), "drain": drain})).await?;
    let victim = scene.pods[0].name.clone();
    let requests = rooms(0..300);
    let open = requests.iter().map(|request| request.open(scene.gateway()));
    let sockets: Vec<Socket> = stream::iter(open).buffered(32).try_collect().await?;
    // All at once, so that the workers are busy.
    let burst = sockets.into_iter().map(async |mut socket| {
        socket.echo(100, 64).await?;
        anyhow::Ok(socket.session(Traffic::idle()))
    });
    let sessions: Vec<Session> = stream::iter(burst).buffer_unordered(300).try_collect().await?;
    let (mut leaving, staying): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|s| s.served_by == victim);
    assert!(leaving.len() > 100 && staying.len() > 100);
    scene.terminate_pod(&victim)?;
    for session in &mut leaving {
        let record = session.ended(SOON).await?;
        assert_eq!(record.code(), Some(1012), "{record:?}");
    }
    counted(&scene, leaving.len(), Some(0)).await?;
    scene::all_answer(&staying).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_by_command_shows_its_progress_and_can_be_cancelled() -> Result<()> {
    let scene = Scene::new(3, json!({"sessionKey": by_room(), "drain": {"timeout": "40s"}})).await?;
    let sessions = scene.open(&rooms(0..90), |_| Traffic::idle()).await?;
    let victim = scene.pods[1].name.clone();
    let state = scene.state.path().to_string_lossy().into_owned();
    let drain = async |more: &[&str]| {
        let mut arguments = vec!["drain", victim.as_str(), "--state-dir", &state];
        arguments.extend_from_slice(more);
        clew_e2e::standalone::clew(arguments).await
    };
    let live_there = || {
        sessions
            .iter()
            .filter(|s| s.served_by == victim && s.is_live())
            .count()
    };
    let there = live_there();

    let started = drain(&["--timeout", "30s"]).await?;
    assert_eq!(started.code, 0, "{started:?}");
    wait::until_true("some sessions leave", SOON, || live_there() < there).await?;
    let cancelled = drain(&["--cancel"]).await?;
    assert_eq!(cancelled.code, 0, "{cancelled:?}");
    // New sessions come back to it: the cancel has reached the filter, and who is left stays.
    wait::until("new sessions on the pod", SOON, async || {
        scene
            .place(&rooms(0..60))
            .await
            .ok()?
            .contains(&victim)
            .then_some(())
    })
    .await?;
    let left = live_there();
    assert!(left > 0, "the cancel came too late to see anything");
    let began = Instant::now();
    wait::until_true("two seconds in which nobody leaves", SOON, || {
        began.elapsed() > Duration::from_secs(2)
    })
    .await?;
    assert_eq!(live_there(), left);

    let watched = drain(&["--timeout", "3s", "--watch"]).await?;
    assert_eq!(watched.code, 0, "{watched:?}");
    assert_eq!(live_there(), 0, "--watch ends when the pod is empty");
    assert!(!watched.stderr.is_empty(), "the progress is on stderr");
    let unknown = clew_e2e::standalone::clew(["drain", "no-such-pod", "--state-dir", &state]).await?;
    assert_eq!(unknown.code, 1, "{unknown:?}");
    let others: Vec<Session> = sessions.into_iter().filter(|s| s.served_by != victim).collect();
    scene::all_answer(&others).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_terminal_a_drain_draws_a_bar_that_fills_and_goes() -> Result<()> {
    let scene = Scene::new(2, json!({"sessionKey": by_room(), "drain": {"timeout": "40s"}})).await?;
    let sessions = scene.open(&rooms(0..60), |_| Traffic::idle()).await?;
    let victim = scene.pods[0].name.as_str();
    let there = sessions.iter().filter(|s| s.served_by == victim).count();
    let state = scene.state.path().to_string_lossy();
    wait::until("all are counted", SOON, async || {
        let asked = ["sessions", "-o", "json", "--state-dir", &*state];
        let counted = clew_e2e::standalone::clew(asked).await.ok()?.json().ok()?;
        (counted["total"] == sessions.len()).then_some(())
    })
    .await?;
    let drain = [
        "drain",
        victim,
        "--watch",
        "--timeout",
        "5s",
        "--state-dir",
        &*state,
    ];
    let ended = Watched::on_a_terminal(24, drain)?.end().await?;
    assert_eq!(ended.code, 0, "{ended:?}");
    let (drawn, said) = ended.stdout.trim_end().rsplit_once('\r').context("a bar")?;
    let bars: Vec<(usize, &str)> = drawn
        .split('\r')
        .filter(|frame| frame.contains("sessions left"))
        .map(|frame| (frame.matches('█').count(), frame))
        .collect();
    println!("a bar of {there} sessions, drawn {} times", bars.len());
    assert!(bars.is_sorted_by_key(|(filled, _)| *filled), "{bars:?}");
    assert!(
        bars.iter().any(|(filled, _)| (1..40).contains(filled)),
        "{bars:?}"
    );
    let (filled, last) = bars.last().context("a bar")?;
    let nobody = format!(" 0 of {there} sessions left");
    assert!(*filled == 40 && last.contains(&nobody), "{last:?}");
    // It makes room for what is said at the end.
    assert_eq!(said, format!("\u{1b}[2K{victim} holds no session"));
    Ok(())
}

/// An Envoy that was held up finds bytes and a tick at once: what it took in just before the tick goes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_goes_behind_what_still_waits() -> Result<()> {
    let drain = json!({"timeout": "10s"});
    let mut scene = Scene::new(2, json!({"sessionKey": by_room(), "drain": drain})).await?;
    let victim = scene.pods[0].name.clone();
    // An echo that is large disarms the direction; the small message behind it arms it again, and waits for a moment.
    let says = Behaviour {
        say: Some(Say {
            every: Duration::from_millis(200),
            size: 60,
            pieces: 1,
            gap: Duration::ZERO,
        }),
        ..Behaviour::default()
    };
    let requests: Vec<Request> = rooms(0..240).into_iter().map(|r| r.behave(&says)).collect();
    let sessions = scene
        .open(&requests, |_| {
            Traffic::every(Duration::from_millis(400), 20 << 10)
        })
        .await?;
    let (mut leaving, staying): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|s| s.served_by == victim);
    assert!(leaving.len() > 60 && staying.len() > 60);
    scene.terminate_pod(&victim)?;
    let envoy = scene.clew.ready.pid;
    let mut held_up = 0;
    while leaving.iter().any(Session::is_live) {
        ensure!(process::signal(envoy, Signal::STOP), "Envoy is gone");
        tokio::time::sleep(Duration::from_millis(300)).await;
        ensure!(process::signal(envoy, Signal::CONT), "Envoy is gone");
        held_up += 1;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let mut lost = Vec::new();
    for session in &mut leaving {
        let record = session.ended(SOON).await?;
        assert_eq!(record.code(), Some(1012), "{record:?}");
        if !record.is_whole() {
            lost.push(record);
        }
    }
    println!(
        "{} sessions left an Envoy that was held up {held_up} times",
        leaving.len()
    );
    assert!(
        lost.is_empty(),
        "{} of {}: {:?}",
        lost.len(),
        leaving.len(),
        lost.first()
    );
    scene::all_answer(&staying).await
}
