//! Who gets a token, which, and in what.

use super::*;

#[test]
fn a_token_names_the_pod_that_was_reached() {
    let scene = Scene::new();
    let placed = scene.upgrade(&[("x-room", b"1")]).unwrap();
    let elsewhere = scene.pods[0]
        .iter()
        .find(|pod| pod.address != at(&placed))
        .unwrap();
    let (_, token) = scene.issue(&placed, elsewhere).unwrap();
    assert_eq!(
        at(&scene.upgrade(&[(HEADER, token.as_bytes())]).unwrap()),
        elsewhere.address
    );
    let issued = |reached| issue(&scene.rule, &scene.ring(), &placed, reached, NOW, || true);
    assert_eq!(issued(None), None);
    let nameless = Pod {
        name: "10.0.0.1:80".into(),
        uid: String::new(),
        ..pod(1)
    };
    assert_eq!(issued(Some(&nameless)), None, "an address is nobody's name");
}

#[test]
fn a_token_that_holds_is_not_issued_again_but_when_its_key_goes() {
    let mut scene = Scene::new();
    scene.persistence().absolute_timeout_ms = Some(HOUR);
    let (token, bound) = scene.token("1");
    fn headers(token: &str) -> [(&str, &[u8]); 1] {
        [(HEADER, token.as_bytes())]
    }
    let again = |scene: &Scene, token: &str| {
        let placed = scene.upgrade(&headers(token)).unwrap();
        assert_eq!(at(&placed), bound.address);
        scene.issue(&placed, &bound)
    };
    scene.now += HOUR / 2;
    assert_eq!(again(&scene, &token), None);
    scene.keys.push(key(8, false));
    assert_eq!(again(&scene, &token), None, "published, and nobody signs with it");
    scene.keys[0].signs = false;
    scene.keys[1].signs = true;
    let (_, renewed) = again(&scene, &token).unwrap();
    scene.keys.remove(0);
    assert_eq!(again(&scene, &renewed), None);
    assert_eq!(
        scene.presented(&headers(&token)),
        Presented::Invalid(Invalid::Forged)
    );
    // It lasts no longer for that.
    scene.now = NOW + HOUR + LEEWAY_MS;
    assert_eq!(again(&scene, &renewed), None);
    scene.now += 1;
    assert_eq!(
        scene.presented(&headers(&renewed)),
        Presented::Invalid(Invalid::Expired)
    );
    // Without a key that signs there are no tokens, and everything else goes on.
    scene.keys.clear();
    let placed = scene.upgrade(&[]).unwrap();
    assert_eq!(scene.issue(&placed, &bound), None);
}

#[test]
fn a_cookie_has_the_attributes_that_keep_it_to_itself() {
    let mut scene = Scene::new();
    let placed = scene.upgrade(&[]).unwrap();
    let reached = scene.pods[0]
        .iter()
        .find(|pod| pod.address == at(&placed))
        .unwrap()
        .clone();
    let mut attributes = |permanent, other_sites, secure, timeout| {
        scene.secure = secure;
        *scene.persistence() = Persistence {
            name: "clew-session".into(),
            cookie: Some(Cookie {
                path: "/ws".into(),
                permanent,
                other_sites,
            }),
            absolute_timeout_ms: timeout,
            on_backend_gone: OnBackendGone::Reassign,
        };
        let (name, value) = scene.issue(&placed, &reached).unwrap();
        assert_eq!(name, "set-cookie");
        let (pair, attributes) = value.split_once("; ").unwrap();
        let (_, token) = pair.split_once('=').unwrap();
        let cookies = format!("theme=dark; clew-session=old; clew-session=\"{token}\"");
        let back = scene.upgrade(&[("cookie", cookies.as_bytes())]).unwrap();
        assert_eq!(at(&back), reached.address, "behind an old one of another path");
        attributes.to_owned()
    };
    assert_eq!(
        attributes(false, false, true, None),
        "Path=/ws; HttpOnly; SameSite=Strict; Secure"
    );
    assert_eq!(
        attributes(false, false, false, Some(HOUR)),
        "Path=/ws; HttpOnly; SameSite=Strict"
    );
    assert_eq!(
        attributes(false, true, false, None),
        "Path=/ws; HttpOnly; SameSite=None; Secure"
    );
    assert_eq!(
        attributes(true, false, true, Some(HOUR)),
        "Path=/ws; HttpOnly; SameSite=Strict; Secure; Max-Age=3600"
    );
}
