//! An object as it is kept: what a turn reads of it, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use clew_core::model::ObjectName;
use clew_core::objects::{
    AuthorizationPolicy, BackendTrafficPolicy, DestinationRule, EnvoyFilter, ExtensionPolicy, Gateway,
    GatewayClass, HttpRoute, IstioGateway, ReferenceGrant, RequestAuthentication, VirtualService,
};
use clew_core::render::{MANAGED_BY, MANAGER};
use clew_crds::status::{CONTROLLER_NAME, WebSocketPolicyStatus, WebSocketRouteStatus};
use clew_crds::{WebSocketPolicy, WebSocketRoute};
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::DynamicObject;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::drains::Order;
use super::kind::Kind;
use crate::packed::Packed;

/// An object, as of one version.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// See [`version`].
    pub(crate) version: u64,
    pub(crate) uid: String,
    pub(crate) body: Body,
    /// Of a generated kind: all of it, so that it can be compared with what it is to be.
    pub(crate) live: Option<Arc<Live>>,
    /// Of a route, or of a policy, whose ancestors are its parents: what its status says.
    pub(crate) status: Option<Packed<WebSocketRouteStatus>>,
}

/// An object of a kind that is written here too.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Live {
    /// Without status and without what the API server keeps for itself. None: of other people's objects it only matters that
    /// they are there.
    object: Option<Packed<Value>>,
    /// It carries our label.
    pub(crate) is_ours: bool,
    /// And we have written it.
    pub(crate) is_written: bool,
}

impl Live {
    pub(crate) fn new(object: &Value, is_ours: bool, is_written: bool) -> Self {
        Self {
            object: is_ours.then(|| Packed::of(object)),
            is_ours,
            is_written,
        }
    }

    /// Of ours: what it is.
    pub(crate) fn object(&self) -> Value {
        self.object.as_ref().map(Packed::value).unwrap_or_default()
    }
}

/// What is read of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    /// Nothing: it is one of ours that says nothing to anybody here.
    Ours,
    Route(Packed<WebSocketRoute>),
    Policy(Arc<WebSocketPolicy>),
    Service(Packed<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Pod(Arc<PodFacts>),
    Secret(Arc<Secret>),
    GatewayClass(Arc<GatewayClass>),
    Gateway(Arc<Gateway>),
    ReferenceGrant(Arc<ReferenceGrant>),
    IstioGateway(Arc<IstioGateway>),
    VirtualService(Arc<VirtualService>),
    DestinationRule(Arc<DestinationRule>),
    /// None: it is not of ours.
    WasmPlugin(Option<Arc<Plugin>>),
    EnvoyFilter(Arc<EnvoyFilter>),
    RequestAuthentication(Arc<RequestAuthentication>),
    AuthorizationPolicy(Arc<AuthorizationPolicy>),
    /// Its labels.
    Namespace(BTreeMap<String, String>),
    HttpRoute(Arc<HttpRoute>),
    TrafficPolicy(Arc<BackendTrafficPolicy>),
    /// Of these only matters which there are.
    Unread,
    /// With what it says of our filter, if it is of ours.
    ExtensionPolicy(Arc<ExtensionPolicy>, Option<Arc<Plugin>>),
}

/// What a plugin of ours says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plugin {
    /// The gateway that its filter serves.
    pub(crate) gateway: String,
    /// Where the module is, and its SHA-256.
    pub(crate) url: String,
    pub(crate) sha256: String,
    /// Its gateway's sessions are to leave, because its listeners are about to change.
    pub(crate) drain: Option<Order>,
}

/// What of a pod concerns sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodFacts {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) grace_seconds: i64,
    /// When it was deleted, in milliseconds since the Unix epoch; None: it is to stay.
    pub(crate) deleted_ms: Option<u64>,
    /// The shortest sleep before SIGTERM of its containers; None: one of them has none, or something that says no time.
    pub(crate) pre_stop_seconds: Option<i64>,
    /// It runs, and may get requests.
    pub(crate) is_ready: bool,
    pub(crate) ip: Option<String>,
    /// An operator wants its sessions elsewhere; or what of that cannot be read.
    pub(crate) drain: Result<Option<Order>, String>,
}

