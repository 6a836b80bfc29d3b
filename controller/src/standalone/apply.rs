//! What was rendered → in force, in an order in which no handshake finds anything missing:
//! pods that leave (channel), clusters and the pods that come (Envoy), rules (channel), routes and listeners (Envoy), and
//! last what is left over (Envoy, channel).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clew_core::model::World;
use clew_core::render::envoy::{CLUSTERS, File, LISTENERS, Rendered};

use super::admin::Admin;
use super::inotify;
use super::log::Log;
use super::ports;
use super::resources;
use super::signing::Signing;
use super::state::State;
use super::xds::{NotTaken, Xds};
use crate::channel::{Channel, Snapshot, order, ring};
use crate::finding::Finding;

const SHAPES: &str = "listeners.json";
/// What its routes rely on in a listener's chain beside our own filter: one that an older `clew` wrote without it is written
/// anew.
const FILTERS: &str = "jwt";
/// A proxy that does not answer for this long is behind, and is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be in force.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rendered: Rendered,
    /// By `namespace/name` of the gateway.
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    /// What each listener is made of, by its name: its gateway, its address and its certificates.
    pub(crate) shapes: BTreeMap<String, String>,
}

impl Plan {
    /// What the listeners of a world are made of, without their routes.
    pub(crate) fn shapes(world: &World) -> BTreeMap<String, String> {
        let of = |gateway: &clew_core::model::Gateway| {
            let name = gateway.name.to_string();
            let shape = |listener: &clew_core::model::Listener| {
                (
                    listener.address.to_string(),
                    format!("{name} {FILTERS} {:?}", listener.protocol),
                )
            };
            gateway.listeners.iter().map(shape).collect::<Vec<_>>()
        };
        world.gateways.iter().flat_map(of).collect()
    }
}

/// Brings plans into force.
#[derive(Debug)]
pub(crate) struct Applier {
    xds: Xds,
    log: Log,
    channel: Arc<Channel>,
    signing: Signing,
    /// Not every proxy has said yet that it holds the newest signing keys.
    rotating: bool,
    published: BTreeMap<String, Snapshot>,
    shapes: BTreeMap<String, String>,
}

impl Applier {
    pub(crate) fn new(state: &State, channel: Arc<Channel>, signing: Signing) -> Self {
        Self {
            xds: Xds::open(Self::folder(state)),
            log: Log::new(state.path("envoy/envoy.log")),
            channel,
            signing,
            rotating: false,
            published: BTreeMap::new(),
            shapes: state.load(SHAPES).unwrap_or_default(),
        }
    }

    /// Where Envoy's files are.
    pub(crate) fn folder(state: &State) -> PathBuf {
        state.path("envoy/xds")
    }

    /// The keys of persistence tokens.
    pub(crate) fn signing(&self) -> &Signing {
        &self.signing
    }

