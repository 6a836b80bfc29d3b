//! The policies for HTTPRoutes that somebody has already, as the API server has them, and where those lead.

use std::collections::{BTreeMap, BTreeSet};

use clew_core::model::{ObjectName, OwnerKind};
use clew_crds::status::{CONTROLLER_NAME, ConditionType};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use super::connection::Connection;
use super::standing::{Standing, condition, items, said};
use crate::cluster::Kind;
use crate::failure::{Failure, refused};

/// What has to hold at every Gateway. What does not hold of the first explains what does not of the others.
const NEEDED: [ConditionType; 3] = [
    ConditionType::Accepted,
    ConditionType::ResolvedRefs,
    ConditionType::Programmed,
];

/// Those of a namespace, or all of them; where the kind is not installed, there are none.
///
/// # Errors
/// When they cannot be listed.
pub(crate) async fn list(connection: &Connection, namespace: Option<&str>) -> Result<Vec<Standing>, Failure> {
    let listed = installed(connection.list(Kind::WebSocketPolicy, namespace).await);
    let listed = listed.map_err(|error| refused("WebSocketPolicies cannot be listed", &error))?;
    let of = |object| Standing::of(OwnerKind::Policy, object);
    Ok(listed.into_iter().map(of).collect())
}

/// A policy has no condition of its own that sums up the others: the worst of what our controller says at its Gateways.
pub(super) fn ready(policy: &Standing) -> [String; 3] {
    let ancestors = items(&policy.status["ancestors"]);
    let ours: Vec<_> = ancestors
        .filter(|ancestor| ancestor["controllerName"] == CONTROLLER_NAME)
        .collect();
    let conditions: Vec<_> = NEEDED
        .iter()
        .flat_map(|kind| {
            ours.iter()
                .map(move |one| condition(&one["conditions"], kind.as_str()))
        })
        .collect();
    if ours.is_empty() {
        return Standing::unheard();
    }
    if conditions
        .iter()
        .any(|one| one["observedGeneration"] != policy.generation)
    {
        return policy.outdated();
    }
    let first = |is: fn(&Value) -> bool| conditions.iter().find(|one| is(one));
    match first(|one| one["status"] == "False").or_else(|| first(|one| one["status"] != "True")) {
        Some(worst) => said(worst),
        None => [
            "True",
            "Ready",
            "every Gateway has accepted, resolved and programmed it",
        ]
        .map(str::to_owned),
    }
}

/// The Services that the HTTPRoutes of policies send sessions to.
///
/// # Errors
/// When HTTPRoutes cannot be listed.
pub(crate) async fn services(
    connection: &Connection,
    policies: &[Standing],
) -> Result<BTreeSet<ObjectName>, Failure> {
    let mut by_namespace = BTreeMap::<_, Vec<_>>::new();
    for policy in policies {
        by_namespace.entry(&policy.namespace).or_default().push(policy);
    }
    let mut found = BTreeSet::new();
    for (namespace, policies) in by_namespace {
        let listed = installed(connection.list(Kind::HttpRoute, Some(namespace)).await);
        let http_routes = listed.map_err(|error| {
            refused(
                &format!("HTTPRoutes in namespace {namespace} cannot be listed"),
                &error,
            )
        })?;
        found.extend(policies.iter().flat_map(|policy| led_to(policy, &http_routes)));
    }
    Ok(found)
}

/// What a list has; nothing, where the API server does not know its kind.
fn installed(listed: kube::Result<Vec<DynamicObject>>) -> kube::Result<Vec<DynamicObject>> {
    match listed {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        listed => listed,
    }
}

