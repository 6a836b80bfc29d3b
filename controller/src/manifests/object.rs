//! One document to the object that it is, or to what is wrong with it.

use std::sync::Arc;

use clew_core::model::ObjectName;
use clew_core::objects::{
    AuthorizationPolicy, BackendTrafficPolicy, DestinationRule, EnvoyFilter, ExtensionPolicy, Gateway,
    GatewayClass, HttpRoute, IstioGateway, Objects, ReferenceGrant, RequestAuthentication, Source, Sourced,
    VirtualService,
};
use clew_crds::admission::{self, ViolationKind};
use clew_crds::{WebSocketPolicy, WebSocketRoute};
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::CustomResourceExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::births::Births;
use super::document::{self, Document};
use crate::finding::Finding;

/// An object of a kind that means something here.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Route(Sourced<WebSocketRoute>),
    Policy(Sourced<WebSocketPolicy>),
    HttpRoute(Sourced<HttpRoute>),
    BackendTrafficPolicy(Sourced<BackendTrafficPolicy>),
    Gateway(Sourced<Gateway>),
    GatewayClass(Sourced<GatewayClass>),
    Service(Sourced<Service>),
    EndpointSlice(Sourced<EndpointSlice>),
    Secret(Sourced<Secret>),
    ReferenceGrant(Sourced<ReferenceGrant>),
    IstioGateway(Sourced<IstioGateway>),
    VirtualService(Sourced<VirtualService>),
    DestinationRule(Sourced<DestinationRule>),
    RequestAuthentication(Sourced<RequestAuthentication>),
    AuthorizationPolicy(Sourced<AuthorizationPolicy>),
    EnvoyFilter(Sourced<EnvoyFilter>),
    Namespace(Sourced<Namespace>),
    ExtensionPolicy(Sourced<ExtensionPolicy>),
}

impl Object {
    /// Adds it to the others of its kind.
    pub(super) fn add_to(self, all: &mut Objects) {
        match self {
            Self::Route(route) => all.routes.push(route),
            Self::Policy(policy) => all.policies.push(policy),
            Self::HttpRoute(route) => all.http_routes.push(route),
            Self::BackendTrafficPolicy(policy) => all.backend_traffic_policies.push(policy),
            Self::Gateway(gateway) => all.gateways.push(gateway),
            Self::GatewayClass(class) => all.gateway_classes.push(class),
            Self::Service(service) => all.services.push(service),
            Self::EndpointSlice(slice) => all.endpoint_slices.push(slice),
            Self::Secret(secret) => all.secrets.push(secret),
            Self::ReferenceGrant(grant) => all.grants.push(grant),
            Self::IstioGateway(gateway) => all.istio_gateways.push(gateway),
            Self::VirtualService(service) => all.virtual_services.push(service),
            Self::DestinationRule(rule) => all.destination_rules.push(rule),
            Self::RequestAuthentication(policy) => all.request_authentications.push(policy),
            Self::AuthorizationPolicy(policy) => all.authorization_policies.push(policy),
            Self::EnvoyFilter(filter) => all.envoy_filters.push(filter),
            Self::Namespace(namespace) => {
                let metadata = &namespace.object.metadata;
                let name = metadata.name.clone().unwrap_or_default();
                all.namespaces
                    .insert(name, metadata.labels.clone().unwrap_or_default());
            }
            Self::ExtensionPolicy(policy) => all.extension_policies.push(policy),
        }
    }

    /// `namespace/name` of a route.
    pub(super) fn route_name(&self) -> Option<String> {
        let Self::Route(route) = self else { return None };
        let metadata = &route.object.metadata;
        Some(format!(
            "{}/{}",
            metadata.namespace.as_deref()?,
            metadata.name.as_deref()?
        ))
    }
}

/// The good and the passed-over of one file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) objects: Vec<Object>,
    /// Warnings only.
    pub(super) warnings: Vec<Finding>,
}

