//! Manifests → what is to be in force, and what is wrong with the rest.
//!
//! The objects have the shape that their schema and CEL rules demand (`clew_crds::admission`); what is checked here is
//! what only a look at all of them together, or at the target, can tell. A refused route takes nothing from others.

mod age;
mod attached;
mod backends;
mod certificates;
pub mod class;
mod expression;
mod gateway_api;
mod grants;
mod index;
mod istio;
mod jwt;
mod key_sets;
mod limits;
mod lingering;
mod listeners;
mod matches;
mod origin;
mod parents;
mod persistence;
mod policies;
mod routes;
mod rules;
mod signing_keys;
mod unsupported;
mod window;

use std::collections::BTreeSet;

pub(crate) use age::Aged;
pub use age::name_of;
use clew_crds::websocket_route::ParentReference;
pub(crate) use key_sets::ENTRY as KEY_SET;

use crate::model::{ObjectName, Owner, OwnerKind, Parent, World};
use crate::objects::{Objects, Source};
use crate::refusal::{ObjectRef, Refusal};

/// Whose parents count. What a parent is rendered to, the parent says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Those of an Envoy of our own on this machine; others are refused.
    Standalone,
    /// All that are known.
    Every,
}

/// What became of all objects.
#[derive(Clone, Debug, Default)]
pub struct Validated {
    /// What is to be in force.
    pub world: World,
    /// Every route, in the order of their names, and then every policy.
    pub routes: Vec<RouteReport>,
    /// What is wrong with Gateways, Secrets, EndpointSlices, and with objects that are there twice.
    pub others: Vec<Refusal>,
    /// Other people's objects that keep nobody out, and are worth knowing.
    pub notices: Vec<Notice>,
}

impl Validated {
    /// Everything that is wrong.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.routes
            .iter()
            .flat_map(|route| &route.refusals)
            .chain(&self.others)
    }
}

/// What became of one route, or of one policy, whose parents are the Gateways of its targets.
#[derive(Clone, Debug)]
pub struct RouteReport {
    /// Which of the two.
    pub kind: OwnerKind,
    /// The route.
    pub name: ObjectName,
    /// Where it was written.
    pub source: Source,
    /// Its `metadata.generation`.
    pub generation: Option<i64>,
    /// In the order of `spec.parentRefs`.
    pub parents: Vec<ParentReport>,
    /// What is wrong with it.
    pub refusals: Vec<Refusal>,
    /// The drains that its pods do not last for.
    pub truncated: Vec<Unsupported>,
}

impl RouteReport {
    /// Of what it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        let (kind, name) = (self.kind, self.name.clone());
        Owner { kind, name }
    }

    /// What it asks for and some parent cannot do, each once.
    #[must_use]
    pub fn unsupported(&self) -> BTreeSet<&Unsupported> {
        self.parents
            .iter()
            .flat_map(|parent| &parent.unsupported)
            .collect()
    }
}

/// A parent of a route.
#[derive(Clone, Debug)]
pub struct ParentReport {
    /// As the route names it.
    pub reference: ParentReference,
    /// What it is; None where there is no such parent, or nobody here serves it.
    pub parent: Option<Parent>,
    /// Whether the route is to be in force there.
    pub in_force: bool,
    /// What the route asks for and cannot be done there.
    pub unsupported: Vec<Unsupported>,
}

/// An object of somebody else's beside ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What about it.
    pub concern: Concern,
    /// The object.
    pub object: ObjectRef,
    /// Where it was written.
    pub source: Source,
    /// What that means and what to do.
    pub message: String,
}

/// What is worth knowing of an object beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// An edit of it ends the sessions of a gateway.
    Cuts,
    /// It changes what we write.
    Patches,
    /// It cuts sessions that say nothing, or are old.
    Ends,
    /// It has Envoy take healthy pods for ill.
    Ejects,
    /// It places sessions otherwise than their keys say.
    Misplaces,
}

impl Concern {
    /// Stable.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Cuts => "CLEW0302",
            Self::Patches => "CLEW0303",
            Self::Ends => "CLEW0304",
            Self::Ejects => "CLEW0305",
            Self::Misplaces => "CLEW0306",
        }
    }

    /// Whether sessions suffer as long as it is there, and not only when it is edited or by what nobody knows.
    #[must_use]
    pub const fn is_harm(self) -> bool {
        matches!(self, Self::Ends | Self::Ejects | Self::Misplaces)
    }
}

/// A field that the target cannot honour.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsupported {
    /// Its path.
    pub field: String,
    /// Why, and what happens instead.
    pub why: String,
}

/// Finds out what is to be in force.
#[must_use]
pub fn validate(objects: &Objects, target: Target) -> Validated {
    let mut others = Vec::new();
    let index = index::Index::new(objects, &mut others);
    let mut listeners = listeners::Listeners::new(&index, &mut others);
    let mut routes = routes::Routes::new(&index, target);
    for route in age::oldest_first(index.routes.values().copied()) {
        routes.add(route, &mut listeners);
    }
    let notices = routes.notices();
    let (policies, of_policies) = policies::read(&index, target, &listeners, &mut routes);
    let (mut reports, backends, (istio, gateway_api), key_sets) = routes.finish(policies, &mut others);
    reports.extend(of_policies);
    let (gateways, certificates) = listeners.finish();
    let signing_keys = signing_keys::read(&index, &mut others);
    let mut world = World {
        gateways,
        istio,
        gateway_api,
        backends,
        certificates,
        signing_keys,
        key_sets,
    };
    lingering::add(&mut world, objects, &index);
    window::check(&mut reports, &world, objects, &index);
    Validated {
        world,
        routes: reports,
        others,
        notices,
    }
}

#[cfg(test)]
mod tests;
