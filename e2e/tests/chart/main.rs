//! The Helm chart: what it renders, and what becomes of it in a cluster.

mod life;
mod monitoring;
mod plugin;
mod rendered;
mod rights;
