//! Ports for those who asked for any: chosen once, kept in the state folder, so that the next `clew run` has the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

/// Below the range from which Linux takes the ports of outgoing connections (32768 and up), so that a port stays free
/// while `clew run` is away.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Ports by what they are for: `channel`, `api`, or `namespace/gateway/listener`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Ports(BTreeMap<String, u16>);

impl Ports {
    /// The port that was chosen for a purpose.
    pub(super) fn kept(&self, purpose: &str) -> Option<u16> {
        self.0.get(purpose).copied()
    }

    /// A port for a purpose: the kept one, else one that is free on this address.
    pub(super) fn keep(&mut self, purpose: &str, ip: IpAddr) -> Option<u16> {
        if let Some(port) = self.kept(purpose) {
            return Some(port);
        }
        let port = free(ip, |port| !self.0.values().any(|kept| *kept == port))?;
        self.0.insert(purpose.to_owned(), port);
        Some(port)
    }

    /// The kept one is of no use any more.
    pub(super) fn forget(&mut self, purpose: &str) {
        self.0.remove(purpose);
    }
}

/// Whether nobody listens on an address, as Envoy would: on IPv6 addresses for nothing else.
pub(super) fn is_free(address: SocketAddr) -> std::io::Result<()> {
    // Without SO_REUSEPORT, so that another Envoy's socket counts.
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(1)
}

fn free(ip: IpAddr, wanted: impl Fn(u16) -> bool) -> Option<u16> {
    let mut start = [0; 2];
    getrandom::fill(&mut start).ok()?;
    let width = RANGE.end - RANGE.start;
    let start = u16::from_le_bytes(start) % width;
    (0..width)
        .map(|i| RANGE.start + (start + i) % width)
        .find(|port| wanted(*port) && is_free(SocketAddr::new(ip, *port)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::{Ports, RANGE, is_free};
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

    #[test]
    fn a_port_is_kept_for_its_purpose() {
        let mut ports = Ports::default();
        let ip = Ipv4Addr::LOCALHOST.into();
        let (a, b) = (ports.keep("a", ip).unwrap(), ports.keep("b", ip).unwrap());
        assert!(RANGE.contains(&a) && a != b);
        let mut again: Ports = serde_json::from_str(&serde_json::to_string(&ports).unwrap()).unwrap();
        assert_eq!(again.keep("a", ip), Some(a));
    }

    #[test]
    fn every_address_of_one_family_is_none_of_the_other() {
        let four = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = four.local_addr().unwrap().port();
        assert!(is_free((Ipv4Addr::LOCALHOST, port).into()).is_err());
        // Not every machine has it.
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            is_free((Ipv6Addr::UNSPECIFIED, port).into()).unwrap();
        }
    }

    #[test]
    fn a_taken_port_is_not_free() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        is_free(taken).unwrap();
        let _held = TcpListener::bind(taken).unwrap();
        assert!(is_free(taken).is_err());
        assert!(
            is_free(SocketAddr::from(([192, 0, 2, 1], 1))).is_err(),
            "an address that is not ours"
        );
    }
}
