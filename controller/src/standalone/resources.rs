//! Files of xDS taken apart by resource: what leaves stays until what replaces it is in force, and a listener that
//! nobody edited keeps its bytes.

use std::collections::BTreeMap;

use clew_core::render::envoy::File;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    resources: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// The resources of a file by their names; `None` where it cannot be read.
fn by_name(content: &str) -> Option<BTreeMap<String, &RawValue>> {
    let response: Response<'_> = serde_json::from_str(content).ok()?;
    response
        .resources
        .into_iter()
        .map(|resource| Some((serde_json::from_str::<Named>(resource.get()).ok()?.name, resource)))
        .collect()
}

/// `new`, and what only `old` has. `None` where `old` has nothing of its own.
pub(super) fn union(old: &str, new: &File) -> Option<File> {
    let mut resources = by_name(old)?;
    let named = by_name(&new.content)?;
    if resources.keys().all(|name| named.contains_key(name)) {
        return None;
    }
    resources.extend(named);
    Some(file(&resources))
}

/// `new`, but the resources for which `keep` holds as they are in `old`.
pub(super) fn keeping(old: &str, new: &File, keep: impl Fn(&str) -> bool) -> File {
    let (Some(old), Some(mut resources)) = (by_name(old), by_name(&new.content)) else {
        return new.clone();
    };
    let mut kept = false;
    for (name, resource) in &mut resources {
        if let Some(before) = old
            .get(name)
            .filter(|before| before.get() != resource.get() && keep(name))
        {
            *resource = before;
            kept = true;
        }
    }
    if kept { file(&resources) } else { new.clone() }
}

/// `new`, a configuration of the JWT filter, and what routes may still ask for by `old`. `None` where that is nothing else.
pub(super) fn with_requirements(old: &str, new: &File) -> Option<File> {
    let old: Value = serde_json::from_str(old).ok()?;
    let mut both: Value = serde_json::from_str(&new.content).ok()?;
    let mut kept = false;
    for map in ["providers", "requirement_map"] {
        let pointer = format!("/resources/0/typed_config/{map}");
        let named = both.pointer_mut(&pointer)?.as_object_mut()?;
        for (name, value) in old.pointer(&pointer)?.as_object()? {
            if !named.contains_key(name) {
                named.insert(name.clone(), value.clone());
                kept = true;
            }
        }
    }
    kept.then(|| of_text(&both["resources"].to_string()))
}

fn file(resources: &BTreeMap<String, &RawValue>) -> File {
    let texts: Vec<_> = resources.values().map(|resource| resource.get()).collect();
    of_text(&format!("[{}]", texts.join(",")))
}

fn of_text(resources: &str) -> File {
    let digest = Sha256::digest(resources.as_bytes());
    let version: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let content = format!(r#"{{"version_info":"{version}","resources":{resources}}}"#);
    File { version, content }
}

#[cfg(test)]
mod tests {
    use super::{keeping, union, with_requirements};
    use clew_core::render::envoy::File;

    fn of(resources: &str) -> File {
        File {
            version: "v".into(),
            content: format!(r#"{{"version_info":"v","resources":[{resources}]}}"#),
        }
    }

    const A1: &str = r#"{"name":"a","x":1.50}"#;
    const A2: &str = r#"{"name":"a","x":2}"#;
    const B1: &str = r#"{"name":"b"}"#;

    #[test]
    fn what_leaves_stays_beside_what_comes() {
        let union = union(&of(&format!("{A1},{B1}")).content, &of(A2)).unwrap();
        assert!(
            union.content.ends_with(&format!(r#""resources":[{A2},{B1}]}}"#)),
            "{}",
            union.content
        );
        assert!(union.content.contains(&union.version));
    }

    #[test]
    fn where_nothing_leaves_there_is_no_step_between() {
        assert_eq!(union(&of(A1).content, &of(&format!("{A2},{B1}"))), None);
        assert_eq!(union("damaged", &of(A1)), None);
    }

    #[test]
    fn who_may_still_be_asked_for_stays_beside_who_will_be() {
        let jwt = |providers: &str| {
            of(&format!(
                r#"{{"name":"j","typed_config":{{"providers":{{{providers}}},"requirement_map":{{{providers}}}}}}}"#
            ))
        };
        let (old, new) = (jwt(r#""a":1,"b":1"#), jwt(r#""b":2"#));
        let both = with_requirements(&old.content, &new).unwrap();
        let content: serde_json::Value = serde_json::from_str(&both.content).unwrap();
        for map in ["providers", "requirement_map"] {
            let named = &content["resources"][0]["typed_config"][map];
            assert_eq!(*named, serde_json::json!({"a": 1, "b": 2}));
        }
        assert_eq!(content["version_info"], both.version.as_str());
        assert_eq!(with_requirements(&new.content, &old), None);
        assert_eq!(with_requirements("damaged", &new), None);
    }

    #[test]
    fn what_nobody_edited_keeps_its_bytes() {
        let old = of(&format!("{A1},{B1}")).content;
        let kept = keeping(&old, &of(A2), |name| name == "a");
        assert!(kept.content.ends_with(&format!("[{A1}]}}")), "{}", kept.content);
        assert_eq!(keeping(&old, &of(A2), |_| false), of(A2));
        assert_eq!(keeping(&old, &of(A1), |_| true), of(A1));
    }
}