    /// Whether new signing keys wait for a proxy: another turn may find that it has them.
    pub(crate) fn is_rotating(&self) -> bool {
        self.rotating
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Puts everything in place for an Envoy that is about to start.
    pub(crate) fn prepare(&mut self, plan: &Plan, state: &State) -> Result<(), Box<Finding>> {
        for address in addresses(plan) {
            check_free(address, &[])?;
        }
        check_room(plan.rendered.files().count())?;
        // Nobody holds any others.
        self.put_in_force(plan, state)?;
        self.publish(plan, |_, new| new.clone());
        for (path, file) in plan.rendered.files() {
            self.xds.write(path, file).map_err(unwritable)?;
        }
        self.finish(plan, state)
    }

    /// Brings a plan into force in a running Envoy. When it fails, what was in force stays in force.
    pub(crate) async fn apply(
        &mut self,
        plan: &Plan,
        admin: Admin,
        state: &State,
    ) -> Result<(), Box<Finding>> {
        let rendered = &plan.rendered;
        if self.publish(plan, order::departures) {
            self.acknowledged(plan).await;
        }
        // Asked before the files are there that new listeners would watch.
        let listeners = self.listeners(plan);
        let may_listen = self.may_listen(plan, &listeners, admin).await;
        // A certificate that Envoy refuses holds nothing else back.
        let side = || {
            let files = rendered.secrets.iter().chain(&rendered.extensions);
            files.map(|(path, file)| (path.as_str(), file))
        };
        let known: Vec<_> = side().filter(|(path, _)| self.xds.has(path)).collect();
        let side_taken = self.take(known, admin).await;
        // Whose tokens are good is known before a route asks, and for as long as one does.
        let tokens = self.tokens(rendered);
        self.take(tokens.iter().map(|(path, file)| (*path, file)), admin)
            .await?;
        let old = self.old(CLUSTERS, &rendered.clusters);
        let union = old.and_then(|old| resources::union(&old, &rendered.clusters));
        let clusters = union.as_ref().unwrap_or(&rendered.clusters);
        self.take([(CLUSTERS, clusters)], admin).await?;
        // There are no HTTPRoutes here.
        if self.publish(plan, |old, new| order::arrivals(old, new, |_| false)) {
            self.acknowledged(plan).await;
        }
        self.rotating = !self.may_sign(plan).await;
        let routes = || rendered.routes.iter().map(|(path, file)| (path.as_str(), file));
        let known: Vec<_> = routes().filter(|(path, _)| self.xds.has(path)).collect();
        self.take(known, admin).await?;
        let jwt = || rendered.jwt.iter().map(|(path, file)| (path.as_str(), file));
        let known: Vec<_> = jwt().filter(|(path, _)| self.xds.has(path)).collect();
        self.take(known, admin).await?;
        // Nothing but a listener may be held back by what is wrong with a listener.
        may_listen?;
        for (path, file) in side().chain(jwt()).chain(routes()) {
            if !self.xds.has(path) {
                self.xds.write(path, file).map_err(unwritable)?;
            }
        }
        self.take([(LISTENERS, &listeners)], admin).await?;
        self.take([(CLUSTERS, &rendered.clusters)], admin).await?;
        let rotating = self.rotating;
        self.publish(plan, |old, new| Snapshot {
            signing_keys: match rotating {
                true => ring::introduce(&old.signing_keys, &new.signing_keys),
                false => new.signing_keys.clone(),
            },
            ..new.clone()
        });
        if !rotating {
            self.put_in_force(plan, state)?;
        }
        self.finish(plan, state)?;
        side_taken
    }

    /// Whose tokens are good by the files that are there, together with whose tokens are to be.
    fn tokens<'r>(&self, rendered: &'r Rendered) -> Vec<(&'r str, File)> {
        let with_old = |(path, new): (&'r String, &File)| {
            let old = self.old(path, new);
            let both = old.and_then(|old| resources::with_requirements(&old, new));
            (path.as_str(), both.unwrap_or_else(|| new.clone()))
        };
        let files = rendered.jwt.iter().filter(|(path, _)| self.xds.has(path));
        files.map(with_old).collect()
    }

    /// Writes files, and waits until Envoy has taken those that differed.
    async fn take(
        &mut self,
        files: impl IntoIterator<Item = (&str, &File)>,
        admin: Admin,
    ) -> Result<(), Box<Finding>> {
        self.xds.apply(files, admin, &self.log).await.map_err(not_taken)
    }

    /// What a file that will change says now.
    fn old(&self, path: &str, new: &File) -> Option<String> {
        self.xds.differs(path, new).then(|| self.xds.read(path)).flatten()
    }

    /// Whether Envoy can have the listeners, where they changed: the addresses are free, and there is room to watch.
    async fn may_listen(&self, plan: &Plan, listeners: &File, admin: Admin) -> Result<(), Box<Finding>> {
        if !self.xds.differs(LISTENERS, listeners) {
            return Ok(());
        }
        check_room(
            plan.rendered
                .files()
                .filter(|(path, _)| !self.xds.has(path))
                .count(),
        )?;
        let held = admin.listeners().await.unwrap_or_default();
        addresses(plan)
            .filter(|address| !held.contains(address))
            .try_for_each(|address| check_free(address, &held))
    }

    fn finish(&mut self, plan: &Plan, state: &State) -> Result<(), Box<Finding>> {
        let paths: BTreeSet<_> = plan.rendered.files().map(|(path, _)| path).collect();
        self.xds.retain(&paths);
        if self.shapes != plan.shapes {
            state.save(SHAPES, &plan.shapes).map_err(unwritable)?;
            self.shapes.clone_from(&plan.shapes);
        }
        Ok(())
    }

    /// The listeners of a plan, of which those that nobody edited keep their bytes: another `clew` may have written them
    /// otherwise, and one changed byte cuts every session.
    fn listeners(&self, plan: &Plan) -> File {
        let new = &plan.rendered.listeners;
        let Some(old) = self.old(LISTENERS, new) else {
            return new.clone();
        };
        resources::keeping(&old, new, |name| {
            plan.shapes
                .get(name)
                .is_some_and(|shape| self.shapes.get(name) == Some(shape))
        })
    }

