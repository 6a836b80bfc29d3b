//! The pure half of the controller: what the manifests mean, what is wrong with them, what Envoy and the filters are
//! told, and what the status says. It does no IO and reads no clock; equal input gives equal output.
//!
//! The flow: [`Objects`](objects::Objects) → [`validate`](validate::validate) → [`World`](model::World) and refusals →
//! [`render`] (cannot fail) → whoever applies it → [`status`].

pub mod decoder;
pub mod diff;
pub mod explain;
pub mod in_force;
pub mod migrate;
pub mod model;
pub mod objects;
pub mod refusal;
pub mod render;
pub mod simulate;
pub mod status;
pub mod validate;
pub mod versions;

#[cfg(test)]
mod fixture;
