//! What a controller says about a route: Gateway API's RouteStatus, a summary, and every condition type and reason there is.
#![expect(
    unreachable_pub,
    reason = "KubeSchema repeats each struct, with its visibility, inside a function"
)]

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::schema::kubernetes_words;
use crate::websocket_route::ParentReference;

/// The name under which the controller writes status in a cluster.
pub const CONTROLLER_NAME: &str = "clew.dev/controller";
/// The name under which `clew run` and a GatewayClass for stand-alone Envoy go.
pub const STANDALONE_CONTROLLER_NAME: &str = "clew.dev/standalone";
/// The most entries of [`WebSocketRouteStatus::generated`].
pub const MAX_GENERATED: usize = 64;

/// What became of the route. Never session counts, nor times that move with each reconcile.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[schemars(transform = kubernetes_words)]
#[serde(rename_all = "camelCase")]
pub struct WebSocketRouteStatus {
    /// The `metadata.generation` that this status speaks of.
    pub observed_generation: Option<i64>,

    /// The summary of all parents: the condition Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,

    /// One entry for each parent and controller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub parents: Vec<RouteParentStatus>,

    /// The objects that stand for the route in the mesh: the first 64 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub generated: Vec<GeneratedObject>,

    /// How many objects there are, when they are more than `generated` shows.
    pub generated_count: Option<i32>,
}

impl WebSocketRouteStatus {
    /// Names the objects that stand for the route: the first of them, and how many there are if those are not all.
    pub fn name_generated(&mut self, mut objects: Vec<GeneratedObject>) {
        let count = objects.len();
        objects.truncate(MAX_GENERATED);
        self.generated_count = (count > MAX_GENERATED).then(|| i32::try_from(count).unwrap_or(i32::MAX));
        self.generated = objects;
    }
}

/// What became of the route at one parent. Gateway API's RouteParentStatus.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    /// The parent, as the route names it.
    pub parent_ref: ParentReference,

    /// Who wrote this entry.
    #[schemars(length(min = 1, max = 253))]
    pub controller_name: String,

    /// Accepted, ResolvedRefs, Programmed, and PartiallySupported where it holds.
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

/// What became of a policy. Gateway API's PolicyStatus.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[schemars(transform = kubernetes_words)]
#[serde(rename_all = "camelCase")]
pub struct WebSocketPolicyStatus {
    /// One entry for each Gateway that serves a target, and each controller; a target that no Gateway is known to serve has one of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub ancestors: Vec<PolicyAncestorStatus>,
}

/// What became of a policy at one Gateway. Gateway API's PolicyAncestorStatus.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAncestorStatus {
    /// The Gateway, or the HTTPRoute where there is none.
    pub ancestor_ref: ParentReference,

    /// Who wrote this entry.
    #[schemars(length(min = 1, max = 253))]
    pub controller_name: String,

    /// Accepted, ResolvedRefs, Programmed, and PartiallySupported where it holds.
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

impl From<RouteParentStatus> for PolicyAncestorStatus {
    fn from(of: RouteParentStatus) -> Self {
        Self {
            ancestor_ref: of.parent_ref,
            controller_name: of.controller_name,
            conditions: of.conditions,
        }
    }
}

impl From<PolicyAncestorStatus> for RouteParentStatus {
    fn from(of: PolicyAncestorStatus) -> Self {
        Self {
            parent_ref: of.ancestor_ref,
            controller_name: of.controller_name,
            conditions: of.conditions,
        }
    }
}

/// An object that the controller keeps for the route.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct GeneratedObject {
    /// The API group; empty for core kinds.
    #[schemars(length(max = 253))]
    pub group: String,
    /// The kind.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// The namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// The name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An enum whose variants are printed as they are written.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// Every value, in the order of the API's documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that stands in the status.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// The types of condition.
    ConditionType {
        /// The summary: everything below is as it should be at every parent. For `kubectl get` and `kubectl wait`.
        Ready,
        /// The parent takes the route. Reasons: [`AcceptedReason`].
        Accepted,
        /// Everything that the route refers to is there and may be used. Reasons: [`ResolvedRefsReason`].
        ResolvedRefs,
        /// Every connected proxy has acknowledged the route. Reasons: [`ProgrammedReason`].
        Programmed,
        /// The target cannot honour a part of the route; only ever True. Reasons: [`PartiallySupportedReason`].
        PartiallySupported,
    }
}

words! {
    /// Why a route is, or is not, accepted by a parent.
    AcceptedReason {
        /// It is accepted.
        Accepted,
        /// An older route has the same hostname and match at this parent.
        Conflicted,
        /// The parent does not exist, or is of a kind that nobody here serves.
        NoMatchingParent,
        /// No listener of the parent serves one of the route's hostnames.
        NoMatchingListenerHostname,
        /// The listeners do not let routes of this namespace or kind attach.
        NotAllowedByListeners,
        /// A rule says something that cannot be done.
        InvalidRule,
        /// A JWTClaim with `verification: Required`, and nothing that verifies the token.
        UnverifiedClaim,
        /// An edit would move keys, without the annotation that allows it.
        RemapRefused,
        /// Not decided yet: the parent's kind is not installed.
        Pending,
        /// Of a policy: there is no such HTTPRoute, or no such rule of it.
        TargetNotFound,
    }
}

words! {
    /// Why the references of a route are, or are not, resolved.
    ResolvedRefsReason {
        /// They are.
        ResolvedRefs,
        /// A backend, or its port, does not exist.
        BackendNotFound,
        /// A backend in another namespace that no ReferenceGrant permits.
        RefNotPermitted,
        /// A backend of a kind that the target does not know.
        UnsupportedBackend,
        /// A Secret does not exist or lacks the entry it should have.
        SecretNotFound,
    }
}

words! {
    /// Why a route is, or is not, in force at every proxy.
    ProgrammedReason {
        /// It is.
        Programmed,
        /// The API server, or Envoy, refused what was rendered.
        ApplyFailed,
        /// An object of the same name belongs to someone else.
        NotOwned,
        /// The target's own kinds are not installed.
        TargetMissing,
        /// The gateway has no filter.
        FilterNotInstalled,
        /// Another DestinationRule hides ours.
        DestinationRuleHidden,
        /// Some proxies have not acknowledged it yet.
        ProxiesBehind,
        /// Nothing has been applied yet.
        Pending,
    }
}

words! {
    /// Why a target honours only a part of a route.
    PartiallySupportedReason {
        /// Fields that this target cannot honour; the message names each, and why.
        FieldsIgnored,
        /// The pods end before `drain.timeout` does; the message says what to set.
        DrainTruncated,
    }
}

words! {
    /// Why a route is, or is not, ready.
    ReadyReason {
        /// Every parent has accepted, resolved and programmed it.
        Ready,
        /// Not decided yet.
        Pending,
        /// A parent has not; its own conditions say why.
        NotReady,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_printed_as_they_are_written() {
        assert_eq!(
            AcceptedReason::NoMatchingListenerHostname.as_str(),
            "NoMatchingListenerHostname"
        );
        assert_eq!(format!("{:>14}|", ConditionType::ResolvedRefs), "  ResolvedRefs|");
        assert_eq!(ProgrammedReason::ALL.len(), 8);
    }
}
