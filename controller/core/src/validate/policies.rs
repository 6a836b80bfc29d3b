//! Policies for HTTPRoutes that somebody has already. One that names a rule comes before one that is for the whole HTTPRoute (GEP-713), and of two
//! for the same the older counts. What a policy says of a rule means what it would in a WebSocketRoute with the rule's matches and backend.

mod suited;
mod target;

use std::collections::{BTreeMap, BTreeSet};

use clew_crds::WebSocketPolicy;
use clew_crds::websocket_policy::PolicyTargetReference;
use clew_crds::websocket_route::{ParentReference, Resilience, SessionPolicy, Timeouts};

use self::suited::Asked;
use self::target::{Place, Read};
use super::age::{name_of, oldest_first};
use super::index::Index;
use super::listeners::Listeners;
use super::routes::Routes;
use super::{ParentReport, RouteReport, Target, Unsupported};
use crate::model::{AttachedPolicy, AttachedRoute, ObjectName, OwnerKind, Parent};
use crate::objects::Sourced;
use crate::refusal::{Code, ObjectRef, Refusal};

/// The most entries of a status.
const MAX_ANCESTORS: usize = 16;

/// What is wrong with a target: the field of the policy, and what to do.
type Wrong = (Code, String, String);

/// An HTTPRoute, or one rule of it, by its name.
type Claim = (ObjectName, Option<String>);

/// Reads all policies, for what is attached beside the routes.
pub(super) fn read<'a>(
    index: &Index<'a>,
    served: Target,
    listeners: &Listeners<'_>,
    routes: &mut Routes<'_, 'a>,
) -> (Vec<AttachedPolicy>, Vec<RouteReport>) {
    let policies = oldest_first(index.policies.values().copied());
    let mut drafts: Vec<_> = policies.into_iter().map(Draft::new).collect();
    let mut claims = BTreeMap::new();
    let mut attached = Vec::new();
    let here = Surroundings {
        index,
        served,
        listeners,
        routes: routes.attached(),
    };
    for names_a_rule in [true, false] {
        for draft in &mut drafts {
            let spec = &draft.of.object.spec;
            for (i, target) in spec.target_refs.iter().enumerate() {
                if target.section_name.is_some() == names_a_rule {
                    attached.extend(draft.add((i, target), &here, &mut claims));
                }
            }
        }
    }
    for rule in attached.iter().flat_map(|policy| &policy.rules) {
        routes.use_backends(rule);
    }
    let mut reports: Vec<_> = drafts.into_iter().map(Draft::finish).collect();
    reports.sort_by(|one, other| one.name.cmp(&other.name));
    (attached, reports)
}

/// What policies are attached to.
struct Surroundings<'s> {
    index: &'s Index<'s>,
    served: Target,
    listeners: &'s Listeners<'s>,
    routes: &'s [AttachedRoute],
}

/// A policy, and what has been found of it so far.
struct Draft<'a> {
    of: &'a Sourced<WebSocketPolicy>,
    name: ObjectName,
    ancestors: Vec<ParentReport>,
    refusals: Vec<Refusal>,
}

impl<'a> Draft<'a> {
    /// What its text alone shows is said whether or not there is anything that it is for: it must not pass for good meanwhile.
    fn new(of: &'a Sourced<WebSocketPolicy>) -> Self {
        let mut draft = Self {
            of,
            name: name_of(&of.object.metadata),
            ancestors: Vec::new(),
            refusals: Vec::new(),
        };
        if let Err((code, field, message)) = suited::text(&draft.name, &of.object.spec.policy) {
            draft.refuse(code, field, message, None);
        }
        draft
    }

    /// Attaches it to one of its targets, wherever that is served.
    fn add(
        &mut self,
        (i, target): (usize, &PolicyTargetReference),
        here: &Surroundings<'_>,
        claims: &mut BTreeMap<Claim, ObjectName>,
    ) -> Vec<AttachedPolicy> {
        let field = format!("spec.targetRefs[{i}]");
        let says = &self.of.object.spec.policy;
        let http_route = ObjectName::new(&self.name.namespace, &target.name);
        let claim = (http_route.clone(), target.section_name.clone());
        let read = match Read::of(&http_route, target, here.index, claims) {
            Ok(read) => read,
            Err((code, below, message)) => {
                let ancestor = self.ancestor(route_reference(&http_route, target), None);
                self.refuse(code, format!("{field}{below}"), message, Some(ancestor));
                return Vec::new();
            }
        };
        let mut attached = Vec::new();
        for Place { reference, found } in read.places(here.served, here.listeners, here.index) {
            let (gateway, places) = match found {
                Ok(found) => found,
                Err(no_place) => {
                    let ancestor = self.ancestor(reference, None);
                    self.refuse(no_place.code, field.clone(), no_place.message, Some(ancestor));
                    continue;
                }
            };
            let winner = claims.get(&claim).filter(|winner| **winner != self.name);
            let (there, wrongs) = match winner {
                Some(winner) => (Vec::new(), vec![taken(&claim, winner)]),
                None => {
                    let asked = Asked {
                        policy: &self.name,
                        says,
                        section: target.section_name.as_deref(),
                        gateway: &gateway,
                        places: &places,
                    };
                    asked.attach(&read, here.index, here.routes)
                }
            };
            let ancestor = self.ancestor(reference, Some(&gateway));
            for (code, below, message) in wrongs {
                // What the policy itself says is wrong at every target, but for what only some gateways verify.
                let of_text = below.starts_with("spec.");
                let field = if of_text { below } else { format!("{field}{below}") };
                let is_everywhere = of_text && code != Code::ClaimUnverified;
                self.refuse(code, field, message, (!is_everywhere).then_some(ancestor));
            }
            if there.is_empty() {
                continue;
            }
            let unsupported = read.unsupported(says, &there, here.index);
            if let Some(report) = self.ancestors.get_mut(ancestor) {
                report.in_force = true;
                let known: BTreeSet<_> = report.unsupported.iter().cloned().collect();
                let new = unsupported.into_iter().filter(|one| !known.contains(one));
                report.unsupported.extend(new.collect::<Vec<_>>());
            }
            attached.extend(there);
        }
        if !attached.is_empty() {
            claims.insert(claim, self.name.clone());
        }
        attached
    }

