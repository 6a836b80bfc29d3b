//! Every code of a refusal: the mistake that is refused for it, and the field that is named.

use std::collections::BTreeSet;

use serde_json::json;

use super::set;
use crate::fixture::{Manifests, good, route};
use crate::refusal::Code;
use crate::validate::{Target, gateway_api, istio, policies, validate};

/// One change to the good fixture, and what it is refused for, where.
pub(in crate::validate) struct Mistake {
    pub(in crate::validate) code: Code,
    pub(in crate::validate) field: &'static str,
    pub(in crate::validate) change: fn(&mut Manifests),
}

impl Mistake {
    /// Tries it on manifests that are right, and finds what it is refused for.
    pub(in crate::validate) fn is_found(&self, mut manifests: Manifests, target: Target) {
        (self.change)(&mut manifests);
        let validated = validate(&manifests.objects(), target);
        let found: Vec<_> = validated
            .refusals()
            .map(|r| (r.code, r.field.as_str(), r.message.as_str()))
            .collect();
        assert!(
            found
                .iter()
                .any(|(code, field, _)| (*code, *field) == (self.code, self.field)),
            "{} at {}: {found:?}",
            self.code.name(),
            self.field
        );
    }
}

/// With a second HTTPS listener whose certificate is the Secret `tls`.
fn https(m: &mut Manifests, crt: &str, key: &str) {
    m.secrets.push(json!({
        "metadata": {"name": "tls", "namespace": "shop"},
        "stringData": {"tls.crt": crt, "tls.key": key},
    }));
    set(
        &mut m.gateways,
        "/spec/listeners/0",
        json!({"name": "https", "port": 8443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "tls"}]}}),
    );
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        code: Code::DuplicateObject,
        field: "metadata.name",
        change: |m| m.routes.push(m.routes[0].clone()),
    },
    Mistake {
        code: Code::ParentNotFound,
        field: "spec.parentRefs[0].name",
        change: |m| set(&mut m.routes, "/spec/parentRefs/0/name", json!("egde")),
    },
    Mistake {
        code: Code::ParentNotServed,
        field: "spec.parentRefs[0].name",
        change: |m| set(&mut m.gateways, "/spec/gatewayClassName", json!("istio")),
    },
    Mistake {
        code: Code::ParentNotServed,
        field: "spec.parentRefs[0].kind",
        change: |m| {
            set(
                &mut m.routes,
                "/spec/parentRefs/0",
                json!({"group": "", "kind": "Service", "name": "chat"}),
            )
        },
    },
    Mistake {
        code: Code::SectionNotFound,
        field: "spec.parentRefs[0].sectionName",
        change: |m| set(&mut m.routes, "/spec/parentRefs/0/sectionName", json!("https")),
    },
    Mistake {
        code: Code::SectionNotFound,
        field: "spec.parentRefs[0].port",
        change: |m| set(&mut m.routes, "/spec/parentRefs/0/port", json!(80)),
    },
    Mistake {
        code: Code::ListenerRefused,
        field: "spec.parentRefs[0]",
        change: |m| set(&mut m.gateways, "/spec/listeners/0/protocol", json!("UDP")),
    },
    Mistake {
        code: Code::NoMatchingHostname,
        field: "spec.parentRefs[0]",
        change: |m| set(&mut m.routes, "/spec/hostnames", json!(["chat.example.org"])),
    },
    Mistake {
        code: Code::NamespaceNotAllowed,
        field: "spec.parentRefs[0].namespace",
        change: |m| {
            set(&mut m.gateways, "/metadata/namespace", json!("infra"));
            set(&mut m.routes, "/spec/parentRefs/0/namespace", json!("infra"));
        },
    },
    Mistake {
        code: Code::KindNotAllowed,
        field: "spec.parentRefs[0]",
        change: |m| {
            set(
                &mut m.gateways,
                "/spec/listeners/0/allowedRoutes",
                json!({"kinds": [{"kind": "HTTPRoute"}]}),
            )
        },
    },
    Mistake {
        code: Code::MatchTaken,
        field: "spec.rules[0].matches[0]",
        change: |m| m.routes.push(route("newer", "/ws/")),
    },
    Mistake {
        code: Code::MatchRepeated,
        field: "spec.rules[0].matches[1]",
        change: |m| {
            set(
                &mut m.routes,
                "/spec/rules/0/matches",
                json!([{"path": {"value": "/ws"}}, {"path": {"value": "/ws/"}}]),
            )
        },
    },
    Mistake {
        code: Code::RuleIdTaken,
        field: "spec.rules[0].name",
        change: |m| {
            let (older, newer) = COLLISION;
            set(&mut m.routes, "/spec/rules/0/name", json!(older));
            m.routes.push(route("chat2", "/other"));
            m.routes[1]["spec"]["rules"][0]["name"] = json!(newer);
        },
    },
    Mistake {
        code: Code::ExpressionInvalid,
        field: "spec.rules[0].matches[0].path.value",
        change: |m| {
            set(
                &mut m.routes,
                "/spec/rules/0/matches/0/path",
                json!({"type": "RegularExpression", "value": "/(?=x)"}),
            )
        },
    },
    Mistake {
        code: Code::ExpressionInvalid,
        field: "spec.rules[0].matches[0].headers[0].value",
        change: |m| {
            let header = json!([{"type": "RegularExpression", "name": "x-a", "value": "["}]);
            set(&mut m.routes, "/spec/rules/0/matches/0/headers", header);
        },
    },
    Mistake {
        code: Code::ExpressionInvalid,
        field: "spec.rules[0].matches[0].queryParams[0].value",
        change: |m| {
            let param = json!([{"type": "RegularExpression", "name": "a", "value": "["}]);
            set(&mut m.routes, "/spec/rules/0/matches/0/queryParams", param);
        },
    },
    Mistake {
        code: Code::PathInvalid,
        field: "spec.rules[0].matches[0].path.value",
        change: |m| {
            set(
                &mut m.routes,
                "/spec/rules/0/matches/0/path/value",
                json!("/a/../b"),
            )
        },
    },
    Mistake {
        code: Code::PathInvalid,
        field: "spec.rules[0].matches[0].path.value",
        change: |m| {
            set(
                &mut m.routes,
                "/spec/rules/0/matches/0/path/value",
                json!("/räume"),
            )
        },
    },
    Mistake {
        code: Code::KeySourceIncomplete,
        field: "spec.rules[0].sessionKey.sources[0]",
        change: |m| {
            set(
                &mut m.routes,
                "/spec/rules/0/sessionKey/sources/0/type",
                json!("Cookie"),
            )
        },
    },
    Mistake {
        code: Code::GenerateIncomplete,
        field: "spec.rules[0].sessionKey.generate",
        change: |m| {
            set(
                &mut m.routes,
                "/spec/rules/0/sessionKey/onMissing",
                json!("Generate"),
            )
        },
    },
    Mistake {
        code: Code::DrainInvalid,
        field: "spec.rules[0].drain.closeCode",
        change: |m| set(&mut m.routes, "/spec/rules/0/drain", json!({"closeCode": 1006})),
    },
    Mistake {
        code: Code::DrainInvalid,
        field: "spec.rules[0].drain.closeReason",
        change: |m| {
            set(
                &mut m.routes,
                "/spec/rules/0/drain",
                json!({"closeReason": "é".repeat(62)}),
            )
        },
    },
    Mistake {
        code: Code::HostnameInvalid,
        field: "spec.hostnames[0]",
        change: |m| set(&mut m.routes, "/spec/hostnames", json!(["chat.example.com:8080"])),
    },
    Mistake {
        code: Code::ClaimUnverified,
        field: "spec.rules[0].sessionKey.sources[0].jwtClaim.verification",
        change: |m| {
            let source = json!({"type": "JWTClaim", "jwtClaim": {"name": "sub", "verification": "Required"}});
            set(&mut m.routes, "/spec/rules/0/sessionKey/sources/0", source);
        },
    },
    Mistake {
        code: Code::RuleNameInvalid,
        field: "spec.rules[1].name",
        change: |m| {
            let mut second = m.routes[0]["spec"]["rules"][0].clone();
            second["matches"][0]["path"]["value"] = json!("/second");
            m.routes[0]["spec"]["rules"].as_array_mut().unwrap().push(second);
        },
    },
    Mistake {
        code: Code::BackendMissing,
        field: "spec.rules[0].backendRefs[0].name",
        change: |m| set(&mut m.routes, "/spec/rules/0/backendRefs/0/name", json!("caht")),
    },
    Mistake {
        code: Code::PortMissing,
        field: "spec.rules[0].backendRefs[0].port",
        change: |m| set(&mut m.routes, "/spec/rules/0/backendRefs/0/port", json!(80)),
    },
    Mistake {
        code: Code::BackendForeign,
        field: "spec.rules[0].backendRefs[0].namespace",
        change: |m| {
            set(
                &mut m.routes,
                "/spec/rules/0/backendRefs/0/namespace",
                json!("other"),
            )
        },
    },
    Mistake {
        code: Code::BackendUnsupported,
        field: "spec.rules[0].backendRefs[0].kind",
        change: |m| set(&mut m.routes, "/spec/rules/0/backendRefs/0/kind", json!("Bucket")),
    },
    Mistake {
        code: Code::BackendUnsupported,
        field: "spec.rules[0].backendRefs[0].name",
        change: |m| set(&mut m.services, "/spec/type", json!("ExternalName")),
    },
    Mistake {
        code: Code::BackendUnsupported,
        field: "spec.rules[0].backendRefs[0].port",
        change: |m| {
            set(
                &mut m.services,
                "/spec/ports/0/appProtocol",
                json!("kubernetes.io/wss"),
            )
        },
    },
    Mistake {
        code: Code::SecretMissing,
        field: "spec.rules[0].security.jwt.jwksSecretRef.name",
        change: |m| {
            let jwt = json!({"jwt": {"issuer": "https://id.example.com", "jwksSecretRef": {"name": "jwks"}}});
            set(&mut m.routes, "/spec/rules/0/security", jwt);
        },
    },
    Mistake {
        code: Code::KeySetInvalid,
        field: "spec.rules[0].security.jwt.jwksSecretRef.name",
        change: |m| {
            let jwt = json!({"jwt": {"issuer": "https://id.example.com", "jwksSecretRef": {"name": "jwks"}}});
            set(&mut m.routes, "/spec/rules/0/security", jwt);
            m.secrets.push(json!({
                "metadata": {"name": "jwks", "namespace": "shop"},
                "stringData": {"jwks": "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AQAB\"}]}"},
            }));
        },
    },
    Mistake {
        code: Code::ClaimUnverified,
        field: "spec.rules[0].sessionKey.sources[1].jwtClaim.header",
        change: |m| {
            let claim = |header| json!({"type": "JWTClaim", "jwtClaim": {"name": "sub", "header": header}});
            set(
                &mut m.routes,
                "/spec/rules/0/sessionKey/sources",
                json!([claim("x-token"), claim("authorization")]),
            );
            let jwt = json!({"jwt": {"issuer": "https://id.example.com", "jwksSecretRef": {"name": "jwks"}}});
            set(&mut m.routes, "/spec/rules/0/security", jwt);
            m.secrets.push(json!({
                "metadata": {"name": "jwks", "namespace": "shop"},
                "stringData": {"jwks": "{\"keys\": []}"},
            }));
        },
    },
    Mistake {
        code: Code::GatewayAddressInvalid,
        field: "spec.addresses[0]",
        change: |m| {
            set(
                &mut m.gateways,
                "/spec/addresses",
                json!([{"type": "Hostname", "value": "edge.example.com"}]),
            )
        },
    },
    Mistake {
        code: Code::ListenerProtocolUnsupported,
        field: "spec.listeners[0].protocol",
        change: |m| set(&mut m.gateways, "/spec/listeners/0/protocol", json!("TCP")),
    },
    Mistake {
        code: Code::ListenerConflict,
        field: "spec.listeners[0]",
        change: |m| {
            let mut late = m.gateways[0].clone();
            late["metadata"]["name"] = json!("late");
            m.gateways.push(late);
        },
    },
    Mistake {
        code: Code::ListenerConflict,
        field: "spec.listeners[1].name",
        change: |m| {
            let mut again = m.gateways[0]["spec"]["listeners"][0].clone();
            again["port"] = json!(8081);
            m.gateways[0]["spec"]["listeners"]
                .as_array_mut()
                .unwrap()
                .push(again);
        },
    },
    Mistake {
        code: Code::CertificateMissing,
        field: "spec.listeners[0].tls.certificateRefs",
        change: |m| set(&mut m.gateways, "/spec/listeners/0/protocol", json!("HTTPS")),
    },
    Mistake {
        code: Code::CertificateUnreadable,
        field: "spec.listeners[0].tls.certificateRefs[0]",
        change: |m| {
            https(
                m,
                "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
                "x",
            )
        },
    },
    Mistake {
        code: Code::OriginInvalid,
        field: "spec.rules[0].security.origin.allowed[0]",
        change: |m| {
            let security = json!({"origin": {"allowed": ["https://app.example.com:0"]}});
            set(&mut m.routes, "/spec/rules/0/security", security);
        },
    },
    Mistake {
        code: Code::CertificateForeign,
        field: "spec.listeners[0].tls.certificateRefs[0]",
        change: |m| {
            https(m, "", "");
            set(
                &mut m.gateways,
                "/spec/listeners/0/tls/certificateRefs/0/namespace",
                json!("other"),
            );
        },
    },
    Mistake {
        code: Code::GatewayFieldUnsupported,
        field: "spec.infrastructure",
        change: |m| {
            set(
                &mut m.gateways,
                "/spec/infrastructure",
                json!({"labels": {"a": "b"}}),
            )
        },
    },
    Mistake {
        code: Code::EndpointInvalid,
        field: "endpoints[0].addresses[0]",
        change: |m| {
            set(
                &mut m.endpoint_slices,
                "/endpoints/0/addresses/0",
                json!("chat.internal"),
            )
        },
    },
];

