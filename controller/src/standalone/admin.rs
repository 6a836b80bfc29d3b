//! Envoy's admin port: what it says of itself.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use serde_json::Value;

use crate::http;

/// The admin port of a running Envoy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admin {
    address: SocketAddr,
}

impl Admin {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Whether Envoy takes connections.
    pub(super) async fn is_live(self) -> bool {
        http::get(self.address, "/ready")
            .await
            .is_ok_and(|body| body.starts_with(b"LIVE"))
    }

    /// Every `version_text`, by the name of its stat without that ending: which update each subscription has taken.
    /// Text readouts are few and cheap; the same through a filter over all stats takes 25 times as long (Envoy 1.40,
    /// 1,000 clusters).
    pub(super) async fn versions(self) -> io::Result<BTreeMap<String, String>> {
        let text = http::get(self.address, "/stats?type=TextReadouts&filter=version_text").await?;
        Ok(String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| {
                let (name, value) = line.split_once(": ")?;
                Some((
                    name.strip_suffix(".version_text")?.to_owned(),
                    value.trim_matches('"').to_owned(),
                ))
            })
            .collect())
    }

    /// The addresses on which Envoy listens, in order.
    pub(super) async fn listeners(self) -> io::Result<Vec<SocketAddr>> {
        let body = http::get(self.address, "/listeners?format=json").await?;
        let value: Value = serde_json::from_slice(&body)?;
        let statuses = value
            .get("listener_statuses")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let addresses = statuses.flat_map(|status| {
            let additional = status
                .get("additional_local_addresses")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            status.get("local_address").into_iter().chain(additional)
        });
        let mut addresses: Vec<_> = addresses.filter_map(socket_address).collect();
        addresses.sort();
        addresses.dedup();
        Ok(addresses)
    }

    /// The sum of all gauges and counters of one name in every scope.
    pub(super) async fn sum(self, stat: &str) -> io::Result<u64> {
        let text = http::get(self.address, &format!("/stats?filter={stat}$")).await?;
        Ok(String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok())
            .sum())
    }
}

fn socket_address(address: &Value) -> Option<SocketAddr> {
    let address = address.get("socket_address")?;
    let ip = address.get("address")?.as_str()?.parse().ok()?;
    let port = address.get("port_value")?.as_u64()?;
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}
