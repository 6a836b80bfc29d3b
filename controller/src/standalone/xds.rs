//! Envoy's files: written when they differ, and waited for until Envoy has taken them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clew_core::render::envoy::File;

use super::admin::Admin;
use super::log::Log;
use super::state::replace;
use crate::clock;

/// Between two looks at what Envoy has taken.
const LOOK_AGAIN: Duration = Duration::from_millis(3);
/// 10,000 routes take Envoy a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// The folder of Envoy's files, and the version of each.
#[derive(Debug)]
pub(super) struct Xds {
    folder: PathBuf,
    versions: BTreeMap<String, String>,
}

/// Why Envoy does not have what was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// It said no. What it had before stays in force.
    #[error("Envoy refused {path}: {why}")]
    Rejected {
        /// Below the folder.
        path: String,
        /// In Envoy's words.
        why: String,
    },
    /// It said nothing.
    #[error("Envoy has not taken it within {PATIENCE:?}")]
    Silent,
    /// The folder cannot be written, or the admin port does not answer.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Xds {
    /// Knows the files that are there.
    pub(super) fn open(folder: PathBuf) -> Self {
        let mut versions = BTreeMap::new();
        for path in files_below(&folder) {
            let version = fs::read_to_string(folder.join(&path))
                .ok()
                .and_then(|text| version(&text).map(str::to_owned));
            if let Some(version) = version {
                versions.insert(path, version);
            }
        }
        Self { folder, versions }
    }

    /// What a file says, if it is there.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(path)).ok()
    }

    /// Whether there is such a file.
    pub(super) fn has(&self, path: &str) -> bool {
        self.versions.contains_key(path)
    }

    /// Whether a file would be new or different.
    pub(super) fn differs(&self, path: &str, file: &File) -> bool {
        self.versions.get(path) != Some(&file.version)
    }

    /// Writes a file if it differs; says whether it did.
    ///
    /// # Errors
    /// When it cannot be written; the old one is then still there.
    pub(super) fn write(&mut self, path: &str, file: &File) -> io::Result<bool> {
        if !self.differs(path, file) {
            return Ok(false);
        }
        let full = self.folder.join(path);
        if let Some(parent) = full.parent() {
            fs::create_dir_all(parent)?;
        }
        replace(&full, file.content.as_bytes())?;
        self.versions.insert(path.to_owned(), file.version.clone());
        Ok(true)
    }

    /// Writes files and waits until Envoy has taken those that differed. Where it refuses, what was there before is put
    /// back, so that an Envoy that starts anew starts with what was good.
    ///
    /// # Errors
    /// When they cannot be written, or Envoy does not take them.
    pub(super) async fn apply(
        &mut self,
        files: impl IntoIterator<Item = (&str, &File)>,
        admin: Admin,
        log: &Log,
    ) -> Result<(), NotTaken> {
        let from = log.end();
        let mut before = Vec::new();
        let mut awaited = BTreeMap::new();
        for (path, file) in files {
            let old = self.differs(path, file).then(|| self.read(path)).flatten();
            if self.write(path, file)? {
                awaited.insert(file.version.as_str(), path);
                before.push((path.to_owned(), old));
            }
        }
        let began = clock::now();
        let taken = taken(&awaited, admin, log, from).await;
        if let Some((path, _)) = before.first() {
            tracing::debug!("{path} taken after {:?}", began.elapsed());
        }
        if matches!(taken, Err(NotTaken::Rejected { .. })) {
            for (path, old) in before {
                if let Some(content) = old
                    && let Some(version) = version(&content).map(str::to_owned)
                {
                    self.write(&path, &File { version, content })?;
                }
            }
        }
        taken
    }

    /// Removes the files that are not among these.
    pub(super) fn retain(&mut self, paths: &BTreeSet<&str>) {
        let gone: Vec<_> = self
            .versions
            .keys()
            .filter(|path| !paths.contains(path.as_str()))
            .cloned()
            .collect();
        for path in gone {
            // A file that stays behind is read by nobody.
            let _ = fs::remove_file(self.folder.join(&path));
            self.versions.remove(&path);
        }
    }
}

async fn taken(awaited: &BTreeMap<&str, &str>, admin: Admin, log: &Log, from: u64) -> Result<(), NotTaken> {
    if awaited.is_empty() {
        return Ok(());
    }
    let waiting = async {
        loop {
            let versions = admin.versions().await?;
            let missing = awaited
                .iter()
                .find(|(version, _)| !versions.values().any(|taken| taken == *version));
            let Some((_, path)) = missing else {
                return Ok(());
            };
            if let Some(why) = log.rejection(from) {
                let path = (*path).to_owned();
                return Err(NotTaken::Rejected { path, why });
            }
            clock::pause(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or(Err(NotTaken::Silent))
}

/// The version that a file of ours begins with.
fn version(content: &str) -> Option<&str> {
    Some(content.strip_prefix(r#"{"version_info":""#)?.split_once('"')?.0)
}

/// The paths of the files in a folder and in the folders in it, relative to it.
fn files_below(folder: &Path) -> Vec<String> {
    let names = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default()
    };
    names(folder)
        .into_iter()
        .flat_map(|path| if path.is_dir() { names(&path) } else { vec![path] })
        .filter_map(|path| Some(path.strip_prefix(folder).ok()?.to_str()?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Xds;
    use clew_core::render::envoy::File;
    use std::collections::BTreeSet;

    fn file(version: &str) -> File {
        File {
            version: version.into(),
            content: format!(r#"{{"version_info":"{version}","resources":[]}}"#),
        }
    }

    #[test]
    fn only_what_differs_is_written_also_by_the_one_who_comes_after() {
        let folder = tempfile::tempdir().unwrap();
        let mut xds = Xds::open(folder.path().to_owned());
        assert!(xds.write("routes/a.json", &file("1")).unwrap());
        assert!(!xds.write("routes/a.json", &file("1")).unwrap());
        let mut next = Xds::open(folder.path().to_owned());
        assert!(!next.write("routes/a.json", &file("1")).unwrap());
        assert!(next.write("routes/a.json", &file("2")).unwrap());
    }

    #[test]
    fn files_that_nobody_needs_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut xds = Xds::open(folder.path().to_owned());
        for path in ["routes/a.json", "routes/b.json"] {
            xds.write(path, &file("1")).unwrap();
        }
        xds.retain(&BTreeSet::from(["routes/b.json"]));
        assert!(xds.read("routes/a.json").is_none() && xds.read("routes/b.json").is_some());
        assert!(xds.write("routes/a.json", &file("1")).unwrap());
    }
}
