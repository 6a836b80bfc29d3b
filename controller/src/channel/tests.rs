use std::time::Duration;

use clew_filter_config::channel::{Live, Missed, Poll, Update};
use clew_filter_config::rule::Backend;

use tokio::sync::watch;

use super::{Acknowledgement, Channel, Snapshot};

const PATIENCE: Duration = Duration::from_secs(60);

fn snapshot(names: &[&str]) -> Snapshot {
    Snapshot {
        backends: names
            .iter()
            .map(|name| ((*name).to_owned(), Backend::default()))
            .collect(),
        ..Snapshot::default()
    }
}

fn poll(proxy: &str, have: Option<&str>, wait_ms: u64) -> Poll {
    Poll {
        gateway: "ns/edge".into(),
        proxy: proxy.into(),
        have: have.map(str::to_owned),
        wait_ms,
        ..Poll::default()
    }
}

#[tokio::test]
async fn a_waiting_poll_is_woken_by_news() {
    let channel = Channel::new("e".into(), "seed".into());
    channel.publish("ns/edge", snapshot(&["a"]));
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { channel.poll(poll("x", Some("e:1"), 1000)).await }
    });
    while channel.standing("ns/edge").proxies == 0 {
        tokio::task::yield_now().await;
    }
    channel.publish("ns/edge", snapshot(&["b"]));
    let Update {
        version,
        full,
        backends,
        ..
    } = waiting.await.unwrap().unwrap();
    assert!(version.starts_with("e:2:") && !full, "{version}");
    assert_eq!(backends.keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_poll_without_news_ends_empty() {
    let channel = Channel::new("e".into(), "seed".into());
    assert_eq!(
        channel.poll(poll("x", None, 500)).await,
        None,
        "before the first snapshot"
    );
    channel.publish("ns/edge", snapshot(&["a"]));
    assert_eq!(channel.poll(poll("x", Some("e:1"), 500)).await, None);
    assert_eq!(channel.poll(poll("x", Some("e:1"), 0)).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_version_is_acknowledged_by_the_next_poll_of_every_proxy() {
    let channel = Channel::new("e".into(), "seed".into());
    channel.publish("ns/edge", snapshot(&["a"]));
    assert_eq!(
        channel.acknowledged("ns/edge", PATIENCE).await,
        Acknowledgement {
            proxies: 0,
            behind: 0
        },
        "nobody is connected: nobody is waited for"
    );
    assert!(channel.poll(poll("x", None, 0)).await.is_some());
    assert!(channel.poll(poll("y", None, 0)).await.is_some());
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { channel.acknowledged("ns/edge", PATIENCE).await }
    });
    channel.poll(poll("x", Some("e:1"), 0)).await;
    assert_eq!(
        channel.standing("ns/edge"),
        Acknowledgement {
            proxies: 2,
            behind: 1
        }
    );
    channel.poll(poll("y", Some("e:1"), 0)).await;
    assert_eq!(
        waiting.await.unwrap(),
        Acknowledgement {
            proxies: 2,
            behind: 0
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_stays_behind_is_not_waited_for_forever() {
    let channel = Channel::new("e".into(), "seed".into());
    channel.publish("ns/edge", snapshot(&["a"]));
    channel.poll(poll("x", None, 0)).await;
    assert_eq!(
        channel.acknowledged("ns/edge", Duration::from_secs(2)).await,
        Acknowledgement {
            proxies: 1,
            behind: 1
        }
    );
}

#[tokio::test]
async fn live_sessions_are_summed_over_proxies() {
    let channel = Channel::new("e".into(), "seed".into());
    channel.publish("ns/edge", snapshot(&["a"]));
    for (proxy, sessions) in [("x", 3), ("y", 4), ("y", 5)] {
        let live = vec![Live {
            rule: "r".into(),
            backend: "a".into(),
            pod: "p".into(),
            sessions,
        }];
        channel
            .poll(Poll {
                live,
                ..poll(proxy, None, 0)
            })
            .await;
    }
    let live = channel.live();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].sessions, 8);
}

#[tokio::test]
async fn misses_are_held_against_the_sessions_of_all_gateways() {
    let channel = Channel::new("e".into(), "seed".into());
    for (gateway, sessions, missed) in [("ns/a", 7, 0), ("ns/b", 3, 2), ("ns/c", 5, 0)] {
        channel.publish(gateway, snapshot(&["a"]));
        let live = vec![Live {
            rule: "r".into(),
            backend: "a".into(),
            pod: "p".into(),
            sessions,
        }];
        let missed = (missed > 0).then(|| Missed {
            backend: "a".into(),
            sessions: missed,
        });
        channel.hears(&Poll {
            gateway: gateway.into(),
            live,
            missed: missed.into_iter().collect(),
            ..poll("x", None, 0)
        });
    }
    assert_eq!(channel.missed().get("a"), Some(&(15, 2)));
}

#[tokio::test(start_paused = true)]
async fn of_several_controllers_only_the_one_that_leads_puts_another_ones_word_out_of_force() {
    let (lead, leads) = watch::channel(false);
    let channel = Channel::with_peers("e".into(), "seed".into(), leads);
    channel.publish("ns/edge", snapshot(&["a"]));
    let foreign = || poll("x", Some("f:7:0123456789abcdef"), 1000);
    assert_eq!(channel.poll(foreign()).await, None);
    assert!(
        channel.poll(poll("y", None, 0)).await.is_some(),
        "who has nothing gets it"
    );
    lead.send_replace(true);
    assert!(channel.poll(foreign()).await.is_some_and(|update| update.full));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_lets_a_proxy_go_on_to_the_one_who_does() {
    let (lead, leads) = watch::channel(false);
    let channel = Channel::with_peers("e".into(), "seed".into(), leads);
    channel.publish("ns/edge", snapshot(&["a"]));
    for (leads, longest) in [(false, 0), (true, 1000)] {
        lead.send_replace(leads);
        let began = tokio::time::Instant::now();
        assert_eq!(channel.poll(poll("x", Some("e:1"), 10_000)).await, None);
        assert_eq!(began.elapsed(), Duration::from_millis(longest), "leads: {leads}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_controller_told_first_is_held_as_soon_as_this_one_says_it_too() {
    let (_lead, leads) = watch::channel(true);
    let channel = Channel::with_peers("e".into(), "seed".into(), leads.clone());
    channel.publish("ns/edge", snapshot(&["a"]));
    let first = channel.poll(poll("x", None, 0)).await.unwrap().version;
    let other = Channel::with_peers("f".into(), "seed".into(), leads);
    other.publish("ns/edge", snapshot(&["a"]));
    other.publish("ns/edge", snapshot(&["b"]));
    let told = other.poll(poll("x", Some(&first), 0)).await.unwrap().version;
    channel.hears(&poll("x", Some(&first), 0));

    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { channel.poll(poll("x", Some(&told), 1000)).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(
        channel.standing("ns/edge").behind,
        0,
        "it has not lost what it had"
    );
    channel.publish("ns/edge", snapshot(&["b"]));
    let began = tokio::time::Instant::now();
    let standing = channel.acknowledged("ns/edge", PATIENCE).await;
    assert_eq!((standing.proxies, standing.behind), (1, 0));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(waiting.await.unwrap(), None, "there is nothing to tell");
}
