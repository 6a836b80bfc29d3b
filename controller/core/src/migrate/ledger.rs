//! What became of each directive of what was read: none is left out, and none is silently lost.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// What became of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It says nothing about WebSocket sessions.
    Irrelevant,
    /// It means the same.
    Carried,
    /// It means nearly the same; the note says what differs.
    Approximated,
    /// What it did is not done any more.
    Cannot,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Irrelevant => "irrelevant",
            Self::Carried => "carried",
            Self::Approximated => "approximated",
            Self::Cannot => "cannot be",
        })
    }
}

/// One directive, where it stands, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The file, as it was named.
    #[serde(serialize_with = "text")]
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// The directive, as it is written.
    pub directive: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What it is now, or why it is not.
    pub note: String,
}

fn text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            directive,
            outcome,
            note,
        } = self;
        write!(f, "{file}:{line}: {outcome}: {directive}: {note}")
    }
}

/// Where NGINX's packages have its files.
const PREFIX: &str = "/etc/nginx/";

/// A directive in a [`Ledger`].
pub(super) type Id = usize;

/// The directives so far.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: Vec<(Entry, bool)>,
}

impl Ledger {
    /// A directive was read.
    pub(super) fn enter(&mut self, file: &Arc<str>, line: u32, directive: String) -> Id {
        let note = "not understood: look what it did, nothing here does it".to_owned();
        let entry = Entry {
            file: Arc::clone(file),
            line,
            directive,
            outcome: Outcome::Cannot,
            note,
        };
        self.entries.push((entry, false));
        self.entries.len() - 1
    }

    /// What became of it. Where it became several things, the worst is said.
    pub(super) fn say(&mut self, id: Id, outcome: Outcome, note: impl Into<String>) {
        if let Some((entry, is_said)) = self.entries.get_mut(id)
            && (!*is_said || entry.outcome < outcome)
        {
            (entry.outcome, entry.note, *is_said) = (outcome, note.into(), true);
        }
    }

    /// Whether something was said of it.
    pub(super) fn is_said(&self, id: Id) -> bool {
        self.entries.get(id).is_none_or(|(_, is_said)| *is_said)
    }

    /// Where it stands.
    pub(super) fn place(&self, id: Id) -> String {
        self.entries
            .get(id)
            .map_or_else(String::new, |(entry, _)| format!("{}:{}", entry.file, entry.line))
    }

    /// Whether a file was read that an `include` means.
    pub(super) fn has_read(&self, include: Id, pattern: &str) -> bool {
        let mut files = self.entries.iter().map(|(entry, _)| &entry.file);
        files.any(|file| self.means(include, pattern, file))
    }

    /// The file in which it stands.
    pub(super) fn file(&self, id: Id) -> Option<&str> {
        self.entries.get(id).map(|(entry, _)| &*entry.file)
    }

    /// Whether an `include` means a file: at its path, or below a folder of the file that includes it.
    pub(super) fn means(&self, include: Id, pattern: &str, file: &str) -> bool {
        let Some(from) = self.file(include).filter(|from| *from != file) else {
            return false;
        };
        // The files may have been copied from there.
        let relative = pattern.strip_prefix(PREFIX).unwrap_or(pattern);
        let mut folders = from.match_indices('/').filter_map(|(at, _)| from.get(..at));
        let beside = !relative.starts_with('/')
            && (is_at(file, relative) || folders.any(|folder| is_at(file, &format!("{folder}/{relative}"))));
        is_at(file, pattern) || beside || is_named_from_within(from, pattern, file)
    }

    /// Everything, in the order in which it stands; what nobody spoke of was not understood.
    pub(super) fn close(self) -> Vec<Entry> {
        let mut entries: Vec<_> = self.entries.into_iter().map(|(entry, _)| entry).collect();
        entries.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        entries
    }
}

