//! What is written in the end, whatever was read: a Gateway, routes with their rules, and the servers behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::document::{Map, Node, comments};
use super::policy::Key;

/// What the API takes of each.
const MAX_HOSTNAMES: usize = 16;
const MAX_RULES: usize = 16;
const MAX_MATCHES: usize = 8;

/// The name of the Gateway.
pub(super) const GATEWAY: &str = "edge";

/// Everything that is written.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) listeners: BTreeMap<u16, Listener>,
    pub(super) routes: Vec<Route>,
    pub(super) services: BTreeMap<(Option<String>, String), Service>,
    /// Where the Gateway is another's, only routes are written.
    pub(super) only_routes: bool,
    /// The Gateway's.
    pub(super) namespace: Option<String>,
    /// Routes of several namespaces attach to it.
    pub(super) is_shared: bool,
}

/// A port that clients connect to.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// One address, where not all are meant.
    pub(super) address: Option<IpAddr>,
    /// It had certificates, which are not there yet.
    pub(super) is_tls: bool,
    pub(super) remarks: Vec<String>,
}

/// A WebSocketRoute.
#[derive(Debug, Default)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    /// Ports of the Gateway; none: all.
    pub(super) ports: BTreeSet<u16>,
    pub(super) hostnames: Vec<String>,
    pub(super) rules: Vec<Rule>,
    pub(super) remarks: Vec<String>,
}

/// A rule of a route.
#[derive(Clone, Debug, Default)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) matches: Vec<Match>,
    pub(super) backends: Vec<Backend>,
    pub(super) keys: Vec<Key>,
    pub(super) policy: Map,
}

/// What a handshake must have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Match {
    pub(super) path: Option<Path>,
    pub(super) headers: Vec<Text>,
    pub(super) query: Vec<Text>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Path {
    Exact(String),
    Prefix(String),
    Expression(String),
}

/// A header or a query parameter and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) is_expression: bool,
}

/// A Service that takes a share.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Backend {
    pub(super) service: String,
    pub(super) port: u16,
    pub(super) weight: u32,
}

/// A Service and the servers behind it.
#[derive(Clone, Debug, Default)]
pub(super) struct Service {
    pub(super) port: u16,
    pub(super) servers: Vec<Server>,
    pub(super) remarks: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) ip: IpAddr,
    pub(super) port: u16,
    pub(super) is_ready: bool,
}

/// A name as Kubernetes takes it: a DNS label.
pub(super) fn label(text: &str) -> String {
    let mut label = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => label.push(c),
            _ if !label.is_empty() && !label.ends_with('-') => label.push('-'),
            _ => {}
        }
    }
    label.truncate(50);
    match label.trim_matches('-') {
        "" => "default".to_owned(),
        label => label.to_owned(),
    }
}

/// The first of `name`, `name-2`, … that is not taken; it is then.
pub(super) fn unused(name: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = |n: u32| match n {
        1 => name.to_owned(),
        n => format!("{name}-{n}"),
    };
    let free = (1..).map(numbered).find(|name| !taken.contains(name));
    let free = free.unwrap_or_default();
    taken.insert(free.clone());
    free
}

impl Plan {
    /// As manifests.
    pub(super) fn text(mut self, header: &[String]) -> String {
        self.merge();
        self.routes.iter_mut().for_each(Route::drop_doubles);
        let mut documents = Vec::new();
        let is_bound = !self.only_routes && !self.routes.is_empty();
        if is_bound {
            documents.push(self.gateway().document());
        }
        let mut names = BTreeSet::new();
        for route in &self.routes {
            let parent = if self.is_shared {
                metadata(self.namespace.as_deref(), GATEWAY)
            } else {
                metadata(None, GATEWAY)
            };
            documents.extend(route.documents(is_bound, &parent, &mut names));
        }
        for ((namespace, name), service) in &self.services {
            documents.extend(service.documents(namespace.as_deref(), name));
        }
        let mut text = String::new();
        comments(header, 0, &mut text);
        text + &documents.join("---\n")
    }

    /// Routes of the same hosts would contend for handshakes: they become one.
    fn merge(&mut self) {
        let mut merged: Vec<Route> = Vec::new();
        for route in self.routes.drain(..) {
            let is_same = |other: &&mut Route| {
                (&other.namespace, &other.ports, &other.hostnames)
                    == (&route.namespace, &route.ports, &route.hostnames)
            };
            match merged.iter_mut().find(is_same) {
                Some(other) => {
                    other.rules.extend(route.rules);
                    other.remarks.extend(route.remarks);
                }
                None => merged.push(route),
            }
        }
        self.routes = merged;
    }

