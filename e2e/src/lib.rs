//! The vocabulary of the end-to-end tests, the demo and the benchmarks: real servers, real clients, a real Envoy,
//! the real `clew`. The sentences are in `tests/`.

pub mod address;
mod agent;
pub mod autobahn;
pub mod balancer;
pub mod chart;
pub mod cluster;
pub mod conformance;
pub mod controller;
pub mod daemon;
pub mod echo_server;
pub mod envoy;
pub mod envoy_gateway;
pub mod figures;
pub mod gateway;
pub mod handshake;
pub mod http;
pub mod issuer;
pub mod istio;
pub mod kubelet;
pub mod manifests;
pub mod mesh;
pub mod module;
pub mod pod;
pub mod process;
pub mod recipe;
pub mod rendered;
pub mod requests;
pub mod scene;
pub mod sidecar;
pub mod standalone;
pub mod statistics;
pub mod traffic;
pub mod visitors;
pub mod wait;
pub mod wire;
pub mod ws_client;
