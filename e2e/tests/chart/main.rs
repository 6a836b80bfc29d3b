//! The Helm chart: what it renders, and what becomes of it in a cluster.

mod left;
mod life;
mod monitoring;
mod one_namespace;
mod plugin;
mod rendered;
mod rights;

/// Whose cluster runs: each has the same ports.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