/// Whether a path is one that a pattern matches, segment by segment.
fn is_at(file: &str, pattern: &str) -> bool {
    let (parts, patterns) = (file.split('/'), pattern.split('/'));
    parts.clone().count() == patterns.clone().count()
        && parts
            .zip(patterns)
            .all(|(part, pattern)| is_of_it(part.as_bytes(), pattern.as_bytes()))
}

/// As glob(3), but for sets in brackets.
fn is_of_it(part: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut of, mut star) = (0, 0, None);
    while at < part.len() {
        match pattern.get(of) {
            Some(b'*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(one) if *one == b'?' || Some(one) == part.get(at) => {
                at += 1;
                of += 1;
            }
            // The last star takes one more.
            _ => match star {
                Some((of_star, taken)) => {
                    star = Some((of_star, taken + 1));
                    (at, of) = (taken + 1, of_star + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(of).all(|one| *one == b'*')
}

/// Whether files are named from a folder in which somebody stands, and the pattern from the root.
fn is_named_from_within(from: &str, pattern: &str, file: &str) -> bool {
    if from.starts_with('/') || file.starts_with('/') || !pattern.starts_with('/') {
        return false;
    }
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let below = match folder {
        "" => Some(file),
        folder => file.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')),
    };
    below.is_some_and(|below| {
        // Any file is called `*`: a folder has to say that it is this one.
        let says_which = |end: &&str| end.contains('/') || !end.contains('*');
        let ends = pattern
            .match_indices('/')
            .filter_map(|(at, _)| pattern.get(at + 1..));
        ends.filter(says_which).any(|end| is_at(below, end))
    })
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    #[test]
    fn an_include_is_read_where_a_file_of_it_was_given() {
        let is_read = |from: &str, include: &str, given: &str| {
            let mut ledger = Ledger::default();
            let id = ledger.enter(&from.into(), 1, String::new());
            ledger.enter(&given.into(), 1, String::new());
            ledger.has_read(id, include)
        };
        for (from, include, given) in [
            (
                "/etc/nginx/nginx.conf",
                "/etc/nginx/conf.d/*.conf",
                "/etc/nginx/conf.d/chat.conf",
            ),
            (
                "/etc/nginx/nginx.conf",
                "conf.d/*.conf",
                "/etc/nginx/conf.d/chat.conf",
            ),
            (
                "copy/nginx.conf",
                "/etc/nginx/conf.d/*.conf",
                "copy/conf.d/chat.conf",
            ),
            ("nginx.conf", "/etc/nginx/sites/chat", "sites/chat"),
            ("nginx.conf", "/srv/web/conf.d/*.conf", "conf.d/chat.conf"),
            ("nginx.conf", "conf.d/*-site*.conf", "conf.d/a-site-1.conf"),
            ("nginx.conf", "conf.d/?.conf", "conf.d/a.conf"),
            ("web/nginx.conf", "/srv/web/conf.d/*.conf", "web/conf.d/chat.conf"),
        ] {
            assert!(is_read(from, include, given), "{include} of {from}: {given}");
        }
        for (from, include, given) in [
            ("nginx.conf", "*.conf", "nginx.conf"),
            ("nginx.conf", "a/snippets/x.conf", "b/snippets/x.conf"),
            (
                "/etc/nginx/nginx.conf",
                "conf.d/*.conf",
                "/etc/nginx/conf.d/more/chat.conf",
            ),
            (
                "/etc/nginx/nginx.conf",
                "/opt/conf.d/*.conf",
                "/etc/nginx/conf.d/chat.conf",
            ),
            ("nginx.conf", "conf.d/*.conf", "conf.d/chat.txt"),
            ("nginx.conf", "/etc/nginx/conf.d/*.conf", "websocket.conf"),
            ("nginx.conf", "/srv/web/conf.d/*.conf", "websocket.conf"),
        ] {
            assert!(!is_read(from, include, given), "{include} of {from}: {given}");
        }
    }
}
