//! What a valid world is to become: objects in the cluster, and what each gateway's filters are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clew_core::in_force::InForce;
use clew_core::model::{ObjectName, Owner, OwnerKind, Proxies, Rule, World};
use clew_core::render::{self, Object, rules};
use clew_core::validate::name_of;
use clew_crds::status::GeneratedObject;
use clew_filter_config::persistence::SigningKey;
use clew_filter_config::rule::Draining;
use serde::Serialize;

use super::resolve::{Marks, Resolved};
use super::secrets;
use super::steps::{Key, Steps, Wanted};
use super::told::Told;
use crate::channel::Snapshot;

/// Of the 256 KiB that all annotations of an object may take together.
const LONGEST_MARK: usize = 128 * 1024;

/// What is to be in force.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) wanted: Vec<Wanted>,
    /// By what the gateway's proxies call themselves.
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    /// What the filters are told of each route.
    pub(crate) told: BTreeMap<Owner, Told>,
    /// The objects that stand for each route.
    pub(crate) objects: BTreeMap<Owner, Vec<Key>>,
    /// As the status names them.
    pub(crate) generated: BTreeMap<Owner, Vec<GeneratedObject>>,
    /// What is to be written onto each route.
    pub(crate) marks: BTreeMap<Owner, Marks>,
    /// Gateways, and backends of theirs that no rule leads to.
    pub(crate) left: BTreeSet<(String, String)>,
    /// Which key is to sign from now on, in which Secret, once every proxy can verify with it.
    pub(crate) next_signer: Option<(ObjectName, String)>,
}

impl Plan {
    /// Pure: what a world becomes.
    pub(crate) fn new(
        world: &World,
        resolved: &Resolved,
        in_force: &InForce,
        drains: &rules::Drains,
    ) -> Self {
        let objects = render::objects(world);
        let (signing_keys, next_signer) = signing(world, resolved);
        let mut plan = Self {
            generated: generated(&objects),
            next_signer,
            ..Self::default()
        };
        let wanted = |object| Wanted::new(object, &resolved.uids);
        plan.wanted = objects.into_iter().filter_map(wanted).collect();
        let nothing = |gateway: &String| {
            let snapshot = Snapshot {
                signing_keys: signing_keys.clone(),
                ..Snapshot::default()
            };
            (gateway.clone(), snapshot)
        };
        // A filter that is there is to know that there is nothing to do.
        plan.snapshots = resolved
            .plugins
            .keys()
            .map(|(gateway, _)| nothing(gateway))
            .collect();
        for (proxies, attached) in world.rules_by_proxies() {
            plan.tell(world, resolved, proxies, &attached, drains, &signing_keys);
        }
        plan.linger(world, resolved, drains);
        plan.index();
        plan.marks = plan.marks(resolved, in_force);
        plan
    }

    /// The rules for somebody else's HTTPRoutes all of whose objects are as they are to be, whatever else is still to be written.
    pub(crate) fn carried(&self, steps: &Steps) -> BTreeSet<String> {
        let unwritten: BTreeSet<_> = steps.unwritten().collect();
        let is_there = |owner: &Owner| {
            let mut objects = self.objects.get(owner).into_iter().flatten();
            objects.all(|key| !unwritten.contains(key))
        };
        let policies = self
            .told
            .iter()
            .filter(|(owner, _)| owner.kind == OwnerKind::Policy);
        let carried = policies.filter(|(owner, _)| is_there(owner));
        carried
            .flat_map(|(_, told)| told.scopes())
            .flat_map(|(_, scope)| scope.rules)
            .collect()
    }

    /// Leaves the pods of all other backends out of what the filters are told.
    pub(crate) fn tell_only_of(&mut self, is_told: impl Fn(&str) -> bool) {
        for snapshot in self.snapshots.values_mut() {
            snapshot.backends.retain(|backend, _| is_told(backend));
        }
    }

    fn tell(
        &mut self,
        world: &World,
        resolved: &Resolved,
        proxies: &Proxies,
        attached: &[&Arc<Rule>],
        drains: &rules::Drains,
        signing_keys: &[SigningKey],
    ) {
        let gateway = proxies.to_string();
        let shared = Arc::<str>::from(gateway.as_str());
        for rule in attached {
            let told = self.told.entry(rule.name.owner()).or_default();
            let backends = rule.backends.iter().map(|share| share.id.to_string());
            told.add_rule(&shared, rule.id.as_str(), backends);
        }
        let rules::Rules { rules, backends } =
            rules::render(world, attached.iter().copied(), drains).behind_the_peer();
        let snapshot = Snapshot {
            rules,
            backends,
            signing_keys: signing_keys.to_vec(),
            draining: draining(resolved, &gateway, attached),
        };
        self.snapshots.insert(gateway, snapshot);
    }

