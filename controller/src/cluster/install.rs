//! The module on a gateway, as an act that is announced: the first plugin of a gateway changes its listeners and cuts what is
//! open there. Later changes of it do not on Istio; on Envoy Gateway every one does, so that sessions have to leave first.

mod envoy_gateway;

use std::collections::BTreeSet;

use envoy_gateway::Surroundings;

use clew_core::model::{ObjectName, Proxies};
use clew_core::objects::{IstioGateway, RootNamespace};
use clew_core::render::gateway_api::channel_cluster;
use clew_core::render::istio::{Module, envoy_filter, wasm_plugin};
use clew_core::render::{MANAGED_BY, MANAGER};
use clew_crds::status::CONTROLLER_NAME;
use clew_filter_config::plugin::{FailureMode, PluginConfig};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::apply::api;
use super::difference::{differs, has};
use super::drains::DRAIN;
use super::gateway_pods::{GATEWAY_NAME, OWNING_NAME, OWNING_NAMESPACE};
use super::kind::Kind;
use super::secrets::Secrets;
use super::server::{MODULES, module_file};
use crate::channel::tokens::token_for;
use crate::failure::{Failure, refused};
use crate::module;

/// Where a pod of a gateway of Istio's tells its metrics, and one of Envoy Gateway's.
const METRICS_PORTS: [u16; 2] = [15090, 19001];
/// Whoever writes what the controller does not look after.
pub(crate) const INSTALLER: &str = "clew.dev/install";
const UPGRADES: &str = "envoy_http_downstream_cx_upgrades_active";

/// What is to be installed.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) gateway: ObjectName,
    /// The controller's Service and its port.
    pub(crate) service: ObjectName,
    pub(crate) port: u16,
    pub(crate) failure_mode: FailureMode,
    /// Istio's.
    pub(crate) root_namespace: RootNamespace,
}

/// An installation that was looked into and not made yet.
pub(crate) struct Installation {
    client: Client,
    /// The one with the module first, and what goes with it.
    pub(crate) objects: Vec<(Kind, Value)>,
    /// Of all of them.
    pub(crate) name: ObjectName,
    /// What the Gateway lacks, as a merge patch.
    adoption: Option<Value>,
    /// What the proxies say when they have it; empty where they do not.
    pub(crate) mark: String,
    /// What the pods are called by.
    pub(crate) proxies: Proxies,
    /// How many pods there are.
    pub(crate) pods: usize,
    /// How many WebSockets they hold, as far as they say.
    pub(crate) sessions: Option<u64>,
    pub(crate) standing: Standing,
}

/// What there is already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing: what is open will be cut.
    Absent,
    /// Another module, or another configuration.
    Older,
    /// This very one.
    Same,
}

impl Installation {
    /// Looks into it.
    ///
    /// # Errors
    /// When there is no such gateway, something is in the way, or the cluster cannot be reached.
    pub(crate) async fn prepare(client: Client, wish: &Wish) -> Result<Self, Failure> {
        let proxies = proxies(&client, &wish.gateway).await?;
        let pods = pods(&client, &proxies).await?;
        check_service(&client, wish).await?;
        let secrets = Secrets::of(&client, &wish.service.namespace).await?;
        let host = format!(
            "{}.{}.svc.cluster.local",
            wish.service.name, wish.service.namespace
        );
        let gateway = proxies.to_string();
        let is_envoy_gateways = matches!(proxies, Proxies::OfEnvoyGateway(_));
        let mut config = PluginConfig {
            cluster: match is_envoy_gateways {
                true => channel_cluster().to_owned(),
                false => format!("outbound|{}||{host}", wish.port),
            },
            token: token_for(&secrets.channel, &gateway),
            failure_mode: wish.failure_mode,
            // Istio's access logs are a Telemetry of the user's, which need not show the facts.
            access_log: false,
            installation: String::new(),
            gateway,
        };
        let module = Module {
            url: format!("http://{host}:{}{MODULES}{}", wish.port, module_file()),
            sha256: module::sha256(),
        };
        let mut adoption = None;
        let objects = match &proxies {
            Proxies::OfEnvoyGateway(gateway) => {
                config.installation = envoy_gateway::mark(&module, &config);
                let around = Surroundings::of(&client, gateway).await?;
                adoption = around.adoption();
                around.objects(&module, &config, (&wish.service, wish.port))
            }
            Proxies::Of(_) | Proxies::Selected(_) => {
                let namespace = namespace(&proxies, &pods, wish);
                let plugin = wasm_plugin(&proxies, &namespace, &module, &config);
                vec![
                    (Kind::WasmPlugin, json!(plugin)),
                    (Kind::EnvoyFilter, json!(envoy_filter(&proxies, &namespace))),
                ]
            }
        };
        let text = |field: &str| {
            let first = objects
                .first()
                .and_then(|(_, first)| first["metadata"][field].as_str());
            first.unwrap_or_default().to_owned()
        };
        let name = ObjectName::new(text("namespace"), text("name"));
        let standing = match standing(&client, &name, &objects).await? {
            Standing::Same if adoption.is_some() => Standing::Older,
            standing => standing,
        };
        Ok(Self {
            sessions: sessions(&client, &pods, METRICS_PORTS[usize::from(is_envoy_gateways)]).await,
            adoption,
            mark: config.installation,
            pods: pods.len(),
            client,
            objects,
            name,
            proxies,
            standing,
        })
    }

