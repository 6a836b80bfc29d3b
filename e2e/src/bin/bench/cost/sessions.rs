//! What sessions cost: an Envoy that runs by the files of `clew run`, and the same without the filter.

use std::time::Duration;

use anyhow::Result;
use clew_e2e::envoy::PlainEnvoy;
use clew_e2e::figures::{Bound, Figure, Figures};
use clew_e2e::scene::{self, Scene};
use clew_e2e::statistics::median;
use clew_e2e::ws_client::Request;
use clew_e2e::{process, wait};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::arms::{Rounds, alternate};
use crate::load::{IDLE, MESSAGE, MESSAGES, Proxy, Talker, UPGRADES, VOLLEY, WORKERS, part};

const ROUNDS: usize = 9;
/// As many as one process may have open files for, client and server together.
const TICKING: usize = 8000;
const TICKS_PER_SECOND: f64 = 4.0;

/// What sessions are subject to.
pub(super) struct Scope {
    pub(super) suffix: &'static str,
    pub(super) what: &'static str,
    pub(super) policy: Value,
    pub(super) bounds: Bounds,
}

/// At most.
pub(super) struct Bounds {
    pub(super) upgrade: f64,
    pub(super) message: f64,
    pub(super) idle_kib: f64,
}

/// The least that a filter can do: what is above that is what ours costs itself.
const FLOOR: &str = include_str!("floor.wat");

/// One Envoy: without the filter (twice: their difference is the noise), with it, and with the least that can be one.
type Arm = Proxy;

impl Scope {
    pub(super) async fn measure(&self, figures: &mut Figures) -> Result<()> {
        let scene = Scene::new(4, self.policy.clone()).await?;
        // Started alike, by the same files: one with the module, the others with the filter taken out of the chain.
        let envoy = async |module| PlainEnvoy::beside(scene.state.path(), module, WORKERS).await;
        let module = scene.state.module()?;
        let folder = tempfile::tempdir()?;
        let floor = folder.path().join("floor.wasm");
        std::fs::write(&floor, wat::parse_str(FLOOR)?)?;
        let envoys = [
            envoy(None).await?,
            envoy(None).await?,
            envoy(Some(&*module)).await?,
            envoy(Some(&*floor)).await?,
        ];
        let arms = envoys.each_ref().map(|envoy| Arm {
            gateway: envoy.gateway,
            pid: envoy.pid,
        });
        let requests: Vec<Request> = (0..UPGRADES).map(|i| request(i % 300)).collect();
        for arm in &arms {
            let opened = async || requests[0].place(arm.gateway).await.ok();
            wait::until("the filter has its rules", Duration::from_secs(20), opened).await?;
        }
        // Every arm warm before memory is looked at: its workers, its pools, its allocator.
        for arm in &arms {
            scene::place(arm.gateway, &requests).await?;
        }
        self.idle_memory(figures, &arms).await?;

        let upgrade = alternate(&arms, ROUNDS, async |arm: &Arm| arm.upgrades(&requests).await).await?;
        let n = ROUNDS * UPGRADES;
        figures.add(self.ratio("P1", "CPU per upgrade", &upgrade, self.bounds.upgrade, n));
        self.messages(figures, &arms, &requests).await?;
        self.tick(figures, &arms[2]).await
    }

    async fn messages(&self, figures: &mut Figures, arms: &[Arm], requests: &[Request]) -> Result<()> {
        let mut talking: Vec<(&Arm, Vec<Talker>)> = Vec::new();
        for arm in arms {
            talking.push((arm, arm.talkers(requests).await?));
        }
        let echo = alternate(&talking, ROUNDS, async |(arm, talkers): &(&Arm, Vec<Talker>)| {
            arm.volley(talkers).await
        })
        .await?;
        let what = "CPU per echoed 128-byte message";
        figures.add(self.ratio("P2", what, &echo, self.bounds.message, ROUNDS * VOLLEY));

        // One talker alone: how long an echo takes.
        let alone = alternate(&talking, ROUNDS, async |(_, talkers): &(&Arm, Vec<Talker>)| {
            let mut socket = talkers[0].lock().await;
            let mut took = Vec::new();
            for _ in 0..MESSAGES {
                let sent = Instant::now();
                socket.echo(1, MESSAGE).await?;
                took.push(sent.elapsed().as_secs_f64() * 1e6);
            }
            Ok(median(&took))
        })
        .await?;
        let added = alone.difference(2);
        let micros = |arm| alone.median(arm);
        figures.add(Figure {
            id: format!("latency{}", self.suffix),
            what: format!(
                "time to an echo, both ways, median, more than without{}",
                self.what
            ),
            value: added.value,
            unit: "µs",
            bound: Bound::AtMost(5.0),
            noise: added.noise,
            n: ROUNDS as u64 * MESSAGES,
            control: json!({"without_us": micros(0), "without_again_us": micros(1), "with_us": micros(2)}),
        });
        Ok(())
    }

