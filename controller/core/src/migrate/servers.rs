//! Servers behind a balancer, as Services: equal weights in one, each other weight in one of its own, and those that only stand by.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::ledger::{Id, Ledger, Outcome};
use super::plan::{Backend, Plan, Server, Service, label};

/// The port of every Service that is written.
const PORT: u16 = 80;

/// A server as it was written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) id: Id,
    /// Its name; none: by its address.
    pub(super) name: Option<String>,
    /// `address`, `address:port`, `[address]:port`, `name:port`.
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) weight: u32,
    pub(super) is_backup: bool,
    pub(super) is_down: bool,
}

/// Writes the Services of a balancer, and says what became of each server.
pub(super) fn services(
    name: &str,
    servers: &[Written],
    plan: &mut Plan,
    ledger: &mut Ledger,
) -> Vec<Backend> {
    let mut groups: BTreeMap<(bool, u32), Vec<&Written>> = BTreeMap::new();
    for server in servers {
        groups
            .entry((server.is_backup, if server.is_backup { 0 } else { server.weight }))
            .or_default()
            .push(server);
    }
    // A Service's name begins with a letter.
    let name = if name.starts_with(|c: char| c.is_ascii_digit()) {
        &format!("server-{name}")
    } else {
        name
    };
    let is_even = groups.keys().filter(|(is_backup, _)| !is_backup).count() < 2;
    let mut backends = Vec::new();
    for ((is_backup, weight), servers) in groups {
        let group = match (is_backup, is_even) {
            (true, _) => format!("{name}-backup"),
            (false, true) => name.to_owned(),
            (false, false) => format!("{name}-w{weight}"),
        };
        let mut service = Service {
            port: PORT,
            ..Service::default()
        };
        if is_backup {
            service.remarks.push(format!(
                "DECIDE ({}): a backup took over by itself when all others were down. Here it is a backend of weight 0: \
                 give it a weight by hand, or make it a server like the others.",
                servers.first().map_or_else(String::new, |server| ledger.place(server.id))
            ));
        }
        for server in &servers {
            place(server, &group, &mut service, ledger);
        }
        let up = servers.iter().filter(|server| !server.is_down).count();
        let count = u32::try_from(up).unwrap_or(u32::MAX);
        backends.push(Backend {
            service: group.clone(),
            port: PORT,
            weight: match (is_backup, is_even) {
                (true, _) => 0,
                (false, true) => 1,
                (false, false) => weight.saturating_mul(count).min(1_000_000),
            },
        });
        plan.services.insert((None, group), service);
    }
    if backends.iter().all(|backend| backend.weight == 0) {
        // Of backups only, the first is no backup.
        match backends.first_mut() {
            Some(backend) => backend.weight = 1,
            None => {
                let service = Service {
                    port: PORT,
                    remarks: vec!["DECIDE: nothing says which servers these are.".to_owned()],
                    ..Service::default()
                };
                plan.services.insert((None, name.to_owned()), service);
                backends.push(Backend {
                    service: name.to_owned(),
                    port: PORT,
                    weight: 1,
                });
            }
        }
    }
    backends
}

fn place(server: &Written, group: &str, service: &mut Service, ledger: &mut Ledger) {
    let (host, port) = split(&server.address, server.port);
    let Ok(ip) = host.parse::<IpAddr>() else {
        service.remarks.push(format!(
            "DECIDE ({}): {} is a name, and endpoints have addresses: add an endpoint, or in a cluster name the Service \
             that has them.",
            ledger.place(server.id),
            server.address
        ));
        let note = format!("a name is not looked up: Service {group} has no endpoint for it");
        ledger.say(server.id, Outcome::Cannot, note);
        return;
    };
    let name = match &server.name {
        Some(name) => label(name),
        None => label(&format!("{host}-{port}")),
    };
    let is_double = service.servers.iter().any(|one| one.name == name);
    if !is_double {
        service.servers.push(Server {
            name: name.clone(),
            ip,
            port,
            is_ready: !server.is_down,
        });
    }
    let (outcome, note) = match (server.is_backup, is_double) {
        (_, true) => (
            Outcome::Approximated,
            format!("the same as endpoint {name}: it counts once"),
        ),
        (true, _) => (
            Outcome::Cannot,
            format!("endpoint {name} of weight 0: it takes over when you give it a weight, not by itself"),
        ),
        _ => (Outcome::Carried, format!("endpoint {name} of Service {group}")),
    };
    ledger.say(server.id, outcome, note);
}

/// Host and port of an address.
pub(super) fn split(address: &str, default: u16) -> (&str, u16) {
    if let Some(rest) = address.strip_prefix('[')
        && let Some((host, port)) = rest.split_once(']')
    {
        return (host, port.trim_start_matches(':').parse().unwrap_or(default));
    }
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().unwrap_or(default)),
        _ => (address, default),
    }
}