    /// Whether a change of it ends what is open, unless that has left before.
    pub(crate) fn cuts_when_changed(&self) -> bool {
        matches!(self.proxies, Proxies::OfEnvoyGateway(_))
    }

    /// The kinds of what is written.
    pub(crate) fn kinds(&self) -> String {
        let kinds: Vec<_> = self
            .objects
            .iter()
            .map(|(kind, _)| kind.resource().kind)
            .collect();
        match kinds.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => kinds.concat(),
        }
    }

    /// Has all sessions of the gateway leave from a moment on, or lets new ones in again.
    ///
    /// # Errors
    /// When the API server says no.
    pub(crate) async fn drain(&self, since: Option<&str>) -> Result<(), Failure> {
        let api = api(&self.client, Kind::EnvoyExtensionPolicy, &self.name.namespace);
        let patch = json!({"metadata": {"annotations": {DRAIN: since}}});
        let params = PatchParams {
            field_manager: Some(INSTALLER.to_owned()),
            ..PatchParams::default()
        };
        let answer = api
            .patch_metadata(&self.name.name, &params, &Patch::Merge(&patch))
            .await;
        answer
            .map(drop)
            .map_err(|error| refused(&format!("{} cannot be written", self.name), &error))
    }

    /// Why it may be in the wrong place: nothing says where the pods are.
    pub(crate) fn nobody(&self) -> Option<String> {
        let is_selected = matches!(self.proxies, Proxies::Selected(_)) && self.pods == 0;
        is_selected.then(|| {
            format!(
                "no pod has the labels {} that the Gateway selects; the filter goes into namespace {}, and pods that come anywhere else do not get it. \
                 kubectl get pods -A --show-labels says which labels yours have",
                self.proxies, self.name.namespace
            )
        })
    }

    /// Asks whether the API server would take it, and changes nothing.
    ///
    /// # Errors
    /// When it would not.
    pub(crate) async fn rehearse(&self) -> Result<(), Failure> {
        for (kind, object) in &self.objects {
            self.write(*kind, object, true).await?;
        }
        Ok(())
    }

    /// Makes it: what a Gateway is to name is there before it does.
    ///
    /// # Errors
    /// When the API server says no.
    pub(crate) async fn make(&self) -> Result<(), Failure> {
        let (named, others): (Vec<_>, Vec<_>) = self
            .objects
            .iter()
            .partition(|(kind, _)| *kind == Kind::EnvoyProxy);
        for (kind, object) in named {
            self.write(*kind, object, false).await?;
        }
        if let (Some(patch), Proxies::OfEnvoyGateway(gateway)) = (&self.adoption, &self.proxies) {
            let api = api(&self.client, Kind::Gateway, &gateway.namespace);
            let params = PatchParams::default();
            let answer = api.patch(&gateway.name, &params, &Patch::Merge(patch)).await;
            answer.map_err(|error| refused(&format!("Gateway {gateway} cannot be written"), &error))?;
        }
        for (kind, object) in others {
            self.write(*kind, object, false).await?;
        }
        Ok(())
    }

    async fn write(&self, kind: Kind, object: &Value, is_rehearsal: bool) -> Result<(), Failure> {
        let manager = match self.cuts_when_changed() {
            true => INSTALLER,
            false => CONTROLLER_NAME,
        };
        let params = PatchParams {
            dry_run: is_rehearsal,
            ..PatchParams::apply(manager).force()
        };
        let api = api(&self.client, kind, &self.name.namespace);
        let answer = api.patch(&self.name.name, &params, &Patch::Apply(object)).await;
        answer
            .map(drop)
            .map_err(|error| refused(&format!("{kind} {} cannot be written", self.name), &error))
    }
}

