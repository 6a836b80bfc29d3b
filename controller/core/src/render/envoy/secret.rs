//! SDS: one file for each certificate, so that a renewed one touches nothing else.

use std::collections::BTreeMap;

use serde_json::json;

use super::file::{File, file_name};
use crate::model::{Certificate, ObjectName, World};

pub(super) fn files(world: &World) -> BTreeMap<String, File> {
    world
        .certificates
        .iter()
        .map(|(name, certificate)| (path(name), file(name, certificate)))
        .collect()
}

/// Where a certificate is.
pub(super) fn path(secret: &ObjectName) -> String {
    format!(
        "secrets/{}.{}.json",
        file_name(&secret.namespace),
        file_name(&secret.name)
    )
}

fn file(name: &ObjectName, certificate: &Certificate) -> File {
    File::new(&[json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name.to_string(),
        "tls_certificate": {
            "certificate_chain": {"inline_string": certificate.chain},
            "private_key": {"inline_string": certificate.key},
        },
    })])
}
