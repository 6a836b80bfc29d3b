//! What proxies say, and what could not be written, is looked at again, whatever else turns are about.

use std::time::Duration;

use clew_core::model::{ObjectName, Owner};
use clew_filter_config::channel::Poll;
use serde_json::{Value, json};

use super::{World, gateways};
use crate::clock;
use crate::cluster::about::About;
use crate::cluster::kind::Kind;
use crate::cluster::report::GATHERING;
use crate::cluster::silence::PATIENCE;

const GATEWAY: &str = "istio=edge";

fn route(name: &str, limit: u32) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": {
        "parentRefs": [{"group": "networking.istio.io", "kind": "Gateway", "name": "edge", "namespace": "infra"}],
        "hostnames": [format!("{name}.example.com")],
        "rules": [{"backendRefs": [{"name": name, "port": 80}], "limits": {"maxMessageSize": limit.to_string()}}]}})
}

/// Routes `a`, `b` and `c` with nothing in common, at a gateway with the filter, and nobody asks for its rules yet.
async fn world() -> World {
    let mut world = World::new();
    gateways(&mut world);
    let pod = json!({"metadata": {"name": "edge-0", "namespace": "infra", "labels": {"istio": "edge"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    world.put(Kind::Pod, pod);
    world.put(
        Kind::WasmPlugin,
        json!({"metadata": {"name": "p", "namespace": "infra"},
            "spec": {"pluginName": "clew", "pluginConfig": {"gateway": GATEWAY}}}),
    );
    for name in ["a", "b", "c"] {
        world.put(Kind::WebSocketRoute, route(name, 1024));
    }
    world.settle().await;
    world
}

/// A proxy says that it holds the newest version, or one that is so much older.
fn asks(world: &World, proxy: &str, behind: u64) {
    let channel = &world.cluster.channel;
    let newest = channel.version(GATEWAY);
    channel.hears(&Poll {
        gateway: GATEWAY.to_owned(),
        proxy: proxy.to_owned(),
        have: Some(format!("e:{}", newest - behind)),
        ..Poll::default()
    });
}

fn next(world: &mut World) -> About {
    world.cluster.resolve().unwrap().0
}

fn names(about: &About) -> Vec<&str> {
    about
        .routes
        .iter()
        .map(|route| route.name.name.as_str())
        .collect()
}

#[tokio::test]
async fn proxies_have_their_time_to_ask_also_where_the_first_turn_ends_late() {
    let mut world = World::new();
    gateways(&mut world);
    let late = clock::now() + 2 * GATHERING;
    let is_gathering = |world: &World, now| world.cluster.reporter.is_gathering(now);
    assert!(is_gathering(&world, late), "nobody was told anything yet");
    world.settle().await;
    assert!(is_gathering(&world, clock::now()));
    assert!(!is_gathering(&world, late));
}

#[tokio::test]
async fn a_proxy_that_comes_or_goes_is_counted_for_every_route() {
    let mut world = world().await;
    assert!(!world.cluster.listen(), "nobody");
    for proxy in ["x", "y"] {
        asks(&world, proxy, 0);
        assert!(world.cluster.listen(), "{proxy} came");
        assert!(next(&mut world).everything);
        assert!(!world.cluster.listen(), "it is still there");
    }
    // It is another one, though there are as many.
    world.cluster.channel.proxies_gone();
    asks(&world, "x", 0);
    asks(&world, "z", 0);
    assert!(world.cluster.listen());
    assert!(next(&mut world).everything);
    world.cluster.channel.proxies_gone();
    // Even if something else changes before anybody listens.
    world.put(Kind::WebSocketRoute, route("a", 2048));
    assert!(next(&mut world).everything);
}

#[tokio::test]
async fn a_proxy_that_has_lost_what_it_held_is_behind_for_every_route() {
    let mut world = world().await;
    asks(&world, "x", 0);
    world.settle().await;
    world.put(Kind::WebSocketRoute, route("a", 2048));
    world.settle().await;
    asks(&world, "x", 0);
    world.settle().await;
    asks(&world, "x", 1);
    assert!(world.cluster.listen());
    assert!(next(&mut world).everything);
}

#[tokio::test]
async fn a_pod_that_falls_silent_is_news_to_every_route() {
    let mut world = world().await;
    let (gateways, channel) = (&mut world.cluster.gateways, &world.cluster.channel);
    assert!(!gateways.listen(channel, clock::now()));
    let late = clock::now() + PATIENCE + Duration::from_secs(1);
    assert!(gateways.listen(channel, late));
    assert_eq!(gateways.silent.len(), 1);
    assert!(!gateways.listen(channel, late), "it is said once");
    // Whoever listens with the real clock finds it gone, and that is news too.
    assert!(world.cluster.listen());
    assert!(next(&mut world).everything);
}

#[tokio::test]
async fn what_is_acknowledged_is_said_though_the_turns_between_were_about_others() {
    let mut world = world().await;
    asks(&world, "x", 0);
    world.settle().await;
    world.put(Kind::WebSocketRoute, route("a", 2048));
    world.turn().await;
    world.put(Kind::WebSocketRoute, route("b", 2048));
    world.turn().await;
    // Now it holds what a says, and not yet what b says: as many are behind as before.
    asks(&world, "x", 1);
    assert!(world.cluster.listen());
    let about = next(&mut world);
    assert!(!about.everything);
    assert_eq!(names(&about), ["a", "b"]);
}

#[tokio::test]
async fn what_is_acknowledged_during_a_turn_about_others_is_said() {
    let mut world = world().await;
    asks(&world, "x", 0);
    world.settle().await;
    world.put(Kind::WebSocketRoute, route("a", 2048));
    world.turn().await;
    world.put(Kind::WebSocketRoute, route("b", 2048));
    world.turn_while(|world| asks(world, "x", 0)).await;
    world.settle().await;
    asks(&world, "x", 0);
    if world.cluster.listen() {
        world.turn().await;
    }
    assert!(!world.cluster.listen(), "all is said");
    assert!(world.cluster.memory.awaits().is_empty());
}

#[tokio::test]
async fn what_could_not_be_written_is_tried_again_with_whatever_the_next_turn_is_about() {
    let mut world = world().await;
    // Nobody answers at this world's API server.
    world.cluster.leadership.lead();
    let _ = next(&mut world);
    world.put(Kind::WebSocketRoute, route("a", 2048));
    assert!(world.cluster.reconcile().await, "it fails");
    world.put(Kind::WebSocketRoute, route("c", 2048));
    assert!(world.cluster.reconcile().await, "and again");
    let about = next(&mut world);
    assert!(!about.everything);
    assert_eq!(names(&about), ["a", "c"]);
    let virtual_services = about.written.iter().filter(|key| key.0 == Kind::VirtualService);
    assert!(virtual_services.count() >= 2, "{:?}", about.written);
}

#[tokio::test]
async fn what_could_not_be_written_waits_though_proxies_go_on_asking() {
    let mut world = world().await;
    asks(&world, "x", 0);
    world.settle().await;
    world.cluster.leadership.lead();
    world.put(Kind::WebSocketRoute, route("a", 2048));
    assert!(world.cluster.reconcile().await, "it fails");
    asks(&world, "x", 0);
    assert!(world.cluster.listen(), "it has what a says");
    assert!(world.cluster.reconcile().await, "and again");
    asks(&world, "x", 0);
    assert!(!world.cluster.listen(), "nothing is new");
}

#[tokio::test]
async fn everything_is_looked_at_from_time_to_time_though_nothing_changes() {
    let mut world = world().await;
    world.cluster.memory.look_at_everything();
    world.settle().await;
    assert!(!next(&mut world).everything);
    let due = world.cluster.again().unwrap();
    assert!(due > clock::now() + Duration::from_secs(60), "rarely");
    let store = world.store.clone();
    let shelves = store.lock();
    let about = world
        .cluster
        .memory
        .about(store.changes(), &shelves, world.cluster.last_good.as_ref(), due);
    assert!(about.everything);
    assert_eq!(
        about.routes.first(),
        Some(&Owner::route(ObjectName::new("shop", "a")))
    );
}

#[tokio::test]
async fn a_gateway_without_the_filter_is_there_for_as_long_as_a_proxy_asks() {
    let mut world = world().await;
    let seen = |world: &World| {
        world
            .cluster
            .channel
            .view()
            .iter()
            .map(|one| one.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(seen(&world), [GATEWAY], "nobody asks, and somebody is to");
    asks(&world, "x", 0);
    let plugin = ObjectName::new("infra", "p");
    world.store.gone(Kind::WasmPlugin, &plugin, 0);
    world.settle().await;
    assert_eq!(seen(&world), [GATEWAY]);
    world.cluster.channel.proxies_gone();
    assert_eq!(seen(&world), Vec::<String>::new());
}
