//! What there is around a Gateway of Envoy Gateway's: of its policies the older one for a Gateway counts, and a Gateway has one
//! EnvoyProxy. What is other people's stays theirs, and has to say itself what the filter needs.

use clew_core::model::{ObjectName, Proxies};
use clew_core::objects::{ExtensionPolicySpec, PolicyTarget};
use clew_core::render::gateway_api::{
    BUFFER_BYTES, channel_cluster, client_traffic_policy, envoy_proxy, extension_policy, installed,
    placeholder,
};
use clew_core::render::istio::Module;
use clew_core::render::{MANAGED_BY, MANAGER};
use clew_core::validate::class::{ENVOY_GATEWAY, ISTIO, ISTIO_CLASS};
use clew_crds::Quantity;
use clew_filter_config::plugin::PluginConfig;
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::get;
use crate::cluster::apply::api;
use crate::cluster::kind::Kind;
use crate::failure::{Failure, refused};

/// What others have for a Gateway.
pub(super) struct Surroundings {
    gateway: ObjectName,
    /// An EnvoyProxy of theirs leads to the channel.
    has_proxy: bool,
    /// The Gateway names ours.
    is_adopted: bool,
    /// A ClientTrafficPolicy of theirs allows enough.
    has_buffers: bool,
}

/// Who runs the pods of a Gateway of Gateway API.
pub(super) async fn proxies(
    client: &Client,
    gateway: &ObjectName,
    found: &DynamicObject,
) -> Result<Proxies, Failure> {
    let class = found.data["spec"]["gatewayClassName"]
        .as_str()
        .unwrap_or_default();
    let controller = class_of(client, class).await?;
    let controller = controller.map(|class| class.data["spec"]["controllerName"].clone());
    match controller.as_ref().and_then(Value::as_str) {
        Some(ENVOY_GATEWAY) => Ok(Proxies::OfEnvoyGateway(gateway.clone())),
        Some(ISTIO) => Ok(Proxies::Of(gateway.clone())),
        None if class == ISTIO_CLASS => Ok(Proxies::Of(gateway.clone())),
        _ => Err(Failure::refused(format!(
            "Gateway {gateway} is of class {class:?}, whose gateways have no filter; Istio's and Envoy Gateway's have"
        ))),
    }
}

async fn class_of(client: &Client, class: &str) -> Result<Option<DynamicObject>, Failure> {
    let api = Api::<DynamicObject>::all_with(client.clone(), &Kind::GatewayClass.resource());
    let got = api.get_opt(class).await;
    got.map_err(|error| refused(&format!("GatewayClass {class} cannot be read"), &error))
}

