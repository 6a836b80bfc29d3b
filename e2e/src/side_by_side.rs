//! A balancer beside Clew with what its configuration became: the same servers, the same clients, the same events.

mod arm;
mod outcome;
pub mod page;
pub mod rooms;

pub use arm::{Arm, Clients};
pub use outcome::{Movement, Outcome, measure, table};

use std::time::Duration;

use anyhow::Result;

use crate::balancer::Kind;

/// A way to keep sessions on servers that people come from.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// As figures call it.
    pub id: &'static str,
    /// Whose.
    pub kind: Kind,
    /// As its manual calls it.
    pub what: &'static str,
    /// As it is configured.
    pub balance: &'static str,
    /// What tells its clients apart.
    pub clients: Clients,
}

/// All that are compared.
pub mod ways {
    use super::{Clients, Kind, Way};

    /// NGINX, by the client's network.
    pub const NGINX_IP_HASH: Way = Way {
        id: "nginx-ip-hash",
        kind: Kind::Nginx,
        what: "ip_hash",
        balance: "ip_hash;",
        clients: Clients::Addresses,
    };
    /// NGINX, by a query parameter, on a ring.
    pub const NGINX_QUERY: Way = Way {
        id: "nginx-query",
        kind: Kind::Nginx,
        what: "hash $arg_room consistent",
        balance: "hash $arg_room consistent;",
        clients: Clients::Query,
    };
    /// NGINX, by a cookie, modulo the servers.
    pub const NGINX_COOKIE: Way = Way {
        id: "nginx-cookie",
        kind: Kind::Nginx,
        what: "hash $cookie_sid",
        balance: "hash $cookie_sid;",
        clients: Clients::Cookie,
    };
    /// HAProxy, by the client's address, on a ring.
    pub const HAPROXY_SOURCE: Way = Way {
        id: "haproxy-source",
        kind: Kind::Haproxy,
        what: "balance source, consistent",
        balance: "balance source\nhash-type consistent",
        clients: Clients::Addresses,
    };
    /// HAProxy, by a query parameter, modulo the servers.
    pub const HAPROXY_QUERY: Way = Way {
        id: "haproxy-query",
        kind: Kind::Haproxy,
        what: "balance url_param room",
        balance: "balance url_param room",
        clients: Clients::Query,
    };
    /// HAProxy, by a cookie of its own that names the server.
    pub const HAPROXY_COOKIE: Way = Way {
        id: "haproxy-cookie",
        kind: Kind::Haproxy,
        what: "cookie SERVERID insert",
        balance: "balance roundrobin\ncookie SERVERID insert indirect nocache",
        clients: Clients::Jar,
    };
    /// HAProxy, by a table of addresses.
    pub const HAPROXY_STICK_TABLE: Way = Way {
        id: "haproxy-stick-table",
        kind: Kind::Haproxy,
        what: "stick on src",
        balance: "balance roundrobin\nstick-table type ip size 100k expire 30m\nstick on src",
        clients: Clients::Addresses,
    };

    /// Every one of them.
    pub const ALL: [Way; 7] = [
        NGINX_IP_HASH,
        NGINX_QUERY,
        NGINX_COOKIE,
        HAPROXY_SOURCE,
        HAPROXY_QUERY,
        HAPROXY_COOKIE,
        HAPROXY_STICK_TABLE,
    ];
}

impl Way {
    /// The original and then Clew, each through the same events, one of which is a drain that takes so long.
    ///
    /// # Errors
    /// When something of it does not come about.
    pub async fn compare(&self, keys: usize, drain: Duration) -> Result<[Outcome; 2]> {
        let before = measure(
            Arm::balancer(self.kind, self.balance, drain).await?,
            self.clients,
            keys,
        )
        .await?;
        let after = measure(
            Arm::clew(self.kind, self.balance, drain).await?,
            self.clients,
            keys,
        )
        .await?;
        Ok([before, after])
    }
}
