//! YAML as a person would write it: fields in the order in which they were set, short maps on one line, and remarks above
//! what they are about.

use std::mem;

/// What fits on a line.
const WIDTH: usize = 110;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// As it is written.
    Scalar(String),
    List(Vec<Node>),
    Map(Map),
}

/// Fields in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Map {
    remarks: Vec<String>,
    fields: Vec<Field>,
    is_tall: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    remarks: Vec<String>,
    name: String,
    value: Node,
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/_.-".contains(c))
            && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
                .contains(&text.to_ascii_lowercase().as_str());
        Self::Scalar(if is_plain {
            text.to_owned()
        } else {
            // JSON's strings are YAML's in double quotes.
            serde_json::Value::from(text).to_string()
        })
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<u32> for Node {
    fn from(number: u32) -> Self {
        Self::Scalar(number.to_string())
    }
}

impl From<bool> for Node {
    fn from(flag: bool) -> Self {
        Self::Scalar(flag.to_string())
    }
}

impl From<Map> for Node {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Node {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl Map {
    /// One that takes a line for each field, however short.
    pub(super) fn tall() -> Self {
        Self {
            is_tall: true,
            ..Self::default()
        }
    }

    /// With this field.
    pub(super) fn with(mut self, name: &str, value: impl Into<Node>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a field; it keeps its place.
    pub(super) fn set(&mut self, name: &str, value: impl Into<Node>) {
        self.field(name).value = value.into();
    }

    /// The map in a field.
    pub(super) fn map(&mut self, name: &str) -> &mut Self {
        let value = &mut self.field(name).value;
        if !matches!(value, Node::Map(_)) {
            *value = Self::default().into();
        }
        match value {
            Node::Map(map) => map,
            Node::Scalar(_) | Node::List(_) => unreachable!("it was made a map"),
        }
    }

    /// The value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.fields
            .iter()
            .find(|field| field.name == name)
            .map(|field| &field.value)
    }

    /// The fields of another one, after these.
    pub(super) fn append(&mut self, other: Self) {
        self.remarks.extend(other.remarks);
        self.fields.extend(other.fields);
    }

    /// A comment above the whole of it.
    pub(super) fn remark(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
    }

    /// A comment above a field that is there.
    pub(super) fn remark_on(&mut self, name: &str, text: impl Into<String>) {
        let text = text.into();
        if self.get(name).is_none() {
            self.remark(text);
        } else if !self.field(name).remarks.contains(&text) {
            self.field(name).remarks.push(text);
        }
    }

    fn field(&mut self, name: &str) -> &mut Field {
        let at = self.fields.iter().position(|field| field.name == name);
        let at = at.unwrap_or_else(|| {
            self.fields.push(Field {
                remarks: Vec::new(),
                name: name.to_owned(),
                value: Node::List(Vec::new()),
            });
            self.fields.len() - 1
        });
        &mut self.fields[at]
    }

    /// As a document.
    pub(super) fn document(&self) -> String {
        let mut text = String::new();
        self.write(0, "", &mut text);
        text
    }

    fn write(&self, indent: usize, first: &str, text: &mut String) {
        let mut first = first;
        let item = indent - first.len();
        comments(&self.remarks, item, text);
        for field in &self.fields {
            if !field.remarks.is_empty() && !first.is_empty() {
                comments(&field.remarks, item, text);
            } else {
                comments(&field.remarks, indent, text);
            }
            let lead = mem::take(&mut first);
            text.push_str(&" ".repeat(indent - lead.len()));
            text.push_str(lead);
            text.push_str(&field.name);
            text.push(':');
            field.value.write(indent, indent + field.name.len() + 2, text);
        }
    }
}

impl Node {
    /// On one line, where it has no remarks and is short.
    fn flow(&self, column: usize) -> Option<String> {
        let flow = match self {
            Self::Scalar(text) => return Some(text.clone()),
            Self::List(items) => {
                let items: Option<Vec<_>> = items.iter().map(|item| item.flow(column)).collect();
                format!("[{}]", items?.join(", "))
            }
            Self::Map(map) => {
                let is_quiet = map.remarks.is_empty() && !map.is_tall;
                let field = |field: &Field| {
                    let value = field.value.flow(column)?;
                    field
                        .remarks
                        .is_empty()
                        .then(|| format!("{}: {value}", field.name))
                };
                let fields: Option<Vec<_>> = map.fields.iter().map(field).collect();
                format!("{{{}}}", fields.filter(|_| is_quiet)?.join(", "))
            }
        };
        (column + flow.len() <= WIDTH).then_some(flow)
    }

    fn write(&self, indent: usize, column: usize, text: &mut String) {
        if let Some(flow) = self.flow(column) {
            text.push(' ');
            text.push_str(&flow);
            text.push('\n');
            return;
        }
        text.push('\n');
        match self {
            Self::Scalar(_) => {}
            Self::Map(map) => map.write(indent + 2, "", text),
            Self::List(items) => {
                for item in items {
                    match (item, item.flow(indent + 4)) {
                        (Self::Map(map), None) => map.write(indent + 4, "- ", text),
                        (_, Some(flow)) => {
                            text.push_str(&" ".repeat(indent + 2));
                            text.push_str(&format!("- {flow}\n"));
                        }
                        (item, None) => {
                            text.push_str(&" ".repeat(indent + 2));
                            text.push('-');
                            item.write(indent + 2, indent + 4, text);
                        }
                    }
                }
            }
        }
    }
}

/// Remarks, as lines of comments.
pub(super) fn comments(remarks: &[String], indent: usize, text: &mut String) {
    for remark in remarks {
        let mut line = format!("{}#", " ".repeat(indent));
        for word in remark.split_whitespace() {
            if line.len() + word.len() >= WIDTH && !line.ends_with('#') {
                text.push_str(&line);
                text.push('\n');
                line = format!("{}#  ", " ".repeat(indent));
            }
            line.push(' ');
            line.push_str(word);
        }
        text.push_str(&line);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut rule = Map::tall()
            .with("name", "a")
            .with("odd", "yes")
            .with("path", "/a: b#c\n\"d\"\u{85}");
        rule.remark_on("odd", "DECIDE: # whether\nto say so");
        rule.remark("above the rule");
        rule.map("limits").set("most", 7_u32);
        let list = vec![Node::from(rule), Node::from(vec!["x", "10s"])];
        let text = Map::tall().with("rules", list).document();
        let read: Value = serde_saphyr::from_str(&text).expect(&text);
        assert_eq!(
            read,
            json!({"rules": [
                {"name": "a", "odd": "yes", "path": "/a: b#c\n\"d\"\u{85}", "limits": {"most": 7}},
                ["x", "10s"],
            ]}),
            "{text}"
        );
        assert!(text.contains("# DECIDE: # whether to say so\n"), "{text}");
    }
}
