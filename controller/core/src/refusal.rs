//! What a user did wrong, as values: a stable code, the object, the field, and a sentence that says what to do.

use std::fmt;

use clew_crds::status::{AcceptedReason, ProgrammedReason, ResolvedRefsReason};

use crate::model::ObjectName;
use crate::objects::Source;

/// One mistake in one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of mistake.
    pub code: Code,
    /// In which object.
    pub object: ObjectRef,
    /// Where that object was written.
    pub source: Source,
    /// The path of the field, such as `spec.rules[0].backendRefs[1].port`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
    /// For a mistake that concerns one parent only: its index in `spec.parentRefs`.
    pub parent: Option<usize>,
}

/// Names an object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// `WebSocketRoute`, `Gateway` and so on.
    pub kind: &'static str,
    /// Namespace and name.
    pub name: ObjectName,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} {}: {}: {}",
            self.source, self.code, self.object, self.field, self.message
        )
    }
}

/// Where a refusal shows in a route's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `Accepted: False`: the route is not in force at the parent.
    Accepted(AcceptedReason),
    /// `ResolvedRefs: False`: the route is in force without what is missing.
    ResolvedRefs(ResolvedRefsReason),
    /// `Programmed: False`: the parent takes the route, and something there keeps it from being in force.
    Programmed(ProgrammedReason),
    /// Not the route's fault: an object that it may refer to is refused.
    Elsewhere,
}

/// Every code once: number, name, condition, and what it means.
macro_rules! codes {
    ($($number:literal $name:ident $condition:expr, $meaning:literal;)+) => {
        /// The kinds of mistakes. Codes are promises: a number never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $meaning] $name),+ }

        impl Code {
            /// Every code, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// `CLEW0101` and so on.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => concat!("CLEW", stringify!($number))),+ }
            }

            /// A word for people.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// When it is given.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning),+ }
            }

            /// Where it shows in a route's status.
            #[must_use]
            pub const fn condition(self) -> Condition {
                use AcceptedReason::*;
                use Condition::{
                    Accepted as NotAccepted, Elsewhere, Programmed as NotProgrammed, ResolvedRefs as Unresolved,
                };
                use ProgrammedReason::{DestinationRuleHidden, FilterNotInstalled};
                use ResolvedRefsReason::{BackendNotFound, RefNotPermitted, SecretNotFound, UnsupportedBackend};
                match self { $(Self::$name => $condition),+ }
            }
        }
    };
}

