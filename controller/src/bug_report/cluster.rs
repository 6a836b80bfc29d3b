//! What of a cluster, as far as whoever asks may read it: the objects that Clew reads and writes, and its controller.

use std::collections::{BTreeMap, BTreeSet};

use clew_core::model::{ObjectName, OwnerKind};
use http::Request;
use k8s_openapi::api::core::v1::{Event, Pod, Service};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, LogParams, TypeMeta};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::{Archive, about, file_of};
use crate::cluster::{Kind, Scope};
use crate::failure::Failure;
use crate::operate::{Connection, Controller, check, now, policies, routes};

/// Of each log.
const LINES: i64 = 20_000;
/// The same, whatever its lines are like.
const BYTES: i64 = 16 << 20;

/// Collects; without a namespace, of all.
///
/// # Errors
/// When the API server cannot be reached.
pub(crate) async fn of_cluster(
    archive: &mut Archive,
    connection: &Connection,
    controller: &Controller,
    scope: &Scope,
    namespace: Option<&str>,
) -> Result<(), Failure> {
    now(connection).await?;
    let client = &connection.client;
    let mut about = about("a cluster");
    let version = client.apiserver_version().await;
    about["apiServer"] = version.map_or(Value::Null, |version| version.git_version.into());
    archive.yaml("about.yaml", &about)?;
    let of = namespace.unwrap_or(&connection.namespace);
    archive.add(
        "check.yaml",
        check::run(connection, controller, scope, of, false).await,
    )?;
    let collecting = Collecting {
        client,
        controller,
        namespace,
    };
    if let Some(namespace) = namespace {
        let why = format!("only {namespace} was asked for; what is elsewhere may decide too");
        archive.miss("the objects of other namespaces", why);
    }
    collecting.objects(archive).await?;
    collecting.backends(archive, connection).await?;
    collecting.controller(archive).await
}

struct Collecting<'c> {
    client: &'c Client,
    controller: &'c Controller,
    namespace: Option<&'c str>,
}

