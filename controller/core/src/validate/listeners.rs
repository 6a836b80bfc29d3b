//! Gateways → sockets, and the routes that attach to them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::age::{name_of, oldest_first};
use super::certificates::Certificates;
use super::class::Class;
use super::index::Index;
use crate::model::{
    AttachedRule, Certificate, Gateway, Hostname, Listener, Match, ObjectName, Parent, Protocol, Rule,
    TlsHost, VirtualHost,
};
use crate::objects::{self, Sourced};
use crate::refusal::{Code, ObjectRef, Refusal};

/// Every socket, and what has attached so far.
pub(super) struct Listeners<'a> {
    sockets: BTreeMap<At, Socket>,
    /// By Gateway, its listeners in order.
    sections: BTreeMap<Parent, Vec<Section<'a>>>,
    certificates: BTreeMap<ObjectName, Certificate>,
}

/// A listener of a Gateway.
pub(super) struct Section<'a> {
    pub(super) listener: &'a objects::Listener,
    pub(super) hostname: Hostname,
    /// What it has a part of. Empty: it is refused.
    pub(super) at: Vec<At>,
}

#[derive(Default)]
struct Socket {
    gateway: ObjectName,
    tls: bool,
    /// In the order of the Gateway.
    hosts: Vec<TlsHost>,
    virtual_hosts: BTreeMap<Hostname, Attached>,
}

#[derive(Default)]
struct Attached {
    routes: Vec<AttachedRule>,
    taken: HashMap<Arc<Match>, ObjectName>,
}

/// Where a match would be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: At,
    pub(super) hostname: Hostname,
}

/// What has hostnames: there two routes contend for a match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum At {
    /// A socket of this machine.
    Socket(SocketAddr),
    /// A port of a parent that is not on this machine.
    Port(Parent, u16),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Port(parent, port) => write!(f, "port {port} of {parent}"),
        }
    }
}

impl<'a> Listeners<'a> {
    pub(super) fn new(index: &Index<'a>, refusals: &mut Vec<Refusal>) -> Self {
        let mut listeners = Self {
            sockets: BTreeMap::new(),
            sections: BTreeMap::new(),
            certificates: BTreeMap::new(),
        };
        let mut certificates = Certificates::new(index);
        for gateway in oldest_first(index.gateways.values().copied()) {
            let name = name_of(&gateway.object.metadata);
            let parent = match Class::of(&gateway.object.spec.gateway_class_name, index) {
                Class::Standalone => {
                    listeners.add(gateway, &mut certificates, refusals);
                    continue;
                }
                Class::Istio => Parent::IstioClass(name),
                Class::EnvoyGateway => Parent::EnvoyGateway(name),
                Class::Other => Parent::OtherClass(name),
                Class::Unknown => continue,
            };
            listeners.add_foreign(parent, &gateway.object);
        }
        listeners.certificates = certificates.read();
        listeners
    }

    fn add(
        &mut self,
        gateway: &'a Sourced<objects::Gateway>,
        certificates: &mut Certificates<'_, '_>,
        refusals: &mut Vec<Refusal>,
    ) {
        let name = name_of(&gateway.object.metadata);
        let mut refuse = |code, field: String, message: String| {
            refusals.push(Refusal {
                code,
                object: ObjectRef {
                    kind: "Gateway",
                    name: name.clone(),
                },
                source: gateway.source.clone(),
                field,
                message,
                parent: None,
            });
        };
        let spec = &gateway.object.spec;
        for (field, written) in [
            ("allowedListeners", &spec.allowed_listeners),
            ("tls", &spec.tls),
            ("infrastructure", &spec.infrastructure),
        ] {
            if written.is_some() {
                let message = "stand-alone Envoy does not follow this field; remove it".to_owned();
                refuse(Code::GatewayFieldUnsupported, format!("spec.{field}"), message);
            }
        }
        let addresses = addresses(spec, &mut refuse);
        let mut sections: Vec<Section<'a>> = Vec::new();
        for (i, listener) in spec.listeners.iter().enumerate() {
            let path = format!("spec.listeners[{i}]");
            let mut section = Section {
                listener,
                hostname: listener.hostname.as_deref().map_or(Hostname::Any, Hostname::new),
                at: Vec::new(),
            };
            if sections.iter().any(|other| other.listener.name == listener.name) {
                let message = format!(
                    "another listener is named {:?}; names are unique in a Gateway",
                    listener.name
                );
                refuse(Code::ListenerConflict, format!("{path}.name"), message);
                continue;
            }
            let tls = match listener.protocol.as_str() {
                "HTTP" => None,
                "HTTPS" => match certificates.of(&name, listener, &path, &mut refuse) {
                    Some(certificates) => Some(certificates),
                    None => {
                        sections.push(section);
                        continue;
                    }
                },
                other => {
                    let message =
                        format!("{other:?} is not a protocol for WebSockets here; write HTTP or HTTPS");
                    refuse(
                        Code::ListenerProtocolUnsupported,
                        format!("{path}.protocol"),
                        message,
                    );
                    sections.push(section);
                    continue;
                }
            };
            for ip in &addresses {
                let address = SocketAddr::new(*ip, listener.port);
                match self.bind(address, &name, &section.hostname, tls.clone()) {
                    Ok(()) => section.at.push(At::Socket(address)),
                    Err(message) => refuse(Code::ListenerConflict, path.clone(), message),
                }
            }
            sections.push(section);
        }
        self.sections.insert(Parent::Standalone(name), sections);
    }