    /// Says to every gateway's proxies what `step` makes of what they know and what they are to know; answers whether
    /// that was any news. A gateway that is gone knows nothing.
    fn publish(&mut self, plan: &Plan, step: impl Fn(&Snapshot, &Snapshot) -> Snapshot) -> bool {
        let nothing = Snapshot::default();
        let gateways: BTreeSet<_> = plan
            .snapshots
            .keys()
            .chain(self.published.keys())
            .cloned()
            .collect();
        let mut news = false;
        for gateway in gateways {
            let new = plan.snapshots.get(&gateway).unwrap_or(&nothing);
            let said = match self.published.get(&gateway) {
                Some(old) => step(old, new),
                // A proxy that another life of ours left behind knows something older, which is better than half of this.
                None => Snapshot {
                    signing_keys: ring::introduce(self.signing.in_force(), &new.signing_keys),
                    ..new.clone()
                },
            };
            if self.published.get(&gateway) != Some(&said) {
                self.channel.publish(&gateway, said.clone());
                self.published.insert(gateway, said);
                news = true;
            }
        }
        news
    }

    /// Whether all that is wanted of signing keys is where it is needed: in every proxy, of which there is one at least.
    async fn may_sign(&self, plan: &Plan) -> bool {
        let in_force = self.signing.in_force();
        if plan
            .snapshots
            .values()
            .all(|snapshot| snapshot.signing_keys == in_force)
        {
            return true;
        }
        let mut proxies = 0;
        for gateway in plan.snapshots.keys() {
            let standing = self.channel.acknowledged(gateway, PATIENCE).await;
            proxies += standing.proxies;
            if standing.behind > 0 {
                return false;
            }
        }
        proxies > 0
    }

    fn put_in_force(&mut self, plan: &Plan, state: &State) -> Result<(), Box<Finding>> {
        match plan.snapshots.values().next() {
            Some(snapshot) => self
                .signing
                .put_in_force(&snapshot.signing_keys, state)
                .map_err(unwritable),
            None => Ok(()),
        }
    }

    /// Waits until every connected proxy holds what was published, or is behind.
    async fn acknowledged(&self, plan: &Plan) {
        for gateway in plan.snapshots.keys() {
            let standing = self.channel.acknowledged(gateway, PATIENCE).await;
            if standing.behind > 0 {
                tracing::warn!(
                    "CLEW0908: {} of {} proxies of {gateway} have not acknowledged within {PATIENCE:?}",
                    standing.behind,
                    standing.proxies
                );
            }
        }
    }
}

/// On which Envoy is to listen.
fn addresses(plan: &Plan) -> impl Iterator<Item = SocketAddr> {
    plan.shapes.keys().filter_map(|name| name.parse().ok())
}

/// `held`: what Envoy listens on.
fn check_free(address: SocketAddr, held: &[SocketAddr]) -> Result<(), Box<Finding>> {
    ports::is_free(address).map_err(|error| {
        let overlapped = held.iter().find(|held| overlap(**held, address));
        let message = match (error.kind(), overlapped) {
            (io::ErrorKind::AddrInUse, Some(held)) => format!(
                "{address} overlaps {held}, on which this clew run listens itself; stop it and start it again; what is in force stays in force"
            ),
            (io::ErrorKind::AddrInUse, None) => format!(
                "{address} is in use by another program; stop it, or give the Gateway another port; what is in force stays in force"
            ),
            (io::ErrorKind::PermissionDenied, _) => format!(
                "{address} may not be bound: {error}; ports below 1024 need CAP_NET_BIND_SERVICE; give the Gateway another port"
            ),
            _ => format!("{address} cannot be bound: {error}; correct spec.addresses of the Gateway"),
        };
        Box::new(Finding::error("", 0, "CLEW0901", message))
    })
}

/// Whether one is every address of a family and the other one of these.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let is_any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && is_any
}

/// `files`: how many more Envoy would watch.
fn check_room(files: usize) -> Result<(), Box<Finding>> {
    match (files > 0).then(inotify::room).flatten() {
        Some(room) if files > room as usize => {
            let message = format!(
                "Envoy would watch {files} more files and the system lets this user watch {room}; raise fs.inotify.max_user_instances (sysctl), or use fewer listeners and certificates; what is in force stays in force"
            );
            Err(Box::new(Finding::error("", 0, "CLEW0910", message)))
        }
        _ => Ok(()),
    }
}

fn unwritable(error: io::Error) -> Box<Finding> {
    let message = format!("the state folder cannot be written: {error}; what is in force stays in force");
    Box::new(Finding::error("", 0, "CLEW0903", message))
}

fn not_taken(error: NotTaken) -> Box<Finding> {
    match error {
        NotTaken::Io(error) if error.kind() != io::ErrorKind::ConnectionRefused => unwritable(error),
        error => Box::new(Finding::error(
            "",
            0,
            "CLEW0902",
            format!("{error}; what was in force stays in force"),
        )),
    }
}