/// Two rules' names, `shop/chat/…` and `shop/chat2/…`, that both have the id 5ed5f20fac: found by search.
const COLLISION: (&str, &str) = ("r855736", "r213793");

#[test]
fn every_mistake_has_its_code_and_its_field() {
    for mistake in MISTAKES {
        mistake.is_found(good(), Target::Standalone);
    }
}

/// An edit can be judged only beside what was before it: `in_force`. The others: `persistence`, `signing_keys`.
const TRIED_ELSEWHERE: [Code; 4] = [
    Code::KeysWouldMove,
    Code::PersistenceInvalid,
    Code::SigningKeyInvalid,
    Code::SigningKeysTwice,
];

#[test]
fn every_code_has_a_mistake() {
    let tried: BTreeSet<_> = MISTAKES
        .iter()
        .map(|mistake| mistake.code)
        .chain(istio::tests::MISTAKES.iter().map(|mistake| mistake.code))
        .chain(gateway_api::tests::MISTAKES.iter().map(|mistake| mistake.code))
        .chain(policies::tests::mistakes().into_iter().map(|(code, _)| code))
        .collect();
    let never: Vec<_> = Code::ALL
        .iter()
        .filter(|code| !TRIED_ELSEWHERE.contains(code) && !tried.contains(code))
        .map(|code| code.name())
        .collect();
    assert!(never.is_empty(), "{never:?}");
}
