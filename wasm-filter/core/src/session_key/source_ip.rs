//! The client's address, as text that is the same for the same address.

use core::net::{IpAddr, Ipv6Addr};

use super::request::Request;

/// The peer's address, or with `trusted_hops` = n the nth from the right of `X-Forwarded-For`: n proxies in front
/// wrote one element each. Without port and zone, IPv6 as RFC 5952 writes it, IPv4 in IPv6 as IPv4. Whatever is not
/// an address has no value.
pub(super) fn value(request: &Request<'_>, trusted_hops: u32) -> Option<Vec<u8>> {
    let text = match usize::try_from(trusted_hops).ok()?.checked_sub(1) {
        None => request.peer,
        Some(from_right) => request.list("x-forwarded-for").rev().nth(from_right)?,
    };
    Some(address(text)?.to_canonical().to_string().into_bytes())
}

/// Reads `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]` and `[::1]:5`, each IPv6 address with or without a zone.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = core::str::from_utf8(text).ok()?;
    if let Some(bracketed) = text.strip_prefix('[') {
        let (inside, port) = bracketed.split_once(']')?;
        let ends = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return ends.then(|| v6(inside)).flatten().map(IpAddr::V6);
    }
    if let Some(v6) = v6(text) {
        return Some(IpAddr::V6(v6));
    }
    let host = match text.split_once(':') {
        Some((host, port)) if is_port(port) => host,
        Some(_) => return None,
        None => text,
    };
    Some(IpAddr::V4(host.parse().ok()?))
}

fn v6(text: &str) -> Option<Ipv6Addr> {
    let (address, _zone) = text.split_once('%').unwrap_or((text, ""));
    address.parse().ok()
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok() && !text.starts_with('+')
}