impl Collecting<'_> {
    /// All of the kinds of which there are few.
    async fn objects(&self, archive: &mut Archive) -> Result<(), Failure> {
        let of_backends = [Kind::Secret, Kind::Service, Kind::EndpointSlice, Kind::Pod];
        let watched = Kind::ALL.into_iter().filter(|kind| !of_backends.contains(kind));
        for kind in watched.chain([Kind::EnvoyProxy, Kind::ClientTrafficPolicy]) {
            let resource = kind.resource();
            let namespace = self.namespace.filter(|_| !kind.is_of_cluster());
            let listed = self.list(&resource, namespace).await;
            archive.add(&file(&resource), listed)?;
        }
        let events: Api<Event> = match self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let of_ours = async {
            let mut found = Vec::new();
            for kind in [OwnerKind::Route, OwnerKind::Policy] {
                let of_kind = ListParams::default().fields(&format!("involvedObject.kind={}", kind.as_str()));
                found.extend(events.list(&of_kind).await.map_err(said)?.items);
            }
            Ok::<_, String>(found)
        };
        archive.add("objects/events.yaml", of_ours.await)
    }

    /// The Services that sessions go to, with their EndpointSlices and pods.
    async fn backends(&self, archive: &mut Archive, connection: &Connection) -> Result<(), Failure> {
        let mut services = BTreeSet::new();
        match routes::list(connection, self.namespace).await {
            Ok(routes) => services.extend(routes.iter().flat_map(routes::services)),
            Err(why) => archive.miss("the Services of routes", why.to_string()),
        }
        let of_policies = async {
            let policies = policies::list(connection, self.namespace).await?;
            policies::services(connection, &policies).await
        };
        match of_policies.await {
            Ok(of_policies) => services.extend(of_policies),
            Err(why) => archive.miss("the Services of policies", why.to_string()),
        }
        let mut named = BTreeMap::<String, BTreeSet<String>>::new();
        for service in services {
            named
                .entry(service.namespace.into())
                .or_default()
                .insert(service.name.into());
        }
        let mut found: [(Kind, Vec<DynamicObject>); 3] =
            [Kind::Service, Kind::EndpointSlice, Kind::Pod].map(|kind| (kind, Vec::new()));
        for (namespace, services) in &named {
            let mut pods = BTreeSet::new();
            for (kind, into) in &mut found {
                let resource = kind.resource();
                let listed = self.list(&resource, Some(namespace)).await;
                let listed = listed.unwrap_or_else(|why| {
                    archive.miss(&format!("{} in {namespace}", file(&resource)), why);
                    Vec::new()
                });
                into.extend(listed.into_iter().filter(|object| match kind {
                    Kind::Service => services.contains(&object.name_any()),
                    Kind::EndpointSlice => {
                        let of = object.labels().get("kubernetes.io/service-name");
                        let is_named = of.is_some_and(|service| services.contains(service));
                        if is_named {
                            pods.extend(targets(&object.data));
                        }
                        is_named
                    }
                    _ => pods.contains(&object.name_any()),
                }));
            }
        }
        for (kind, objects) in &found {
            archive.yaml(&file(&kind.resource()), objects)?;
        }
        Ok(())
    }

    /// The controller's pods, and what they say.
    async fn controller(&self, archive: &mut Archive) -> Result<(), Failure> {
        let asked = self.controller.ask(self.client).await;
        let asked = asked.map(|answers| json!({"replicas": answers.replicas, "silent": answers.silent}));
        archive.add("controller/replicas.yaml", asked)?;
        let ObjectName { namespace, name } = &self.controller.service;
        let pods = match self.pods(namespace, name).await {
            Ok(pods) => pods,
            Err(why) => {
                archive.miss("controller/pods.yaml", why);
                return Ok(());
            }
        };
        archive.yaml("controller/pods.yaml", &pods)?;
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let listed = events.list(&ListParams::default()).await;
        let listed = listed.map(|list| list.items).map_err(said);
        archive.add("controller/events.yaml", listed)?;
        for pod in &pods {
            self.logs(archive, namespace, pod).await?;
            let path = format!(
                "/api/v1/namespaces/{namespace}/pods/{}:{}/proxy/metrics",
                pod.name_any(),
                self.controller.port
            );
            let name = format!("controller/metrics/{}.txt", pod.name_any());
            match self.raw(path).await {
                Ok(text) => archive.text(&name, text.as_bytes())?,
                Err(why) => archive.miss(&name, why),
            }
        }
        Ok(())
    }

    async fn pods(&self, namespace: &str, service: &str) -> Result<Vec<Pod>, String> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let service = services.get(service).await.map_err(said)?;
        let selector = service.spec.and_then(|spec| spec.selector).unwrap_or_default();
        let selector: Vec<_> = selector
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let of_it = ListParams::default().labels(&selector.join(","));
        Ok(pods.list(&of_it).await.map_err(said)?.items)
    }

    async fn logs(&self, archive: &mut Archive, namespace: &str, pod: &Pod) -> Result<(), Failure> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        for container in containers {
            let called = file_of(&ObjectName::new(pod.name_any(), &container.name));
            let restarts = pod
                .status
                .iter()
                .flat_map(|status| status.container_statuses.iter().flatten());
            let is_restarted = restarts
                .into_iter()
                .any(|one| one.name == container.name && one.restart_count > 0);
            for previous in [false, true].into_iter().take(1 + usize::from(is_restarted)) {
                let params = LogParams {
                    container: Some(container.name.clone()),
                    tail_lines: Some(LINES),
                    limit_bytes: Some(BYTES),
                    previous,
                    ..LogParams::default()
                };
                let ending = if previous { "previous.log" } else { "log" };
                let name = format!("controller/logs/{called}.{ending}");
                match pods.logs(&pod.name_any(), &params).await.map_err(said) {
                    Ok(text) => archive.text(&name, text.as_bytes())?,
                    Err(why) => archive.miss(&name, why),
                }
            }
        }
        Ok(())
    }

    async fn raw(&self, path: String) -> Result<String, String> {
        let request = Request::get(path)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        self.client.request_text(request).await.map_err(said)
    }

    /// Those of a namespace, or all, each with its type.
    async fn list(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
    ) -> Result<Vec<DynamicObject>, String> {
        let client = self.client.clone();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, resource),
            None => Api::all_with(client, resource),
        };
        let listed = api.list(&ListParams::default()).await.map_err(said)?;
        let types = TypeMeta {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
        };
        let typed = |object| DynamicObject {
            types: Some(types.clone()),
            ..object
        };
        Ok(listed.items.into_iter().map(typed).collect())
    }
}

/// `objects/virtualservices.networking.istio.io.yaml`
fn file(resource: &ApiResource) -> String {
    let dot = if resource.group.is_empty() { "" } else { "." };
    format!("objects/{}{dot}{}.yaml", resource.plural, resource.group)
}

/// The pods of an EndpointSlice.
fn targets(slice: &Value) -> Vec<String> {
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let names = endpoints.filter_map(|endpoint| endpoint["targetRef"]["name"].as_str());
    names.map(str::to_owned).collect()
}

/// Why there is no answer.
fn said(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 404 && is_of_kind(&status.message) => {
            "the API server has no such kind".to_owned()
        }
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}

/// Whether not an object is missing, but its kind, as the API server says it of a group or of a kind in one.
fn is_of_kind(message: &str) -> bool {
    message.contains("could not find the requested resource") || message.contains("404 page not found")
}
