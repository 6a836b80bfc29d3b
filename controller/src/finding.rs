//! What was found wrong, where, and what to do about it: one shape for every command.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use clew_core::model::{BackendId, ObjectName, OwnerKind};
use clew_core::refusal::Refusal;
use clew_core::validate::Validated;
use serde::Serialize;

use crate::manifests::Lines;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Something was refused.
    Error,
    /// Something was passed over.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// As it was given on the command line, or below it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) file: String,
    /// From 1; 0 where no line can be named.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) line: u32,
    pub(crate) severity: Severity,
    /// Stable: `CLEW` and four digits.
    pub(crate) code: &'static str,
    /// `Kind namespace/name`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) object: String,
    /// `spec.rules[0].name`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) field: String,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl Finding {
    /// An error about a whole file.
    pub(crate) fn error(file: &str, line: u32, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            severity: Severity::Error,
            code,
            object: String::new(),
            field: String::new(),
            message: message.into(),
        }
    }

    /// What is wrong with objects that were read well, and the fields that the target cannot honour.
    pub(crate) fn of_validated(validated: &Validated) -> Vec<Self> {
        let mut lines = Lines::default();
        let mut findings = Vec::new();
        for Refusal {
            code,
            object,
            source,
            field,
            message,
            ..
        } in validated.refusals()
        {
            let line = lines.of(&source.file, source.line, field);
            findings.push(
                Self::error(&source.file, line, code.as_str(), message)
                    .of(object.to_string())
                    .at(field),
            );
        }
        for route in &validated.routes {
            for unsupported in route.unsupported() {
                let line = lines.of(&route.source.file, route.source.line, &unsupported.field);
                findings.push(
                    Self::error(&route.source.file, line, "CLEW0301", &unsupported.why)
                        .warning()
                        .of(route.owner().to_string())
                        .at(&unsupported.field),
                );
            }
        }
        findings.extend(Self::without_endpoints(validated));
        for notice in &validated.notices {
            let line = lines.of(&notice.source.file, notice.source.line, "");
            findings.push(
                Self::error(&notice.source.file, line, notice.concern.code(), &notice.message)
                    .warning()
                    .of(notice.object.to_string()),
            );
        }
        findings
    }

    /// The routes of stand-alone gateways whose sessions have nowhere to go: there, files say where the pods are.
    fn without_endpoints(validated: &Validated) -> Vec<Self> {
        let world = &validated.world;
        let has_none = |id: &&BackendId| {
            world
                .backends
                .get(id)
                .is_some_and(|backend| backend.pods.is_empty())
        };
        let mut empty: BTreeMap<&ObjectName, BTreeSet<&BackendId>> = BTreeMap::new();
        for rule in world.rules_here() {
            let taking = rule.backends.iter().filter(|share| share.weight > 0);
            let taking: Vec<_> = taking.map(|share| &share.id).collect();
            if taking.iter().all(has_none) {
                empty.entry(&rule.name.route).or_default().extend(taking);
            }
        }
        let routes = validated
            .routes
            .iter()
            .filter(|report| report.kind == OwnerKind::Route);
        let with_backends = routes.filter_map(|report| Some((report, empty.get(&report.name)?)));
        let found = with_backends.flat_map(|(report, backends)| {
            backends.iter().map(move |BackendId { service, port }| {
                let message = format!(
                    "port {port} of Service {service} has no endpoint, so sessions get 503: an EndpointSlice of namespace {} belongs to it by the label kubernetes.io/service-name: {}, and has the port by its name",
                    service.namespace, service.name
                );
                Self::error(&report.source.file, report.source.line, "CLEW0307", message)
                    .warning()
                    .of(report.owner().to_string())
            })
        });
        found.collect()
    }

    /// The same, about one object.
    pub(crate) fn of(mut self, object: impl Into<String>) -> Self {
        self.object = object.into();
        self
    }

    /// The same, about one field.
    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// The same, wherever in the file.
    pub(crate) fn anywhere(mut self) -> Self {
        self.line = 0;
        self
    }

    /// The same, but nothing was refused.
    pub(crate) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Whether something was refused.
    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(line: &u32) -> bool {
    *line == 0
}

/// `folder/chat.yaml:12: error CLEW0103 WebSocketRoute shop/chat spec.rules[0].name: what is wrong`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line) {
            ("", _) => {}
            (file, 0) => write!(f, "{file}: ")?,
            (file, line) => write!(f, "{file}:{line}: ")?,
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity} {}", self.code)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        if !self.field.is_empty() {
            write!(f, " {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::Finding;

    #[test]
    fn names_place_code_object_field_and_what() {
        let finding = Finding::error("a.yaml", 3, "CLEW0103", "say more")
            .of("Gateway infra/edge")
            .at("spec.x");
        assert_eq!(
            finding.to_string(),
            "a.yaml:3: error CLEW0103 Gateway infra/edge spec.x: say more"
        );
        assert_eq!(
            Finding::error("", 0, "CLEW0901", "no").warning().to_string(),
            "warning CLEW0901: no"
        );
    }
}
