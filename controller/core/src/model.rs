//! What valid manifests mean: newtypes, nothing optional that must be there, nothing of an API version.

mod attached;
mod backend;
mod gateway;
mod gateway_api;
mod hostname;
mod istio;
mod jwt;
mod matching;
mod name;
mod parent;
mod rule;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clew_filter_config::persistence::SigningKey;

pub use attached::{AttachedPolicy, AttachedRoute, Section, Way};
pub use backend::{Backend, BackendId, Pod};
pub use gateway::{AttachedRule, Certificate, Gateway, Listener, Protocol, TlsHost, VirtualHost};
pub use gateway_api::GatewayApi;
pub use hostname::Hostname;
pub use istio::{GATEWAY_NAME, Istio, IstioService, Proxies, UserRule};
pub use jwt::{Jwks, JwtProvider};
pub use matching::{Expression, HeaderRule, Match, Path, Pattern, QueryRule};
pub use name::{ObjectName, Owner, OwnerKind, RuleId, RuleName};
pub use parent::Parent;
pub use rule::{BackendShare, Fault, FaultAbort, FaultDelay, Outlier, Resilience, Rule, Target};

/// Everything that is to be in force.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Those of stand-alone Envoy, in the order of their names.
    pub gateways: Vec<Gateway>,
    /// What Istio is to carry out.
    pub istio: Istio,
    /// What gateways of Gateway API are to carry out that are not Istio's.
    pub gateway_api: GatewayApi,
    /// The backends that a rule of some gateway names and that exist.
    pub backends: BTreeMap<BackendId, Backend>,
    /// The certificates that a listener shows, by the name of their Secret.
    pub certificates: BTreeMap<ObjectName, Certificate>,
    /// The keys of persistence tokens that a Secret gives, of which one signs. Empty: no Secret does.
    pub signing_keys: Vec<SigningKey>,
    /// The key sets that rules verify tokens with, by the name of their Secret. One that is not here has no key.
    pub key_sets: BTreeMap<ObjectName, Jwks>,
}

impl World {
    /// Every rule that is in force somewhere, as often as it is.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        let of_others = self.attached().flat_map(|route| &route.rules);
        self.rules_here()
            .chain(of_others.map(|attached| &attached.rule))
            .chain(self.policies().flat_map(|policy| &policy.rules))
    }

    /// Every rule at stand-alone Envoy, as often as it is in force.
    pub fn rules_here(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.gateways.iter().flat_map(Gateway::rules)
    }

    /// Every policy at a gateway of others.
    pub fn policies(&self) -> impl Iterator<Item = &AttachedPolicy> {
        self.istio.policies.iter().chain(&self.gateway_api.policies)
    }

    /// Every route at a parent that is not on this machine.
    pub fn attached(&self) -> impl Iterator<Item = &AttachedRoute> {
        self.istio.routes.iter().chain(&self.gateway_api.routes)
    }

    /// The gateways of others that have, or are to have, the filter.
    #[must_use]
    pub fn filtered(&self) -> BTreeSet<&Parent> {
        self.proxies().map(|(parent, _)| parent).collect()
    }

    /// The proxies of these gateways.
    pub fn proxies(&self) -> impl Iterator<Item = (&Parent, &Proxies)> {
        self.istio.proxies.iter().chain(&self.gateway_api.proxies)
    }

    /// Those of one of them. None: it has no filter.
    #[must_use]
    pub fn proxies_of(&self, parent: &Parent) -> Option<&Proxies> {
        let of_istio = self.istio.proxies.get(parent);
        of_istio.or_else(|| self.gateway_api.proxies.get(parent))
    }

    /// The rules that the filters of each of them serve.
    pub fn rules_by_proxies(&self) -> impl Iterator<Item = (&Proxies, Vec<&Arc<Rule>>)> {
        let of_istio = self.istio.rules_by_proxies().into_iter();
        of_istio.chain(self.gateway_api.rules_by_proxies())
    }

    /// Every pod of every backend whose endpoint is terminating: `(backend, pod)`.
    pub fn terminating(&self) -> impl Iterator<Item = (&BackendId, &Pod)> {
        self.backends.iter().flat_map(|(id, backend)| {
            backend
                .pods
                .iter()
                .filter(|pod| pod.terminating)
                .map(move |pod| (id, pod))
        })
    }
}
