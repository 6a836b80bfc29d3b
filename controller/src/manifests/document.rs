//! Text to documents: YAML (and so JSON) in which every node knows its line.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// One document of a file.
#[derive(Debug)]
pub(super) struct Document {
    line: u32,
    root: Node,
}

/// Why a text is not YAML.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// From 1; 0 where the parser names none.
    pub(super) line: u32,
    pub(super) message: String,
}

/// Reads all documents of a text; empty ones are left out.
pub(super) fn read(text: &str) -> Result<Vec<Document>, Unreadable> {
    // A folder may hold 10,000 routes, in one file as well as in many: the parser's own bounds are for foreign input.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 50_000_000,
            max_nodes: 25_000_000,
            max_documents: 100_000,
            max_total_scalar_bytes: 512 * 1024 * 1024,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    let nodes: Vec<Spanned<Node>> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| Unreadable {
            line: error.location().map_or(0, |location| line(location.line())),
            message: plain(&error.without_snippet().to_string()),
        })?;
    Ok(nodes
        .into_iter()
        .map(|node| Document {
            line: line(node.referenced.line()),
            root: node.value,
        })
        .collect())
}

impl Document {
    /// Where it begins, from 1.
    pub(super) fn line(&self) -> u32 {
        self.line
    }

    /// The document as a value.
    pub(super) fn value(&self) -> Value {
        self.root.value()
    }

    /// The line of a field of the object that begins at `line`: the document itself or an item of a List.
    pub(super) fn line_below(&self, line: u32, field: &str) -> u32 {
        let item = match &self.root {
            Node::Map(entries) => entries
                .iter()
                .find(|(key, ..)| key == "items")
                .and_then(|(.., items)| match items {
                    Node::Seq(items) => items.iter().position(|(at, _)| *at == line),
                    _ => None,
                }),
            _ => None,
        };
        match item {
            Some(item) if line != self.line => self.line_of(&format!("items[{item}].{field}")),
            _ => self.line_of(field),
        }
    }

    /// The line of the field at `path` (`spec.rules[0].name`), or of the nearest thing around it that is there.
    pub(super) fn line_of(&self, path: &str) -> u32 {
        let mut node = &self.root;
        let mut found = self.line;
        for step in steps(path) {
            let next = match (node, &step) {
                (Node::Map(entries), Step::Key(key)) => entries
                    .iter()
                    .find(|(name, ..)| name == key)
                    .map(|(_, line, node)| (*line, node)),
                (Node::Seq(items), Step::Index(index)) => items.get(*index).map(|(line, node)| (*line, node)),
                _ => None,
            };
            let Some((line, inner)) = next else { break };
            found = line;
            node = inner;
        }
        found
    }
}

/// A parser's words without the position that we print ourselves.
fn plain(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    match message.rfind(" at line ") {
        Some(at) => message[..at].to_owned(),
        None => message.to_owned(),
    }
}

fn line(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

#[derive(Debug, PartialEq)]
enum Node {
    Scalar(Value),
    /// With the line of each item.
    Seq(Vec<(u32, Node)>),
    /// With the line of each key.
    Map(Vec<(String, u32, Node)>),
}

impl Node {
    fn value(&self) -> Value {
        match self {
            Self::Scalar(value) => value.clone(),
            Self::Seq(items) => items.iter().map(|(_, node)| node.value()).collect(),
            Self::Map(entries) => entries
                .iter()
                .map(|(key, _, node)| (key.clone(), node.value()))
                .collect::<Map<_, _>>()
                .into(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Node, E> {
        Ok(Node::Scalar(v.into()))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Node, E> {
        Ok(Node::Scalar(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Node, E> {
        Ok(Node::Scalar(v.into()))
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Node, E> {
        Number::from_f64(v)
            .map(|number| Node::Scalar(number.into()))
            .ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Node, E> {
        Ok(Node::Scalar(v.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Node>>()? {
            items.push((line(item.referenced.line()), item.value));
        }
        Ok(Node::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push((key.value, line(key.referenced.line()), map.next_value()?));
        }
        Ok(Node::Map(entries))
    }
}

enum Step {
    Key(String),
    Index(usize),
}

/// Reads `a.b[0]["c.d"].e`.
fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some((quoted, after)) = rest.strip_prefix("[\"").and_then(|inner| inner.split_once("\"]")) {
            steps.push(Step::Key(quoted.to_owned()));
            rest = after;
        } else if let Some((index, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            steps.push(
                index
                    .parse()
                    .map_or_else(|_| Step::Key(index.to_owned()), Step::Index),
            );
            rest = after;
        } else {
            let key = rest.strip_prefix('.').unwrap_or(rest);
            let end = key.find(['.', '[']).unwrap_or(key.len());
            steps.push(Step::Key(key[..end].to_owned()));
            rest = &key[end..];
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::{Document, read};
    use serde_json::json;

    const TEXT: &str = "# first\nkind: A\nspec:\n  rules:\n  - name: x\n    matches:\n    - path: /ws\n  - name: y\n---\n---\nkind: B\nmetadata:\n  annotations:\n    clew.dev/a: \"1\"\n";

    #[test]
    fn documents_carry_their_lines() {
        let documents = read(TEXT).unwrap();
        assert_eq!(documents.iter().map(Document::line).collect::<Vec<_>>(), [2, 11]);
        assert_eq!(documents[0].value()["spec"]["rules"][1], json!({"name": "y"}));
    }

    #[test]
    fn a_field_is_found_by_its_path_or_by_what_surrounds_it() {
        let documents = read(TEXT).unwrap();
        let first = |path| documents[0].line_of(path);
        assert_eq!(first("spec.rules[0].matches[0].path"), 7);
        assert_eq!(first("spec.rules[1].name"), 8);
        assert_eq!(first("spec.rules[1].backendRefs"), 8);
        assert_eq!(first("spec.rules[7]"), 4);
        assert_eq!(first("metadata.name"), 2);
        assert_eq!(documents[1].line_of("metadata.annotations[\"clew.dev/a\"]"), 14);
    }

    #[test]
    fn what_is_not_yaml_is_refused_with_its_line() {
        for (text, line) in [
            ("a: 1\nb: [1\nc: 2\n", 3),
            ("a: 1\n  b: 2\n", 2),
            ("a: 1\na: 2\n", 2),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {}", error.message);
            assert!(!error.message.contains("at line"), "{}", error.message);
        }
    }

    #[test]
    fn yaml_words_mean_what_kubernetes_means() {
        let value =
            read("a: yes\nb: true\nc: 012\nd: 1.5\ne: null\nf: ~\ng: '1'\nh: 0x10\n").unwrap()[0].value();
        assert_eq!(value["a"], json!("yes"));
        assert_eq!(value["b"], json!(true));
        assert_eq!(value["d"], json!(1.5));
        assert_eq!(value["e"], json!(null));
        assert_eq!(value["g"], json!("1"));
    }

    #[test]
    fn ten_thousand_documents_fit_in_one_file() {
        let text = "kind: A\nspec: {rules: [{name: x, matches: [{path: {value: /}}]}]}\n---\n".repeat(10_000);
        assert_eq!(read(&text).unwrap().len(), 10_000);
    }
}
