//! Rules of HTTPRoutes that somebody else wrote: under which key the channel has what holds for one, made of what the mesh calls the route that
//! Envoy took. Each mesh has its own way, and none of them is a name that we may choose.

/// How a rule of an HTTPRoute is called: by its own name, or where it has none by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section<'a> {
    /// `rules[].name`.
    Named(&'a str),
    /// From 0.
    At(usize),
}

/// How Envoy Gateway (1.9) begins the name of each route of an HTTPRoute: `httproute/NAMESPACE/NAME/rule/INDEX/match/…`. What the rule itself is
/// called stands in the route's metadata.
pub const OF_ENVOY_GATEWAY: &str = "httproute/";
/// How the key of a rule on Istio begins. Its routes are called as the rule is, or else `NAMESPACE.NAME.INDEX`: rules of one name are told apart by
/// where they lead, and one whose place shifts is never taken for the one that was there before, if that led elsewhere.
const OF_ISTIO: &str = "istio/";

/// The key of a rule on Envoy Gateway.
#[must_use]
pub fn on_envoy_gateway(namespace: &str, name: &str, section: Section<'_>) -> String {
    match section {
        Section::Named(section) => format!("{OF_ENVOY_GATEWAY}{namespace}/{name}/{section}"),
        Section::At(index) => format!("{OF_ENVOY_GATEWAY}{namespace}/{name}/rule/{index}"),
    }
}

/// The key of a rule on Istio that leads to a port of a Service, by the Service's host on the mesh.
#[must_use]
pub fn on_istio(namespace: &str, name: &str, section: Section<'_>, (host, port): (&str, u16)) -> String {
    let route = match section {
        Section::Named(section) => section.to_owned(),
        Section::At(index) => format!("{namespace}.{name}.{index}"),
    };
    format!("{OF_ISTIO}{route}/outbound|{port}||{host}")
}

/// Whether a key of the channel is that of such a rule, and not of one of ours.
#[must_use]
pub fn is_key(key: &str) -> bool {
    key.starts_with(OF_ENVOY_GATEWAY) || key.starts_with(OF_ISTIO)
}

/// Whether a route is called as Envoy Gateway does.
#[must_use]
pub fn is_of_envoy_gateway(route: &[u8]) -> bool {
    route.starts_with(OF_ENVOY_GATEWAY.as_bytes())
}

/// The key under which the rule of a route of Envoy Gateway would be. `section`: what the route's metadata calls it, if anything.
#[must_use]
pub fn key_on_envoy_gateway(route: &[u8], section: Option<&[u8]>) -> Option<String> {
    let route = core::str::from_utf8(route).ok()?;
    let mut parts = route.strip_prefix(OF_ENVOY_GATEWAY)?.split('/');
    let (namespace, name) = (parts.next()?, parts.next()?);
    let section = match section {
        Some(section) => Section::Named(core::str::from_utf8(section).ok()?),
        None => Section::At(parts.nth(1)?.parse().ok()?),
    };
    Some(on_envoy_gateway(namespace, name, section))
}

/// The key under which the rule of a route of Istio would be that leads to a cluster.
#[must_use]
pub fn key_on_istio(route: &[u8], cluster: &[u8]) -> Option<String> {
    let (route, cluster) = (
        core::str::from_utf8(route).ok()?,
        core::str::from_utf8(cluster).ok()?,
    );
    Some(format!("{OF_ISTIO}{route}/{cluster}"))
}

#[cfg(test)]
mod tests {
    use super::{Section, is_key, key_on_envoy_gateway, key_on_istio, on_envoy_gateway, on_istio};

    const CLUSTER: &[u8] = b"outbound|8080||chat.shop.svc.cluster.local";
    const BACKEND: (&str, u16) = ("chat.shop.svc.cluster.local", 8080);

    #[test]
    fn a_rule_has_one_key_wherever_it_is_made() {
        let route = b"httproute/shop/chat/rule/1/match/0/chat_example_com";
        for (section, named) in [
            (Section::Named("rooms"), Some(&b"rooms"[..])),
            (Section::At(1), None),
        ] {
            let key = key_on_envoy_gateway(route, named);
            assert_eq!(key, Some(on_envoy_gateway("shop", "chat", section)));
        }
        for (section, route) in [
            (Section::Named("rooms"), "rooms"),
            (Section::At(0), "shop.chat.0"),
        ] {
            let key = key_on_istio(route.as_bytes(), CLUSTER);
            assert_eq!(key, Some(on_istio("shop", "chat", section, BACKEND)));
        }
    }

    #[test]
    fn rules_of_one_name_are_told_apart_by_where_they_lead() {
        let named = |backend| on_istio("shop", "chat", Section::Named("rooms"), backend);
        assert_ne!(named(BACKEND), named((BACKEND.0, 80)));
        assert_ne!(named(BACKEND), named(("game.shop.svc.cluster.local", 8080)));
    }

    #[test]
    fn a_key_is_no_id_of_ours_and_a_name_no_place() {
        let named = on_envoy_gateway("shop", "chat", Section::Named("rule"));
        assert_ne!(named, on_envoy_gateway("shop", "chat", Section::At(0)));
        assert!(is_key(&named) && is_key(&on_istio("shop", "chat", Section::At(0), BACKEND)));
        assert!(!is_key("0123456789"));
    }

    #[test]
    fn what_is_no_route_of_an_http_route_has_no_key() {
        for route in [
            &b"httproute/"[..],
            b"httproute/shop",
            b"httproute/shop/chat",
            b"httproute/shop/chat/rule/x",
            b"default",
            b"\xff",
        ] {
            assert_eq!(key_on_envoy_gateway(route, None), None, "{route:?}");
        }
        assert_eq!(
            key_on_envoy_gateway(b"httproute/shop/chat/rule/0", Some(b"\xff")),
            None
        );
        assert_eq!(key_on_istio(b"\xff", CLUSTER), None);
    }
}
