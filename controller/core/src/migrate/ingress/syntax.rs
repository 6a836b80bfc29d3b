//! Ingresses and Services in YAML, with the lines of what they say.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::super::policy::is_name;
use super::super::{Input, Refused};

/// What the files hold.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) ingresses: Vec<(Arc<str>, Ingress)>,
    pub(super) services: Vec<Service>,
    /// Other kinds, with their place.
    pub(super) others: Vec<(Arc<str>, u32, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ingress {
    pub(super) kind: Spanned<String>,
    #[serde(default)]
    pub(super) metadata: Metadata,
    #[serde(default)]
    pub(super) spec: Spec,
}

#[derive(Default, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    #[serde(default)]
    pub(super) annotations: Option<BTreeMap<String, Spanned<Option<String>>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) ingress_class_name: Option<Spanned<String>>,
    pub(super) default_backend: Option<Spanned<Backend>>,
    #[serde(default)]
    pub(super) tls: Vec<Spanned<Value>>,
    #[serde(default)]
    pub(super) rules: Vec<Spanned<HostRule>>,
}

#[derive(Deserialize)]
pub(super) struct HostRule {
    pub(super) host: Option<String>,
    pub(super) http: Option<Http>,
}

#[derive(Deserialize)]
pub(super) struct Http {
    #[serde(default)]
    pub(super) paths: Vec<Spanned<HttpPath>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HttpPath {
    pub(super) path: Option<String>,
    pub(super) path_type: Option<String>,
    pub(super) backend: Backend,
}

#[derive(Clone, Default, Deserialize)]
pub(super) struct Backend {
    service: Option<ServiceReference>,
}

impl Backend {
    /// The Service, where it has a name that one can have.
    pub(super) fn service(&self) -> Option<&ServiceReference> {
        self.service.as_ref().filter(|service| is_name(&service.name))
    }
}

#[derive(Clone, Default, Deserialize)]
pub(super) struct ServiceReference {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) port: Port,
}

#[derive(Clone, Default, Deserialize)]
pub(super) struct Port {
    pub(super) number: Option<u16>,
    pub(super) name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Service {
    #[serde(default)]
    pub(super) metadata: Metadata,
    #[serde(default)]
    pub(super) spec: ServiceSpec,
}

#[derive(Default, Deserialize)]
pub(super) struct ServiceSpec {
    #[serde(default)]
    pub(super) ports: Vec<ServicePort>,
}

#[derive(Deserialize)]
pub(super) struct ServicePort {
    pub(super) name: Option<String>,
    pub(super) port: u16,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    kind: Option<Spanned<String>>,
    #[serde(default)]
    items: Option<Vec<Spanned<Kind>>>,
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

/// Reads all documents of a file, Lists with what is in them.
pub(super) fn read(input: &Input, objects: &mut Objects) -> Result<(), Refused> {
    for document in documents(&input.text) {
        let kind: Kind = parse(input, &document)?;
        if let Some(items) = kind.items {
            let kinds: Vec<_> = items
                .iter()
                .map(|item| item.value.kind.as_ref().map(|kind| kind.value.as_str()))
                .collect();
            if kinds.iter().all(|kind| *kind == Some("Ingress")) {
                let list: List<Ingress> = parse(input, &document)?;
                list.items
                    .into_iter()
                    .for_each(|ingress| objects.ingresses.push((Arc::clone(&input.file), ingress)));
                continue;
            }
            return Err(Refused {
                file: Arc::clone(&input.file),
                line: items.first().map_or(0, |item| u32::try_from(item.referenced.line()).unwrap_or(0)),
                message: "a List of several kinds: ask for `kubectl get ingress -o yaml` alone, and for Services in another file".to_owned(),
            });
        }
        let line = kind.kind.as_ref().map_or(0, |kind| kind.referenced.line());
        match kind.kind.as_ref().map(|kind| kind.value.as_str()) {
            Some("Ingress") => {
                let ingress = parse(input, &document)?;
                objects.ingresses.push((Arc::clone(&input.file), ingress));
            }
            Some("Service") => objects.services.push(parse(input, &document)?),
            Some(kind) => {
                let line = u32::try_from(line).unwrap_or(0);
                objects
                    .others
                    .push((Arc::clone(&input.file), line, kind.to_owned()));
            }
            None => {}
        }
    }
    Ok(())
}

/// The documents, each behind as many empty lines as stand before it, so that lines are those of the file.
fn documents(text: &str) -> Vec<String> {
    let (mut documents, mut current) = (Vec::new(), String::new());
    for (line, written) in (1_u32..).zip(text.lines()) {
        if written.trim_end() == "---" || written.starts_with("--- ") {
            documents.push(std::mem::take(&mut current));
            current = "\n".repeat(line as usize);
        } else {
            current += written;
            current.push('\n');
        }
    }
    documents.push(current);
    documents
        .into_iter()
        .filter(|document| {
            document
                .lines()
                .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        })
        .collect()
}

fn parse<T: DeserializeOwned>(input: &Input, document: &str) -> Result<T, Refused> {
    serde_saphyr::from_str(document).map_err(|error| Refused {
        file: Arc::clone(&input.file),
        line: error
            .location()
            .map_or(0, |location| u32::try_from(location.line()).unwrap_or(0)),
        message: error
            .without_snippet()
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    })
}
