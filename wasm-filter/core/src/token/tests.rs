use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clew_filter_config::persistence::SigningKey;
use proptest::prelude::*;

use super::{Invalid, LEEWAY_MS, Ring, Token};

const RULE: &str = "shop/chat/rooms";
const NOW: u64 = 1_800_000_000_000;

fn key(fill: u8, signs: bool) -> SigningKey {
    SigningKey {
        secret: format!("{fill:02x}").repeat(32),
        signs,
    }
}

fn ring() -> Ring {
    Ring::new(&[key(7, true)])
}

fn token() -> Token {
    Token {
        pod: "chat-0".into(),
        uid: "8a5e3a9e-6b8a-4a0c-9d55-0d8f7c1b2a34".into(),
        issued_ms: NOW,
        expires_ms: None,
    }
}

fn sealed() -> String {
    ring().seal(&token(), RULE).unwrap()
}

fn open(text: impl AsRef<[u8]>) -> Result<Token, Invalid> {
    ring()
        .open(text.as_ref(), RULE, None, NOW)
        .map(|opened| opened.token)
}

/// The layout is a promise to proxies of other versions. Expected: by Python's `hmac`, `hashlib` and `base64`.
#[test]
fn the_layout_does_not_change() {
    let token = Token {
        pod: "chat-0".into(),
        uid: "u".into(),
        issued_ms: 1,
        expires_ms: Some(2),
    };
    assert_eq!(
        ring().seal(&token, "shop/chat/rooms").unwrap(),
        "Ae_9dSsAAAAAAAAAAQAAAAAAAAACBmNoYXQtMAF1c2hvcC9jaGF0L3Jvb21zexoJoUbr0yGae-mIBkoTcg"
    );
}

#[test]
fn what_is_sealed_opens() {
    assert_eq!(open(sealed()), Ok(token()));
    assert!(
        sealed()
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
}

#[test]
fn every_flipped_bit_spoils_it() {
    let bytes = URL_SAFE_NO_PAD.decode(sealed()).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let outcome = open(URL_SAFE_NO_PAD.encode(bytes));
        assert!(
            matches!(outcome, Err(Invalid::Forged | Invalid::Malformed)),
            "bit {bit}: {outcome:?}"
        );
    }
}

#[test]
fn every_other_letter_spoils_it() {
    let text = sealed().into_bytes();
    for at in 0..text.len() {
        for letter in 0..=u8::MAX {
            let mut text = text.clone();
            if core::mem::replace(&mut text[at], letter) != letter {
                assert!(open(&text).is_err(), "{} at {at}", letter as char);
            }
        }
    }
}

#[test]
fn a_piece_of_it_is_none_and_neither_is_more() {
    let text = sealed();
    for len in 0..text.len() {
        assert!(open(&text.as_bytes()[..len]).is_err(), "{len}");
    }
    for more in ["=", "==", "A", "AA", "\0", " "] {
        assert_eq!(open(format!("{text}{more}")).ok(), None, "{more:?}");
    }
    assert_eq!(open(vec![b'A'; 1 << 20]), Err(Invalid::Malformed));
}

/// Of the letters whose last bits mean nothing only one is right.
#[test]
fn it_has_one_spelling() {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut uids = (0..3).map(|more| "u".repeat(1 + more));
    let good = uids
        .by_ref()
        .map(|uid| ring().seal(&Token { uid, ..token() }, RULE).unwrap());
    for text in good.filter(|text| text.len() % 4 != 0) {
        let spellings = LETTERS.iter().filter(|letter| {
            let mut text = text.clone().into_bytes();
            *text.last_mut().unwrap() = **letter;
            open(text).is_ok()
        });
        assert_eq!(spellings.count(), 1, "{text}");
    }
}

#[test]
fn it_is_of_one_rule() {
    for other in ["shop/chat/other", "shop/chat/room", "shop/chat/roomss", ""] {
        assert_eq!(
            ring().open(sealed().as_bytes(), other, None, NOW),
            Err(Invalid::Foreign),
            "{other}"
        );
    }
}

#[test]
fn it_ends_when_it_says_or_when_the_rule_says_whichever_is_sooner() {
    let ends = |expires_ms, good_for_ms, after: u64| {
        let text = ring()
            .seal(
                &Token {
                    expires_ms,
                    ..token()
                },
                RULE,
            )
            .unwrap();
        ring()
            .open(text.as_bytes(), RULE, good_for_ms, NOW + after)
            .is_err()
    };
    for (expires, good_for) in [
        (Some(NOW + 1_000), None),
        (None, Some(1_000)),
        (Some(NOW + 1_000), Some(9_000)),
    ] {
        assert!(
            !ends(expires, good_for, 1_000 + LEEWAY_MS),
            "{expires:?} {good_for:?}"
        );
        assert!(
            ends(expires, good_for, 1_001 + LEEWAY_MS),
            "{expires:?} {good_for:?}"
        );
    }
    assert!(!ends(None, None, u64::MAX - NOW));
    let text = ring()
        .seal(
            &Token {
                expires_ms: Some(u64::MAX),
                ..token()
            },
            RULE,
        )
        .unwrap();
    assert!(
        ring()
            .open(text.as_bytes(), RULE, Some(u64::MAX), u64::MAX)
            .is_ok()
    );
    let old = ring().open(sealed().as_bytes(), RULE, Some(1), NOW + LEEWAY_MS + 2);
    assert_eq!(old, Err(Invalid::Expired));
}

