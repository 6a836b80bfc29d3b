//! What accounts have asked the API server for, as it writes it down itself.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

const LOG: &str = "audit.jsonl";

/// One request about objects, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Act {
    /// Whose.
    pub account: String,
    /// By which of the account's tokens.
    pub token: String,
    /// The verb, as roles name it.
    pub verb: String,
    /// The API group.
    pub group: String,
    /// Which objects, with their subresource.
    pub resource: String,
    /// Of which namespace; empty: of all, or of none.
    pub namespace: String,
    /// Which one; empty: several, or one that has no name yet.
    pub name: String,
    /// The status of the answer.
    pub code: u64,
}

/// How the API server is told to write it down, in this folder.
pub(super) fn arguments(folder: &Path) -> Result<[String; 2]> {
    let policy = folder.join("audit.yaml");
    let of_accounts = json!({"level": "Metadata", "userGroups": ["system:serviceaccounts"], "omitStages": ["RequestReceived"]});
    let rules = json!([of_accounts, {"level": "None"}]);
    std::fs::write(
        &policy,
        json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}).to_string(),
    )?;
    Ok([
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", folder.join(LOG).display()),
    ])
}

/// What accounts of a namespace have asked for.
pub(super) fn acts(folder: &Path, namespace: &str) -> Result<Vec<Act>> {
    let log = std::fs::read_to_string(folder.join(LOG)).context("nothing is written down")?;
    let of_namespace = format!("system:serviceaccount:{namespace}:");
    let mut acts = Vec::new();
    // The last line may be in the making.
    for line in log.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let event: Value = serde_json::from_str(line)?;
        let text = |pointer: &str| {
            event
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let user = text("/user/username");
        let Some(account) = user.strip_prefix(&of_namespace) else {
            continue;
        };
        if event["objectRef"].is_null() {
            continue;
        }
        let (resource, below) = (text("/objectRef/resource"), text("/objectRef/subresource"));
        acts.push(Act {
            account: account.to_owned(),
            token: text("/user/extra/authentication.kubernetes.io~1credential-id/0"),
            verb: text("/verb"),
            group: text("/objectRef/apiGroup"),
            resource: if below.is_empty() {
                resource
            } else {
                format!("{resource}/{below}")
            },
            namespace: text("/objectRef/namespace"),
            name: text("/objectRef/name"),
            code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        });
    }
    Ok(acts)
}
