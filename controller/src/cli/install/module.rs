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
    let others: Vec<_> = answers
        .replicas
        .iter()
        .filter(|replica| replica.module != module)
        .map(named)
        .collect();
    match others.is_empty() {
        true => Ok(()),
        false => Err(Failure::refused(format!(
            "CLEW0942: this clew ({}) has another module than the controller serves, so proxies would ask for it in vain: {}; use the clew of the controller's version, or upgrade the controller first",
            env!("CARGO_PKG_VERSION"),
            others.join(", ")
        ))),
    }
}

fn named(replica: &ReplicaView) -> String {
    format!("{} is {}", replica.replica, replica.version)
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
            refused.starts_with("CLEW0942: ") && refused.contains("in vain: clew-1 is 0.1.0;"),
            "{refused}"
        );
        assert!(is_served("a", Err(Failure::unreachable("nobody answers"))).is_ok());
    }
}
