//! The grammar of haproxy.cfg: sections of lines of words. Total: every text is read.

use std::sync::Arc;

use super::super::ledger::{Id, Ledger};

/// What begins a section.
const SECTIONS: [&str; 19] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "resolvers",
    "mailers",
    "userlist",
    "cache",
    "program",
    "ring",
    "http-errors",
    "log-forward",
    "fcgi-app",
    "crt-store",
    "traces",
    "log-profile",
    "acme",
];

/// A section and its lines.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) id: Id,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
    /// The `defaults` that hold for it, by their place among the sections.
    pub(super) defaults: Option<usize>,
}

/// A line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: Id,
    pub(super) words: Vec<String>,
}

impl Line {
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// Whether it begins with these words.
    pub(super) fn is(&self, words: &[&str]) -> bool {
        words.len() <= self.words.len() && words.iter().zip(&self.words).all(|(a, b)| a == b)
    }

    /// The word after this one.
    pub(super) fn after(&self, word: &str) -> Option<&str> {
        let at = self.words.iter().position(|one| one == word)?;
        self.words.get(at + 1).map(String::as_str)
    }

    pub(super) fn text(&self) -> String {
        self.words.join(" ")
    }
}

/// Reads a file, after what was read before.
pub(super) fn read(file: &Arc<str>, text: &str, sections: &mut Vec<Section>, ledger: &mut Ledger) {
    for (line, written) in (1_u32..).zip(text.lines()) {
        let words = words(written);
        let Some(first) = words.first() else { continue };
        let id = ledger.enter(file, line, words.join(" "));
        if SECTIONS.contains(&first.as_str()) {
            let named = |word: &str| {
                let at = words.iter().position(|one| one == word)?;
                let name = words.get(at + 1)?;
                sections
                    .iter()
                    .rposition(|section: &Section| section.kind == "defaults" && section.name == *name)
            };
            let last = || sections.iter().rposition(|section| section.kind == "defaults");
            let defaults = named("from").or_else(last);
            sections.push(Section {
                id,
                kind: first.clone(),
                name: words.get(1).cloned().unwrap_or_default(),
                lines: Vec::new(),
                defaults,
            });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(Line { id, words });
        }
    }
}

fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_open) = (Vec::new(), String::new(), false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' => break,
            '\\' => {
                is_open = true;
                // Expressions keep their escapes.
                match chars.next() {
                    Some(c @ (' ' | '#' | '\\' | '"' | '\'')) => word.push(c),
                    Some(c) => word.extend(['\\', c]),
                    None => {}
                }
            }
            '"' | '\'' => {
                is_open = true;
                while let Some(inner) = chars.next() {
                    match inner {
                        inner if inner == c => break,
                        '\\' if c == '"' => word.extend(chars.next()),
                        inner => word.push(inner),
                    }
                }
            }
            c if c.is_whitespace() => {
                if is_open {
                    words.push(std::mem::take(&mut word));
                    is_open = false;
                }
            }
            c => {
                is_open = true;
                word.push(c);
            }
        }
    }
    if is_open {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_comments() {
        assert_eq!(
            words(r#"  acl x path_reg ^/a\.b\ c "d # e" 'f' # g"#),
            ["acl", "x", "path_reg", r"^/a\.b c", "d # e", "f"]
        );
        assert_eq!(words("\t# nothing"), Vec::<String>::new());
    }
}
