//! What became of the routes → their status, and an Event where a route's standing changed. Nothing is written where
//! nothing changed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clew_core::model::{ObjectName, Owner, OwnerKind, Parent, Proxies};
use clew_core::status::{Applied as Acknowledged, Progress, policy_status, status};
use clew_core::validate::{ParentReport, RouteReport};
use clew_core::versions::{Version, lack_something, unsupported, unsupported_of};
use clew_crds::status::{
    CONTROLLER_NAME, PartiallySupportedReason, ProgrammedReason, RouteParentStatus, WebSocketRouteStatus,
};
use clew_filter_config::channel::About;
use futures_util::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter as Source};
use serde_json::json;

use super::Outcome;
use super::apply::{answered, api, said};
use super::downloads::Downloads;
use super::endings::Endings;
use super::gateways::Gateways;
use super::kind::Kind;
use super::lease::Leadership;
use super::seen::{Body, Seen};
use super::steps::Hindrance;
use super::store::Store;
use crate::channel::Channel;
use crate::clock;
use crate::metrics::Metrics;
use crate::packed::Packed;
use crate::traces;

/// The most entries of a policy's status, whoever wrote them (GEP-713).
const MAX_ANCESTORS: usize = 16;
/// Writes that are under way at once.
const AT_ONCE: usize = 8;
/// The most bytes of an Event's note.
const NOTE: usize = 1024;

/// So long after it is ready, every proxy that lives has asked for its rules, and who is connected is known.
pub(super) const GATHERING: Duration = Duration::from_secs(10);

/// Writes statuses.
pub(crate) struct Reporter {
    client: Client,
    store: Arc<Store>,
    channel: Arc<Channel>,
    leadership: Arc<Leadership>,
    metrics: Arc<Metrics>,
    downloads: Arc<Downloads>,
    events: Recorder,
    source: Source,
    /// When its first report was over.
    began: Option<Instant>,
}

/// A status that is to be written.
struct Writing {
    route: Owner,
    uid: String,
    status: WebSocketRouteStatus,
    events: Vec<Event>,
}

/// What a replica that leads has said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Something could not be said.
    pub(crate) failed: bool,
    /// The routes that are good, and not in force everywhere.
    pub(crate) unprogrammed: BTreeSet<Owner>,
}

impl Reporter {
    pub(crate) fn new(
        client: Client,
        store: Arc<Store>,
        channel: Arc<Channel>,
        leadership: Arc<Leadership>,
        metrics: Arc<Metrics>,
        downloads: Arc<Downloads>,
        identity: &str,
    ) -> Self {
        let source = Source {
            controller: CONTROLLER_NAME.to_owned(),
            instance: Some(identity.to_owned()),
        };
        Self {
            events: Recorder::new(client.clone(), source.clone()),
            source,
            began: None,
            client,
            store,
            channel,
            leadership,
            metrics,
            downloads,
        }
    }

    /// Says of every route what became of it.
    pub(crate) async fn report(&mut self, outcome: &Outcome, gateways: &Gateways) -> Said {
        let mut said = Said::default();
        if self.leadership.is_ours() {
            let (writings, unprogrammed) = self.writings(outcome, gateways);
            said.unprogrammed = unprogrammed;
            said.failed = self.write_all(writings).await;
            self.announce(&outcome.applied.endings).await;
        }
        // Before the end of its first turn a replica is not ready, and no proxy finds it.
        self.began.get_or_insert_with(clock::now);
        said
    }