    /// Puts the Gateway where the routes are; where they are in several namespaces, it lets all of them attach.
    pub(super) fn in_namespace_of_routes(&mut self) {
        self.namespace = self.routes.iter().find_map(|route| route.namespace.clone());
        self.is_shared = self.routes.iter().any(|route| route.namespace != self.namespace);
    }

    fn gateway(&self) -> Map {
        let mut addresses: Vec<_> = self.listeners.values().map(|listener| listener.address).collect();
        addresses.dedup();
        let is_tls = self.listeners.values().any(|listener| listener.is_tls);
        let address = match addresses.as_slice() {
            // What was encrypted is not offered plainly to the world.
            _ if is_tls => "127.0.0.1".to_owned(),
            [Some(address)] => address.to_string(),
            _ => "0.0.0.0".to_owned(),
        };
        let listener = |(port, listener): (&u16, &Listener)| {
            let mut map = Map::default()
                .with("name", listener_name(*port))
                .with("protocol", "HTTP")
                .with("port", u32::from(*port));
            if self.is_shared {
                let all = Map::default().with("namespaces", Map::default().with("from", "All"));
                map.set("allowedRoutes", all);
            }
            listener
                .remarks
                .iter()
                .for_each(|remark| map.remark(remark.as_str()));
            Node::from(map)
        };
        let mut spec = Map::tall()
            .with("gatewayClassName", "clew")
            .with(
                "addresses",
                vec![
                    Map::default()
                        .with("type", "IPAddress")
                        .with("value", address.as_str()),
                ],
            )
            .with(
                "listeners",
                self.listeners.iter().map(listener).collect::<Vec<_>>(),
            );
        if addresses.len() > 1 {
            spec.remark_on(
                "addresses",
                "DECIDE: the ports had different addresses; this is for all of them.",
            );
        }
        let namespace = self.namespace.as_deref();
        object("gateway.networking.k8s.io/v1", "Gateway", namespace, GATEWAY).with("spec", spec)
    }
}

fn listener_name(port: u16) -> String {
    format!("port-{port}")
}

