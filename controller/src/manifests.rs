//! Manifests in files and folders: read, and read again where they changed. A file that is broken keeps what it last
//! said in force; one that is gone takes its objects along.

mod births;
mod document;
mod files;
mod kept;
mod object;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clew_core::objects::Objects;

use crate::clock;
use crate::finding::Finding;
pub(crate) use births::Births;
use document::Document;
use files::{Entry, Stamp};
use kept::Kept;
use object::Object;
pub(crate) use watch::Watch;

/// What the files below some paths say.
#[derive(Debug)]
pub(crate) struct Manifests {
    paths: Vec<PathBuf>,
    births: Births,
    kept: Kept,
    /// The copies of files that are gone have been looked for.
    swept: bool,
    files: BTreeMap<PathBuf, File>,
    /// Paths that cannot be looked into.
    unreadable: Vec<Finding>,
}

#[derive(Debug)]
struct File {
    stamp: Stamp,
    read: SystemTime,
    /// What it last said when all of it was good.
    objects: Vec<Object>,
    findings: Vec<Finding>,
}

impl Manifests {
    /// Nothing is read before the first [`refresh`](Self::refresh). With `births`, routes without a creation time get
    /// the one at which they were first seen.
    pub(crate) fn new(paths: Vec<PathBuf>, births: Births) -> Self {
        Self {
            paths,
            births,
            kept: Kept::default(),
            swept: false,
            files: BTreeMap::new(),
            unreadable: Vec::new(),
        }
    }

    /// Keeps a copy of what is good in a folder, and begins with the copies of what is broken.
    pub(crate) fn keeping(mut self, folder: PathBuf) -> Self {
        self.kept = Kept::new(folder);
        self
    }

    /// Reads once, for commands that answer and end.
    pub(crate) fn once(paths: Vec<PathBuf>) -> Self {
        let mut manifests = Self::new(paths, Births::default());
        manifests.refresh();
        manifests
    }

    /// Reads what changed since the last time; says whether anything did.
    pub(crate) fn refresh(&mut self) -> bool {
        let mut changed = false;
        let mut unreadable = Vec::new();
        let mut present = BTreeSet::new();
        for entry in files::list(&self.paths) {
            match entry {
                Entry::File(path, stamp) => {
                    changed |= self.visit(&path, stamp);
                    present.insert(path);
                }
                Entry::Unreadable(path, error) => {
                    // What cannot be seen is not known to be gone.
                    present.extend(self.files.keys().filter(|file| file.starts_with(&path)).cloned());
                    let message = format!("cannot be read: {error}; what it last said stays in force");
                    unreadable.push(Finding::error(
                        &path.display().to_string(),
                        0,
                        "CLEW0006",
                        message,
                    ));
                }
            }
        }
        let before = self.files.len();
        self.files.retain(|path, _| present.contains(path));
        let gone = self.files.len() != before;
        if unreadable.is_empty() && (gone || !self.swept) {
            self.kept.retain(present.iter());
            self.swept = true;
        }
        changed |= gone || self.unreadable != unreadable;
        self.unreadable = unreadable;
        let routes = self
            .files
            .values()
            .flat_map(|file| &file.objects)
            .filter_map(Object::route_name);
        self.births.settle(&routes.collect());
        changed
    }

    /// As [`refresh`](Self::refresh), at a moment that is remembered for the routes that are new.
    pub(crate) fn refresh_at(&mut self, now_ms: u64) -> bool {
        self.births.set_now(now_ms);
        self.refresh()
    }

    fn visit(&mut self, path: &Path, stamp: Stamp) -> bool {
        if let Some(file) = self.files.get(path)
            && file.stamp == stamp
            && stamp.is_settled(file.read)
        {
            return false;
        }
        let read = clock::system();
        let name: Arc<str> = path.display().to_string().into();
        let known = self.files.remove(path).map(|file| file.objects);
        let text = fs::read_to_string(path);
        let outcome = match &text {
            // A writer that truncates first is not done yet. Who wants the objects gone removes the file.
            Ok(text) if text.is_empty() => {
                let message =
                    "is empty: what it last said stays in force; remove the file to remove its objects";
                Err(vec![Finding::error(&name, 0, "CLEW0007", message)])
            }
            Ok(text) => object::read(&name, text, &mut self.births).inspect(|_| self.kept.keep(path, text)),
            Err(error) => {
                let message = format!("cannot be read: {error}; what it last said stays in force");
                Err(vec![Finding::error(&name, 0, "CLEW0006", message)])
            }
        };
        let (objects, findings) = match outcome {
            Ok(contents) => (contents.objects, contents.warnings),
            Err(errors) => {
                let last_good = known.unwrap_or_else(|| self.kept_objects(path, &name));
                let never_said_a_word = last_good.is_empty() && text.is_ok_and(|text| text.is_empty());
                (last_good, if never_said_a_word { Vec::new() } else { errors })
            }
        };
        self.files.insert(
            path.to_owned(),
            File {
                stamp,
                read,
                objects,
                findings,
            },
        );
        true
    }

    /// What a file last said to an earlier `clew run`.
    fn kept_objects(&mut self, path: &Path, name: &Arc<str>) -> Vec<Object> {
        let Some(text) = self.kept.last_good(path) else {
            return Vec::new();
        };
        let contents = object::read(name, &text, &mut self.births).unwrap_or_default();
        if !contents.objects.is_empty() {
            tracing::info!("{name} is in force as it was when it last was good");
        }
        contents.objects
    }

    /// Everything that is in force, in the order of the files' names.
    pub(crate) fn objects(&self) -> Objects {
        let mut all = Objects::default();
        for object in self.files.values().flat_map(|file| &file.objects) {
            object.clone().add_to(&mut all);
        }
        all
    }

    /// What is wrong with the files, and one warning for each kind that is passed over.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut kinds = BTreeSet::new();
        let of_files = self.files.values().flat_map(|file| &file.findings);
        self.unreadable
            .iter()
            .chain(of_files.filter(|finding| finding.is_error() || kinds.insert(&finding.object)))
            .cloned()
            .collect()
    }

    /// Whether there is no file.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// When each route was first seen.
    pub(crate) fn births(&self) -> &Births {
        &self.births
    }
}

/// Finds the lines of fields in files that were read before; each file is read once more, when something is wrong in it.
#[derive(Debug, Default)]
pub(crate) struct Lines(BTreeMap<String, Vec<Document>>);

impl Lines {
    /// The line of a field of the object that begins at `line` of `file`, as far as the file still says so.
    pub(crate) fn of(&mut self, file: &str, line: u32, field: &str) -> u32 {
        let documents = self.0.entry(file.to_owned()).or_insert_with(|| {
            fs::read_to_string(file)
                .ok()
                .and_then(|text| document::read(&text).ok())
                .unwrap_or_default()
        });
        let document = documents.iter().rev().find(|document| document.line() <= line);
        document.map_or(line, |document| document.line_below(line, field))
    }
}

#[cfg(test)]
mod tests;