    async fn write_all(&self, writings: Vec<Writing>) -> bool {
        let away = &AtomicBool::new(false);
        let written = stream::iter(writings)
            .map(|status| async move {
                let route = status.route.clone();
                let write = answered(away, self.write(status));
                let outcome =
                    traces::writing("report", Kind::of_owner(&route).name(), &route.name, write).await;
                outcome.inspect_err(|why| {
                    tracing::warn!("CLEW0927: the status of {route} cannot be written: {why}");
                })
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        written.iter().any(Result::is_err)
    }

    /// The statuses that are to be written, and the routes that are good and not in force everywhere.
    fn writings(&self, outcome: &Outcome, gateways: &Gateways) -> (Vec<Writing>, BTreeSet<Owner>) {
        let mut unprogrammed = BTreeSet::new();
        let now = Time(clock::timestamp());
        let shelves = self.store.lock();
        let versions = self.versions(gateways);
        let of = |report: &RouteReport| {
            let owner = report.owner();
            let shelf = shelves.get(&Kind::of_owner(&owner))?;
            let seen = shelf.objects.get(&owner.name)?;
            let previous = seen.status.as_ref().and_then(Packed::open);
            let previous = previous.as_ref();
            let progress = |parent: &Parent| match self.progress(outcome, gateways, &owner, parent) {
                // Whoever has just begun knows of the proxies that have asked since, and not of the others.
                Progress::Applied(held)
                    if held.acknowledged == held.connected && self.is_gathering(clock::now()) =>
                {
                    kept(report, parent, previous).map_or(Progress::Applied(held), Progress::Kept)
                }
                progress => progress,
            };
            let report = &with_versions(report, outcome, seen, &versions);
            let mut new = status(report, progress, previous, &now);
            new.name_generated(outcome.plan.generated.get(&owner).cloned().unwrap_or_default());
            new.parents = entries(report, new.parents, previous);
            if report.refusals.is_empty() && is_unprogrammed(&new) {
                unprogrammed.insert(owner.clone());
            }
            if owner.kind == OwnerKind::Policy {
                // All that GEP-713 has.
                new = WebSocketRouteStatus {
                    parents: new.parents,
                    ..WebSocketRouteStatus::default()
                };
            }
            (previous != Some(&new)).then(|| Writing {
                route: owner.clone(),
                uid: seen.uid.clone(),
                events: transition(previous, &new)
                    .into_iter()
                    .chain(truncation(previous, &new))
                    .collect(),
                status: new,
            })
        };
        let writings = outcome.validated.routes.iter().filter_map(of).collect();
        (writings, unprogrammed)
    }

    /// Of the gateways whose proxies do not do everything.
    fn versions<'g>(&self, gateways: &'g Gateways) -> Versions<'g> {
        let of = |proxies: &'g Proxies| {
            let about = self.channel.about(&proxies.to_string());
            let read = |text: &dyn Fn(&About) -> Option<Version>| -> Vec<_> {
                about.iter().filter_map(text).collect()
            };
            let envoys = read(&|one| one.envoy.parse().ok());
            let istios = read(&|one| one.istio.parse().ok());
            (proxies, (envoys, istios))
        };
        let all = gateways.installed.keys().map(of);
        all.filter(|(_, (envoys, istios))| lack_something(envoys, istios))
            .collect()
    }

    /// Whether who is connected is not known yet.
    pub(crate) fn is_gathering(&self, now: Instant) -> bool {
        self.began
            .is_none_or(|began| now.duration_since(began) < GATHERING)
    }

    /// How far a route is at a parent.
    fn progress(&self, outcome: &Outcome, gateways: &Gateways, route: &Owner, parent: &Parent) -> Progress {
        let (applied, plan) = (&outcome.applied, &outcome.plan);
        let keys = plan.objects.get(route).map(Vec::as_slice).unwrap_or_default();
        if let Some((key, why)) = keys.iter().find_map(|key| Some((key, applied.failed.get(key)?))) {
            return Progress::Failed(format!("{} {}: {why}", key.0, key.1));
        }
        let hindered = keys
            .iter()
            .find_map(|key| Some((key, applied.hindered.get(key)?)));
        if let Some((key, why)) = hindered {
            return match why {
                Hindrance::NotOwned => Progress::Hindered(
                    ProgrammedReason::NotOwned,
                    format!("{} {} is somebody else's; rename or remove it", key.0, key.1),
                ),
                Hindrance::TargetMissing => Progress::Hindered(
                    ProgrammedReason::TargetMissing,
                    format!(
                        "{} is not installed; install Istio, Envoy Gateway or Gateway API's CRDs",
                        key.0
                    ),
                ),
            };
        }
        if keys.iter().any(|key| applied.pending.contains(key)) {
            return Progress::Prepared;
        }
        self.acknowledgement(outcome, gateways, route, parent)
    }

    fn acknowledgement(
        &self,
        outcome: &Outcome,
        gateways: &Gateways,
        route: &Owner,
        parent: &Parent,
    ) -> Progress {
        let Some(proxies) = outcome.validated.world.proxies_of(parent) else {
            return Progress::Carried;
        };
        let Some(expected) = gateways.installed.get(proxies) else {
            let what = format!(
                "no filter is installed on the pods of {parent}; install it with clew install --gateway {}",
                parent.name()
            );
            return Progress::Hindered(ProgrammedReason::FilterNotInstalled, what);
        };
        if let Some(silent) = gateways.silent.get(proxies) {
            let what = expected.sentence(proxies, silent, &self.downloads);
            return Progress::Hindered(ProgrammedReason::FilterNotInstalled, what);
        }
        let gateway = proxies.to_string();
        let told = outcome.plan.told.get(route);
        let rules = || told.into_iter().flat_map(|told| told.rules_at(&gateway));
        if !self.channel.tells(&gateway, rules()) {
            return Progress::Prepared;
        }
        let held = self.channel.holding(&gateway, rules());
        Progress::Applied(Acknowledged {
            acknowledged: held.proxies - held.behind,
            connected: held.proxies,
        })
    }

    #[tracing::instrument(
        name = "status", level = "info", skip_all,
        fields(route = %writing.route, generation = writing.status.observed_generation)
    )]
    async fn write(&self, writing: Writing) -> Result<(), String> {
        if !self.leadership.is_ours() {
            return Ok(());
        }
        let Writing {
            route,
            uid,
            status,
            events,
        } = writing;
        let kind = Kind::of_owner(&route);
        let (resource, route) = (kind.resource(), route.name);
        let status = match kind {
            Kind::WebSocketPolicy => json!(policy_status(status)),
            _ => json!(status),
        };
        let wanted = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": route.name, "namespace": route.namespace, "uid": uid},
            "status": status,
        });
        let api = api(&self.client, kind, &route.namespace);
        self.metrics.wrote_status();
        let params = PatchParams::apply(CONTROLLER_NAME).force();
        match api
            .patch_status(&route.name, &params, &Patch::Apply(&wanted))
            .await
        {
            Ok(answer) => self.store.answered(kind, answer),
            // It is gone, or another one of its name.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => return Ok(()),
            Err(error) => return Err(said(error)),
        }
        for event in events {
            self.publish(&self.events, &event, kind, &route, &uid).await;
        }
        Ok(())
    }

    /// Says of whom an edit may end open sessions.
    async fn announce(&self, endings: &Endings) {
        let uid = |owner: &Owner| {
            let shelves = self.store.lock();
            let seen = shelves.get(&Kind::of_owner(owner))?.objects.get(&owner.name)?;
            Some(seen.uid.clone())
        };
        let said: Vec<_> = endings
            .said()
            .filter_map(|(owner, note)| Some((owner, uid(owner)?, note)))
            .collect();
        let away = &AtomicBool::new(false);
        stream::iter(said)
            .for_each_concurrent(AT_ONCE, |(owner, uid, note)| async move {
                if !self.leadership.is_ours() {
                    return;
                }
                let event = event(EventType::Warning, "SessionsMayEnd", &note);
                // One that has said it before would count it, and keep what it said of an earlier edit.
                let events = Recorder::new(self.client.clone(), self.source.clone());
                let kind = Kind::of_owner(owner);
                let write = async {
                    self.publish(&events, &event, kind, &owner.name, &uid).await;
                    Ok(())
                };
                // One that is not written is not said: the edit has been made.
                let _ = answered(away, write).await;
            })
            .await;
    }

    async fn publish(&self, events: &Recorder, event: &Event, kind: Kind, of: &ObjectName, uid: &str) {
        let resource = kind.resource();
        let reference = ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            namespace: Some(of.namespace.to_string()),
            name: Some(of.name.to_string()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let write = events.publish(event, &reference);
        if let Err(error) = traces::writing("create", "Event", of, write).await {
            tracing::debug!("an Event cannot be written: {error}");
        }
    }
}