/// The Services behind the targets of a policy, among the HTTPRoutes of its namespace.
fn led_to(policy: &Standing, http_routes: &[DynamicObject]) -> BTreeSet<ObjectName> {
    let targets = items(&policy.spec["targetRefs"]).flat_map(|target| {
        let of_target = http_routes
            .iter()
            .filter(move |one| target["name"] == one.name_any());
        let rules = of_target.flat_map(|one| items(&one.data["spec"]["rules"]));
        rules.filter(move |rule| target["sectionName"].is_null() || target["sectionName"] == rule["name"])
    });
    let references = targets.flat_map(|rule| items(&rule["backendRefs"]));
    let services = references.filter(|reference| {
        let is = |field: &str, default: &str| reference[field].as_str().unwrap_or(default) == default;
        is("group", "") && is("kind", "Service")
    });
    let named = services.filter_map(|service| {
        let namespace = service["namespace"].as_str().unwrap_or(&policy.namespace);
        Some(ObjectName::new(namespace, service["name"].as_str()?))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::{CONTROLLER_NAME, Standing, led_to};
    use clew_core::model::{ObjectName, OwnerKind};
    use kube::api::DynamicObject;
    use serde_json::{Value, json};

    fn policy(spec: Value, status: Value) -> Standing {
        Standing {
            kind: OwnerKind::Policy,
            namespace: "shop".into(),
            name: "rooms".into(),
            generation: 2,
            spec,
            status,
        }
    }

    fn condition(kind: &str, status: &str, reason: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": "why", "observedGeneration": 2})
    }

    /// What our controller says at a Gateway.
    fn at(conditions: &[Value]) -> Value {
        json!({"ancestorRef": {"name": "edge", "namespace": "infra"}, "controllerName": CONTROLLER_NAME, "conditions": conditions})
    }

    fn well() -> [Value; 3] {
        ["Accepted", "ResolvedRefs", "Programmed"].map(|kind| condition(kind, "True", kind))
    }

    fn summary(ancestors: &[Value]) -> [String; 2] {
        let [status, reason, _] = policy(Value::Null, json!({"ancestors": ancestors})).ready();
        [status, reason]
    }

    #[test]
    fn a_policy_is_ready_where_all_holds_at_every_gateway() {
        assert_eq!(summary(&[at(&well())]), ["True", "Ready"]);
        assert_eq!(summary(&[at(&well()), at(&well())]), ["True", "Ready"]);
        let in_part = [
            &well()[..],
            &[condition("PartiallySupported", "True", "FieldsIgnored")],
        ]
        .concat();
        assert_eq!(summary(&[at(&in_part)]), ["True", "Ready"]);
        assert!(policy(Value::Null, json!({"ancestors": [at(&well())]})).is_ready());
    }

    #[test]
    fn what_is_worst_at_any_gateway_is_what_a_policy_is_said_to_be() {
        let [accepted, resolved, programmed] = well();
        let behind = condition("Programmed", "False", "ProxiesBehind");
        let nobody = condition("Programmed", "Unknown", "Pending");
        let unresolved = condition("ResolvedRefs", "False", "BackendNotFound");
        let conflicted = condition("Accepted", "False", "Conflicted");
        let idle = condition("Programmed", "False", "Pending");
        let with = |[one, two, three]: [&Value; 3]| at(&[one.clone(), two.clone(), three.clone()]);
        for (ancestors, expected) in [
            (
                vec![with([&accepted, &resolved, &nobody])],
                ["Unknown", "Pending"],
            ),
            (
                vec![
                    with([&accepted, &resolved, &nobody]),
                    with([&accepted, &resolved, &behind]),
                ],
                ["False", "ProxiesBehind"],
            ),
            // Nothing is programmed because of what comes before, wherever that is.
            (
                vec![with([&accepted, &unresolved, &idle])],
                ["False", "BackendNotFound"],
            ),
            (
                vec![
                    with([&accepted, &resolved, &behind]),
                    with([&conflicted, &resolved, &idle]),
                ],
                ["False", "Conflicted"],
            ),
            (vec![with([&accepted, &resolved, &programmed])], ["True", "Ready"]),
        ] {
            assert_eq!(summary(&ancestors), expected, "{ancestors:?}");
        }
    }

    #[test]
    fn a_policy_that_our_controller_has_not_looked_at_is_not_ready() {
        let pending = ["Unknown", "Pending"];
        assert_eq!(summary(&[]), pending);
        let mut others = at(&well());
        others["controllerName"] = json!("example.com/another");
        assert_eq!(summary(&[others]), pending);
        assert_eq!(summary(&[at(&well()[..2])]), pending);
        let mut older = well();
        older[2]["observedGeneration"] = json!(1);
        let older = policy(Value::Null, json!({"ancestors": [at(&older)]})).ready();
        assert_eq!(older[1], "Pending");
        assert!(older[2].contains("generation 2"), "{older:?}");
    }

    #[test]
    fn the_services_of_a_policy_are_those_of_the_rules_that_it_names() {
        let http_route = |name: &str| -> DynamicObject {
            let rooms = json!([{"name": format!("{name}-rooms"), "port": 80}, {"group": "example.com", "kind": "Bucket", "name": "no"}]);
            let pages =
                json!([{"group": "", "kind": "Service", "name": "pages", "namespace": "attic", "port": 80}]);
            let rules =
                json!([{"name": "rooms", "backendRefs": rooms}, {"name": "pages", "backendRefs": pages}, {}]);
            let object = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"rules": rules}});
            serde_json::from_value(object).unwrap()
        };
        let http_routes = ["chat", "game", "other"].map(http_route);
        let services = |targets: Value| {
            let policy = policy(json!({"targetRefs": targets}), Value::Null);
            led_to(&policy, &http_routes).into_iter().collect::<Vec<_>>()
        };
        let pages = ObjectName::new("attic", "pages");
        assert_eq!(
            services(json!([{"name": "chat"}])),
            [pages.clone(), ObjectName::new("shop", "chat-rooms")]
        );
        assert_eq!(
            services(
                json!([{"name": "game", "sectionName": "rooms"}, {"name": "chat", "sectionName": "pages"}])
            ),
            [pages, ObjectName::new("shop", "game-rooms")]
        );
        assert_eq!(services(json!([{"name": "nobody"}])), []);
        assert_eq!(services(json!([{"name": "chat", "sectionName": "gone"}])), []);
    }
}
