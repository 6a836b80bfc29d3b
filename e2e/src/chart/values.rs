//! The page of the chart's values is what `values.yaml` says of them. `make golden` rewrites it.

use std::{env, fs};

use serde_json::Value;

use super::folder;

#[test]
fn the_reference_names_every_value() {
    let source = fs::read_to_string(folder("clew/values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&source).unwrap();
    let mut text = "# The chart's values\n\nGenerated from `charts/clew/values.yaml` (`make golden`). A value that is none is refused. How to install the chart, \
                    [the guide](../guide/install.md) says.\n\n| value | default | what |\n|---|---|---|\n"
        .to_owned();
    let mut explained = 0;
    for (name, what) in explanations(&source) {
        let value = name.split('.').fold(&values, |value, part| &value[part]);
        text += &format!("| `{name}` | `{value}` | {} |\n", what.replace('|', "\\|"));
        explained += 1;
    }
    assert_eq!(explained, source.matches("# -- ").count());
    let unexplained: Vec<_> = leaves("", &values)
        .into_iter()
        .filter(|leaf| !explanations(&source).any(|(name, _)| is_below(leaf, &name)))
        .collect();
    assert_eq!(unexplained, Vec::<String>::new());
    let path = folder("../docs/reference/values.md");
    if env::var("CLEW_GOLDEN").is_ok_and(|value| value == "rewrite") {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), text, "run make golden");
}

/// Each `# -- …`, and the path of the value below it.
fn explanations(source: &str) -> impl Iterator<Item = (String, String)> {
    let (mut above, mut said) = (Vec::<(usize, &str)>::new(), None);
    source.lines().filter_map(move |line| {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(what) = text.strip_prefix("# -- ") {
            said = Some(what.to_owned());
            return None;
        }
        let (name, _) = text
            .split_once(':')
            .filter(|(name, _)| !name.starts_with(['#', '-']))?;
        above.retain(|(at, _)| *at < indent);
        above.push((indent, name));
        let path: Vec<_> = above.iter().map(|(_, name)| *name).collect();
        Some((path.join("."), said.take()?))
    })
}

fn leaves(at: &str, value: &Value) -> Vec<String> {
    match value.as_object().filter(|object| !object.is_empty()) {
        None => vec![at.to_owned()],
        Some(object) => object
            .iter()
            .flat_map(|(name, value)| leaves(format!("{at}.{name}").trim_start_matches('.'), value))
            .collect(),
    }
}

fn is_below(leaf: &str, name: &str) -> bool {
    leaf.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
