//! Rotation of signing keys: a key is published before anybody signs with it, so every proxy opens what any other seals.

use clew_filter_config::persistence::SigningKey;

/// The keys in force and those that come: all verify, and who signed goes on signing.
pub(crate) fn introduce(in_force: &[SigningKey], wanted: &[SigningKey]) -> Vec<SigningKey> {
    let knows = |secret: &str| in_force.iter().any(|key| key.secret == secret);
    let coming = wanted
        .iter()
        .filter(|key| !knows(&key.secret))
        .map(|key| SigningKey {
            signs: false,
            ..key.clone()
        });
    in_force.iter().cloned().chain(coming).collect()
}

#[cfg(test)]
mod tests {
    use super::introduce;
    use clew_filter_config::persistence::SigningKey;

    fn ring(keys: &str) -> Vec<SigningKey> {
        let key = |key: &str| SigningKey {
            secret: key.trim_end_matches('*').into(),
            signs: key.ends_with('*'),
        };
        keys.split_whitespace().map(key).collect()
    }

    #[test]
    fn a_new_key_verifies_before_it_signs() {
        for (in_force, wanted, introduced) in [
            ("a*", "a b*", "a* b"),
            ("a*", "b*", "a* b"),
            ("a b*", "b*", "a b*"),
            ("a b*", "a* b", "a b*"),
            ("", "a*", "a"),
            ("a*", "a*", "a*"),
        ] {
            assert_eq!(
                introduce(&ring(in_force), &ring(wanted)),
                ring(introduced),
                "{in_force} → {wanted}"
            );
        }
    }
}