codes! {
    0101 DuplicateObject Elsewhere, "Two objects of one kind have the same namespace and name; the first one counts.";
    0102 ParentNotFound NotAccepted(NoMatchingParent), "No Gateway, or Service, has the name that the parentRef says.";
    0103 ParentNotServed NotAccepted(NoMatchingParent), "The parent is of a kind or a class that is not served here.";
    0104 SectionNotFound NotAccepted(NoMatchingParent), "The Gateway has no listener with this sectionName or port.";
    0105 ListenerRefused NotAccepted(NoMatchingParent), "Every listener that the parentRef selects is refused itself.";
    0106 NoMatchingHostname NotAccepted(NoMatchingListenerHostname), "No listener of the parent serves one of the route's hostnames.";
    0107 NamespaceNotAllowed NotAccepted(NotAllowedByListeners), "The listener takes no routes of this namespace.";
    0108 KindNotAllowed NotAccepted(NotAllowedByListeners), "The listener takes no WebSocketRoutes, or no HTTPRoutes where they become such.";
    0109 MatchTaken NotAccepted(Conflicted), "An older route has the same match on the same hostname of the same listener.";
    0110 MatchRepeated NotAccepted(InvalidRule), "Two rules of the route have the same match, so the second would never be reached.";
    0111 RuleIdTaken NotAccepted(InvalidRule), "Another rule's name has the same hash; renaming the rule mends it.";
    0112 ExpressionInvalid NotAccepted(InvalidRule), "A regular expression that RE2 does not take.";
    0113 PathInvalid NotAccepted(InvalidRule), "A path that no request can have.";
    0114 KeySourceIncomplete NotAccepted(InvalidRule), "A key source whose type and members do not fit.";
    0115 GenerateIncomplete NotAccepted(InvalidRule), "onMissing: Generate without generate, or the other way round.";
    0116 DrainInvalid NotAccepted(InvalidRule), "A close code or reason that a Close frame cannot carry.";
    0117 HostnameInvalid NotAccepted(InvalidRule), "A hostname that is neither a host nor a wildcard.";
    0118 ClaimUnverified NotAccepted(UnverifiedClaim), "A JWTClaim with verification: Required, and nothing that verifies the token that it names.";
    0119 RuleNameInvalid NotAccepted(InvalidRule), "Rules without a name, or with the same one, in a route with several.";
    0120 BackendMissing Unresolved(BackendNotFound), "No Service has this name; its share of the handshakes is answered with 500.";
    0121 PortMissing Unresolved(BackendNotFound), "The Service has no such port; its share of the handshakes is answered with 500.";
    0122 BackendForeign Unresolved(RefNotPermitted), "A backend in another namespace needs a ReferenceGrant there; its share is answered with 500.";
    0123 BackendUnsupported Unresolved(UnsupportedBackend), "A backend of a kind, or with a protocol, that cannot be reached; its share is answered with 500.";
    0124 SecretMissing Unresolved(SecretNotFound), "A Secret that the route refers to does not exist or lacks its entry; without keys no token is good: 401.";
    0125 KeysWouldMove NotAccepted(RemapRefused), "An edit that reads the keys of a live route or policy from elsewhere, without the annotation clew.dev/allow-remap: \"true\".";
    0126 OriginInvalid NotAccepted(InvalidRule), "An entry of security.origin.allowed that no browser's Origin can equal.";
    0127 PersistenceInvalid NotAccepted(InvalidRule), "A sessionPersistence that cannot carry a token: its type and members do not fit, or its cookie or header is another's.";
    0128 KeySetInvalid NotAccepted(InvalidRule), "A Secret whose jwks is not a JSON Web Key Set of public keys.";
    0131 ServerUnsuited NotAccepted(NoMatchingParent), "The servers of an Istio Gateway that the parentRef selects do not speak HTTP, or only redirect.";
    0132 MatchShadowed NotAccepted(Conflicted), "An older route or VirtualService takes the match's handshakes first, because Istio tries them in the order of their age.";
    0133 MeshHostTaken NotAccepted(Conflicted), "Another VirtualService or an older route has the Service's host on the mesh, where only one counts.";
    0134 MatchUnsupported NotAccepted(InvalidRule), "A match that the parent's own kind of route cannot express.";
    0135 RuleHidden NotProgrammed(DestinationRuleHidden), "Another DestinationRule hides the one that the route needs.";
    0136 FilterDisplaced NotProgrammed(FilterNotInstalled), "An EnvoyExtensionPolicy takes the place of the one that holds Clew's filter.";
    0137 ParentKindMissing NotAccepted(AcceptedReason::Pending), "The parent's kind is not installed, so nobody can say yet whether it takes the route.";
    0138 TargetMissing NotAccepted(TargetNotFound), "A policy's namespace has no HTTPRoute of this name, or that has no such rule.";
    0139 TargetTaken NotAccepted(Conflicted), "An older policy is for the same HTTPRoute, or for the same rule of it.";
    0140 TargetUnsuited NotAccepted(InvalidRule), "An HTTPRoute that Clew wrote itself, one with nothing that a policy could be for, a rule whose sessions the mesh binds to pods by itself, or one without a name that would need one.";
    0141 TrafficPolicyTaken NotAccepted(Conflicted), "A BackendTrafficPolicy of somebody else's is for the target, and a second one beside it would not hold.";
    0142 DestinationRuleTaken NotAccepted(Conflicted), "A DestinationRule holds for the target's backend, and the one that a policy needs would take its place.";
    0143 RouteNameTaken NotAccepted(Conflicted), "Another HTTPRoute of the Gateway has a rule of the same name to the same backend, and Istio calls both the same.";
    0144 BackendsSplit Unresolved(UnsupportedBackend), "A rule that splits or copies requests: a policy's sessions need one Service to go to.";
    0201 GatewayAddressInvalid Elsewhere, "An address of a Gateway that cannot be bound.";
    0202 ListenerProtocolUnsupported Elsewhere, "A listener that is neither HTTP nor HTTPS.";
    0203 ListenerConflict Elsewhere, "Another listener has the port, the name or the hostname already.";
    0204 CertificateMissing Elsewhere, "An HTTPS listener without a Secret that holds its certificate.";
    0205 CertificateUnreadable Elsewhere, "A Secret whose tls.crt or tls.key is not what its name says.";
    0206 CertificateForeign Elsewhere, "A certificate in another namespace needs a ReferenceGrant there.";
    0207 GatewayFieldUnsupported Elsewhere, "A field of a Gateway that stand-alone Envoy cannot follow.";
    0208 EndpointInvalid Elsewhere, "An endpoint without an IP address.";
    0209 SigningKeyInvalid Elsewhere, "An entry of a Secret of type clew.dev/signing-keys that is too short for a key; it is left out.";
    0210 SigningKeysTwice Elsewhere, "A second Secret of type clew.dev/signing-keys; the first one counts.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Code;

    #[test]
    fn numbers_are_unique_and_in_order() {
        let numbers: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(
            numbers,
            numbers
                .iter()
                .copied()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
        );
        assert_eq!(Code::DuplicateObject.to_string(), "CLEW0101");
        assert!(numbers.iter().all(|number| number.len() == 8));
    }
}