    async fn idle_memory(&self, figures: &mut Figures, arms: &[Arm]) -> Result<()> {
        let requests: Vec<Request> = (0..IDLE).map(request).collect();
        let mut each = Vec::new();
        for arm in arms {
            each.push(arm.idle(&requests).await?);
        }
        figures.add(Figure {
            id: format!("P4{}", self.suffix),
            what: format!(
                "memory per idle session, more than without the filter{}",
                self.what
            ),
            value: each[2] - f64::midpoint(each[0], each[1]),
            unit: "KiB",
            bound: Bound::AtMost(self.bounds.idle_kib),
            noise: (each[0] - each[1]).abs(),
            n: IDLE as u64,
            control: json!({"without_kib": each[0], "without_again_kib": each[1], "with_kib": each[2]}),
        });
        Ok(())
    }

    /// What the ticks of a worker cost for sessions of which nothing is to be done.
    async fn tick(&self, figures: &mut Figures, arm: &Arm) -> Result<()> {
        // What was before may still be cleared away in the first span.
        let empty = idle_cpu(arm.pid).await?.min(idle_cpu(arm.pid).await?);
        let requests: Vec<Request> = (0..TICKING).map(request).collect();
        let sockets = arm.open(&requests).await?;
        let full = [idle_cpu(arm.pid).await?, idle_cpu(arm.pid).await?];
        part(sockets).await?;
        // The sessions lie on all workers, each of which ticks: what they do together is what one would do alone.
        let for_ten_thousand = |nanos: f64| nanos / TICKS_PER_SECOND / TICKING as f64 * 10_000.0 / 1e6;
        let [value, again] = full.map(|full| for_ten_thousand(full - empty));
        figures.add(Figure {
            id: format!("tick{}", self.suffix),
            what: format!("a tick over 10,000 idle sessions{}", self.what),
            value,
            unit: "ms",
            bound: Bound::AtMost(2.0),
            noise: (value - again).abs(),
            n: TICKING as u64,
            control: json!({"empty_ns_per_second": empty, "full_ns_per_second": full}),
        });
        Ok(())
    }

    /// `[without, without again, with]`
    fn ratio(&self, id: &str, what: &str, rounds: &Rounds, bound: f64, n: usize) -> Figure {
        let compared = rounds.ratio(2);
        let nanos = |arm| rounds.median(arm);
        Figure {
            id: format!("{id}{}", self.suffix),
            what: format!("{what} ÷ the same Envoy without the filter{}", self.what),
            value: compared.value,
            unit: "1",
            bound: Bound::AtMost(bound),
            noise: compared.noise,
            n: n as u64,
            control: json!({
                "without_ns": nanos(0), "without_again_ns": nanos(1), "with_ns": nanos(2), "floor_ns": nanos(3),
                "floor": rounds.ratio(3).value,
            }),
        }
    }
}

fn request(room: usize) -> Request {
    Request::new("/ws")
        .header("x-room", format!("room-{room}"))
        .header("origin", "https://chat.example.com")
}

/// CPU time in nanoseconds that a process spends in a second while nobody asks anything of it.
async fn idle_cpu(pid: u32) -> Result<f64> {
    let span = Duration::from_secs(3);
    let before = process::cpu_nanos(pid)?;
    tokio::time::sleep(span).await;
    Ok((process::cpu_nanos(pid)? - before) as f64 / span.as_secs_f64())
}
