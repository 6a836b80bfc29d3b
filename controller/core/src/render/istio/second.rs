//! What leads to second Services, for Gateways of Istio's class: an HTTPRoute cannot name a subset.

use super::names_subsets;
use super::policy::Policy;
use crate::model::{AttachedRoute, BackendShare, Istio, ObjectName, Rule};
use crate::render::grant;
use crate::render::http_route::{by_name, in_steps, of_route};
use crate::render::object::Object;

pub(super) fn http_routes(istio: &Istio) -> Vec<Object> {
    by_name(routes(istio))
        .into_values()
        .flat_map(|at_parents| {
            let Some(route) = at_parents.first() else {
                return Vec::new();
            };
            let to = |rule: &Rule, share: &BackendShare| second(rule, share, route, istio);
            of_route(&at_parents, in_steps(route, |_| "clew".to_owned(), to))
        })
        .collect()
}

/// Where a user's ReferenceGrant lets a route use a Service, its HTTPRoutes need one for the second Service.
pub(super) fn grants(istio: &Istio) -> Vec<Object> {
    grant::objects(routes(istio), |route, rule, share| {
        second(rule, share, route, istio)
    })
}

fn routes(istio: &Istio) -> impl Iterator<Item = &AttachedRoute> {
    istio.routes.iter().filter(|route| !names_subsets(&route.parent))
}

fn second(rule: &Rule, share: &BackendShare, route: &AttachedRoute, istio: &Istio) -> ObjectName {
    Policy::of(rule, share, &route.parent, istio).second_service(&share.id.service)
}