async fn proxies(client: &Client, gateway: &ObjectName) -> Result<Proxies, Failure> {
    let istio = get(client, Kind::IstioGateway, gateway).await?;
    let other = get(client, Kind::Gateway, gateway).await?;
    match (istio, other) {
        (Some(_), Some(_)) => Err(Failure::refused(format!(
            "there are two Gateways {gateway}, Istio's own and Gateway API's; rename one of them"
        ))),
        (Some(found), None) => {
            let read: IstioGateway = serde_json::from_value(json!(found))
                .map_err(|error| Failure::refused(format!("Gateway {gateway} is not understood: {error}")))?;
            match read.spec.selector.is_empty() {
                // It would act on every pod of the namespace.
                true => Err(Failure::refused(format!(
                    "Gateway {gateway} selects no pods; give it a selector"
                ))),
                false => Ok(Proxies::Selected(read.spec.selector)),
            }
        }
        (None, Some(found)) => envoy_gateway::proxies(client, gateway, &found).await,
        (None, None) => Err(Failure::refused(format!(
            "there is no Gateway {gateway}, neither of networking.istio.io nor of gateway.networking.k8s.io; say --gateway NAMESPACE/NAME"
        ))),
    }
}

/// An object. A kind that is not installed has none.
async fn get(client: &Client, kind: Kind, name: &ObjectName) -> Result<Option<DynamicObject>, Failure> {
    let got = api(client, kind, &name.namespace).get_opt(&name.name).await;
    got.map_err(|error| refused(&format!("{kind} {name} cannot be read"), &error))
}

/// Where the pods are that call themselves so ([`Proxies`]), if not anywhere, and their labels.
pub(crate) fn selector(proxies: &str) -> (Option<String>, String) {
    match proxies.split_once('/') {
        Some((namespace, name)) if !proxies.contains('=') => {
            (Some(namespace.to_owned()), format!("{GATEWAY_NAME}={name}"))
        }
        _ => (None, proxies.to_owned()),
    }
}

/// How the pods are found that Envoy Gateway runs for a gateway.
pub(crate) fn of_envoy_gateway(gateway: &str) -> String {
    let (namespace, name) = gateway.split_once('/').unwrap_or_default();
    format!("{OWNING_NAMESPACE}={namespace},{OWNING_NAME}={name}")
}

async fn pods(client: &Client, proxies: &Proxies) -> Result<Vec<Pod>, Failure> {
    let (namespace, selector) = match proxies {
        Proxies::OfEnvoyGateway(_) => (None, of_envoy_gateway(&proxies.to_string())),
        _ => selector(&proxies.to_string()),
    };
    let api = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), &namespace),
        None => Api::<Pod>::all(client.clone()),
    };
    let listed = api.list(&ListParams::default().labels(&selector)).await;
    listed
        .map(|list| list.items)
        .map_err(|error| refused("the gateway's pods cannot be listed", &error))
}

/// Where the plugin acts.
fn namespace(proxies: &Proxies, pods: &[Pod], wish: &Wish) -> String {
    if let Proxies::Of(gateway) = proxies {
        return gateway.namespace.to_string();
    }
    let namespaces: BTreeSet<_> = pods.iter().filter_map(ResourceExt::namespace).collect();
    let mut namespaces = namespaces.into_iter();
    match (namespaces.next(), namespaces.next()) {
        (Some(one), None) => one,
        (Some(_), Some(_)) => wish.root_namespace.name().to_owned(),
        (None, _) => wish.gateway.namespace.to_string(),
    }
}

