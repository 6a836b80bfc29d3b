//! Routes, and policies for HTTPRoutes that somebody has already, as the API server has them: how each of them stands.

use clew_core::model::OwnerKind;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::Value;

use super::{policies, routes};

/// A route or a policy, and what its status says.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Standing {
    #[serde(skip)]
    pub(crate) kind: OwnerKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) generation: i64,
    #[serde(skip)]
    pub(crate) spec: Value,
    pub(crate) status: Value,
}

impl Standing {
    pub(super) fn of(kind: OwnerKind, mut object: DynamicObject) -> Self {
        Self {
            kind,
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            generation: object.metadata.generation.unwrap_or(0),
            spec: object.data["spec"].take(),
            status: object.data["status"].take(),
        }
    }

    /// Its name, after its namespace.
    pub(crate) fn called(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its summary: whether it is ready, why, and more of that. One that a controller has not looked at yet is not ready.
    pub(crate) fn ready(&self) -> [String; 3] {
        match self.kind {
            OwnerKind::Route => routes::ready(self),
            OwnerKind::Policy => policies::ready(self),
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready()[0] == "True"
    }

    /// Where it is attached, and the conditions there.
    pub(crate) fn places(&self) -> impl Iterator<Item = (String, &Value)> {
        let (places, reference) = match self.kind {
            OwnerKind::Route => ("parents", "parentRef"),
            OwnerKind::Policy => ("ancestors", "ancestorRef"),
        };
        items(&self.status[places]).map(move |place| {
            let reference = &place[reference];
            let namespace = reference["namespace"].as_str().unwrap_or(&self.namespace);
            let name = format!("{namespace}/{}", text(&reference["name"]));
            (name, &place["conditions"])
        })
    }

    /// The summary where no controller has said anything.
    pub(super) fn unheard() -> [String; 3] {
        pending("no controller has said anything of it".to_owned())
    }

    /// The summary where what is said is of an older text.
    pub(super) fn outdated(&self) -> [String; 3] {
        pending(format!(
            "the controller has not looked at generation {} yet",
            self.generation
        ))
    }
}

fn pending(message: String) -> [String; 3] {
    ["Unknown".to_owned(), "Pending".to_owned(), message]
}

/// What a condition says: its status, reason and message.
pub(super) fn said(condition: &Value) -> [String; 3] {
    ["status", "reason", "message"].map(|field| text(&condition[field]))
}

/// Of conditions the one of a type, or null.
pub(super) fn condition<'c>(conditions: &'c Value, kind: &str) -> &'c Value {
    let mut all = items(conditions);
    all.find(|one| one["type"] == kind).unwrap_or(&Value::Null)
}

pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
