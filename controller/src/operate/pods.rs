//! Pods whose sessions are to go elsewhere: which ones are meant, whether a route leads there, and the annotation that says so
//! to every replica, for as long as the pod lives.

use std::collections::{BTreeMap, BTreeSet};

use clew_core::model::ObjectName;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::connection::Connection;
use super::{policies, routes};
use crate::clock;
use crate::cluster::drains::{DRAIN, DRAIN_TIMEOUT, Order};
use crate::failure::{Failure, refused};

/// As whom the annotation is written.
const MANAGER: &str = "clew";

/// Which pods are meant.
#[derive(Clone, Debug)]
pub(crate) enum Meant {
    Named(Vec<ObjectName>),
    /// By their labels, in a namespace.
    Labelled(String, String),
    /// On a node, in a namespace or in all.
    On(String, Option<String>),
}

/// A pod that is there.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) name: ObjectName,
    uid: String,
    /// What was ordered before.
    pub(crate) order: Option<Order>,
}

impl Meant {
    /// Finds them all.
    ///
    /// # Errors
    /// When one of them is not there, or none is.
    pub(crate) async fn find(&self, connection: &Connection) -> Result<Vec<Found>, Failure> {
        let client = || connection.client.clone();
        let list = async |api: Api<Pod>, params: ListParams| {
            let listed = api.list(&params).await;
            listed
                .map(|list| list.items.iter().map(Found::of).collect::<Vec<_>>())
                .map_err(|error| refused("pods cannot be listed", &error))
        };
        let (found, none) = match self {
            Self::Named(names) => {
                let mut found = Vec::new();
                for name in names {
                    let api: Api<Pod> = Api::namespaced(client(), &name.namespace);
                    let got = api.get_opt(&name.name).await;
                    let got = got.map_err(|error| refused(&format!("pod {name} cannot be read"), &error))?;
                    let pod = got.ok_or_else(|| {
                        Failure::refused(format!(
                            "there is no pod {name}; -n says in which namespace to look, and nothing was changed"
                        ))
                    })?;
                    found.push(Found::of(&pod));
                }
                (found, String::new())
            }
            Self::Labelled(namespace, selector) => {
                let params = ListParams::default().labels(selector);
                (
                    list(Api::namespaced(client(), namespace), params).await?,
                    format!("no pod in namespace {namespace} has the labels {selector}"),
                )
            }
            Self::On(node, namespace) => {
                let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
                let api = match namespace {
                    Some(namespace) => Api::namespaced(client(), namespace),
                    None => Api::all(client()),
                };
                (list(api, params).await?, format!("no pod is on node {node}"))
            }
        };
        match found.is_empty() {
            true => Err(Failure::refused(none)),
            false => Ok(found),
        }
    }
}

impl Found {
    fn of(pod: &Pod) -> Self {
        Self {
            name: ObjectName::new(pod.namespace().unwrap_or_default(), pod.name_any()),
            uid: pod.uid().unwrap_or_default(),
            order: Order::read(pod.annotations()).ok().flatten(),
        }
    }

    /// Has its sessions go elsewhere. A drain that has begun keeps its beginning.
    ///
    /// # Errors
    /// When the API server says no.
    pub(crate) async fn drain(
        &self,
        connection: &Connection,
        now: Timestamp,
        timeout: Option<clew_crds::Duration>,
    ) -> Result<(), Failure> {
        let mut wanted = BTreeMap::new();
        if self.order.is_none() {
            // To the second, as Kubernetes writes moments.
            let since = Timestamp::from_second(now.as_second()).unwrap_or(now);
            wanted.insert(DRAIN, Some(since.to_string()));
        }
        if let Some(timeout) = timeout {
            wanted.insert(DRAIN_TIMEOUT, Some(timeout.to_string()));
        }
        match wanted.is_empty() {
            true => Ok(()),
            false => self.annotate(connection, &wanted).await,
        }
    }

    /// Lets new sessions come again.
    ///
    /// # Errors
    /// When the API server says no.
    pub(crate) async fn cancel(&self, connection: &Connection) -> Result<(), Failure> {
        self.annotate(
            connection,
            &BTreeMap::from([(DRAIN, None), (DRAIN_TIMEOUT, None)]),
        )
        .await
    }

    async fn annotate(
        &self,
        connection: &Connection,
        annotations: &BTreeMap<&str, Option<String>>,
    ) -> Result<(), Failure> {
        let api: Api<Pod> = Api::namespaced(connection.client.clone(), &self.name.namespace);
        // Not another pod of the same name.
        let patch = json!({"metadata": {"uid": self.uid, "annotations": annotations}});
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let written = api
            .patch_metadata(&self.name.name, &params, &Patch::Merge(&patch))
            .await;
        written
            .map(drop)
            .map_err(|error| refused(&format!("pod {} cannot be marked", self.name), &error))
    }
}

/// The pods that routes lead to, and HTTPRoutes that policies are for.
///
/// # Errors
/// When any of them, or endpoints, cannot be listed.
pub(crate) async fn backends(connection: &Connection) -> Result<BTreeSet<ObjectName>, Failure> {
    let routes = routes::list(connection, None).await?;
    let policies = policies::list(connection, None).await?;
    let of_policies = policies::services(connection, &policies).await?;
    let mut services = BTreeMap::<String, BTreeSet<String>>::new();
    for service in routes.iter().flat_map(routes::services).chain(of_policies) {
        services
            .entry(service.namespace.into())
            .or_default()
            .insert(service.name.into());
    }
    let mut pods = BTreeSet::new();
    for (namespace, names) in services {
        let api: Api<EndpointSlice> = Api::namespaced(connection.client.clone(), &namespace);
        let names: Vec<_> = names.into_iter().collect();
        let of_them =
            ListParams::default().labels(&format!("kubernetes.io/service-name in ({})", names.join(",")));
        let listed = api.list(&of_them).await.map_err(|error| {
            refused(
                &format!("endpoints in namespace {namespace} cannot be listed"),
                &error,
            )
        })?;
        let endpoints = listed
            .items
            .into_iter()
            .flat_map(|slice| slice.endpoints.unwrap_or_default());
        let targets = endpoints.filter_map(|endpoint| endpoint.target_ref);
        let of_pods = targets.filter(|target| target.kind.as_deref() == Some("Pod"));
        pods.extend(of_pods.filter_map(|pod| Some(ObjectName::new(&namespace, pod.name?))));
    }
    Ok(pods)
}

/// What the API server's clock says: every controller is nearer to it than to a workstation's.
///
/// # Errors
/// When it does not answer.
pub(crate) async fn now(connection: &Connection) -> Result<Timestamp, Failure> {
    let request = http::Request::get("/version").body(kube::client::Body::empty());
    let request = request.map_err(|error| Failure::refused(error.to_string()))?;
    let answer = connection.client.send(request).await;
    let answer = answer.map_err(|error| refused(&connection.server, &error))?;
    let date = answer
        .headers()
        .get(http::header::DATE)
        .and_then(|date| date.to_str().ok());
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let date = date.and_then(|date| parser.parse_timestamp(date).ok());
    Ok(date.unwrap_or_else(clock::timestamp))
}
