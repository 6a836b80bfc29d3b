//! What is wanted → in force, in an order in which no handshake finds anything missing: pods that leave (channel), what
//! routes need (API server), rules (channel, acknowledged), routes (API server), and once these are where they are needed,
//! what is left over (API server, channel).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clew_core::model::{ObjectName, Owner};
use clew_crds::status::CONTROLLER_NAME;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tracing::Instrument;

use super::about::About;
use super::difference::{differs, removal};
use super::endings::Endings;
use super::kind::Kind;
use super::lease::Leadership;
use super::plan::Plan;
use super::resolve::{FINALIZER, IN_FORCE, Marks, Resolved};
use super::secrets;
use super::steps::{Hindrance, Key, Step, Steps, Wanted};
use super::store::Store;
use crate::channel::{Channel, Scope, Snapshot, order};
use crate::clock;
use crate::metrics::Metrics;
use crate::traces;

/// Writes that are under way at once.
const AT_ONCE: usize = 8;
/// A proxy that does not answer for this long is behind, and is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Who does not answer a write for this long is away.
const WRITE: Duration = Duration::from_secs(10);
/// By then the pods of a new Service are entered there, if it has any.
const ENTERING: Duration = Duration::from_secs(2);
/// Between two looks whether they are.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// By then proxies have what a route that changes will lead to. Nobody says so, and one that has the route first answers 500 or 503.
const SEEING: Duration = Duration::from_secs(1);
/// By then the proxies have what was written of routes.
const SETTLING: Duration = Duration::from_secs(5);

/// Brings plans into force.
pub(crate) struct Applier {
    pub(crate) client: Client,
    pub(crate) store: Arc<Store>,
    pub(crate) channel: Arc<Channel>,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) metrics: Arc<Metrics>,
    /// When routes last were not as they are to be: any of them, and those to which it is less long ago than to all.
    unsettled: Instant,
    unsettled_routes: BTreeMap<Owner, Instant>,
    /// As far as this turn has told it.
    endings: Endings,
}

/// What the API server said against objects.
type Failures = BTreeMap<Key, String>;

/// What became of a plan.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// What could not be written.
    pub(crate) failed: Failures,
    /// What is not written, and why.
    pub(crate) hindered: BTreeMap<Key, Hindrance>,
    /// What is not as it is to be.
    pub(crate) pending: BTreeSet<Key>,
    /// All is as it is to be.
    pub(crate) is_done: bool,
    /// It was ours to write.
    pub(crate) has_led: bool,
    /// Another turn has something to do, even if nothing changes; after this long.
    pub(crate) again: Option<Duration>,
    /// Of whom filters were told what may end sessions that are open.
    pub(crate) endings: Endings,
}