    /// A Gateway whose listeners are someone else's to open, and to refuse.
    fn add_foreign(&mut self, parent: Parent, gateway: &'a objects::Gateway) {
        let section = |listener: &'a objects::Listener| Section {
            listener,
            hostname: listener.hostname.as_deref().map_or(Hostname::Any, Hostname::new),
            at: match listener.protocol.as_str() {
                "HTTP" | "HTTPS" => vec![At::Port(parent.clone(), listener.port)],
                _ => Vec::new(),
            },
        };
        let sections = gateway.spec.listeners.iter().map(section).collect();
        self.sections.insert(parent, sections);
    }

    /// Gives a listener its part of a socket, or says who has it.
    fn bind(
        &mut self,
        address: SocketAddr,
        gateway: &ObjectName,
        hostname: &Hostname,
        tls: Option<Vec<ObjectName>>,
    ) -> Result<(), String> {
        let socket = self.sockets.entry(At::Socket(address)).or_insert_with(|| Socket {
            gateway: gateway.clone(),
            tls: tls.is_some(),
            hosts: Vec::new(),
            virtual_hosts: BTreeMap::new(),
        });
        if socket.gateway != *gateway {
            return Err(format!(
                "{address} belongs to Gateway {}; choose another port or address",
                socket.gateway
            ));
        }
        if socket.tls != tls.is_some() {
            return Err(format!(
                "{address} speaks HTTP in one listener and HTTPS in another; give them different ports"
            ));
        }
        if socket.virtual_hosts.contains_key(hostname) {
            return Err(format!(
                "another listener on port {} has the hostname {hostname} already; choose another hostname or port",
                address.port()
            ));
        }
        // A virtual host even without routes: what asks for this hostname must not reach a broader one.
        socket.virtual_hosts.insert(hostname.clone(), Attached::default());
        if let Some(certificates) = tls {
            socket.hosts.push(TlsHost {
                hostname: hostname.clone(),
                certificates,
            });
        }
        Ok(())
    }

    /// The listeners of a Gateway that is served here.
    pub(super) fn sections(&self, parent: &Parent) -> Option<&[Section<'a>]> {
        self.sections.get(parent).map(Vec::as_slice)
    }

    /// The route that has a match at a place.
    pub(super) fn owner(&self, place: &Place, matching: &Arc<Match>) -> Option<&ObjectName> {
        self.sockets
            .get(&place.at)?
            .virtual_hosts
            .get(&place.hostname)?
            .taken
            .get(matching)
    }

    /// Attaches one match of a rule. The rules come oldest first.
    pub(super) fn attach(&mut self, place: &Place, matching: &Arc<Match>, rule: &Arc<Rule>) {
        let socket = self.sockets.entry(place.at.clone()).or_default();
        let host = socket.virtual_hosts.entry(place.hostname.clone()).or_default();
        if host
            .taken
            .insert(matching.clone(), rule.name.route.clone())
            .is_none()
        {
            host.routes.push(AttachedRule {
                matching: matching.clone(),
                rule: rule.clone(),
            });
        }
    }

    pub(super) fn finish(self) -> (Vec<Gateway>, BTreeMap<ObjectName, Certificate>) {
        let mut gateways: BTreeMap<_, _> = self
            .sections
            .into_keys()
            .filter_map(|parent| match parent {
                Parent::Standalone(name) => Some(name),
                _ => None,
            })
            .map(|name| {
                (
                    name.clone(),
                    Gateway {
                        name,
                        listeners: Vec::new(),
                    },
                )
            })
            .collect();
        for (at, socket) in self.sockets {
            let At::Socket(address) = at else { continue };
            let Some(gateway) = gateways.get_mut(&socket.gateway) else {
                continue;
            };
            let mut virtual_hosts: Vec<_> = socket
                .virtual_hosts
                .into_iter()
                .map(|(hostname, mut attached)| {
                    attached
                        .routes
                        .sort_by_cached_key(|route| route.matching.precedence());
                    VirtualHost {
                        hostname,
                        routes: attached.routes,
                    }
                })
                .collect();
            virtual_hosts.sort_by_key(|host| Reverse(host.hostname.specificity()));
            let protocol = if socket.tls {
                Protocol::Https(socket.hosts)
            } else {
                Protocol::Http
            };
            gateway.listeners.push(Listener {
                address,
                protocol,
                virtual_hosts,
            });
        }
        (gateways.into_values().collect(), self.certificates)
    }
}

fn addresses(spec: &objects::GatewaySpec, refuse: &mut impl FnMut(Code, String, String)) -> Vec<IpAddr> {
    if spec.addresses.is_empty() {
        return vec![Ipv4Addr::LOCALHOST.into()];
    }
    let mut addresses = Vec::new();
    for (i, address) in spec.addresses.iter().enumerate() {
        match address.value.parse::<IpAddr>() {
            Ok(ip) if address.r#type == "IPAddress" => {
                if !addresses.contains(&ip) {
                    addresses.push(ip);
                }
            }
            _ => refuse(
                Code::GatewayAddressInvalid,
                format!("spec.addresses[{i}]"),
                format!(
                    "{} {:?} cannot be bound; write an address of this machine with type IPAddress",
                    address.r#type, address.value
                ),
            ),
        }
    }
    addresses
}