/// Reads a file's text. All of it must be good: half of a change is not a change that anybody wrote.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(file: &Arc<str>, text: &str, births: &mut Births) -> Result<Contents, Vec<Finding>> {
    let documents = document::read(text).map_err(|error| {
        vec![Finding::error(
            file,
            error.line,
            "CLEW0001",
            format!("not YAML: {}", error.message),
        )]
    })?;
    let mut contents = Contents::default();
    let mut errors = Vec::new();
    for document in &documents {
        let mut found = Vec::new();
        match document.value() {
            Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
                if let Some(Value::Array(items)) = list.remove("items") {
                    found.extend(
                        items
                            .into_iter()
                            .enumerate()
                            .map(|(i, item)| (format!("items[{i}]"), item)),
                    );
                }
            }
            value => found.push((String::new(), value)),
        }
        for (path, value) in found {
            let place = Place { file, document, path };
            match place.object(value, births) {
                Ok(Read::Object(object)) => contents.objects.push(object),
                Ok(Read::PassedOver(warning)) => contents.warnings.push(*warning),
                Err(findings) => errors.extend(findings),
            }
        }
    }
    if errors.is_empty() {
        Ok(contents)
    } else {
        Err(errors)
    }
}

enum Read {
    Object(Object),
    PassedOver(Box<Finding>),
}

/// Where an object is written.
struct Place<'a> {
    file: &'a Arc<str>,
    document: &'a Document,
    /// Inside the document: `items[3]` of a List.
    path: String,
}