fn object(version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Map {
    Map::tall()
        .with("apiVersion", version)
        .with("kind", kind)
        .with("metadata", metadata(namespace, name))
}

fn metadata(namespace: Option<&str>, name: &str) -> Map {
    let mut metadata = Map::default().with("name", name);
    if let Some(namespace) = namespace {
        metadata.set("namespace", namespace);
    }
    metadata
}

impl Route {
    /// What an earlier rule takes is not written again.
    fn drop_doubles(&mut self) {
        let mut taken: Vec<Match> = Vec::new();
        let mut remarks = Vec::new();
        self.rules.retain_mut(|rule| {
            let everything = vec![Match::default()];
            let matches = if rule.matches.is_empty() {
                &everything
            } else {
                &rule.matches
            };
            let new: Vec<Match> = matches
                .iter()
                .filter(|one| !taken.contains(one))
                .cloned()
                .collect();
            let is_less = new.len() < matches.len();
            taken.extend(new.iter().cloned());
            if is_less && new.is_empty() {
                remarks.push(format!(
                    "The rule {} is left out: what it takes, an earlier one takes.",
                    rule.name
                ));
                return false;
            }
            if is_less {
                rule.matches = new;
            }
            true
        });
        self.remarks.extend(remarks);
    }

    /// As many objects as the API's bounds ask for.
    fn documents(&self, is_bound: bool, parent: &Map, names: &mut BTreeSet<String>) -> Vec<String> {
        let mut taken = BTreeSet::new();
        let rules: Vec<Map> = self.rules.iter().flat_map(|rule| rule.maps(&mut taken)).collect();
        let hosts: Vec<&[String]> = match self.hostnames.len() {
            0 => vec![&[]],
            _ => self.hostnames.chunks(MAX_HOSTNAMES).collect(),
        };
        let mut documents = Vec::new();
        for hosts in hosts {
            for rules in rules.chunks(MAX_RULES) {
                let key = format!("{}/{}", self.namespace.as_deref().unwrap_or_default(), self.name);
                let name = unused(&key, names);
                let name = name.rsplit('/').next().unwrap_or_default();
                documents.push(self.document(is_bound, parent, name, hosts, rules));
            }
        }
        documents
    }

    fn document(&self, is_bound: bool, parent: &Map, name: &str, hosts: &[String], rules: &[Map]) -> String {
        let parents: Vec<_> = match self.ports.is_empty() {
            true => vec![parent.clone()],
            false => self
                .ports
                .iter()
                .map(|port| parent.clone().with("sectionName", listener_name(*port)))
                .collect(),
        };
        let mut spec = Map::tall().with("parentRefs", parents);
        if !is_bound {
            spec.remark_on(
                "parentRefs",
                "DECIDE: the Gateway that your clients reach; an Ingress names none.",
            );
        }
        if !hosts.is_empty() {
            spec.set("hostnames", hosts.iter().map(String::as_str).collect::<Vec<_>>());
        }
        spec.set("rules", rules.to_vec());
        let mut object = object(
            "clew.dev/v1alpha1",
            "WebSocketRoute",
            self.namespace.as_deref(),
            name,
        )
        .with("spec", spec);
        self.remarks
            .iter()
            .for_each(|remark| object.remark(remark.as_str()));
        object.document()
    }
}

impl Rule {
    /// One for each so many matches.
    fn maps(&self, taken: &mut BTreeSet<String>) -> Vec<Map> {
        let matches: Vec<&[Match]> = match self.matches.len() {
            0 => vec![&[]],
            _ => self.matches.chunks(MAX_MATCHES).collect(),
        };
        matches
            .into_iter()
            .map(|matches| self.map(matches, taken))
            .collect()
    }

    fn map(&self, matches: &[Match], taken: &mut BTreeSet<String>) -> Map {
        let mut map = Map::tall().with("name", unused(&label(&self.name), taken));
        if !matches.is_empty() {
            map.set("matches", matches.iter().map(Match::map).collect::<Vec<_>>());
        }
        let is_alone = self.backends.len() == 1;
        let backends = self.backends.iter().map(|backend| {
            let map = Map::default()
                .with("name", backend.service.as_str())
                .with("port", u32::from(backend.port));
            match is_alone && backend.weight > 0 {
                true => map,
                false => map.with("weight", backend.weight),
            }
        });
        map.set("backendRefs", backends.collect::<Vec<_>>());
        if !self.keys.is_empty() {
            let sources: Vec<_> = self.keys.iter().map(Key::map).collect();
            map.set("sessionKey", Map::default().with("sources", sources));
        }
        let mut policy = self.policy.clone();
        policy.map("security").map("origin").set("mode", "Report");
        map.append(policy);
        map
    }
}

impl Match {
    fn map(&self) -> Map {
        let mut map = Map::default();
        if let Some(path) = &self.path {
            let (kind, value) = match path {
                Path::Exact(value) => ("Exact", value),
                Path::Prefix(value) => ("PathPrefix", value),
                Path::Expression(value) => ("RegularExpression", value),
            };
            map.set(
                "path",
                Map::default().with("type", kind).with("value", value.as_str()),
            );
        }
        for (field, texts) in [("headers", &self.headers), ("queryParams", &self.query)] {
            if !texts.is_empty() {
                map.set(field, texts.iter().map(Text::map).collect::<Vec<_>>());
            }
        }
        map
    }
}

impl Text {
    fn map(&self) -> Map {
        let kind = if self.is_expression {
            "RegularExpression"
        } else {
            "Exact"
        };
        Map::default()
            .with("type", kind)
            .with("name", self.name.as_str())
            .with("value", self.value.as_str())
    }
}

impl Service {
    fn documents(&self, namespace: Option<&str>, name: &str) -> Vec<String> {
        let target = self.servers.first().map_or(self.port, |server| server.port);
        let port = Map::default()
            .with("name", "ws")
            .with("port", u32::from(self.port))
            .with("targetPort", u32::from(target));
        let mut service =
            object("v1", "Service", namespace, name).with("spec", Map::tall().with("ports", vec![port]));
        self.remarks
            .iter()
            .for_each(|remark| service.remark(remark.as_str()));
        let mut documents = vec![service.document()];
        let mut slices: BTreeMap<(bool, u16), Vec<&Server>> = BTreeMap::new();
        for server in &self.servers {
            slices
                .entry((server.ip.is_ipv6(), server.port))
                .or_default()
                .push(server);
        }
        for (number, ((is_ipv6, port), servers)) in slices.into_iter().enumerate() {
            let labels = Map::default().with("kubernetes.io/service-name", name);
            let metadata = metadata(namespace, &format!("{name}-{}", number + 1)).with("labels", labels);
            let endpoint = |server: &&Server| {
                Map::default()
                    .with("addresses", vec![server.ip.to_string()])
                    .with("conditions", Map::default().with("ready", server.is_ready))
                    .with(
                        "targetRef",
                        Map::default()
                            .with("kind", "Pod")
                            .with("name", server.name.as_str()),
                    )
            };
            let port = Map::default().with("name", "ws").with("port", u32::from(port));
            let slice = Map::tall()
                .with("apiVersion", "discovery.k8s.io/v1")
                .with("kind", "EndpointSlice")
                .with("metadata", metadata)
                .with("addressType", if is_ipv6 { "IPv6" } else { "IPv4" })
                .with("ports", vec![port])
                .with("endpoints", servers.iter().map(endpoint).collect::<Vec<_>>());
            documents.push(slice.document());
        }
        documents
    }
}
