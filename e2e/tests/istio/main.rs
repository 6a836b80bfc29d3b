//! In a cluster, with every part real: the API server, istiod, and an Istio gateway's agent with its Envoy. `e2e/run.sh istio` runs this in
//! a network namespace; the parts are started once, and every sentence has names and hosts of its own.

mod admission;
mod controller;
mod pods;
mod strangers;

use clew_e2e::mesh::{Mesh, mesh};

/// The full sizes, which take long.
fn full() -> bool {
    std::env::var_os("CLEW_E2E_FULL").is_some()
}
