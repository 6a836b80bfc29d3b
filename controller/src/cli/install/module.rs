//! Whether the controller serves the module that is about to be installed: proxies fetch it there, and it serves its own alone.

use crate::channel::view::ReplicaView;
use crate::failure::Failure;
use crate::operate::Answers;

/// What the controllers, asked or in vain, say of this module.
///
/// # Errors
/// When one of them serves another.
pub(super) fn is_served(module: &str, asked: Result<Answers, Failure>) -> Result<(), Failure> {
    let answers = match asked {
        Ok(answers) => answers,
        Err(why) => {
            eprintln!("whether the controller serves this clew's module is not known: {why}");
            return Ok(());
        }
    };
    let (same, others): (Vec<_>, Vec<_>) = answers
        .replicas
        .iter()
        .partition(|replica| replica.module == module);
    let what = match (&same[..], &others[..]) {
        (_, []) => return Ok(()),
        ([], _) => {
            "use the clew of the controller's version, or upgrade the controller first and wait for its rollout"
        }
        _ => "while its rollout is under way, wait for the end of it (kubectl rollout status)",
    };
    let named: Vec<_> = others.into_iter().map(named).collect();
    Err(Failure::refused(format!(
        "CLEW0942: proxies would ask the controller for this clew's module {} in vain: {}; {what}",
        short(module),
        named.join(", ")
    )))
}

fn named(replica: &ReplicaView) -> String {
    let ReplicaView {
        replica,
        version,
        module,
        ..
    } = replica;
    format!("{replica} ({version}) serves {}", short(module))
}

/// As much of a SHA-256 as tells modules apart for people.
fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

#[cfg(test)]
mod tests {
    use super::is_served;
    use crate::channel::view::ReplicaView;
    use crate::failure::Failure;
    use crate::operate::Answers;

    fn answers(modules: &[&str]) -> Answers {
        let replica = |(number, module): (usize, &&str)| ReplicaView {
            replica: format!("clew-{number}"),
            version: format!("0.{number}.0"),
            module: (*module).to_owned(),
            leads: false,
            lacks: None,
            watched: None,
            gateways: Vec::new(),
        };
        Answers {
            replicas: modules.iter().enumerate().map(replica).collect(),
            silent: Vec::new(),
        }
    }

    #[test]
    fn a_module_that_one_replica_does_not_serve_is_refused_and_who_is_asked_in_vain_refuses_none() {
        assert!(is_served("a", Ok(answers(&["a", "a"]))).is_ok());
        let refused = is_served("a", Ok(answers(&["a", "b"]))).unwrap_err().to_string();
        assert!(
            refused.starts_with("CLEW0942: ")
                && refused.contains("in vain: clew-1 (0.1.0) serves b; while its rollout is under way"),
            "{refused}"
        );
        let refused = is_served("a", Ok(answers(&["b", "b"]))).unwrap_err().to_string();
        assert!(
            refused.contains("clew-0 (0.0.0) serves b, clew-1 (0.1.0) serves b; use the clew of"),
            "{refused}"
        );
        assert!(is_served("a", Err(Failure::unreachable("nobody answers"))).is_ok());
    }
}
