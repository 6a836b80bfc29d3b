//! What a turn about one route costs without its input and output, as it is shipped: `cargo bench --profile release -p clew-core`.

#[path = "../tests/inputs/mod.rs"]
mod inputs;

use std::hint::black_box;

use clew_core::render::rules::{self, Drains};
use clew_core::render::{gateway_api, istio};
use clew_core::validate::{Target, validate};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// One route each, and all that it needs.
const CASES: [(&str, &str); 3] = [
    (
        "Istio, VirtualService",
        include_str!("../tests/golden/istio-gateway/input.yaml"),
    ),
    (
        "Istio, HTTPRoute",
        include_str!("../tests/golden/istio-class/input.yaml"),
    ),
    (
        "Envoy Gateway",
        include_str!("../tests/golden/gateway-api-guide/input.yaml"),
    ),
];

fn one_route(c: &mut Criterion) {
    for (name, text) in CASES {
        let objects = inputs::read(name, text);
        c.bench_function(&format!("validate/{name}"), |b| {
            b.iter(|| validate(black_box(&objects), Target::Every));
        });
        let world = validate(&objects, Target::Every).world;
        let drains = Drains::default();
        c.bench_with_input(BenchmarkId::new("render", name), &world, |b, world| {
            b.iter(|| {
                let told: Vec<_> = world
                    .rules_by_proxies()
                    .map(|(_, attached)| rules::render(world, attached, &drains))
                    .collect();
                (istio::render(world), gateway_api::render(world), told)
            });
        });
    }
}

criterion_group!(benches, one_route);
criterion_main!(benches);