async fn check_service(client: &Client, wish: &Wish) -> Result<(), Failure> {
    let api: Api<Service> = Api::namespaced(client.clone(), &wish.service.namespace);
    let found = api
        .get_opt(&wish.service.name)
        .await
        .map_err(|error| refused(&format!("Service {} cannot be read", wish.service), &error))?;
    let ports = found.and_then(|service| service.spec?.ports).unwrap_or_default();
    match ports.iter().any(|port| port.port == i32::from(wish.port)) {
        true => Ok(()),
        false => Err(Failure::refused(format!(
            "there is no Service {} with port {}, by which proxies reach the controller; say --service NAME:PORT and --namespace",
            wish.service, wish.port
        ))),
    }
}

async fn standing(
    client: &Client,
    name: &ObjectName,
    objects: &[(Kind, Value)],
) -> Result<Standing, Failure> {
    let mut standing = Standing::Same;
    for (i, (kind, object)) in objects.iter().enumerate() {
        let found = get(client, *kind, name).await?;
        if let Some(found) = &found
            && found.labels().get(MANAGED_BY).map(String::as_str) != Some(MANAGER)
        {
            return Err(Failure::refused(format!(
                "{kind} {name} is somebody else's; rename or remove it"
            )));
        }
        standing = match (kind, found) {
            (_, None) if i == 0 => return Ok(Standing::Absent),
            (Kind::WasmPlugin | Kind::EnvoyFilter, Some(found)) if !differs(*kind, object, &json!(found)) => {
                standing
            }
            (Kind::WasmPlugin | Kind::EnvoyFilter, _) => Standing::Older,
            // Their kinds have more fields by themselves.
            (_, Some(found)) if has(&json!(found)["spec"], &object["spec"]) => standing,
            _ => Standing::Older,
        };
    }
    Ok(standing)
}

/// How many WebSockets the pods hold. None: not all of them say.
async fn sessions(client: &Client, pods: &[Pod], port: u16) -> Option<u64> {
    let mut all = 0;
    for pod in pods {
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}:{port}/proxy/stats/prometheus",
            pod.namespace()?,
            pod.name_any()
        );
        let request = http::Request::get(path).body(Vec::new()).ok()?;
        all += upgrades(&client.request_text(request).await.ok()?)?;
    }
    Some(all)
}

/// The open WebSockets in a proxy's metrics. None: it does not count them, as Istio's do not unless they are told to.
fn upgrades(metrics: &str) -> Option<u64> {
    let of_upgrades = metrics.lines().filter(|line| line.starts_with(UPGRADES));
    of_upgrades
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .reduce(|all, of_one| all + of_one)
}

#[cfg(test)]
mod tests {
    use super::{FailureMode, Pod, RootNamespace, Wish, namespace, upgrades};
    use clew_core::model::{ObjectName, Proxies};
    use kube::api::ObjectMeta;

    #[test]
    fn the_plugin_goes_to_where_the_pods_are() {
        let gateway = ObjectName::new("shop", "edge");
        let wish = Wish {
            gateway: gateway.clone(),
            service: ObjectName::new("clew-system", "clew"),
            port: 8080,
            failure_mode: FailureMode::Closed,
            root_namespace: RootNamespace::new("mesh-root"),
        };
        let pods = |namespaces: &[&str]| -> Vec<Pod> {
            let pod = |namespace: &&str| Pod {
                metadata: ObjectMeta {
                    namespace: Some((*namespace).to_owned()),
                    ..ObjectMeta::default()
                },
                ..Pod::default()
            };
            namespaces.iter().map(pod).collect()
        };
        let selected = Proxies::Selected([("istio".to_owned(), "edge".to_owned())].into());
        for (proxies, of, expected) in [
            (&selected, &["infra", "infra"][..], "infra"),
            (&selected, &["infra", "other"], "mesh-root"),
            (&selected, &[], "shop"),
            (&Proxies::Of(gateway.clone()), &["other"], "shop"),
        ] {
            assert_eq!(namespace(proxies, &pods(of), &wish), expected, "{proxies} {of:?}");
        }
    }

    #[test]
    fn open_sockets_are_counted_over_all_listeners() {
        let metrics = "# TYPE envoy_http_downstream_cx_upgrades_active gauge\n\
            envoy_http_downstream_cx_upgrades_active{x=\"a b\"} 3\n\
            envoy_http_downstream_cx_upgrades_active{x=\"c\"} 4\n\
            envoy_http_downstream_cx_active{x=\"c\"} 40\n";
        assert_eq!(upgrades(metrics), Some(7));
        assert_eq!(upgrades("envoy_http_downstream_cx_active{x=\"c\"} 40\n"), None);
    }
}
