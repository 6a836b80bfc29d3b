//! What an edit may not take away: a route whose new text is refused stays in force as it last was good.
//!
//! What is refused for the sake of others (a conflict, a parent that is gone) is not kept: the text is good, and its place
//! is not free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clew_crds::websocket_route::RouteRule;
use clew_crds::{ALLOW_REMAP_ANNOTATION, WebSocketRoute};

use crate::model::{ObjectName, World};
use crate::objects::{Objects, Sourced};
use crate::refusal::{Code, Condition, ObjectRef, Refusal};
use crate::validate::{RouteReport, Target, Validated, name_of, validate};

/// The routes as they last were good. Equal ones share every route, not only its text.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    routes: BTreeMap<ObjectName, Arc<WebSocketRoute>>,
}

impl PartialEq for InForce {
    fn eq(&self, other: &Self) -> bool {
        self.routes.len() == other.routes.len()
            && self
                .routes
                .iter()
                .zip(&other.routes)
                .all(|((_, one), (_, other))| Arc::ptr_eq(one, other))
    }
}

/// Routes that were good before, such as those that an earlier process kept.
impl FromIterator<WebSocketRoute> for InForce {
    fn from_iter<T: IntoIterator<Item = WebSocketRoute>>(routes: T) -> Self {
        let named = |route: WebSocketRoute| (name_of(&route.metadata), Arc::new(route));
        Self {
            routes: routes.into_iter().map(named).collect(),
        }
    }
}

impl InForce {
    /// Every route as it last was good, in the order of their names.
    pub fn routes(&self) -> impl Iterator<Item = &WebSocketRoute> {
        self.routes.values().map(Arc::as_ref)
    }

    /// As [`validate`], and what an edit spoiled is in force as it was before.
    pub fn validate(&mut self, objects: &Objects, target: Target) -> Validated {
        let mut validated = validate(objects, target);
        let written = objects
            .routes
            .iter()
            .map(|sourced| (name_of(&sourced.object.metadata), sourced));
        // Of two with one name the first counts.
        let written: BTreeMap<_, _> = written.rev().collect();
        self.refuse_remaps(&written, &mut validated);
        let spoiled: BTreeSet<_> = validated
            .routes
            .iter()
            .filter(|report| is_spoiled(report))
            .map(|report| report.name.clone())
            .collect();
        let kept: BTreeSet<_> = spoiled
            .iter()
            .filter(|name| self.routes.contains_key(*name))
            .collect();
        if !kept.is_empty() {
            self.put_back(objects, &kept, target, &mut validated);
        }
        self.routes.retain(|name, _| written.contains_key(name));
        for (name, sourced) in written {
            if !spoiled.contains(&name) {
                self.routes.insert(name, sourced.object.clone());
            }
        }
        validated
    }

    /// Validates again with the old text of the routes that are kept; what is said of their new text stays said.
    fn put_back(
        &self,
        objects: &Objects,
        kept: &BTreeSet<&ObjectName>,
        target: Target,
        validated: &mut Validated,
    ) {
        let mut objects = objects.clone();
        for sourced in &mut objects.routes {
            let name = name_of(&sourced.object.metadata);
            if let Some(good) = self.routes.get(&name).filter(|_| kept.contains(&name)) {
                sourced.object = good.clone();
            }
        }
        let before = validate(&objects, target);
        let reports = std::mem::take(&mut validated.routes);
        *validated = before;
        for (report, new) in validated.routes.iter_mut().zip(reports) {
            if kept.contains(&report.name) {
                *report = new;
                if let Some(first) = report.refusals.iter_mut().find(|refusal| is_of_the_text(refusal)) {
                    first.message += "; until then the route stays in force as it was before this edit";
                }
            }
        }
    }

    fn refuse_remaps(
        &self,
        written: &BTreeMap<ObjectName, &Sourced<WebSocketRoute>>,
        validated: &mut Validated,
    ) {
        for report in &mut validated.routes {
            let (Some(before), Some(sourced)) = (self.routes.get(&report.name), written.get(&report.name))
            else {
                continue;
            };
            if Arc::ptr_eq(before, &sourced.object) {
                continue;
            }
            report
                .refusals
                .extend(remaps(before, sourced, &report.name, &validated.world));
        }
    }
}

/// Whether the route's own text keeps it out.
fn is_spoiled(report: &RouteReport) -> bool {
    report.refusals.iter().any(is_of_the_text)
}

fn is_of_the_text(refusal: &Refusal) -> bool {
    refusal.parent.is_none() && matches!(refusal.code.condition(), Condition::Accepted(_))
}

/// The rules whose sessions would find another pod, because their keys are read from elsewhere. Sources that are added
/// behind the old ones move nobody who had a key.
fn remaps(
    before: &WebSocketRoute,
    sourced: &Sourced<WebSocketRoute>,
    name: &ObjectName,
    world: &World,
) -> Vec<Refusal> {
    let route = &sourced.object;
    let annotations = route.metadata.annotations.as_ref();
    if annotations
        .and_then(|all| all.get(ALLOW_REMAP_ANNOTATION))
        .is_some_and(|value| value == "true")
    {
        return Vec::new();
    }
    let sources = |rule: &RouteRule| {
        rule.policy
            .session_key
            .as_ref()
            .map(|key| key.sources.clone())
            .unwrap_or_default()
    };
    let mut refusals = Vec::new();
    for (i, rule) in route.spec.rules.iter().enumerate() {
        let Some(old) = before.spec.rules.iter().find(|old| old.name == rule.name) else {
            continue;
        };
        let (old, new) = (sources(old), sources(rule));
        let pods = pods(world, name, rule);
        if new.starts_with(&old) || pods < 2 {
            continue;
        }
        let message = format!(
            "the keys of a live rule would be read from elsewhere, and about {} of {pods} of them would move to another pod; \
             to let them, set the annotation {ALLOW_REMAP_ANNOTATION}: \"true\"",
            pods - 1
        );
        refusals.push(Refusal {
            code: Code::KeysWouldMove,
            object: ObjectRef {
                kind: "WebSocketRoute",
                name: name.clone(),
            },
            source: sourced.source.clone(),
            field: format!("spec.rules[{i}].sessionKey.sources"),
            message,
            parent: None,
        });
    }
    refusals
}

