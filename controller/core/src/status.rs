//! What became of a route → the conditions of its status.
//!
//! What is rendered is only [`Progress::Prepared`]; `Programmed: True` needs an [`Applied`], which whoever applied it has.

use clew_crds::status::{
    AcceptedReason, CONTROLLER_NAME, ConditionType, PartiallySupportedReason, ProgrammedReason, ReadyReason,
    ResolvedRefsReason, RouteParentStatus, STANDALONE_CONTROLLER_NAME, WebSocketPolicyStatus,
    WebSocketRouteStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::model::{OwnerKind, Parent};
use crate::refusal::{self, Refusal};
use crate::validate::{ParentReport, RouteReport, Unsupported};

/// How far a parent is with what was rendered for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Rendered, and not yet taken by Envoy.
    Prepared,
    /// Taken by Envoy.
    Applied(Applied),
    /// Envoy, or the API server, refused it; what it said.
    Failed(String),
    /// In force by what was said before, in these words; and nothing is known yet that says otherwise.
    Kept(String),
    /// Written for proxies that have no filter and acknowledge nothing.
    Carried,
    /// Something at the parent keeps it from being in force; what, and what to do.
    Hindered(ProgrammedReason, String),
}

/// How many proxies hold what a gateway's filters must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Proxies that have acknowledged it.
    pub acknowledged: usize,
    /// Proxies that are connected.
    pub connected: usize,
}

/// The most bytes of a condition's message.
const MESSAGE_BYTES: usize = 32_768;

/// The status of a route. `progress` knows how far a parent is; `previous` is the status so far, whose times stay where
/// nothing changed; `now` is the time for what did.
#[must_use]
pub fn status(
    report: &RouteReport,
    progress: impl Fn(&Parent) -> Progress,
    previous: Option<&WebSocketRouteStatus>,
    now: &Time,
) -> WebSocketRouteStatus {
    let stamp = |before: Option<&[Condition]>, verdicts: &[Verdict]| -> Vec<Condition> {
        verdicts
            .iter()
            .map(|verdict| verdict.condition(report.generation, before, now))
            .collect()
    };
    let verdicts: Vec<Vec<Verdict>> = report
        .parents
        .iter()
        .enumerate()
        .map(|(i, parent)| parent_verdicts(report, i, parent, &progress))
        .collect();
    let parents = report
        .parents
        .iter()
        .zip(&verdicts)
        .map(|(parent, verdicts)| {
            let before = previous.and_then(|previous| {
                previous
                    .parents
                    .iter()
                    .find(|before| before.parent_ref == parent.reference)
            });
            RouteParentStatus {
                parent_ref: parent.reference.clone(),
                controller_name: match (&parent.parent, report.kind) {
                    (None | Some(Parent::Standalone(_)), OwnerKind::Route) => STANDALONE_CONTROLLER_NAME,
                    _ => CONTROLLER_NAME,
                }
                .to_owned(),
                conditions: stamp(before.map(|before| before.conditions.as_slice()), verdicts),
            }
        })
        .collect();
    WebSocketRouteStatus {
        observed_generation: report.generation,
        conditions: stamp(
            previous.map(|previous| previous.conditions.as_slice()),
            &[ready(&verdicts)],
        ),
        parents,
        ..WebSocketRouteStatus::default()
    }
}

/// The status of a policy, whose parents are the ancestors that GEP-713 speaks of.
#[must_use]
pub fn policy_status(status: WebSocketRouteStatus) -> WebSocketPolicyStatus {
    WebSocketPolicyStatus {
        ancestors: status.parents.into_iter().map(Into::into).collect(),
    }
}

/// A condition without its time.
struct Verdict {
    r#type: ConditionType,
    holds: Holds,
    reason: &'static str,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    True,
    False,
    Unknown,
}

