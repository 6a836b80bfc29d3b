//! Kubelet tells a server to end as its endpoint turns terminating, and an unmodified one then drops its sockets. So a drain has the
//! time that the pod sleeps before that, and no more.

use std::collections::BTreeMap;

use super::index::Index;
use super::{RouteReport, Unsupported};
use crate::model::{ObjectName, OwnerKind, RuleName, World};
use crate::objects::{Objects, PodEnd};

/// What a pod needs beyond its sleep to end by itself.
const MARGIN_SECONDS: i64 = 15;

/// Says of every route which of its drains its pods do not last for.
pub(super) fn check(reports: &mut [RouteReport], world: &World, objects: &Objects, index: &Index<'_>) {
    if objects.pods.is_empty() {
        return;
    }
    let mut found: BTreeMap<&RuleName, String> = BTreeMap::new();
    for rule in world.rules() {
        if found.contains_key(&rule.name) {
            continue;
        }
        let pods = rule
            .backends
            .iter()
            .filter_map(|share| Some((&share.id.service, world.backends.get(&share.id)?)))
            .flat_map(|(service, backend)| backend.pods.iter().map(move |pod| (service, pod)));
        let mut known = pods.filter_map(|(service, pod)| {
            let name = ObjectName::new(&service.namespace, &pod.name);
            let end = *objects.pods.get(&name)?;
            Some((name, end))
        });
        let seconds = rule
            .drain_timeout_ms
            .div_ceil(1000)
            .try_into()
            .unwrap_or(i64::MAX);
        if let Some((name, end)) = known.find(|(_, end)| is_truncated(*end, seconds)) {
            found.insert(&rule.name, sentence(&name, end, seconds));
        }
    }
    for report in reports {
        if report.kind == OwnerKind::Policy {
            let of_it = found.iter().find(|(rule, _)| rule.owner() == report.owner());
            report.truncated.extend(of_it.map(|(_, why)| Unsupported {
                field: "spec.drain.timeout".to_owned(),
                why: why.clone(),
            }));
            continue;
        }
        let Some(route) = index.routes.get(&report.name) else {
            continue;
        };
        for (i, rule) in route.object.spec.rules.iter().enumerate() {
            let name = RuleName {
                route: report.name.clone(),
                rule: rule.name.clone().unwrap_or_else(|| "default".to_owned()),
            };
            report.truncated.extend(found.get(&name).map(|why| Unsupported {
                field: format!("spec.rules[{i}].drain.timeout"),
                why: why.clone(),
            }));
        }
    }
}

fn is_truncated(end: PodEnd, seconds: i64) -> bool {
    seconds > 0 && (end.sleep_seconds < seconds || end.grace_seconds <= seconds)
}

fn sentence(pod: &ObjectName, end: PodEnd, seconds: i64) -> String {
    let has = end.sleep_seconds.min(end.grace_seconds);
    format!(
        "the drain takes {seconds} s, and pod {pod} is told to end after {has} s; set preStop: {{sleep: {{seconds: {seconds}}}}} on its containers and terminationGracePeriodSeconds: {}",
        seconds.saturating_add(MARGIN_SECONDS)
    )
}

#[cfg(test)]
mod tests {
    use super::is_truncated;
    use crate::objects::PodEnd;

    #[test]
    fn a_drain_has_the_time_that_the_pod_sleeps() {
        for (sleep_seconds, grace_seconds, seconds, truncated) in [
            (60, 75, 60, false),
            (0, 75, 60, true),
            (59, 75, 60, true),
            (60, 60, 60, true),
            (120, 120, 20, false),
            (120, 20, 20, true),
            (0, 30, 0, false),
        ] {
            let end = PodEnd {
                grace_seconds,
                sleep_seconds,
            };
            assert_eq!(is_truncated(end, seconds), truncated, "{end:?} {seconds}");
        }
    }
}
