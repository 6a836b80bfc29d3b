//! Tokens that are none of ours.

use super::*;

#[test]
fn only_so_many_values_are_looked_at() {
    let scene = Scene::new();
    let (token, _) = scene.token("1");
    for (before, valid) in [(3, true), (4, false)] {
        let mut headers = vec![(HEADER, &b"old"[..]); before];
        headers.push((HEADER, token.as_bytes()));
        assert_eq!(
            matches!(scene.presented(&headers), Presented::Valid(_)),
            valid,
            "{before}"
        );
    }
    assert_eq!(scene.presented(&[(HEADER, b"")]), Presented::Nothing);
    assert_eq!(
        scene.presented(&[(HEADER, b"old")]),
        Presented::Invalid(Invalid::Malformed)
    );
    let mut unbound = Scene::new();
    unbound.rule.persistence = None;
    assert_eq!(
        unbound.presented(&[(HEADER, token.as_bytes())]),
        Presented::Nothing
    );
}

/// SplitMix64: the same inputs each time.
struct Many(u64);

impl Many {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }
}

/// A hundred thousand tokens that somebody else made, or made good no more: each is placed exactly as no token at all.
#[test]
fn no_token_but_ours_moves_anything() {
    let mut scene = Scene::new();
    scene.persistence().absolute_timeout_ms = Some(HOUR);
    let mut many = Many(1);
    let real: Vec<_> = (0..64).map(|room: u32| scene.token(&room.to_string())).collect();
    let ring = |fill| Ring::new(&[key(fill, true)]);
    let (ours, theirs) = (ring(7), ring(9));
    let bare: Vec<_> = (0..64_u8)
        .map(|room| scene.upgrade(&[("x-room", &[room])]).unwrap().pod)
        .collect();
    let laid = scene.lay();
    let mut outcomes = std::collections::BTreeMap::<_, u32>::new();
    for i in 0..100_000 {
        let (good, _) = &real[many.below(real.len())];
        let aimed = &scene.pods[0][many.below(5)];
        let sealed = |ring: &Ring, issued_ms: u64, rule: &str| {
            let token = Token {
                pod: aimed.name.clone(),
                uid: aimed.uid.clone(),
                issued_ms,
                expires_ms: Some(issued_ms + HOUR),
            };
            ring.seal(&token, rule).unwrap().into_bytes()
        };
        let text = match i % 6 {
            // Mutated: some letters, or some bytes under a spelling that is right.
            0 => {
                let mut text = good.clone().into_bytes();
                for _ in 0..=many.below(3) {
                    let at = many.below(text.len());
                    let letter = many.next().to_le_bytes()[0];
                    text[at] = if text[at] == letter { letter ^ 1 } else { letter };
                }
                text
            }
            1 => {
                let mut bytes = URL_SAFE_NO_PAD.decode(good).unwrap();
                let at = many.below(bytes.len());
                bytes[at] ^= 1 << many.below(8);
                URL_SAFE_NO_PAD.encode(bytes).into_bytes()
            }
            2 => sealed(&theirs, NOW, "shop/chat/rooms"),
            3 => sealed(&ours, NOW, "shop/chat/other"),
            4 => sealed(&ours, NOW - HOUR - LEEWAY_MS - 1, "shop/chat/rooms"),
            // What Envoy's own cookie of a session would be.
            _ => aimed.address.clone().into_bytes(),
        };
        let room = u8::try_from(many.below(64)).unwrap();
        let headers = [(HEADER, &*text), ("x-room", &[room])];
        // A mutation of several letters may take itself back.
        if text == good.as_bytes() {
            continue;
        }
        match laid.known(&headers, |known, _| known.presented.clone()) {
            Presented::Invalid(why) => *outcomes.entry(format!("{why:?}")).or_default() += 1,
            other => panic!("{} is {other:?}", String::from_utf8_lossy(&text)),
        }
        let placed = laid.upgrade(&headers).unwrap();
        assert_eq!(
            (placed.pod, placed.binding),
            (bare[usize::from(room)].clone(), Binding::New)
        );
    }
    assert!(
        outcomes.len() == 4 && outcomes.values().all(|count| *count > 10_000),
        "{outcomes:?}"
    );
    // The control: real ones do, each to its own pod and away from where the key would lead.
    let away = real.iter().enumerate().filter(|(i, (token, bound))| {
        let room = [u8::try_from((i + 1) % 64).unwrap()];
        let placed = scene
            .upgrade(&[(HEADER, token.as_bytes()), ("x-room", &room)])
            .unwrap();
        assert_eq!(at(&placed), bound.address);
        placed.pod != bare[usize::from(room[0])]
    });
    assert!(away.count() > 30);
}
