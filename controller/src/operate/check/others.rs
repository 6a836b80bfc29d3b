//! Other people's objects at the gateways of routes: what harms sessions there, and of what the next edit would end them.

use clew_core::validate::{Concern, Notice};

use super::{Check, Scene};

const CATEGORY: &str = "others";

pub(super) fn check(scene: &Scene<'_>) -> Vec<Check> {
    match &scene.validated {
        Ok(None) => Vec::new(),
        Ok(Some(validated)) => judge(&validated.notices),
        Err(why) => vec![
            Check::warning(
                CATEGORY,
                format!("what other people's objects do to sessions, and whether pods last for their drains, cannot be told: {why}"),
                "ask as somebody who may list every kind that the controller may, and Istio's Telemetries",
            )
            .see("what-you-may-not-see"),
        ],
    }
}

fn judge(notices: &[Notice]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (concern, all_well) in [
        (
            Concern::Ends,
            "no EnvoyFilter cuts sessions that say nothing at the gateways",
        ),
        (
            Concern::Ejects,
            "no EnvoyFilter ejects healthy pods at the gateways",
        ),
        (
            Concern::Misplaces,
            "no EnvoyFilter at the gateways balances by locality, or otherwise than by key",
        ),
    ] {
        let mut found = notices
            .iter()
            .filter(|notice| notice.concern == concern)
            .peekable();
        if found.peek().is_none() {
            checks.push(Check::ok(CATEGORY, all_well));
        }
        checks.extend(found.map(line));
    }
    let rest = notices.iter().filter(|notice| !notice.concern.is_harm());
    checks.extend(rest.map(line));
    checks
}

/// An object of somebody's, with its code. What it does and what to do is one sentence, as the controller's log has it.
fn line(notice: &Notice) -> Check {
    let what = format!("{} {}", notice.concern.code(), notice.object);
    let (does, hint) = match notice.message.split_once("; ") {
        Some((does, hint)) => (does, hint),
        None => (notice.message.as_str(), ""),
    };
    let what = format!("{what}: {does}");
    let heading = match notice.concern {
        Concern::Ends => return Check::failed(CATEGORY, what, hint).see("an-idle-timeout-that-cuts"),
        Concern::Ejects => return Check::failed(CATEGORY, what, hint).see("an-outlier-policy-that-ejects"),
        Concern::Misplaces => return Check::failed(CATEGORY, what, hint).see("locality-balancing-on"),
        Concern::Cuts | Concern::Patches => Check::warning(CATEGORY, what, hint),
    };
    heading.see("objects-whose-next-edit-cuts")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::{Concern, Notice, judge};
    use clew_core::model::ObjectName;
    use clew_core::objects::Source;
    use clew_core::refusal::ObjectRef;

    fn notice(concern: Concern, message: &str) -> Notice {
        Notice {
            concern,
            object: ObjectRef {
                kind: "EnvoyFilter",
                name: ObjectName::new("infra", "beside"),
            },
            source: Source::default(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn what_harms_fails_and_what_only_an_edit_of_would_is_warned_of() {
        assert!(judge(&[]).iter().all(|check| check.verdict == Verdict::Ok));
        let checks = judge(&[
            notice(Concern::Cuts, "it is for the pods; give them another gateway"),
            notice(Concern::Ejects, "its policy ejects; take it out"),
        ]);
        let bad = checks.iter().filter(|check| check.verdict != Verdict::Ok);
        let said: Vec<_> = bad
            .map(|check| (check.verdict, &*check.what, &*check.hint))
            .collect();
        assert_eq!(
            said,
            [
                (
                    Verdict::Failed,
                    "CLEW0305 EnvoyFilter infra/beside: its policy ejects",
                    "take it out"
                ),
                (
                    Verdict::Warning,
                    "CLEW0302 EnvoyFilter infra/beside: it is for the pods",
                    "give them another gateway"
                ),
            ]
        );
        assert_eq!(checks.len(), 4);
    }
}
