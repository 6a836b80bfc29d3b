//! World → what each target is told. Nothing here can fail: whatever can, fails in [`validate`](crate::validate).

pub mod envoy;
pub mod istio;
pub mod rules;

/// The label of every object that Clew writes into a cluster.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGER: &str = "clew";
