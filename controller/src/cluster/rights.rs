//! What the controller has to be permitted, which the chart gives it, and what of that it is not: the API server says so of
//! whoever asks about itself.

use k8s_openapi::api::authorization::v1::{ResourceRule, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use serde::Deserialize;

use super::kind::Kind;
use super::settings::Scope;

/// The rules of the chart's roles, as it writes them.
const CHART: &str = include_str!("../../../charts/clew/templates/_rights.tpl");
/// For objects of all namespaces, and of none.
const EVERYWHERE: [&str; 3] = [
    "clew.rights.namespaced",
    "clew.rights.cluster",
    "clew.rights.between",
];
/// Of one, and of none.
const IN_ONE: [&str; 2] = ["clew.rights.namespaced", "clew.rights.cluster"];
/// At home.
const AT_HOME: [&str; 1] = ["clew.rights.own"];
/// A namespace like every other, where all of them are looked at.
const ANY_NAMESPACE: &str = "default";

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
    verbs: Vec<String>,
}

/// What a controller may not do and has to. None: the API server cannot tell all that it may.
///
/// # Errors
/// When it does not answer.
pub(super) async fn lacking(client: &Client, scope: &Scope) -> kube::Result<Option<Vec<String>>> {
    let watched = match &scope.watched {
        Some(one) => (one.as_str(), &IN_ONE[..]),
        None => (ANY_NAMESPACE, &EVERYWHERE[..]),
    };
    let mut lacking = Vec::new();
    for (namespace, parts) in [watched, (&scope.namespace, &AT_HOME)] {
        let Some(has) = granted(client, namespace).await? else {
            return Ok(None);
        };
        for rule in parts.iter().flat_map(|part| wanted(part)) {
            lacking.extend(rule.beyond(&has));
        }
    }
    Ok(Some(lacking))
}

/// The kinds that a turn looks at and that whoever asks may not list wherever it looks, as far as the API server can tell. Of Secrets only
/// the controller needs any.
///
/// # Errors
/// When it does not answer.
pub(crate) async fn unlisted(client: &Client, scope: &Scope) -> kube::Result<Vec<Kind>> {
    let Some(has) = granted(client, scope.watched.as_deref().unwrap_or(ANY_NAMESPACE)).await? else {
        return Ok(Vec::new());
    };
    let may_not = |kind: &Kind| {
        let resource = kind.resource();
        let act = [&*resource.group, &resource.plural, "", "list"];
        *kind != Kind::Secret && !has.iter().any(|rule| permits(rule, act))
    };
    Ok(Kind::ALL.into_iter().filter(may_not).collect())
}

/// What we may do in a namespace, and without one.
async fn granted(client: &Client, namespace: &str) -> kube::Result<Option<Vec<ResourceRule>>> {
    let review = SelfSubjectRulesReview {
        metadata: ObjectMeta::default(),
        spec: SelfSubjectRulesReviewSpec {
            namespace: Some(namespace.to_owned()),
        },
        status: None,
    };
    let reviews: Api<SelfSubjectRulesReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    let known = answer.status.filter(|status| !status.incomplete);
    Ok(known.map(|status| status.resource_rules))
}

/// The rules of a part of the chart's file: each on a line of its own.
fn wanted(part: &str) -> Vec<Rule> {
    let begins = format!("{{{{- define \"{part}\" -}}}}\n");
    let rules = CHART
        .split_once(&begins)
        .and_then(|(_, rest)| rest.split_once("{{- end"));
    let rules = rules.and_then(|(rules, _)| serde_saphyr::from_str(rules).ok());
    rules.unwrap_or_default()
}

impl Rule {
    /// Each act that it is about and that is not granted.
    fn beyond(&self, has: &[ResourceRule]) -> Vec<String> {
        let names: Vec<_> = match &self.resource_names[..] {
            [] => vec![""],
            names => names.iter().map(String::as_str).collect(),
        };
        let mut found = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                for name in &names {
                    let lacks = |verb: &&String| {
                        let mut rules = has.iter();
                        !rules.any(|rule| permits(rule, [group, resource, name, verb]))
                    };
                    let verbs: Vec<_> = self.verbs.iter().filter(lacks).map(String::as_str).collect();
                    if !verbs.is_empty() {
                        let of = if group.is_empty() { "" } else { "." };
                        let called = format!("{} {resource}{of}{group} {name}", verbs.join(", "));
                        found.push(called.trim_end().to_owned());
                    }
                }
            }
        }
        found
    }
}

fn permits(rule: &ResourceRule, [group, resource, name, verb]: [&str; 4]) -> bool {
    let has = |all: Option<&Vec<String>>, one: &str| {
        let mut all = all.into_iter().flatten();
        all.any(|known| known == "*" || known == one)
    };
    let below = resource.split_once('/').map(|(_, below)| format!("*/{below}"));
    let resources = rule.resources.as_ref();
    let is_named =
        rule.resource_names.as_ref().is_none_or(Vec::is_empty) || has(rule.resource_names.as_ref(), name);
    has(Some(&rule.verbs), verb)
        && has(rule.api_groups.as_ref(), group)
        && (has(resources, resource) || below.is_some_and(|below| has(resources, &below)))
        && is_named
}

#[cfg(test)]
mod tests {
    use super::{AT_HOME, EVERYWHERE, ResourceRule, wanted};
    use crate::cluster::Kind;

    fn granted(text: &str) -> Vec<ResourceRule> {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn the_charts_rules_are_read_and_every_kind_that_is_watched_is_among_them() {
        let all: Vec<_> = EVERYWHERE
            .iter()
            .chain(&AT_HOME)
            .flat_map(|part| wanted(part))
            .collect();
        for kind in Kind::ALL {
            let resource = kind.resource();
            let is_of_it = |verb: &str| {
                all.iter().any(|rule| {
                    rule.api_groups.contains(&resource.group)
                        && rule.resources.contains(&resource.plural)
                        && rule.verbs.iter().any(|has| has == verb)
                })
            };
            assert!(is_of_it("list") && is_of_it("watch"), "{kind}");
            assert!(
                !kind.is_generated() || (is_of_it("patch") && is_of_it("delete")),
                "{kind}"
            );
        }
    }

    #[test]
    fn what_is_not_granted_is_named_with_its_verbs() {
        let [own] = AT_HOME;
        let lacking = |has: &str| -> Vec<String> {
            let has = granted(has);
            wanted(own).iter().flat_map(|rule| rule.beyond(&has)).collect()
        };
        let all = "[{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]";
        assert!(lacking(all).is_empty());
        let secrets = "[{apiGroups: [''], resources: [secrets], verbs: [create, get, list]},\
            {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [other], verbs: [get, update]}]";
        assert_eq!(
            lacking(secrets),
            [
                "watch, patch secrets clew-signing-keys",
                "get, update leases.coordination.k8s.io clew-controller"
            ]
        );
    }

    #[test]
    fn a_subresource_is_granted_by_its_own_name_or_for_all() {
        let [namespaced, ..] = EVERYWHERE;
        let status = wanted(namespaced)
            .into_iter()
            .find(|rule| rule.resources[0].contains('/'))
            .unwrap();
        let beyond = |resource: &str| {
            let rule = format!("[{{apiGroups: [clew.dev], resources: ['{resource}'], verbs: [patch]}}]");
            status.beyond(&granted(&rule))
        };
        assert!(beyond("websocketroutes/status").is_empty());
        assert!(beyond("*/status").is_empty());
        assert_eq!(
            beyond("websocketroutes"),
            ["patch websocketroutes/status.clew.dev"]
        );
    }
}
