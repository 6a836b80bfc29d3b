//! Objects of any kind, as JSON.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use serde_json::Value;

use crate::wait;

const SOON: Duration = Duration::from_secs(120);

/// A test's own way to the API server.
#[derive(Clone)]
pub struct Client {
    kube: kube::Client,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// One thing in an object that the API server does not take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// Which field; empty where it is none.
    pub field: String,
    /// What was said of it.
    pub message: String,
}

impl Client {
    pub(super) async fn new(kubeconfig: &Path) -> Result<Self> {
        let config = Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(Self {
            kube: kube::Client::try_from(config)?,
        })
    }

    /// The client of the library, for what the words here do not say.
    pub fn kube(&self) -> kube::Client {
        self.kube.clone()
    }

    /// The body of a GET.
    ///
    /// # Errors
    /// When the answer is an error.
    pub async fn text(&self, path: &str) -> Result<String> {
        let request = hyper::Request::get(path).body(Vec::new())?;
        Ok(self.kube.request_text(request).await?)
    }

    /// Makes an object so, as `kubectl apply --server-side --force-conflicts` does; it as it is then.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply(&self, object: &Value) -> Result<Value> {
        self.patch(object, &PatchParams::apply("e2e").force())
            .await?
            .with_context(|| format!("{object:#}"))
    }

    /// What the API server would make of an object, defaults included, or all that it has against it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn dry_run(&self, object: &Value) -> Result<Result<Value, Vec<Refusal>>> {
        let parameters = PatchParams {
            dry_run: true,
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply("e2e")
        };
        let status = match self.patch(object, &parameters).await? {
            Ok(object) => return Ok(Ok(object)),
            Err(kube::Error::Api(status)) => status,
            Err(error) => return Err(error.into()),
        };
        let causes = status.details.map(|details| details.causes).unwrap_or_default();
        let refusals = causes.into_iter().map(|cause| Refusal {
            field: cause.field,
            message: cause.message,
        });
        let mut refusals: Vec<Refusal> = refusals.collect();
        if refusals.is_empty() {
            refusals.push(Refusal {
                field: String::new(),
                message: status.message,
            });
        }
        Ok(Err(refusals))
    }

    /// Writes the status of an object.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply_status(&self, object: &Value) -> Result<()> {
        let Object { api, name, .. } = self.same(object)?;
        let parameters = PatchParams::apply("e2e-status").force();
        api.patch_status(&name, &parameters, &Patch::Apply(object))
            .await?;
        Ok(())
    }

    /// The object of this kind and name; no namespace where the kind has none.
    pub fn object(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Object {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api = match namespace {
            "" => Api::all_with(self.kube.clone(), &resource),
            _ => Api::namespaced_with(self.kube.clone(), namespace, &resource),
        };
        let (kind, name) = (kind.to_owned(), name.to_owned());
        Object { api, kind, name }
    }

    /// The object that a manifest names.
    ///
    /// # Errors
    /// When it names none.
    pub fn same(&self, manifest: &Value) -> Result<Object> {
        let text = |pointer| manifest.pointer(pointer).and_then(Value::as_str);
        let named = text("/apiVersion").zip(text("/kind")).zip(text("/metadata/name"));
        let ((api_version, kind), name) = named.with_context(|| format!("names no object: {manifest}"))?;
        let namespace = text("/metadata/namespace").unwrap_or_default();
        Ok(self.object(api_version, kind, namespace, name))
    }

    async fn patch(&self, manifest: &Value, parameters: &PatchParams) -> Result<kube::Result<Value>> {
        let Object { api, name, .. } = self.same(manifest)?;
        Ok(
            match api.patch(&name, parameters, &Patch::Apply(manifest)).await {
                Ok(object) => Ok(serde_json::to_value(object)?),
                Err(error) => Err(error),
            },
        )
    }
}

/// One object, there or not.
#[derive(Debug, Clone)]
pub struct Object {
    api: Api<DynamicObject>,
    kind: String,
    name: String,
}

impl Object {
    /// As it is now, if it is there.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn get(&self) -> Result<Option<Value>> {
        let found = self.api.get_opt(&self.name).await?;
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    /// Waits until it is there and `condition` answers.
    ///
    /// # Errors
    /// When it does not within two minutes; the error holds what it was last.
    pub async fn until<T>(&self, what: &str, mut condition: impl FnMut(&Value) -> Option<T>) -> Result<T> {
        let mut last = None;
        let found = wait::until(what, SOON, async || {
            last = self.get().await.ok().flatten();
            last.as_ref().and_then(&mut condition)
        });
        found
            .await
            .with_context(|| format!("{} {} is {last:#?}", self.kind, self.name))
    }

    /// Waits until it is gone.
    ///
    /// # Errors
    /// When it is still there after two minutes.
    pub async fn gone(&self) -> Result<()> {
        let what = format!("{} {} is gone", self.kind, self.name);
        wait::until(&what, SOON, async || {
            matches!(self.get().await, Ok(None)).then_some(())
        })
        .await
    }

    /// Has it deleted; a finalizer, or a grace period, keeps it for a while.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self) -> Result<()> {
        self.delete_with(&DeleteParams::default()).await
    }

    /// [`Object::delete`] with parameters.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete_with(&self, parameters: &DeleteParams) -> Result<()> {
        self.api.delete(&self.name, parameters).await?;
        Ok(())
    }
}
