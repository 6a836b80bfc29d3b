//! A change is taken up when it comes, whatever else is waited for.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clew_filter_config::channel::Poll;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{World, gateways};
use crate::clock;
use crate::cluster::kind::Kind;
use crate::cluster::run::turn;
use crate::cluster::seen::Seen;
use crate::cluster::store::Store;
use crate::metrics::Metrics;

/// How many turns there were.
fn turns(metrics: &Metrics) -> u64 {
    let text = metrics.text(&[]);
    let counts = text
        .lines()
        .filter_map(|line| line.strip_prefix("clew_controller_reconcile_total{"))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

/// Waits until there were so many.
async fn until(metrics: &Metrics, count: u64) {
    let reached = async {
        while turns(metrics) < count {
            clock::pause(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(5), reached).await.unwrap();
}

/// What came of a story while a replica turns.
async fn told<T>(world: &mut World, story: impl Future<Output = T>) -> T {
    let (_ending, is_ending) = watch::channel(false);
    let told = AtomicBool::new(false);
    tokio::select! {
        () = turn(&mut world.cluster, &told, is_ending) => unreachable!("nobody ends it"),
        came = story => came,
    }
}

/// Something in the cluster that is new.
fn change(store: &Store) {
    let namespace = json!({"metadata": {"name": "new", "resourceVersion": "1000"}});
    let seen = Seen::read(Kind::Namespace, serde_json::from_value(namespace).unwrap());
    store.put(Kind::Namespace, Ok(seen.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_change_does_not_wait_for_the_next_look_at_what_proxies_hold() {
    let mut world = World::new();
    gateways(&mut world);
    let (metrics, channel, store) = (
        world.cluster.metrics.clone(),
        world.cluster.channel.clone(),
        world.store.clone(),
    );
    let story = async {
        until(&metrics, 1).await;
        // A proxy asks.
        channel.hears(&Poll {
            gateway: "istio=edge".to_owned(),
            proxy: "x".to_owned(),
            ..Default::default()
        });
        clock::pause(Duration::from_millis(5)).await;
        let began = Instant::now();
        change(&store);
        until(&metrics, 2).await;
        began.elapsed()
    };
    let took = told(&mut world, story).await;
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_leads_when_a_turn_begins_turns_no_second_time_for_that() {
    let mut world = World::new();
    gateways(&mut world);
    let (metrics, leadership, store) = (
        world.cluster.metrics.clone(),
        world.cluster.leadership.clone(),
        world.store.clone(),
    );
    let story = async {
        until(&metrics, 1).await;
        change(&store);
        // While it waits for what may come together with that.
        clock::pause(Duration::from_millis(1)).await;
        leadership.lead();
        until(&metrics, 2).await;
        let leads = metrics.text(&[]).contains("clew_controller_leader 1");
        clock::pause(Duration::from_millis(200)).await;
        (turns(&metrics), leads)
    };
    let came = told(&mut world, story).await;
    assert_eq!(came, (2, true));
}