fn event(type_: EventType, reason: &str, note: &str) -> Event {
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note[..note.floor_char_boundary(NOTE)].to_owned()),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}

/// Envoy's and Istio's, by gateway.
type Versions<'g> = BTreeMap<&'g Proxies, (Vec<Version>, Vec<Version>)>;

/// What became of a route, and what its proxies are too old for.
fn with_versions<'r>(
    report: &'r RouteReport,
    outcome: &Outcome,
    seen: &Seen,
    versions: &Versions<'_>,
) -> Cow<'r, RouteReport> {
    let mut all = Cow::Borrowed(report);
    for (i, parent) in report.parents.iter().enumerate() {
        let proxies = |parent| outcome.validated.world.proxies_of(parent);
        let proxies = parent.parent.as_ref().and_then(proxies);
        let Some((envoys, istios)) = proxies.and_then(|proxies| versions.get(proxies)) else {
            continue;
        };
        let found = match &seen.body {
            Body::Route(route) => route
                .open()
                .map(|route| unsupported(&route, envoys, istios))
                .unwrap_or_default(),
            Body::Policy(policy) => unsupported_of(policy, envoys, istios),
            _ => Vec::new(),
        };
        if !found.is_empty()
            && let Some(parent) = all.to_mut().parents.get_mut(i)
        {
            parent.unsupported.extend(found);
        }
    }
    all
}