#[test]
fn a_ring_opens_what_each_of_its_keys_signed_and_says_which_are_outdated() {
    let (old, new) = (Ring::new(&[key(1, true)]), Ring::new(&[key(2, true)]));
    let by = |ring: &Ring| ring.seal(&token(), RULE).unwrap();
    let open = |ring: &Ring, text: &str| {
        ring.open(text.as_bytes(), RULE, None, NOW)
            .map(|opened| opened.outdated)
    };
    let introduced = Ring::new(&[key(1, true), key(2, false)]);
    let turned = Ring::new(&[key(1, false), key(2, true)]);
    for ring in [&introduced, &turned] {
        assert_eq!(open(ring, &by(&old)), Ok(core::ptr::eq(ring, &turned)));
        assert_eq!(open(ring, &by(&new)), Ok(core::ptr::eq(ring, &introduced)));
    }
    assert_eq!(by(&introduced), by(&old));
    assert_eq!(by(&turned), by(&new));
    assert_eq!(open(&new, &by(&old)), Err(Invalid::Forged));
    assert_eq!(open(&Ring::default(), &by(&old)), Err(Invalid::Forged));
    // Without a key that signs nothing is outdated: there would be no newer one.
    assert_eq!(open(&Ring::new(&[key(1, false)]), &by(&old)), Ok(false));
}

#[test]
fn what_is_no_key_signs_nothing() {
    let secret = |secret: &str| SigningKey {
        secret: secret.into(),
        signs: true,
    };
    for not in [
        "",
        "00",
        &"0".repeat(63),
        &"00".repeat(31),
        &"x0".repeat(32),
        &"é".repeat(32),
    ] {
        let ring = Ring::new(&[secret(not)]);
        assert!(!ring.signs() && ring.seal(&token(), RULE).is_none(), "{not:?}");
    }
    assert!(Ring::new(&[secret(&"aB".repeat(200))]).signs());
    assert_eq!(
        format!("{:?} {:?}", ring(), key(7, true)),
        "Ring(secret) SigningKey(secret)"
    );
}

#[test]
fn names_that_are_too_long_get_no_token() {
    let pod = "p".repeat(256);
    assert_eq!(ring().seal(&Token { pod, ..token() }, RULE), None);
    assert_eq!(ring().seal(&token(), &"r".repeat(1_000)), None);
    let longest = Token {
        pod: "p".repeat(255),
        uid: "u".repeat(255),
        ..token()
    };
    let text = ring().seal(&longest, &"r".repeat(400)).unwrap();
    assert!(text.len() < 1_366);
    assert!(ring().open(text.as_bytes(), &"r".repeat(400), None, NOW).is_ok());
}

proptest! {
    #[test]
    fn any_token_opens_again(pod in ".{0,60}", uid in ".{0,60}", rule in ".{0,80}", issued_ms: u64, expires_ms in proptest::option::of(1..u64::MAX)) {
        let token = Token { pod, uid, issued_ms, expires_ms };
        let text = ring().seal(&token, &rule).unwrap();
        prop_assert_eq!(ring().open(text.as_bytes(), &rule, None, 0).map(|opened| opened.token), Ok(token));
    }

    #[test]
    fn no_text_that_we_did_not_seal_opens(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(open(URL_SAFE_NO_PAD.encode(&bytes)).is_err());
        prop_assert!(open(&bytes).is_err());
    }

    #[test]
    fn what_names_another_pod_does_not_open(bytes in proptest::collection::vec(any::<u8>(), 6), at in 0_usize..60) {
        // The name of another pod in the place of ours, and random bytes anywhere.
        let mut forged = URL_SAFE_NO_PAD.decode(sealed()).unwrap();
        forged[27] = forged[27].wrapping_add(1);
        prop_assert_eq!(open(URL_SAFE_NO_PAD.encode(&forged)), Err(Invalid::Forged));
        let mut spoiled = URL_SAFE_NO_PAD.decode(sealed()).unwrap();
        let before = spoiled.clone();
        spoiled[at..at + 6].copy_from_slice(&bytes);
        prop_assert_eq!(open(URL_SAFE_NO_PAD.encode(&spoiled)).is_ok(), spoiled == before);
    }
}