/// How many pods the keys of a rule lie on.
fn pods(world: &World, route: &ObjectName, rule: &RouteRule) -> usize {
    let of_this = |named: &crate::model::RuleName| {
        named.route == *route && rule.name.as_ref().is_none_or(|name| *name == named.rule)
    };
    let attached = world.rules().find(|rule| of_this(&rule.name));
    attached
        .into_iter()
        .flat_map(|rule| &rule.backends)
        .filter_map(|share| world.backends.get(&share.id))
        .map(|backend| backend.serving().count())
        .sum()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::InForce;
    use crate::fixture::{Manifests, good, route};
    use crate::refusal::Code;
    use crate::validate::{Target, Validated};

    fn edited(pointer: &str, value: Value) -> Manifests {
        let mut manifests = good();
        Manifests::set(&mut manifests.routes, pointer, value);
        manifests
    }

    fn turn(in_force: &mut InForce, manifests: &Manifests) -> Validated {
        in_force.validate(&manifests.objects(), Target::Standalone)
    }

    fn codes(validated: &Validated) -> Vec<Code> {
        validated.refusals().map(|refusal| refusal.code).collect()
    }

    fn cookie() -> Value {
        json!([{"type": "Cookie", "cookie": {"name": "sid"}}])
    }

    const SOURCES: &str = "/spec/rules/0/sessionKey/sources";

    #[test]
    fn a_spoiled_edit_leaves_the_route_as_it_was() {
        let mut in_force = InForce::default();
        let before = turn(&mut in_force, &good());
        let mut spoiled = edited(
            "/spec/rules/0/matches/0/path",
            json!({"type": "RegularExpression", "value": "("}),
        );
        spoiled.routes.push(route("another", "/another"));
        let after = turn(&mut in_force, &spoiled);
        assert_eq!(codes(&after), [Code::ExpressionInvalid]);
        let message = &after.refusals().next().unwrap().message;
        assert!(
            message.ends_with("stays in force as it was before this edit"),
            "{message}"
        );
        let names = |validated: &Validated| -> Vec<String> {
            let rules = validated.world.gateways[0].rules();
            rules.map(|rule| rule.name.to_string()).collect()
        };
        assert_eq!(names(&before), ["shop/chat/rooms"]);
        assert_eq!(names(&after).len(), 2, "the old one and the other route's");
        // A second spoiled edit, a mend, and the end of it.
        assert_eq!(names(&turn(&mut in_force, &spoiled)).len(), 2);
        assert_eq!(codes(&turn(&mut in_force, &good())), []);
        let mut none = good();
        none.routes.clear();
        assert_eq!(turn(&mut in_force, &none).world.gateways[0].rules().count(), 0);
        assert_eq!(in_force.routes().count(), 0);
    }

    #[test]
    fn a_route_that_never_was_good_is_not_in_force() {
        let never = edited(
            "/spec/rules/0/matches/0/path",
            json!({"type": "RegularExpression", "value": "("}),
        );
        let validated = turn(&mut InForce::default(), &never);
        assert_eq!(validated.world.gateways[0].rules().count(), 0);
        assert!(
            !validated
                .refusals()
                .next()
                .unwrap()
                .message
                .contains("stays in force")
        );
    }

    #[test]
    fn keys_of_a_live_route_move_only_where_that_is_wanted() {
        let mut in_force = InForce::default();
        turn(&mut in_force, &good());
        let mut moved = edited(SOURCES, cookie());
        let refused = turn(&mut in_force, &moved);
        assert_eq!(codes(&refused), [Code::KeysWouldMove]);
        assert!(
            refused
                .refusals()
                .next()
                .unwrap()
                .message
                .contains("about 2 of 3")
        );
        moved.routes[0]["metadata"]["annotations"] = json!({"clew.dev/allow-remap": "true"});
        assert_eq!(codes(&turn(&mut in_force, &moved)), []);
        // From now on the cookie is what a live route reads.
        assert_eq!(codes(&turn(&mut in_force, &good())), [Code::KeysWouldMove]);
    }

    #[test]
    fn a_source_behind_the_others_moves_nobody() {
        let mut in_force = InForce::default();
        turn(&mut in_force, &good());
        let mut more = good().routes[0].pointer(SOURCES).unwrap().clone();
        more.as_array_mut()
            .unwrap()
            .extend(cookie().as_array().unwrap().clone());
        assert_eq!(codes(&turn(&mut in_force, &edited(SOURCES, more))), []);
    }

    #[test]
    fn what_another_process_kept_counts() {
        let mut first = InForce::default();
        turn(&mut first, &good());
        let mut second: InForce = first.routes().cloned().collect();
        assert_eq!(
            codes(&turn(&mut second, &edited(SOURCES, cookie()))),
            [Code::KeysWouldMove]
        );
    }
}