/// What was said of a parent by which this very text of the route is in force there.
fn kept(report: &RouteReport, parent: &Parent, previous: Option<&WebSocketRouteStatus>) -> Option<String> {
    let is_it = |one: &&ParentReport| one.parent.as_ref() == Some(parent);
    let reference = &report.parents.iter().find(is_it)?.reference;
    let is_ours =
        |one: &&RouteParentStatus| one.parent_ref == *reference && one.controller_name == CONTROLLER_NAME;
    let before = previous?.parents.iter().find(is_ours)?;
    let said = before.conditions.iter().find(|one| one.type_ == "Programmed")?;
    let is_of_now = said.observed_generation == report.generation;
    (is_of_now && said.status == "True").then(|| said.message.clone())
}

/// Our entries, and those of other controllers as they were. Gateways of stand-alone Envoys are `clew run`'s.
fn entries(
    report: &RouteReport,
    ours: Vec<RouteParentStatus>,
    previous: Option<&WebSocketRouteStatus>,
) -> Vec<RouteParentStatus> {
    let is_ours = |parent: &Option<Parent>| !matches!(parent, Some(Parent::Standalone(_)));
    let ours = report
        .parents
        .iter()
        .zip(ours)
        .filter(|(parent, _)| is_ours(&parent.parent))
        .map(|(_, entry)| RouteParentStatus {
            controller_name: CONTROLLER_NAME.to_owned(),
            ..entry
        });
    let others = previous.into_iter().flat_map(|previous| &previous.parents);
    let others: Vec<_> = others
        .filter(|entry| entry.controller_name != CONTROLLER_NAME)
        .cloned()
        .collect();
    let room = match report.kind {
        OwnerKind::Route => usize::MAX,
        OwnerKind::Policy => MAX_ANCESTORS.saturating_sub(others.len()),
    };
    ours.take(room).chain(others).collect()
}

/// The Event of a route whose standing changed.
fn transition(previous: Option<&WebSocketRouteStatus>, new: &WebSocketRouteStatus) -> Option<Event> {
    let standing = standing(new)?;
    let before = previous.and_then(self::standing);
    let says = |condition: &Condition| (condition.status.clone(), condition.reason.clone());
    if before.map(says) == Some(says(standing)) {
        return None;
    }
    let type_ = match (standing.status.as_str(), standing.reason.as_str()) {
        // After every edit, until they have asked.
        (_, reason) if reason == ProgrammedReason::ProxiesBehind.as_str() => EventType::Normal,
        ("False", _) => EventType::Warning,
        _ => EventType::Normal,
    };
    Some(event(type_, &standing.reason, &standing.message))
}

/// The Event of a route whose drains its pods do not last for, when they cease to.
fn truncation(previous: Option<&WebSocketRouteStatus>, new: &WebSocketRouteStatus) -> Option<Event> {
    let found = truncated(new)?;
    if previous.and_then(truncated).is_some() {
        return None;
    }
    Some(event(EventType::Warning, &found.reason, &found.message))
}

/// Whether some parent of ours does not have all of it.
fn is_unprogrammed(status: &WebSocketRouteStatus) -> bool {
    let ours = status
        .parents
        .iter()
        .filter(|parent| parent.controller_name == CONTROLLER_NAME);
    let mut conditions = ours.flat_map(|parent| &parent.conditions);
    conditions.any(|condition| condition.type_ == "Programmed" && condition.status == "False")
}

fn truncated(status: &WebSocketRouteStatus) -> Option<&Condition> {
    let reason = PartiallySupportedReason::DrainTruncated.as_str();
    let mut all = status.parents.iter().flat_map(|parent| &parent.conditions);
    all.find(|condition| condition.reason == reason)
}

/// The condition by which a route stands as it does: the first that does not hold, rather for good than for a moment, else that it is
/// programmed.
fn standing(status: &WebSocketRouteStatus) -> Option<&Condition> {
    let all = || status.parents.iter().flat_map(|parent| &parent.conditions);
    let needed = |condition: &&Condition| condition.type_ != "PartiallySupported";
    all()
        .filter(needed)
        .filter(|condition| condition.status == "False")
        .min_by_key(|condition| condition.reason == ProgrammedReason::ProxiesBehind.as_str())
        .or_else(|| all().filter(needed).find(|condition| condition.status != "True"))
        .or_else(|| all().find(|condition| condition.type_ == "Programmed"))
}

#[cfg(test)]
mod tests;