impl Applier {
    pub(crate) fn new(
        client: Client,
        store: Arc<Store>,
        channel: Arc<Channel>,
        leadership: Arc<Leadership>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            store,
            channel,
            leadership,
            metrics,
            unsettled: clock::now(),
            unsettled_routes: BTreeMap::new(),
            endings: Endings::default(),
        }
    }

    /// Brings a plan into force. Whoever does not lead tells the filters, and leaves the cluster to the one who does.
    pub(crate) async fn apply(&mut self, about: &About, resolved: &Resolved, plan: &Plan) -> Applied {
        let told = self.publish(about, plan, order::departures);
        let settled = self.is_settled(about);
        let wanted = plan.wanted.iter().map(|one| one.key.clone());
        let cluster = self.store.live(wanted.chain(about.written.iter().cloned()));
        let steps = Steps::new(&plan.wanted, &cluster, &resolved.missing, settled);
        let is_done = steps.is_done();
        let carried = plan.carried(&steps);
        let mut applied = Applied {
            hindered: steps.hindered.clone(),
            again: steps.waits.then_some(SETTLING),
            is_done,
            ..Applied::default()
        };
        if !steps.routes.is_empty() {
            self.unsettle(about);
        }
        if self.leadership.is_ours() {
            applied.has_led = true;
            self.lead(about, resolved, plan, (steps, &carried), told, &mut applied)
                .await;
        } else {
            self.publish(about, plan, arrivals(&carried));
            let needs = steps.needs.iter().chain(&steps.owners);
            let steps = needs.chain(&steps.routes);
            applied.pending = steps.map(|step| step.key().clone()).collect();
        }
        if is_done {
            self.publish(about, plan, |_, new| new.clone());
        }
        applied.endings = std::mem::take(&mut self.endings);
        applied
    }

    /// Whether the proxies have what was written of these routes.
    fn is_settled(&mut self, about: &About) -> bool {
        let now = clock::now();
        self.unsettled_routes
            .retain(|_, at| now.duration_since(*at) < SETTLING);
        let is_restless = |route| self.unsettled_routes.contains_key(route);
        now.duration_since(self.unsettled) >= SETTLING
            && match about.everything {
                true => self.unsettled_routes.is_empty(),
                false => !about.routes.iter().any(is_restless),
            }
    }

    /// As if all that was written had been written long ago.
    #[cfg(test)]
    pub(super) fn settle(&mut self) {
        self.unsettled = clock::now().checked_sub(SETTLING).unwrap_or(self.unsettled);
        self.unsettled_routes.clear();
    }

    fn unsettle(&mut self, about: &About) {
        let now = clock::now();
        if about.everything || about.routes.is_empty() {
            self.unsettled = now;
        }
        let routes = about.routes.iter().filter(|_| !about.everything);
        self.unsettled_routes
            .extend(routes.map(|route| (route.clone(), now)));
    }

    async fn lead(
        &mut self,
        about: &About,
        resolved: &Resolved,
        plan: &Plan,
        (steps, carried): (Steps, &BTreeSet<String>),
        mut told: BTreeSet<String>,
        applied: &mut Applied,
    ) {
        let is_done = steps.is_done();
        told.append(&mut self.publish(about, plan, arrivals(carried)));
        let have = |route| resolved.marks.get(route).cloned().unwrap_or_default();
        let marks = plan.marks.iter().filter_map(|(route, wanted)| {
            let have = have(route);
            let wanted = Marks {
                // Until nothing of it is left elsewhere.
                held: wanted.held || have.held && !is_done,
                ..wanted.clone()
            };
            (wanted != have).then_some((route, wanted))
        });
        // So that it is not gone unseen while something of it is elsewhere.
        let (holds, marks): (Vec<_>, Vec<_>) =
            marks.partition(|(route, wanted)| wanted.held && !have(route).held);
        // What a route was when it was good is said at once, and nobody waits for it.
        let (unmarked, ()) = tokio::join!(
            self.mark_all(marks, resolved),
            self.write_in_order(holds, resolved, plan, steps, &told, applied),
        );
        applied.failed.extend(unmarked);
        if is_done {
            let is_held = |route: &&Owner| resolved.marks.get(*route).is_some_and(|marks| marks.held);
            let leaving = resolved.leaving.iter().filter(is_held);
            let marks = leaving.map(|route| (route, Marks::default())).collect();
            applied.failed.extend(self.mark_all(marks, resolved).await);
        }
        if self.rotate(plan).await {
            // Nothing else may happen in the cluster for long.
            applied.again = Some(SETTLING);
        }
    }

    /// Objects, each when what it needs is there.
    async fn write_in_order(
        &self,
        holds: Vec<(&Owner, Marks)>,
        resolved: &Resolved,
        plan: &Plan,
        steps: Steps,
        told: &BTreeSet<String>,
        applied: &mut Applied,
    ) {
        let leads_elsewhere = leads_elsewhere(plan, &steps);
        let needs = async {
            let unheld = self.mark_all(holds, resolved).await;
            let mut services: BTreeSet<_> = steps.needs.iter().filter_map(new_service).cloned().collect();
            let unwritten = self.write_all(steps.needs).await;
            services.retain(|service| !unwritten.contains_key(&(Kind::Service, service.clone())));
            if leads_elsewhere {
                self.entered(services).await;
                clock::pause(SEEING).await;
            }
            (unheld, unwritten)
        };
        let acknowledgements = async {
            // A filter that has not forgotten a rule goes on choosing pods by what carried its choices.
            if !steps.routes.is_empty() || !steps.leftovers.is_empty() {
                let waits = told
                    .iter()
                    .map(|gateway| self.channel.acknowledged(gateway, PATIENCE));
                join_all(waits).instrument(traces::waiting(told.len())).await;
            }
        };
        let ((unheld, unwritten), ()) = tokio::join!(needs, acknowledgements);
        applied.failed.extend(unheld);
        applied.failed.extend(unwritten);
        // To send handshakes to what could not be written would be worse than to write nothing.
        let broken: BTreeSet<_> = plan
            .wanted
            .iter()
            .filter(|one| applied.failed.contains_key(&one.key))
            .flat_map(|one| one.routes.clone())
            .collect();
        let is_of_broken = |one: &&Wanted| one.routes.iter().any(|route| broken.contains(route));
        let affected: BTreeSet<_> = plan
            .wanted
            .iter()
            .filter(is_of_broken)
            .map(|one| &one.key)
            .collect();
        let (held_back, routes): (Vec<_>, Vec<_>) = steps
            .routes
            .into_iter()
            .partition(|step| affected.contains(step.key()));
        applied
            .pending
            .extend(held_back.iter().map(|step| step.key().clone()));
        let (gone, written): (Vec<_>, Vec<_>) = routes
            .into_iter()
            .partition(|step| matches!(step, Step::Delete(..)));
        for steps in [written, gone, steps.owners, steps.leftovers] {
            applied.failed.extend(self.write_all(steps).await);
        }
    }

    /// Waits until new Services have pods: handshakes that came before would find nobody there.
    async fn entered(&self, mut services: BTreeSet<ObjectName>) {
        let until = clock::now() + ENTERING;
        loop {
            self.store.forget_ready(&mut services);
            if services.is_empty() || clock::now() >= until {
                break;
            }
            clock::pause(LOOK_AGAIN).await;
        }
    }

    /// Says to every gateway's proxies what `step` makes of what they know and what they are to know; whom that is news to.
    fn publish(
        &mut self,
        about: &About,
        plan: &Plan,
        step: impl Fn(&Snapshot, &Snapshot) -> Snapshot,
    ) -> BTreeSet<String> {
        let mut told = BTreeSet::new();
        let mut scopes: BTreeMap<&str, Scope> = about.told.scopes().collect();
        for (gateway, new) in &plan.snapshots {
            let scope = scopes.entry(gateway).or_default();
            scope.rules.extend(new.rules.keys().cloned());
            scope.backends.extend(new.backends.keys().cloned());
        }
        for (gateway, scope) in scopes {
            let old = self.channel.part(gateway, &scope);
            let rest = old.clone().unwrap_or_default();
            // Whoever has none of these routes any more may have others.
            let nothing = || Snapshot {
                signing_keys: rest.signing_keys,
                draining: rest.draining,
                ..Snapshot::default()
            };
            let new = plan.snapshots.get(gateway).cloned().unwrap_or_else(nothing);
            let said = match &old {
                Some(old) => Snapshot {
                    signing_keys: new.signing_keys.clone(),
                    ..step(old, &new)
                },
                None => new,
            };
            if old.as_ref() != Some(&said) {
                if let Some(old) = &old {
                    let sessions = || self.channel.sessions_at(gateway);
                    self.endings.add(plan, gateway, (old, &said), sessions);
                }
                self.channel.publish_part(gateway, &scope, said);
                told.insert(gateway.to_owned());
            }
        }
        told
    }

    /// A key that every proxy can verify with signs from now on. True: it does not yet.
    async fn rotate(&self, plan: &Plan) -> bool {
        let Some((secret, signer)) = &plan.next_signer else {
            return false;
        };
        // Also of gateways that the turn is not about.
        let gateways = self.channel.gateways();
        if gateways
            .iter()
            .any(|gateway| self.channel.standing(gateway).behind > 0)
        {
            return true;
        }
        let write = secrets::sign_with(&self.client, secret, signer);
        let said = traces::writing("change", Kind::Secret.name(), secret, write).await;
        if let Err(error) = &said {
            tracing::warn!("CLEW0925: the new signing key does not sign yet: Secret {secret}: {error}");
        }
        said.is_err()
    }

    /// What could not be written, and why.
    async fn write_all(&self, steps: Vec<Step>) -> Failures {
        let away = &AtomicBool::new(false);
        let written = stream::iter(steps)
            .map(|step| async move {
                let (kind, name) = step.key();
                let write = answered(away, self.write(&step));
                let outcome = traces::writing(step.verb(), kind.name(), name, write).await;
                (step.key().clone(), outcome)
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let failed = |(key, outcome): (Key, Result<(), String>)| {
            let why = outcome.err()?;
            tracing::error!("CLEW0926: {} {}: {why}", key.0, key.1);
            Some((key, why))
        };
        written.into_iter().filter_map(failed).collect()
    }

    async fn write(&self, step: &Step) -> Result<(), String> {
        let (kind, name) = step.key();
        let api = api(&self.client, *kind, &name.namespace);
        if !self.leadership.is_ours() {
            return Err("another replica writes now".to_owned());
        }
        let wanted = match step {
            Step::Delete(_, uid) => return self.delete(&api, *kind, name, uid).await,
            Step::Create(_, object) => {
                // What appeared in the meantime may be somebody else's.
                if let Some(found) = api.get_opt(&name.name).await.map_err(said)? {
                    self.store.answered(*kind, found);
                    return Err("it appeared just now".to_owned());
                }
                object.value()
            }
            Step::Change(_, uid, object) => {
                let mut object = object.value();
                object["metadata"]["uid"] = json!(uid);
                object
            }
        };
        self.metrics.wrote(*kind);
        let params = PatchParams::apply(CONTROLLER_NAME).force();
        let mut answer = api
            .patch(&name.name, &params, &Patch::Apply(&wanted))
            .await
            .map_err(said)?;
        if let Some(rest) = rest(*kind, &wanted, &answer) {
            self.metrics.wrote(*kind);
            let params = PatchParams {
                field_manager: Some(CONTROLLER_NAME.to_owned()),
                ..PatchParams::default()
            };
            answer = api
                .patch(&name.name, &params, &Patch::Merge(&rest))
                .await
                .map_err(said)?;
        }
        let still = rest(*kind, &wanted, &answer).is_some();
        self.store.answered(*kind, answer);
        tracing::info!("wrote {kind} {name}");
        match still {
            true => Err("somebody changes it while it is written".to_owned()),
            false => Ok(()),
        }
    }

    async fn delete(
        &self,
        api: &Api<DynamicObject>,
        kind: Kind,
        name: &ObjectName,
        uid: &str,
    ) -> Result<(), String> {
        self.metrics.wrote(kind);
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        });
        match api.delete(&name.name, &params).await.map(|answer| answer.left()) {
            // Somebody's finalizer keeps it for now.
            Ok(Some(object)) if !object.finalizers().is_empty() => self.store.answered(kind, object),
            Ok(_) => self.store.deleted(kind, name, uid),
            Err(kube::Error::Api(status)) if status.is_not_found() => self.store.deleted(kind, name, uid),
            Err(error) => return Err(said(error)),
        }
        tracing::info!("removed {kind} {name}");
        Ok(())
    }

    /// Writes onto routes what is ours there. What could not be written, and why.
    async fn mark_all(&self, marks: Vec<(&Owner, Marks)>, resolved: &Resolved) -> Failures {
        let away = &AtomicBool::new(false);
        let written = stream::iter(marks)
            .map(|(route, marks)| async move {
                let uid = resolved.uids.get(route);
                let write = answered(away, self.mark(route, uid, &marks));
                let outcome = traces::writing("mark", Kind::of_owner(route).name(), &route.name, write).await;
                (route, outcome)
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let failed = |(route, outcome): (&Owner, Result<(), String>)| {
            let why = outcome.err()?;
            tracing::error!("CLEW0926: {route}: {why}");
            Some(((Kind::of_owner(route), route.name.clone()), why))
        };
        written.into_iter().filter_map(failed).collect()
    }

    /// All of it at once, because what is not named is taken away.
    async fn mark(&self, route: &Owner, uid: Option<&String>, marks: &Marks) -> Result<(), String> {
        if !self.leadership.is_ours() {
            return Ok(());
        }
        let (kind, route) = (Kind::of_owner(route), &route.name);
        let resource = kind.resource();
        let mut metadata = json!({"name": route.name, "namespace": route.namespace, "uid": uid});
        if marks.held {
            metadata["finalizers"] = json!([FINALIZER]);
        }
        if let Some(spec) = &marks.in_force {
            metadata["annotations"] = json!({IN_FORCE: spec});
        }
        let wanted = json!({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata});
        let api = api(&self.client, kind, &route.namespace);
        self.metrics.wrote(kind);
        let params = PatchParams::apply(CONTROLLER_NAME).force();
        match api.patch(&route.name, &params, &Patch::Apply(&wanted)).await {
            // It is gone with the finalizer, and no watch has said so yet.
            Ok(answer) if answer.metadata.deletion_timestamp.is_some() => {}
            Ok(answer) => self.store.answered(kind, answer),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return Err(said(error)),
        }
        Ok(())
    }
}

fn arrivals(carried: &BTreeSet<String>) -> impl Fn(&Snapshot, &Snapshot) -> Snapshot {
    |old, new| order::arrivals(old, new, |id| carried.contains(id))
}

/// The Service that a step makes.
fn new_service(step: &Step) -> Option<&ObjectName> {
    match step {
        Step::Create((Kind::Service, name), _) => Some(name),
        _ => None,
    }
}

/// Whether handshakes that went somewhere before are to go to what is only written now. What Envoy Gateway reads needs no such wait.
fn leads_elsewhere(plan: &Plan, steps: &Steps) -> bool {
    let is_led_to = |step: &&Step| matches!(step.key().0, Kind::Service | Kind::DestinationRule);
    let needs: BTreeSet<_> = steps.needs.iter().filter(is_led_to).map(Step::key).collect();
    let is_change = |step: &&Step| matches!(step, Step::Change(..));
    let changed: BTreeSet<_> = steps.routes.iter().filter(is_change).map(Step::key).collect();
    if needs.is_empty() || changed.is_empty() {
        return false;
    }
    let of = |keys: BTreeSet<&Key>| -> BTreeSet<&Owner> {
        let wanted = plan.wanted.iter().filter(|one| keys.contains(&one.key));
        wanted.flat_map(|one| &one.routes).collect()
    };
    !of(needs).is_disjoint(&of(changed))
}

/// What a write came to. When the API server is away, what is left need not find that out one by one.
pub(super) async fn answered(
    away: &AtomicBool,
    write: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    const AWAY: &str = "the API server does not answer";
    if away.load(Ordering::Relaxed) {
        return Err(AWAY.to_owned());
    }
    tokio::time::timeout(WRITE, write).await.unwrap_or_else(|_| {
        away.store(true, Ordering::Relaxed);
        Err(AWAY.to_owned())
    })
}

/// What of others is still in an object after ours was put in.
fn rest(kind: Kind, wanted: &Value, answer: &DynamicObject) -> Option<Value> {
    let answer = json!(answer);
    differs(kind, wanted, &answer).then(|| removal(kind, wanted, &answer))
}

pub(super) fn api(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &kind.resource())
}

/// What the API server said, or why it said nothing.
pub(super) fn said(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}
