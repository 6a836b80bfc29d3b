//! Addresses of a test process's own: nobody else listens there, so no port is ever raced for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

/// The port of every backend and gateway that the tests start.
pub const PORT: u16 = 8080;

const HOSTS_PER_PROCESS: u32 = 2048;

static NEXT: AtomicU32 = AtomicU32::new(1);

/// An address in 127.64.0.0/10 that this process has not handed out before. Processes whose ids differ by less than
/// 2,048 never share one.
///
/// # Panics
/// After 2,047 addresses: use several ports then.
pub fn next_ip() -> Ipv4Addr {
    let host = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(
        host < HOSTS_PER_PROCESS,
        "a test process has {HOSTS_PER_PROCESS} addresses of its own"
    );
    let block = std::process::id() % 2048;
    Ipv4Addr::from((127u32 << 24 | 64 << 16) + block * HOSTS_PER_PROCESS + host)
}

/// [`next_ip`] with [`PORT`].
pub fn next() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(next_ip()), PORT)
}

/// Whose network the parts of a cluster are in: the API server refuses loopback addresses in an EndpointSlice. All of
/// 10.77.0.0/16 leads here in the namespace of `e2e/namespace.sh`.
pub const CLUSTER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// An address in a cluster's network that this process has not handed out before.
///
/// # Panics
/// After 65,000 addresses.
pub fn next_in_cluster() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1 << 8);
    let host = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(host < 0xff00, "a cluster has no more addresses");
    Ipv4Addr::from((10u32 << 24 | 77 << 16) + host)
}
