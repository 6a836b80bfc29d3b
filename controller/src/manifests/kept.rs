//! The files as they last were good, for the `clew run` that comes after this one: a file that is broken when it starts
//! keeps what it said to the one before.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::standalone::state::replace;

/// A folder with a copy of each file; without one nothing is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    folder: Option<PathBuf>,
}

impl Kept {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder: Some(folder) }
    }

    /// What a file last said when all of it was good.
    pub(super) fn last_good(&self, file: &Path) -> Option<String> {
        fs::read_to_string(self.copy_of(file)?).ok()
    }

    /// All of this file is good.
    pub(super) fn keep(&self, file: &Path, text: &str) {
        let Some(copy) = self.copy_of(file) else { return };
        if fs::read_to_string(&copy).is_ok_and(|kept| kept == text) {
            return;
        }
        let written = copy
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| replace(&copy, text.as_bytes()));
        if let Err(error) = written {
            tracing::warn!(
                "CLEW0903: {} cannot be kept: {error}; if it is broken when clew starts again, it is not in force then",
                file.display()
            );
        }
    }

    /// Forgets every file but these.
    pub(super) fn retain<'f>(&self, files: impl Iterator<Item = &'f PathBuf>) {
        let copies: BTreeSet<_> = files.filter_map(|file| self.copy_of(file)).collect();
        let kept = self.folder.iter().filter_map(|folder| fs::read_dir(folder).ok());
        for copy in kept.flatten().flatten().map(|entry| entry.path()) {
            if !copies.contains(&copy) {
                // Nobody reads what stays behind, unless a file of that name comes again and is broken.
                let _: io::Result<()> = fs::remove_file(copy);
            }
        }
    }

    fn copy_of(&self, file: &Path) -> Option<PathBuf> {
        let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let digest = Sha256::digest(whole.as_os_str().as_encoded_bytes());
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(self.folder.as_ref()?.join(name))
    }
}
