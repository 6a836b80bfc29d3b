//! How a pod ends: what of it decides how long its sessions have.

/// What the kubelet does with a pod that is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodEnd {
    /// When it is killed: `terminationGracePeriodSeconds`.
    pub grace_seconds: i64,
    /// When its server is told to end: the shortest `preStop.sleep` of its containers; 0 where one has none.
    pub sleep_seconds: i64,
}