impl Place<'_> {
    fn object(&self, mut value: Value, births: &mut Births) -> Result<Read, Vec<Finding>> {
        let name = self.identity(&mut value)?;
        let text = |field: &str| {
            value
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (api, kind) = (text("apiVersion"), text("kind"));
        let object = format!("{kind} {name}");
        let object = match (api.split_once('/').map_or("", |(group, _)| group), kind.as_str()) {
            ("clew.dev", "WebSocketRoute") => {
                let mut route: WebSocketRoute = self.admitted(value, &object)?;
                births.stamp(&name, &mut route.metadata);
                Object::Route(self.sourced(route))
            }
            ("clew.dev", "WebSocketPolicy") => Object::Policy(self.sourced(self.admitted(value, &object)?)),
            ("gateway.networking.k8s.io", "HTTPRoute") => Object::HttpRoute(self.typed(value, &object)?),
            ("gateway.envoyproxy.io", "BackendTrafficPolicy") => {
                Object::BackendTrafficPolicy(self.typed(value, &object)?)
            }
            ("gateway.networking.k8s.io", "Gateway") => Object::Gateway(self.typed(value, &object)?),
            ("gateway.networking.k8s.io", "GatewayClass") => {
                Object::GatewayClass(self.typed(value, &object)?)
            }
            ("", "Service") => Object::Service(self.typed(value, &object)?),
            ("discovery.k8s.io", "EndpointSlice") => Object::EndpointSlice(self.typed(value, &object)?),
            ("", "Secret") => Object::Secret(self.typed(value, &object)?),
            ("gateway.networking.k8s.io", "ReferenceGrant") => {
                Object::ReferenceGrant(self.typed(value, &object)?)
            }
            ("gateway.envoyproxy.io", "EnvoyExtensionPolicy") => {
                Object::ExtensionPolicy(self.typed(value, &object)?)
            }
            ("networking.istio.io", "Gateway") => Object::IstioGateway(self.typed(value, &object)?),
            ("networking.istio.io", "VirtualService") => Object::VirtualService(self.typed(value, &object)?),
            ("networking.istio.io", "DestinationRule") => {
                Object::DestinationRule(self.typed(value, &object)?)
            }
            ("networking.istio.io", "EnvoyFilter") => Object::EnvoyFilter(self.typed(value, &object)?),
            ("security.istio.io", "RequestAuthentication") => {
                Object::RequestAuthentication(self.typed(value, &object)?)
            }
            ("security.istio.io", "AuthorizationPolicy") => {
                Object::AuthorizationPolicy(self.typed(value, &object)?)
            }
            ("", "Namespace") => Object::Namespace(self.typed(value, &object)?),
            ("clew.dev", _) => {
                let message = format!("{api} has no kind {kind}; write WebSocketRoute or WebSocketPolicy");
                return Err(vec![self.finding("kind", "CLEW0014", message).of(object)]);
            }
            _ => {
                let message = format!(
                    "{api} {kind} means nothing here and is passed over; clew reads WebSocketRoute, WebSocketPolicy, Gateway, GatewayClass, HTTPRoute, Service, EndpointSlice, Secret, Namespace, ReferenceGrant, Istio's Gateway, VirtualService, DestinationRule, EnvoyFilter, RequestAuthentication and AuthorizationPolicy, and Envoy Gateway's EnvoyExtensionPolicy and BackendTrafficPolicy"
                );
                return Ok(Read::PassedOver(Box::new(
                    self.finding("kind", "CLEW0004", message).warning().of(kind),
                )));
            }
        };
        Ok(Read::Object(object))
    }

    /// The name of the object; its namespace is filled in where the manifest names none.
    fn identity(&self, value: &mut Value) -> Result<ObjectName, Vec<Finding>> {
        let missing = |field: &str, message: &str| vec![self.finding(field, "CLEW0002", message.to_owned())];
        if !value.is_object() {
            return Err(missing(
                "",
                "not a Kubernetes object: write apiVersion, kind and metadata",
            ));
        }
        for field in ["apiVersion", "kind"] {
            if !value.get(field).is_some_and(Value::is_string) {
                return Err(missing(field, "is required, and text"));
            }
        }
        let metadata = value.get_mut("metadata").and_then(Value::as_object_mut);
        let Some(metadata) = metadata else {
            return Err(missing("metadata", "is required: write at least a name"));
        };
        let Some(name) = metadata
            .get("name")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
        else {
            return Err(missing("metadata.name", "is required, and text"));
        };
        let name = name.to_owned();
        let namespace = match metadata.get("namespace") {
            None | Some(Value::Null) => {
                metadata.insert("namespace".to_owned(), ObjectName::DEFAULT_NAMESPACE.into());
                ObjectName::DEFAULT_NAMESPACE.to_owned()
            }
            Some(Value::String(namespace)) => namespace.clone(),
            Some(_) => return Err(missing("metadata.namespace", "must be text")),
        };
        Ok(ObjectName::new(namespace, name))
    }

    /// An object of a kind of ours.
    fn admitted<K: CustomResourceExt + DeserializeOwned>(
        &self,
        value: Value,
        object: &str,
    ) -> Result<K, Vec<Finding>> {
        admission::admit(value).map_err(|violations| {
            let finding = |violation: admission::Violation| {
                self.finding(&violation.path, code(violation.kind), violation.message)
                    .of(object)
            };
            violations.into_iter().map(finding).collect()
        })
    }

    fn typed<T: DeserializeOwned>(&self, value: Value, object: &str) -> Result<Sourced<T>, Vec<Finding>> {
        serde_path_to_error::deserialize(value)
            .map(|object| self.sourced(object))
            .map_err(|error| {
                let path = error.path().to_string();
                vec![
                    self.finding(
                        path.trim_start_matches('.'),
                        "CLEW0003",
                        error.inner().to_string(),
                    )
                    .of(object),
                ]
            })
    }

    fn sourced<T>(&self, object: T) -> Sourced<T> {
        let source = Source {
            file: self.file.clone(),
            line: self.document.line_of(&self.path),
        };
        Sourced {
            object: object.into(),
            source,
        }
    }

    fn finding(&self, field: &str, code: &'static str, message: String) -> Finding {
        let path = match (self.path.as_str(), field) {
            ("", field) => field.to_owned(),
            (path, "") => path.to_owned(),
            (path, field) => format!("{path}.{field}"),
        };
        Finding::error(self.file, self.document.line_of(&path), code, message).at(path)
    }
}

/// The code of each sort of violation. Promises: a number never changes its meaning.
const fn code(kind: ViolationKind) -> &'static str {
    match kind {
        ViolationKind::UnknownField => "CLEW0011",
        ViolationKind::WrongType => "CLEW0012",
        ViolationKind::Required => "CLEW0013",
        ViolationKind::UnsupportedValue => "CLEW0014",
        ViolationKind::Pattern => "CLEW0015",
        ViolationKind::OutOfBounds => "CLEW0016",
        ViolationKind::Duplicate => "CLEW0017",
        ViolationKind::Rule => "CLEW0018",
    }
}