/// Tells a module with a configuration from every other.
pub(super) fn mark(module: &Module, config: &PluginConfig) -> String {
    let all = json!([module.url, module.sha256, config]).to_string();
    let digest = Sha256::digest(all);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Surroundings {
    /// Looks around.
    ///
    /// # Errors
    /// Where something of somebody's is in the way: which, and what to do.
    pub(super) async fn of(client: &Client, gateway: &ObjectName) -> Result<Self, Failure> {
        let found = get(client, Kind::Gateway, gateway).await?.unwrap_or_else(|| {
            DynamicObject::new(&gateway.name, &Kind::Gateway.resource()).within(&gateway.namespace)
        });
        let reference = &found.data["spec"]["infrastructure"]["parametersRef"];
        let ours = installed(gateway);
        let is_adopted = reference["name"] == ours.name.as_str();
        let has_proxy = !is_adopted && leads_to_the_channel(client, gateway, &found).await?;
        if let Some(policy) = theirs(client, Kind::EnvoyExtensionPolicy, &found, gateway)
            .await?
            .first()
        {
            return Err(Failure::refused(format!(
                "EnvoyExtensionPolicy {} is for Gateway {gateway}, and of two the older one alone counts; attach it to HTTPRoutes with mergeType: StrategicMerge and no wasm of its own",
                name_of(policy)
            )));
        }
        let policies = theirs(client, Kind::ClientTrafficPolicy, &found, gateway).await?;
        for policy in &policies {
            let limit = policy.data["spec"]["connection"]["bufferLimit"].clone();
            let limit = serde_json::from_value::<Quantity>(limit).ok();
            if limit < Some(Quantity::from_bytes(BUFFER_BYTES.into())) {
                return Err(Failure::refused(format!(
                    "ClientTrafficPolicy {} is for Gateway {gateway}, and takes the place of the one that lets idle sessions get their Close; set connection.bufferLimit: {}Mi in it, which cuts once what is open there",
                    name_of(policy),
                    BUFFER_BYTES >> 20
                )));
            }
        }
        Ok(Self {
            has_buffers: policies.iter().any(|policy| !is_for_a_section(policy)),
            gateway: gateway.clone(),
            has_proxy,
            is_adopted,
        })
    }

    /// What the Gateway lacks, as a merge patch.
    pub(super) fn adoption(&self) -> Option<Value> {
        let reference = json!({
            "group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": installed(&self.gateway).name,
        });
        (!self.is_adopted && !self.has_proxy)
            .then(|| json!({"spec": {"infrastructure": {"parametersRef": reference}}}))
    }

    /// What is to be there, the module first.
    pub(super) fn objects(
        &self,
        module: &Module,
        config: &PluginConfig,
        (controller, port): (&ObjectName, u16),
    ) -> Vec<(Kind, Value)> {
        let gateway = &self.gateway;
        let policy = json!(extension_policy(gateway, module, config));
        let mut objects = vec![(Kind::EnvoyExtensionPolicy, policy)];
        if !self.has_proxy {
            objects.push((Kind::EnvoyProxy, json!(envoy_proxy(gateway, controller, port))));
        }
        if !self.has_buffers {
            objects.push((Kind::ClientTrafficPolicy, json!(client_traffic_policy(gateway))));
        }
        objects.push((Kind::HttpRoute, json!(placeholder(gateway))));
        objects
    }
}

/// Whether the EnvoyProxy that a Gateway, or its class, names has the channel's cluster in its bootstrap. None is named: false.
async fn leads_to_the_channel(
    client: &Client,
    gateway: &ObjectName,
    found: &DynamicObject,
) -> Result<bool, Failure> {
    let spec = &found.data["spec"];
    let own = spec["infrastructure"]["parametersRef"]["name"].as_str();
    let (whose, named) = match own {
        Some(name) => (
            format!("Gateway {gateway}"),
            ObjectName::new(&gateway.namespace, name),
        ),
        None => {
            let class = spec["gatewayClassName"].as_str().unwrap_or_default();
            let of_class = class_of(client, class).await?;
            let reference = of_class.map(|class| class.data["spec"]["parametersRef"].clone());
            let text = |field: &str| reference.as_ref()?[field].as_str().map(str::to_owned);
            let (Some(name), Some(namespace)) = (text("name"), text("namespace")) else {
                return Ok(false);
            };
            (format!("GatewayClass {class}"), ObjectName::new(namespace, name))
        }
    };
    let proxy = get(client, Kind::EnvoyProxy, &named).await?;
    let value = proxy.map(|proxy| proxy.data["spec"]["bootstrap"]["value"].clone());
    let bootstrap = value.as_ref().and_then(Value::as_str).unwrap_or_default();
    match bootstrap.contains(channel_cluster()) {
        true => Ok(true),
        false => Err(Failure::refused(format!(
            "{whose} names EnvoyProxy {named}, whose pods do not know the controller; add to its spec.bootstrap (type: Merge) a cluster {} as clew install --print shows it for a Gateway that names none, and install again",
            channel_cluster()
        ))),
    }
}

/// Other people's policies of a kind for a Gateway.
async fn theirs(
    client: &Client,
    kind: Kind,
    found: &DynamicObject,
    gateway: &ObjectName,
) -> Result<Vec<DynamicObject>, Failure> {
    let listed = api(client, kind, &gateway.namespace)
        .list(&ListParams::default())
        .await;
    let listed = listed.map_err(|error| refused(&format!("{kind} cannot be listed"), &error))?;
    let is_theirs = |policy: &DynamicObject| {
        policy.labels().get(MANAGED_BY).map(String::as_str) != Some(MANAGER) && is_for(policy, kind, found)
    };
    Ok(listed.items.into_iter().filter(is_theirs).collect())
}

/// Whether a policy is for a Gateway, or, where its buffers are meant, for one of its listeners.
fn is_for(policy: &DynamicObject, kind: Kind, gateway: &DynamicObject) -> bool {
    let Ok(spec) = serde_json::from_value::<ExtensionPolicySpec>(policy.data["spec"].clone()) else {
        return false;
    };
    let names = |target: &PolicyTarget| {
        target.kind == "Gateway"
            && target.name == gateway.name_any()
            && (target.section_name.is_none() || kind == Kind::ClientTrafficPolicy)
    };
    let labels = gateway.labels();
    spec.target_ref.iter().chain(&spec.target_refs).any(names)
        || spec.target_selectors.iter().any(|selector| {
            selector.kind == "Gateway"
                && selector.match_expressions.is_empty()
                && selector
                    .match_labels
                    .iter()
                    .all(|(label, value)| labels.get(label) == Some(value))
        })
}

fn is_for_a_section(policy: &DynamicObject) -> bool {
    let spec = &policy.data["spec"];
    let all = spec["targetRefs"].as_array().into_iter().flatten();
    let mut targets = all
        .chain(Some(&spec["targetRef"]).filter(|one| one.is_object()))
        .peekable();
    targets.peek().is_some() && targets.all(|target| target["sectionName"].is_string())
}

fn name_of(object: &DynamicObject) -> ObjectName {
    ObjectName::new(object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use super::{is_for, is_for_a_section};
    use crate::cluster::kind::Kind;
    use kube::api::DynamicObject;
    use serde_json::{Value, json};

    fn object(metadata: Value, spec: Value) -> DynamicObject {
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn policies_for_a_gateway_are_found_by_name_and_by_label() {
        let gateway = object(
            json!({"name": "edge", "namespace": "infra", "labels": {"a": "b"}}),
            json!({}),
        );
        let named = |name: &str, section: Option<&str>| json!({"targetRefs": [{"kind": "Gateway", "name": name, "sectionName": section}]});
        let selected =
            |labels: Value| json!({"targetSelectors": [{"kind": "Gateway", "matchLabels": labels}]});
        for (spec, extension, traffic) in [
            (named("edge", None), true, true),
            (named("edge", Some("http")), false, true),
            (named("other", None), false, false),
            (selected(json!({"a": "b"})), true, true),
            (selected(json!({"a": "c"})), false, false),
        ] {
            let policy = object(json!({"name": "p", "namespace": "infra"}), spec.clone());
            assert_eq!(
                is_for(&policy, Kind::EnvoyExtensionPolicy, &gateway),
                extension,
                "{spec}"
            );
            assert_eq!(
                is_for(&policy, Kind::ClientTrafficPolicy, &gateway),
                traffic,
                "{spec}"
            );
        }
        let of_section = |spec| is_for_a_section(&object(json!({"name": "p"}), spec));
        assert!(of_section(named("edge", Some("http"))));
        assert!(!of_section(named("edge", None)) && !of_section(selected(json!({}))));
    }
}