impl Holds {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl Verdict {
    fn condition(&self, generation: Option<i64>, before: Option<&[Condition]>, now: &Time) -> Condition {
        let (type_, status) = (self.r#type.as_str(), self.holds.as_str());
        let since = before
            .into_iter()
            .flatten()
            .find(|before| before.type_ == type_ && before.status == status)
            .map_or(now, |before| &before.last_transition_time);
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: self.reason.to_owned(),
            message: shortened(&self.message),
            observed_generation: generation,
            last_transition_time: since.clone(),
        }
    }
}

fn shortened(message: &str) -> String {
    message[..message.floor_char_boundary(MESSAGE_BYTES)].to_owned()
}

fn parent_verdicts(
    report: &RouteReport,
    parent: usize,
    of: &ParentReport,
    progress: &impl Fn(&Parent) -> Progress,
) -> Vec<Verdict> {
    let concerns = |refusal: &&Refusal| refusal.parent.is_none_or(|only| only == parent);
    let mut accepted = None;
    let mut unresolved = None;
    let mut hindered = None;
    for refusal in report.refusals.iter().filter(concerns) {
        match refusal.code.condition() {
            refusal::Condition::Accepted(reason) => {
                accepted.get_or_insert((reason, Vec::new())).1.push(refusal)
            }
            refusal::Condition::ResolvedRefs(reason) => {
                unresolved.get_or_insert((reason, Vec::new())).1.push(refusal);
            }
            refusal::Condition::Programmed(reason) => {
                hindered.get_or_insert((reason, Vec::new())).1.push(refusal);
            }
            refusal::Condition::Elsewhere => {}
        }
    }
    let accepted = match accepted {
        Some((reason, refusals)) => (of_accepted(reason), reason, sentences(&refusals)),
        None => (
            Holds::True,
            AcceptedReason::Accepted,
            match report.kind {
                OwnerKind::Route => "the parent takes the route".to_owned(),
                OwnerKind::Policy if unresolved.is_some() => {
                    "nothing but what ResolvedRefs names is in the policy's way".to_owned()
                }
                OwnerKind::Policy => "every target there takes the policy".to_owned(),
            },
        ),
    };
    let resolved = match unresolved {
        Some((reason, refusals)) => (Holds::False, reason, sentences(&refusals)),
        None => (
            Holds::True,
            ResolvedRefsReason::ResolvedRefs,
            "every reference is resolved".to_owned(),
        ),
    };
    let (holds, reason, message) = match (of.parent.as_ref().filter(|_| of.in_force), hindered) {
        (_, Some((reason, refusals))) => (Holds::False, reason, sentences(&refusals)),
        (None, None) => (
            match accepted.0 {
                Holds::Unknown => Holds::Unknown,
                Holds::True | Holds::False => Holds::False,
            },
            ProgrammedReason::Pending,
            match report.kind {
                OwnerKind::Route => "nothing is in force, because the route is not accepted".to_owned(),
                OwnerKind::Policy => {
                    "nothing is in force, because no target there takes the policy".to_owned()
                }
            },
        ),
        (Some(parent), None) => programmed(progress(parent)),
    };
    let mut verdicts = vec![
        Verdict {
            r#type: ConditionType::Accepted,
            holds: accepted.0,
            reason: accepted.1.as_str(),
            message: accepted.2,
        },
        Verdict {
            r#type: ConditionType::ResolvedRefs,
            holds: resolved.0,
            reason: resolved.1.as_str(),
            message: resolved.2,
        },
        Verdict {
            r#type: ConditionType::Programmed,
            holds,
            reason: reason.as_str(),
            message,
        },
    ];
    let truncated: &[_] = match of.parent {
        // Nobody drains there.
        None | Some(Parent::MeshService(_) | Parent::OtherClass(_)) => &[],
        Some(_) => &report.truncated,
    };
    verdicts.extend(partially_supported(&of.unsupported, truncated));
    verdicts
}

/// What is not decided yet is neither so nor otherwise.
fn of_accepted(reason: AcceptedReason) -> Holds {
    match reason {
        AcceptedReason::Accepted => Holds::True,
        AcceptedReason::Pending => Holds::Unknown,
        _ => Holds::False,
    }
}

fn programmed(progress: Progress) -> (Holds, ProgrammedReason, String) {
    match progress {
        Progress::Prepared => (
            Holds::Unknown,
            ProgrammedReason::Pending,
            "Envoy has not taken it yet".to_owned(),
        ),
        Progress::Failed(what) => (Holds::False, ProgrammedReason::ApplyFailed, what),
        Progress::Kept(what) => (Holds::True, ProgrammedReason::Programmed, what),
        Progress::Carried => (
            Holds::True,
            ProgrammedReason::Programmed,
            "written for the clients' sidecars, which acknowledge nothing".to_owned(),
        ),
        Progress::Hindered(reason, what) => (Holds::False, reason, what),
        Progress::Applied(Applied { connected: 0, .. }) => (
            Holds::Unknown,
            ProgrammedReason::Pending,
            "no proxy is connected yet".to_owned(),
        ),
        Progress::Applied(Applied {
            acknowledged,
            connected,
        }) => {
            let message = format!("{acknowledged} of {connected} proxies");
            if acknowledged >= connected {
                (Holds::True, ProgrammedReason::Programmed, message)
            } else {
                (Holds::False, ProgrammedReason::ProxiesBehind, message)
            }
        }
    }
}

fn partially_supported(unsupported: &[Unsupported], truncated: &[Unsupported]) -> Option<Verdict> {
    let fields: Vec<_> = unsupported
        .iter()
        .chain(truncated)
        .map(|one| format!("{}: {}", one.field, one.why))
        .collect();
    let reason = match unsupported {
        [] => PartiallySupportedReason::DrainTruncated,
        _ => PartiallySupportedReason::FieldsIgnored,
    };
    (!fields.is_empty()).then(|| Verdict {
        r#type: ConditionType::PartiallySupported,
        holds: Holds::True,
        reason: reason.as_str(),
        message: fields.join("; "),
    })
}

/// The summary of all parents: the worst of what each says.
fn ready(parents: &[Vec<Verdict>]) -> Verdict {
    let needed = |verdict: &&Verdict| verdict.r#type != ConditionType::PartiallySupported;
    let all = || parents.iter().flatten().filter(needed);
    let worst = all()
        .find(|verdict| verdict.holds == Holds::False)
        .or_else(|| all().find(|verdict| verdict.holds == Holds::Unknown));
    let (holds, reason, message) = match worst {
        None => (
            Holds::True,
            ReadyReason::Ready,
            "every parent has accepted, resolved and programmed it".to_owned(),
        ),
        Some(verdict) => {
            let reason = if verdict.holds == Holds::False {
                ReadyReason::NotReady
            } else {
                ReadyReason::Pending
            };
            (
                verdict.holds,
                reason,
                format!("{}: {}", verdict.reason, verdict.message),
            )
        }
    };
    Verdict {
        r#type: ConditionType::Ready,
        holds,
        reason: reason.as_str(),
        message,
    }
}

fn sentences(refusals: &[&Refusal]) -> String {
    refusals
        .iter()
        .map(|refusal| format!("{}: {} ({})", refusal.field, refusal.message, refusal.code))
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests;
