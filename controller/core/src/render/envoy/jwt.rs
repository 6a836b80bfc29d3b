//! ECDS: one configuration of Envoy's JWT filter for each gateway, and which part of it a route asks for. The filter is in
//! every listener, ahead of ours, so that a route that begins to ask touches none; where no route asks it does nothing.

use std::collections::BTreeMap;

use clew_filter_config::headers::JWT_PAYLOAD;
use clew_filter_core::jwt::SKEW_MS;
use serde_json::{Map, Value, json};
use xxhash_rust::xxh64::xxh64;

use super::file::{File, file_name};
use crate::model::{Gateway, Jwks, JwtProvider, ObjectName, World};

/// The type of the filter's configuration.
pub(super) const TYPE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";

pub(super) fn files(world: &World) -> BTreeMap<String, File> {
    // Nobody reads the file of a gateway without listeners, so nobody would say that it was taken.
    let serving = |gateway: &&Gateway| !gateway.listeners.is_empty();
    world
        .gateways
        .iter()
        .filter(serving)
        .map(|gateway| (path(&gateway.name), file(gateway, world)))
        .collect()
}

/// Where the filter's configuration for a gateway is.
pub(super) fn path(gateway: &ObjectName) -> String {
    format!(
        "jwt/{}.{}.json",
        file_name(&gateway.namespace),
        file_name(&gateway.name)
    )
}

/// What the filter is called on a gateway.
pub(super) fn name(gateway: &ObjectName) -> String {
    format!("clew-jwt/{gateway}")
}

fn file(gateway: &Gateway, world: &World) -> File {
    let providers: BTreeMap<_, _> = gateway
        .rules()
        .filter_map(|rule| rule.jwt.as_ref())
        .map(|provider| (requirement(provider), provider))
        .collect();
    let requirements: Map<_, _> = providers
        .keys()
        .map(|name| (name.clone(), json!({"provider_name": name})))
        .collect();
    let providers: Map<_, _> = providers
        .into_iter()
        .map(|(name, provider)| (name, rendered(provider, world)))
        .collect();
    File::new(&[json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": name(&gateway.name),
        "typed_config": {"@type": TYPE, "providers": providers, "requirement_map": requirements},
    })])
}

/// Names whose tokens are asked for. Not the keys: they change without a change of any route.
fn requirement(provider: &JwtProvider) -> String {
    let what = format!("{provider:?}");
    format!("{}#{:08x}", provider.keys, xxh64(what.as_bytes(), 0) >> 32)
}

/// No preflight passes without a token: any method can ask for a WebSocket.
fn rendered(provider: &JwtProvider, world: &World) -> Value {
    let known = world.key_sets.get(&provider.keys);
    let keys = known.into_iter().flat_map(|set| set.0.iter().cloned());
    let key_set = Jwks(std::iter::once(NOBODYS.to_owned()).chain(keys).collect());
    let mut header = json!({"name": provider.header});
    if provider.header == "authorization" {
        header["value_prefix"] = "Bearer ".into();
    }
    json!({
        "issuer": provider.issuer,
        "audiences": provider.audiences,
        "from_headers": [header],
        "local_jwks": {"inline_string": key_set.to_string()},
        "clock_skew_seconds": SKEW_MS / 1000,
        // For the backend, as it came; for our filter, what was verified of it and nothing else.
        "forward": true,
        "forward_payload_header": JWT_PAYLOAD,
    })
}

/// A key that nobody can sign with: its x is the SHA-256 of `clew: nobody holds this key 0`. Envoy 1.40 refuses a set in which
/// no key is valid, and all other rules' with it; in this way every set is taken, and one without a valid key refuses every
/// token.
const NOBODYS: &str = r#"{"kty":"EC","crv":"P-256","alg":"ES256","kid":"nobody","x":"D79yz0ZfRwbyjAWYXavVX7PePdiX1aMmJIxSCoXgnvQ","y":"dg-_Ps1ALqCAwH1SKJDPbwbZKnSI5qjphwJ_-PvL4dQ"}"#;

/// What a route of a rule says to the filter: the filter's name, and its word.
pub(super) fn of_route(gateway: &ObjectName, provider: &JwtProvider) -> (String, Value) {
    let ask = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
        "requirement_name": requirement(provider),
    });
    (name(gateway), ask)
}
