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

#[tokio::test(start_paused = true)]
async fn a_change_does_not_wait_for_the_next_look_at_what_proxies_hold() {
    let mut world = World::new();
    gateways(&mut world);
    let (metrics, channel, store) = (
        world.cluster.metrics.clone(),
        world.cluster.channel.clone(),
        world.store.clone(),
    );
    let (_ending, is_ending) = watch::channel(false);
    let told = AtomicBool::new(false);
    let until = async |count: u64| {
        let reached = async {
            while turns(&metrics) < count {
                clock::pause(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(5), reached).await.unwrap();
    };
    let story = async {
        until(1).await;
        // A proxy asks.
        channel.hears(&Poll {
            gateway: "istio=edge".to_owned(),
            proxy: "x".to_owned(),
            ..Default::default()
        });
        clock::pause(Duration::from_millis(5)).await;
        let began = Instant::now();
        let namespace = json!({"metadata": {"name": "new", "resourceVersion": "1000"}});
        let seen = Seen::read(Kind::Namespace, serde_json::from_value(namespace).unwrap());
        store.put(Kind::Namespace, Ok(seen.unwrap()));
        until(2).await;
        began.elapsed()
    };
    let took = tokio::select! {
        () = turn(&mut world.cluster, &told, is_ending) => unreachable!("nobody ends it"),
        took = story => took,
    };
    assert!(took < Duration::from_millis(100), "{took:?}");
}