    /// The place of a Gateway among the ancestors.
    fn ancestor(&mut self, reference: ParentReference, parent: Option<&Parent>) -> usize {
        let mut known = self.ancestors.iter_mut().enumerate();
        if let Some((i, known)) = known.find(|(_, one)| one.reference == reference) {
            known.parent = known.parent.take().or_else(|| parent.cloned());
            return i;
        }
        self.ancestors.push(ParentReport {
            reference,
            parent: parent.cloned(),
            in_force: false,
            unsupported: Vec::new(),
        });
        self.ancestors.len() - 1
    }

    /// What several targets are refused for is said once.
    fn refuse(&mut self, code: Code, field: String, message: String, ancestor: Option<usize>) {
        let refusal = Refusal {
            code,
            object: ObjectRef {
                kind: OwnerKind::Policy.as_str(),
                name: self.name.clone(),
            },
            source: self.of.source.clone(),
            field,
            message,
            parent: ancestor,
        };
        if !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }

    /// What no gateway verifies is the text's fault, which keeps it from taking the place of a good one.
    fn blame_the_text(&mut self) {
        let is_of_claim = |refusal: &&mut Refusal| refusal.code == Code::ClaimUnverified;
        let of_claims: Vec<_> = self.refusals.iter_mut().filter(is_of_claim).collect();
        let unverified: BTreeSet<_> = of_claims.iter().filter_map(|refusal| refusal.parent).collect();
        // Whoever does not take the HTTPRoute has not looked at it.
        let looked = self.ancestors.iter().filter(|ancestor| ancestor.parent.is_some());
        if unverified.len() == looked.count() {
            for refusal in of_claims {
                refusal.parent = None;
            }
        }
        self.refusals.dedup();
    }

    fn finish(mut self) -> RouteReport {
        self.blame_the_text();
        self.refusals.sort_by(|one, other| one.field.cmp(&other.field));
        self.ancestors.truncate(MAX_ANCESTORS);
        RouteReport {
            kind: OwnerKind::Policy,
            name: self.name,
            source: self.of.source.clone(),
            generation: self.of.object.metadata.generation,
            parents: self.ancestors,
            refusals: self.refusals,
            truncated: Vec::new(),
        }
    }
}

/// A target that no Gateway is known to serve.
fn route_reference(http_route: &ObjectName, target: &PolicyTargetReference) -> ParentReference {
    ParentReference {
        kind: target.kind.clone(),
        namespace: Some(http_route.namespace.to_string()),
        section_name: target.section_name.clone(),
        ..ParentReference::gateway(http_route.name.clone())
    }
}

fn taken((http_route, section): &Claim, winner: &ObjectName) -> Wrong {
    let what = match section {
        Some(section) => format!("rule {section} of HTTPRoute {http_route}"),
        None => format!("HTTPRoute {http_route}"),
    };
    let message = format!(
        "WebSocketPolicy {winner} is older and is for {what} too, and counts; take the target out of one of them"
    );
    (Code::TargetTaken, String::new(), message)
}

/// What a policy asks for and nobody's HTTPRoute can be made to do: it would hold for plain HTTP, too.
fn of_the_mesh(policy: &SessionPolicy) -> Vec<Unsupported> {
    let Resilience {
        connect_retries,
        max_pending_handshakes,
        outlier_detection,
        fault,
    } = &policy.resilience;
    let handshake = &policy.timeouts.handshake;
    [
        (
            *handshake != Timeouts::default().handshake,
            "timeouts.handshake",
            "it would hold for plain HTTP on the HTTPRoute too; set timeouts.request of the HTTPRoute's rule",
        ),
        (
            connect_retries.is_some(),
            "resilience.connectRetries",
            "it would hold for plain HTTP on the HTTPRoute too; set it on the HTTPRoute, or in its own policies",
        ),
        (
            max_pending_handshakes.is_some(),
            "resilience.maxPendingHandshakes",
            "it would hold for plain HTTP on the HTTPRoute too; set it in the HTTPRoute's own policies",
        ),
        (
            outlier_detection.is_some(),
            "resilience.outlierDetection",
            "it would hold for plain HTTP on the HTTPRoute too; set it in the HTTPRoute's own policies",
        ),
        (
            fault.is_some(),
            "resilience.fault",
            "it would hold for plain HTTP on the HTTPRoute too; set it in the HTTPRoute's own policies",
        ),
    ]
    .into_iter()
    .filter(|(is_written, ..)| *is_written)
    .map(|(_, field, why)| Unsupported {
        field: format!("spec.{field}"),
        why: why.to_owned(),
    })
    .collect()
}

#[cfg(test)]
pub(super) mod tests;
