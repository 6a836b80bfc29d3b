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

    /// Everything, in the order in which it stands; what nobody spoke of was not understood.
    /// Whether another file was read that an `include` means: by its name, and that of its folder.
    pub(super) fn has_read(&self, include: Id, pattern: &str) -> bool {
        let of = |path: &str| {
            let mut parts = path.rsplit('/').map(str::to_owned);
            (parts.next().unwrap_or_default(), parts.next())
        };
        let (name, folder) = of(pattern);
        let is_named = |file: &str| match name.split_once('*') {
            Some((before, after)) => {
                file.len() >= before.len() + after.len() && file.starts_with(before) && file.ends_with(after)
            }
            None => file == name,
        };
        let from = self.entries.get(include).map(|(entry, _)| &entry.file);
        let files = self.entries.iter().map(|(entry, _)| &entry.file);
        files.filter(|file| Some(*file) != from).any(|file| {
            let (file, its_folder) = of(file);
            is_named(&file) && (folder.is_none() || its_folder.is_none() || folder == its_folder)
        })
    }

    pub(super) fn close(self) -> Vec<Entry> {
        let mut entries: Vec<_> = self.entries.into_iter().map(|(entry, _)| entry).collect();
        entries.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        entries
    }
}