impl Seen {
    /// Reads an object.
    ///
    /// # Errors
    /// What in it is not as its kind has it.
    pub(crate) fn read(kind: Kind, mut object: DynamicObject) -> Result<(ObjectName, Self), String> {
        let name = ObjectName::new(
            object.metadata.namespace.as_deref().unwrap_or_default(),
            object.metadata.name.as_deref().unwrap_or_default(),
        );
        let is_written = object.metadata.managed_fields.take().is_some_and(|fields| {
            fields
                .iter()
                .any(|one| one.manager.as_deref() == Some(CONTROLLER_NAME))
        });
        let version = version(&object);
        object.metadata.resource_version = None;
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let labels = object.metadata.labels.as_ref();
        let is_ours = labels
            .and_then(|labels| labels.get(MANAGED_BY))
            .map(String::as_str)
            == Some(MANAGER);
        let status = match object.data.as_object_mut() {
            Some(data) => data.remove("status"),
            None => None,
        };
        if let (Kind::Pod, Some(status)) = (kind, &status) {
            object.data["status"] = status.clone();
        }
        let status = match (kind, status) {
            // A status that another version wrote in other words is written anew.
            (Kind::WebSocketRoute, Some(status)) => serde_json::from_value(status).ok(),
            (Kind::WebSocketPolicy, Some(status)) => {
                let status: Option<WebSocketPolicyStatus> = serde_json::from_value(status).ok();
                status.map(|status| WebSocketRouteStatus {
                    parents: status.ancestors.into_iter().map(Into::into).collect(),
                    ..WebSocketRouteStatus::default()
                })
            }
            _ => None,
        };
        let value = whole(kind, object)?;
        let live = kind
            .is_generated()
            .then(|| Arc::new(Live::new(&value, is_ours, is_ours && is_written)));
        let body = match kind {
            Kind::VirtualService | Kind::DestinationRule | Kind::HttpRoute | Kind::BackendTrafficPolicy
                if is_ours =>
            {
                Body::Ours
            }
            _ => Body::read(kind, value).map_err(|error| error.to_string())?,
        };
        let seen = Self {
            version,
            uid,
            body,
            live,
            status: status.and_then(|status: WebSocketRouteStatus| Packed::new(&status).ok()),
        };
        Ok((name, seen))
    }

    /// Whether it is of a later version than another one, or of one that cannot be told.
    pub(crate) fn is_newer(&self, other: &Self) -> bool {
        self.version == 0 || self.version >= other.version
    }

    /// Whether a turn would find the same in both. The status of a route is what a turn says, not what it reads.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.body == other.body && self.live == other.live && self.uid == other.uid
    }

    /// Takes over what is the same in another one, so that it is there once, wherever it is kept.
    pub(crate) fn share(&mut self, other: &Self) {
        if self.body == other.body {
            self.body = other.body.clone();
        }
        if self.live == other.live {
            self.live.clone_from(&other.live);
        }
    }
}

