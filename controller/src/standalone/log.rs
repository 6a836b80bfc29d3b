//! Envoy's log: kept small, and read for what Envoy says against an update.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A log that is larger than this is moved away.
const LARGEST: u64 = 8 << 20;

/// The log of an Envoy that appends to it.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next line will begin.
    pub(super) fn end(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// What Envoy said against an update since `from`.
    pub(super) fn rejection(&self, from: u64) -> Option<String> {
        let text = self.since(from).ok()?;
        text.lines().rev().find_map(|line| {
            let at = ["config update rejected: ", "config update failure: "]
                .iter()
                .find_map(|words| Some(line.find(words)? + words.len()))?;
            Some(line[at..].to_owned())
        })
    }

    /// The last lines, without stack traces, for when Envoy is gone.
    pub(super) fn tail(&self) -> String {
        let text = self.since(self.end().saturating_sub(32_768)).unwrap_or_default();
        let says = |line: &&str| !line.contains("[envoy_bug]") && !line.contains("[backtrace]");
        let lines: Vec<_> = text.lines().rev().filter(says).take(6).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn since(&self, from: u64) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(1 << 20).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Moves a log that has become large to `….1`. Envoy goes on at the beginning, because it appends.
    pub(super) fn rotate(&self) -> io::Result<()> {
        if self.end() > LARGEST {
            fs::copy(&self.path, self.path.with_extension("log.1"))?;
            OpenOptions::new().write(true).open(&self.path)?.set_len(0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, Log};
    use std::fs;

    #[test]
    fn a_rejection_is_found_after_its_update_only() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new(folder.path().join("envoy.log"));
        let line = "[2026-11-22 14:44:13.230][1][warning][config] [f.cc:81] Filesystem config update rejected: no such\n";
        fs::write(log.path(), line).unwrap();
        assert_eq!(log.rejection(0).as_deref(), Some("no such"));
        assert_eq!(log.rejection(log.end()), None);
    }

    #[test]
    fn a_large_log_is_moved_away() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new(folder.path().join("envoy.log"));
        fs::write(log.path(), vec![b'x'; usize::try_from(LARGEST).unwrap() + 1]).unwrap();
        log.rotate().unwrap();
        assert_eq!(log.end(), 0);
        assert!(folder.path().join("envoy.log.1").exists());
    }
}
