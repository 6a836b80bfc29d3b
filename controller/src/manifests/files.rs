//! Which files there are, and which of them changed since they were last read.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Ends of the names of manifests.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A file that was written this recently may be written again within the same tick of the file system's clock.
const TICK: Duration = Duration::from_millis(50);

/// What a file looked like when it was read: equal stamps, equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: (u64, u64),
    modified: Option<SystemTime>,
    size: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            modified: metadata.modified().ok(),
            size: metadata.len(),
        }
    }

    /// Whether a file that had this stamp when it was read at `read` and has it still is unchanged for certain.
    pub(super) fn is_settled(&self, read: SystemTime) -> bool {
        self.modified
            .is_some_and(|modified| read.duration_since(modified).is_ok_and(|age| age >= TICK))
    }
}

/// One thing below the given paths.
#[derive(Debug)]
pub(super) enum Entry {
    /// A manifest, by its name.
    File(PathBuf, Stamp),
    /// What cannot be looked into.
    Unreadable(PathBuf, io::Error),
}

/// Lists the manifests at and below `paths`, in the order of the paths and then of the names. Names that begin with a
/// dot are passed over, so a mounted ConfigMap (whose files are links into `..data`) is read once.
pub(super) fn list(paths: &[PathBuf]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut visited = BTreeSet::new();
    for path in paths {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => descend(path, &metadata, &mut visited, &mut entries),
            Ok(metadata) => entries.push(Entry::File(path.clone(), Stamp::of(&metadata))),
            Err(error) => entries.push(Entry::Unreadable(path.clone(), error)),
        }
    }
    entries
}

fn descend(folder: &Path, metadata: &Metadata, visited: &mut BTreeSet<(u64, u64)>, entries: &mut Vec<Entry>) {
    // A link to a folder above would go round for ever.
    if !visited.insert((metadata.dev(), metadata.ino())) {
        return;
    }
    let mut names: Vec<_> = match fs::read_dir(folder) {
        Ok(names) => names.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) => return entries.push(Entry::Unreadable(folder.to_owned(), error)),
    };
    names.sort();
    for path in names {
        let hidden = path
            .file_name()
            .is_none_or(|name| name.to_string_lossy().starts_with('.'));
        // What vanished between the listing and here is simply gone.
        let Some(metadata) = (!hidden).then(|| fs::metadata(&path).ok()).flatten() else {
            continue;
        };
        if metadata.is_dir() {
            descend(&path, &metadata, visited, entries);
        } else if path
            .extension()
            .is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known))
        {
            entries.push(Entry::File(path, Stamp::of(&metadata)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, list};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn names(folder: &Path) -> Vec<String> {
        list(&[folder.to_owned()])
            .into_iter()
            .map(|entry| match entry {
                Entry::File(path, _) => path.strip_prefix(folder).unwrap().display().to_string(),
                Entry::Unreadable(path, error) => format!("{}: {error}", path.display()),
            })
            .collect()
    }

    #[test]
    fn manifests_are_found_at_every_depth_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("b/c")).unwrap();
        for name in [
            "b/c/x.json",
            "a.yaml",
            "z.yml",
            "README.md",
            ".a.yaml.swp",
            ".hidden.yaml",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        symlink(folder.path(), folder.path().join("b/loop")).unwrap();
        assert_eq!(names(folder.path()), ["a.yaml", "b/c/x.json", "z.yml"]);
    }

    #[test]
    fn a_mounted_config_map_is_read_once_and_follows_its_swap() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["..v1", "..v2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("r.yaml"), "").unwrap();
        }
        symlink("..v1", at("..data")).unwrap();
        symlink("..data/r.yaml", at("r.yaml")).unwrap();
        let stamp = |entries: Vec<Entry>| match &entries[..] {
            [Entry::File(_, stamp)] => *stamp,
            other => panic!("{other:?}"),
        };
        let before = stamp(list(&[folder.path().to_owned()]));
        symlink("..v2", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        assert_ne!(stamp(list(&[folder.path().to_owned()])), before);
    }

    #[test]
    fn a_path_that_is_not_there_is_said() {
        assert!(matches!(
            &list(&["/nonexistent/x".into()])[..],
            [Entry::Unreadable(..)]
        ));
    }
}
