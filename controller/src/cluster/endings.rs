//! What an edit does to sessions that are open: which of them may end, found where filters are told of it.

use std::collections::BTreeMap;

use clew_core::diff::who_may_end;
use clew_core::model::Owner;

use super::plan::Plan;
use crate::channel::Snapshot;

/// Of each route or policy, a sentence for each rule at each gateway that has open sessions of it.
#[derive(Debug, Default)]
pub(crate) struct Endings(BTreeMap<Owner, Vec<String>>);

impl Endings {
    /// `sessions`: how many are open at the gateway, by rule.
    pub(crate) fn add(
        &mut self,
        plan: &Plan,
        gateway: &str,
        (old, new): (&Snapshot, &Snapshot),
        sessions: impl FnOnce() -> BTreeMap<String, u64>,
    ) {
        let stricter = new.rules.iter().filter_map(|(id, rule)| {
            let ends = who_may_end(&old.rules.get(id)?.terms, &rule.terms);
            (!ends.is_empty()).then_some((id, rule, ends))
        });
        let mut stricter = stricter.peekable();
        if stricter.peek().is_none() {
            return;
        }
        let sessions = sessions();
        let owners = plan.told.iter();
        let owners: BTreeMap<&str, &Owner> = owners
            .flat_map(|(owner, told)| told.rules_at(gateway).map(move |id| (id, owner)))
            .collect();
        for (id, rule, ends) in stricter {
            let open = sessions.get(&rule.name).copied().unwrap_or(0);
            let Some(owner) = owners.get(id.as_str()).filter(|_| open > 0) else {
                continue;
            };
            let sentence = format!(
                "of {open} open sessions of {} at {gateway} may end: {}",
                rule.name,
                ends.join("; ")
            );
            self.0.entry((*owner).clone()).or_default().push(sentence);
        }
    }

    /// Whose they are, and all that is to be said.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&Owner, String)> {
        self.0
            .iter()
            .map(|(owner, sentences)| (owner, sentences.join(". ")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use clew_core::model::{ObjectName, Owner};
    use clew_filter_config::rule::Rule;
    use serde_json::json;

    use super::{Endings, Plan, Snapshot};

    fn snapshot(idle: &[(&str, u64)]) -> Snapshot {
        let rule = |(id, idle): &(&str, u64)| -> (String, Rule) {
            let rule = json!({
                "config": "c", "name": format!("shop/{id}/0"), "backends": [], "terms": {"idleMs": idle},
                "drain": {"timeoutMs": 1, "closeCode": 1012, "closeReason": ""},
            });
            ((*id).to_owned(), serde_json::from_value(rule).unwrap())
        };
        Snapshot {
            rules: idle.iter().map(rule).collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn only_of_rules_that_became_stricter_and_have_sessions_something_is_said() {
        let mut plan = Plan::default();
        let gateway = Arc::from("shop/edge");
        for id in ["chat", "empty", "looser", "same"] {
            let owner = Owner::route(ObjectName::new("shop", id));
            plan.told.entry(owner).or_default().add_rule(&gateway, id, []);
        }
        let old = snapshot(&[("chat", 0), ("empty", 0), ("looser", 1_000), ("same", 1_000)]);
        let new = snapshot(&[
            ("chat", 30_000),
            ("empty", 1_000),
            ("looser", 2_000),
            ("same", 1_000),
            ("new", 1),
        ]);
        let open = [("shop/chat/0", 7), ("shop/looser/0", 8), ("shop/same/0", 9)];
        let open = open.map(|(rule, n)| (rule.to_owned(), n));
        let mut endings = Endings::default();
        endings.add(&plan, &gateway, (&old, &new), || BTreeMap::from(open));
        let said: Vec<_> = endings.said().collect();
        let chat = Owner::route(ObjectName::new("shop", "chat"));
        let what =
            "of 7 open sessions of shop/chat/0 at shop/edge may end: timeouts.idle: those idle for 30s";
        assert_eq!(said, [(&chat, what.to_owned())]);
    }
}