    /// Proxies that have sessions on pods that no rule leads to are told of these pods too.
    fn linger(&mut self, world: &World, resolved: &Resolved, drains: &rules::Drains) {
        for (gateway, ids) in &resolved.lingering {
            let Some(snapshot) = self.snapshots.get_mut(gateway) else {
                continue;
            };
            for id in ids {
                let name = id.to_string();
                if snapshot.backends.contains_key(&name) {
                    continue;
                }
                if let Some(backend) = world.backends.get(id) {
                    let told = rules::backend(id, backend, drains);
                    snapshot.backends.insert(name.clone(), told);
                }
                self.left.insert((gateway.clone(), name));
            }
        }
    }

    fn index(&mut self) {
        for wanted in &self.wanted {
            for route in &wanted.routes {
                self.objects
                    .entry(route.clone())
                    .or_default()
                    .push(wanted.key.clone());
            }
        }
    }

    /// Whose objects are elsewhere too is held, and everything with rules says how it last was good: it may be spoiled
    /// while no controller runs, and the next one has to know what was in force.
    fn marks(&self, resolved: &Resolved, in_force: &InForce) -> BTreeMap<Owner, Marks> {
        let elsewhere: BTreeSet<_> = self.wanted.iter().flat_map(Wanted::foreign_routes).collect();
        let of_routes = in_force
            .routes()
            .map(|route| (Owner::route(name_of(&route.metadata)), mark(&route.spec)));
        let of_policies = in_force
            .policies()
            .map(|policy| (Owner::policy(name_of(&policy.metadata)), mark(&policy.spec)));
        let mut good: BTreeMap<_, _> = of_routes.chain(of_policies).collect();
        let objects = &resolved.objects;
        let routes = objects.routes.iter().map(|route| &route.object.metadata);
        let policies = objects.policies.iter().map(|policy| &policy.object.metadata);
        let owners = routes.map(|of| Owner::route(name_of(of)));
        let owners = owners.chain(policies.map(|of| Owner::policy(name_of(of))));
        owners
            .map(|owner| {
                let marks = Marks {
                    held: elsewhere.contains(&owner),
                    in_force: good.remove(&owner).flatten(),
                };
                (owner, marks)
            })
            .collect()
    }
}

/// As a status names them.
fn generated(objects: &[Object]) -> BTreeMap<Owner, Vec<GeneratedObject>> {
    let mut generated = BTreeMap::<_, Vec<_>>::new();
    for object in objects {
        for route in &object.owners {
            let named = GeneratedObject {
                group: object.group().to_owned(),
                kind: object.kind.to_owned(),
                namespace: object.metadata.namespace.to_string(),
                name: object.metadata.name.to_string(),
            };
            generated.entry(route.clone()).or_default().push(named);
        }
    }
    generated
}

fn mark(spec: &impl Serialize) -> Option<String> {
    let text = serde_json::to_string(spec).ok()?;
    (text.len() <= LONGEST_MARK).then_some(text)
}

/// The window in which all sessions of a gateway are to leave: as long as the longest of its rules says.
fn draining(resolved: &Resolved, gateway: &str, attached: &[&Arc<Rule>]) -> Option<Draining> {
    let mut plugins = resolved.plugins.iter().filter(|((of, _), _)| of == gateway);
    let order = plugins.find_map(|(_, plugin)| plugin.drain)?;
    let longest = attached.iter().map(|rule| rule.drain_timeout_ms).max();
    Some(Draining {
        since_ms: order.since_ms,
        timeout_ms: order.timeout_ms.or(longest).unwrap_or(0),
    })
}

/// The keys that the filters get, and which one is to sign once all have it.
fn signing(world: &World, resolved: &Resolved) -> (Vec<SigningKey>, Option<(ObjectName, String)>) {
    let wanted = &world.signing_keys;
    let Some((secret, signs)) = &resolved.signing else {
        return (wanted.clone(), None);
    };
    let next = secrets::next_signer(wanted, signs.as_deref());
    (
        secrets::in_force(wanted, signs.as_deref()),
        next.map(|signer| (secret.clone(), signer)),
    )
}