/// A number that the API server makes larger with each change of a kind; 0: it cannot be told.
pub(crate) fn version(object: &DynamicObject) -> u64 {
    let version = object.metadata.resource_version.as_ref();
    version.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The whole object, with the type that lists leave out.
fn whole(kind: Kind, mut object: DynamicObject) -> Result<Value, String> {
    let resource = kind.resource();
    object.types = Some(kube::core::TypeMeta {
        api_version: resource.api_version,
        kind: resource.kind,
    });
    serde_json::to_value(object).map_err(|error| error.to_string())
}

impl Body {
    fn read(kind: Kind, value: Value) -> serde_json::Result<Self> {
        Ok(match kind {
            Kind::WebSocketRoute => Self::Route(packed(value)?),
            Kind::WebSocketPolicy => Self::Policy(typed(value)?),
            Kind::Service => Self::Service(packed(value)?),
            Kind::EndpointSlice => Self::EndpointSlice(typed(value)?),
            Kind::Secret => Self::Secret(typed(value)?),
            Kind::Pod => Self::Pod(Arc::new(PodFacts::of(&serde_json::from_value(value)?))),
            Kind::GatewayClass => Self::GatewayClass(typed(value)?),
            Kind::Gateway => Self::Gateway(Arc::new(known_fields(value)?)),
            Kind::HttpRoute => Self::HttpRoute(typed(value)?),
            Kind::BackendTrafficPolicy => Self::TrafficPolicy(typed(value)?),
            Kind::EnvoyProxy | Kind::ClientTrafficPolicy => Self::Unread,
            Kind::EnvoyExtensionPolicy => {
                let plugin = Plugin::of(kind, &value).map(Arc::new);
                Self::ExtensionPolicy(typed(value)?, plugin)
            }
            Kind::ReferenceGrant => Self::ReferenceGrant(typed(value)?),
            Kind::IstioGateway => Self::IstioGateway(typed(value)?),
            Kind::VirtualService => Self::VirtualService(typed(value)?),
            Kind::DestinationRule => Self::DestinationRule(typed(value)?),
            Kind::WasmPlugin => Self::WasmPlugin(Plugin::of(kind, &value).map(Arc::new)),
            Kind::EnvoyFilter => Self::EnvoyFilter(typed(value)?),
            Kind::RequestAuthentication => Self::RequestAuthentication(typed(value)?),
            Kind::AuthorizationPolicy => Self::AuthorizationPolicy(typed(value)?),
            Kind::Namespace => {
                let labels = value["metadata"]["labels"].as_object();
                let text =
                    |(label, value): (&String, &Value)| Some((label.clone(), value.as_str()?.to_owned()));
                Self::Namespace(labels.into_iter().flatten().filter_map(text).collect())
            }
        })
    }
}

fn packed<T: Serialize + DeserializeOwned>(value: Value) -> serde_json::Result<Packed<T>> {
    Packed::new(&serde_json::from_value(value)?)
}

fn typed<T: DeserializeOwned>(value: Value) -> serde_json::Result<Arc<T>> {
    serde_json::from_value(value).map(Arc::new)
}

/// Without the fields that another version of the kind has: it is the API server that says which there are.
fn known_fields<T: DeserializeOwned>(mut value: Value) -> serde_json::Result<T> {
    loop {
        let error = match serde_path_to_error::deserialize(&value) {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        let message = error.inner().to_string();
        let unknown = message
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.split('`').next());
        let removed = unknown.and_then(|field| {
            let mut at = &mut value;
            for segment in error.path() {
                use serde_path_to_error::Segment;
                at = match segment {
                    Segment::Seq { index } => at.get_mut(index)?,
                    Segment::Map { key } if key != field => at.get_mut(key)?,
                    _ => break,
                };
            }
            at.as_object_mut()?.remove(field)
        });
        if removed.is_none() {
            return Err(error.into_inner());
        }
    }
}

impl Plugin {
    /// None: it holds nothing of ours.
    pub(crate) fn of(kind: Kind, object: &Value) -> Option<Self> {
        match kind {
            Kind::WasmPlugin => Self::of_istio(&object["spec"]),
            Kind::EnvoyExtensionPolicy => Self::of_policy(object),
            _ => None,
        }
    }

    fn of_istio(spec: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        (spec["pluginName"] == "clew").then_some(())?;
        Some(Self {
            gateway: text(&spec["pluginConfig"]["gateway"])?,
            url: text(&spec["url"]).unwrap_or_default(),
            sha256: text(&spec["sha256"]).unwrap_or_default(),
            drain: None,
        })
    }

    /// Whether its gateway's sessions are to leave. What cannot be read is said, and nothing comes of it.
    fn order(policy: &Value) -> Option<Order> {
        let annotations = serde_json::from_value(policy["metadata"]["annotations"].clone()).ok()?;
        Order::read(&annotations).unwrap_or_else(|why| {
            let (namespace, name) = (&policy["metadata"]["namespace"], &policy["metadata"]["name"]);
            tracing::warn!(
                "CLEW0940: EnvoyExtensionPolicy {namespace}/{name}: its gateway is not drained: {why}"
            );
            None
        })
    }

    fn of_policy(policy: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let modules = policy["spec"]["wasm"].as_array()?;
        let ours = modules.iter().find(|module| module["name"] == "clew")?;
        let code = &ours["code"]["http"];
        Some(Self {
            gateway: text(&ours["config"]["gateway"])?,
            url: text(&code["url"]).unwrap_or_default(),
            sha256: text(&code["sha256"]).unwrap_or_default(),
            drain: Self::order(policy),
        })
    }
}

/// Of a pod that says nothing.
impl Default for PodFacts {
    fn default() -> Self {
        Self::of(&Pod::default())
    }
}

impl PodFacts {
    fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let metadata = &pod.metadata;
        // It says when the pod will be gone.
        let gone = metadata.deletion_timestamp.as_ref();
        let grace = metadata.deletion_grace_period_seconds.unwrap_or(0);
        let deleted = gone.map(|at| at.0.as_second().saturating_sub(grace));
        let containers = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let sleeps: Vec<_> = containers
            .iter()
            .map(|container| {
                let pre_stop = container.lifecycle.as_ref()?.pre_stop.as_ref()?;
                Some(pre_stop.sleep.as_ref()?.seconds)
            })
            .collect();
        let status = pod.status.as_ref();
        let mut conditions = status
            .and_then(|status| status.conditions.as_ref())
            .into_iter()
            .flatten();
        Self {
            is_ready: conditions.any(|one| one.type_ == "Ready" && one.status == "True"),
            ip: status.and_then(|status| status.pod_ip.clone()),
            deleted_ms: deleted.and_then(|second| u64::try_from(second.saturating_mul(1000)).ok()),
            labels: metadata.labels.clone().unwrap_or_default(),
            // Kubernetes' own default.
            grace_seconds: spec
                .and_then(|spec| spec.termination_grace_period_seconds)
                .unwrap_or(30),
            pre_stop_seconds: sleeps.into_iter().min().flatten(),
            drain: metadata.annotations.as_ref().map_or(Ok(None), Order::read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, Seen};
    use crate::cluster::kind::Kind;
    use kube::core::DynamicObject;
    use serde_json::{Value, json};

    fn read(kind: Kind, object: Value) -> Seen {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        Seen::read(kind, object).unwrap().1
    }

    #[test]
    fn an_object_is_ours_by_its_label_and_written_by_its_manager() {
        let object = |label: &str, manager: &str| {
            json!({"metadata": {
                "name": "a", "namespace": "b", "resourceVersion": "7",
                "labels": {"app.kubernetes.io/managed-by": label},
                "managedFields": [{"manager": manager, "operation": "Apply"}],
            }, "spec": {"hosts": ["a"]}})
        };
        for (label, manager, ours, written) in [
            ("clew", "clew.dev/controller", true, true),
            ("clew", "kubectl", true, false),
            ("Helm", "clew.dev/controller", false, false),
        ] {
            let seen = read(Kind::VirtualService, object(label, manager));
            let live = seen.live.unwrap();
            assert_eq!((live.is_ours, live.is_written), (ours, written));
            assert_eq!(live.object()["metadata"].get("managedFields"), None);
        }
    }

    #[test]
    fn a_status_is_no_news_and_an_older_version_neither() {
        let route = |version: &str, status: Value| {
            read(
                Kind::WebSocketRoute,
                json!({"metadata": {"name": "a", "namespace": "b", "resourceVersion": version}, "spec": {
                    "parentRefs": [{"name": "edge"}],
                    "rules": [{"backendRefs": [{"name": "chat", "port": 80}]}],
                }, "status": status}),
            )
        };
        let (old, new) = (
            route("9", json!({})),
            route("10", json!({"observedGeneration": 1})),
        );
        assert!(new.says_the_same(&old) && new.is_newer(&old) && !old.is_newer(&new));
        assert_eq!(new.status.unwrap().open().unwrap().observed_generation, Some(1));
    }

    #[test]
    fn a_gateway_of_a_newer_api_is_understood() {
        let seen = read(
            Kind::Gateway,
            json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {
                "gatewayClassName": "istio", "defaultScope": "All",
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP", "novel": {"a": 1},
                    "tls": {"mode": "Terminate", "frontendValidation": {}}}],
            }}),
        );
        let Body::Gateway(gateway) = seen.body else {
            panic!("{seen:?}")
        };
        assert_eq!(gateway.spec.listeners[0].port, 80);
        assert_eq!(
            gateway.spec.listeners[0].tls.as_ref().unwrap().mode.as_deref(),
            Some("Terminate")
        );
    }

    #[test]
    fn a_pod_says_how_long_it_may_take_to_end() {
        let pod = |containers: Value| {
            let seen = read(
                Kind::Pod,
                json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"terminationGracePeriodSeconds": 90, "containers": containers}}),
            );
            match seen.body {
                Body::Pod(facts) => (facts.grace_seconds, facts.pre_stop_seconds),
                other => panic!("{other:?}"),
            }
        };
        let sleeps =
            |seconds: i64| json!({"name": "c", "lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}});
        assert_eq!(pod(json!([sleeps(60), sleeps(70)])), (90, Some(60)));
        assert_eq!(pod(json!([sleeps(60), {"name": "d"}])), (90, None));
    }
}
