use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::index::Index;
use crate::model::{Certificate, ObjectName};
use crate::objects::Listener;
use crate::refusal::Code;

/// The certificates that listeners show; each Secret is read once.
pub(super) struct Certificates<'i, 'a> {
    index: &'i Index<'a>,
    read: BTreeMap<ObjectName, Certificate>,
}

impl<'i, 'a> Certificates<'i, 'a> {
    pub(super) fn new(index: &'i Index<'a>) -> Self {
        Self {
            index,
            read: BTreeMap::new(),
        }
    }

    pub(super) fn read(self) -> BTreeMap<ObjectName, Certificate> {
        self.read
    }

    /// The certificates of a listener. None: it cannot be served.
    pub(super) fn of(
        &mut self,
        gateway: &ObjectName,
        listener: &Listener,
        path: &str,
        refuse: &mut impl FnMut(Code, String, String),
    ) -> Option<Vec<ObjectName>> {
        let tls = listener.tls.clone().unwrap_or_default();
        if let Some(mode) = tls.mode.as_deref().filter(|mode| *mode != "Terminate") {
            let message = format!("mode {mode:?} leaves nothing to route by; write Terminate");
            refuse(
                Code::ListenerProtocolUnsupported,
                format!("{path}.tls.mode"),
                message,
            );
            return None;
        }
        if tls.certificate_refs.is_empty() {
            let message =
                "an HTTPS listener needs a certificate; name a Secret of type kubernetes.io/tls".to_owned();
            refuse(
                Code::CertificateMissing,
                format!("{path}.tls.certificateRefs"),
                message,
            );
        }
        let mut names = Vec::new();
        for (i, reference) in tls.certificate_refs.iter().enumerate() {
            let field = format!("{path}.tls.certificateRefs[{i}]");
            let namespace = reference.namespace.as_deref().unwrap_or(&gateway.namespace);
            let name = ObjectName::new(namespace, &reference.name);
            if !reference.group.is_empty() || reference.kind.as_deref().is_some_and(|kind| kind != "Secret") {
                refuse(
                    Code::CertificateMissing,
                    field,
                    "only a core Secret can hold a certificate here".to_owned(),
                );
            } else if namespace != gateway.namespace {
                let message = format!(
                    "Secret {name} is in another namespace and nothing grants it; copy it to {}",
                    gateway.namespace
                );
                refuse(Code::CertificateForeign, field, message);
            } else if let Some(secret) = self.index.secrets.get(&name) {
                match certificate(&secret.object) {
                    Ok(certificate) => {
                        self.read.insert(name.clone(), certificate);
                        names.push(name);
                    }
                    Err(what) => refuse(
                        Code::CertificateUnreadable,
                        field,
                        format!("Secret {name} ({}): {what}", secret.source),
                    ),
                }
            } else {
                refuse(
                    Code::CertificateMissing,
                    field,
                    format!("there is no Secret {name}; add it, with tls.crt and tls.key"),
                );
            }
        }
        (!names.is_empty()).then_some(names)
    }
}

/// The text of an entry, from `data` or `stringData`.
pub(super) fn entry(secret: &Secret, key: &str) -> Option<String> {
    if let Some(text) = secret.string_data.as_ref().and_then(|data| data.get(key)) {
        return Some(text.clone());
    }
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

fn certificate(secret: &Secret) -> Result<Certificate, String> {
    let text = |key| entry(secret, key).ok_or_else(|| format!("it has no text under {key}; put PEM there"));
    let (chain, key) = (text("tls.crt")?, text("tls.key")?);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => {}
        Ok(_) => {
            return Err(
                "tls.crt holds no certificate; it must begin with -----BEGIN CERTIFICATE-----".to_owned(),
            );
        }
        Err(error) => return Err(format!("tls.crt is not PEM: {error}")),
    }
    PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| format!("tls.key holds no private key in PEM: {error}"))?;
    Ok(Certificate { chain, key })
}
