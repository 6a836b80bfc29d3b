//! When to look again: the file system's own word, and a slow look round for what it does not tell.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{timeout, timeout_at};

use crate::clock;

/// An editor's save is several events: wait until it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(12);
/// A folder that never is quiet is looked at all the same.
const LONGEST_NOISE: Duration = Duration::from_millis(120);
/// Links that point out of the folder, and network file systems, tell nothing.
const LOOK_ROUND: Duration = Duration::from_secs(5);

/// Waits for changes below some paths.
pub(crate) struct Watch {
    paths: Vec<PathBuf>,
    /// What the paths were when they began to be watched.
    identities: Vec<Option<Identity>>,
    changed: Arc<Notify>,
    /// A change was noticed, and nobody has looked since.
    is_noisy: bool,
    /// When to look round.
    due: Instant,
    /// Watches as long as it lives.
    watcher: Option<RecommendedWatcher>,
}

/// Device and inode: a folder that is removed and made again is another one, and watches stay with the old one.
type Identity = (u64, u64);

impl Watch {
    /// Begins to watch. Where the system refuses (too many watches), changes are still seen, if later.
    pub(crate) fn new(paths: &[PathBuf]) -> Self {
        let mut watch = Self {
            // As events name them.
            paths: paths
                .iter()
                .map(|path| absolute(path).unwrap_or_else(|_| path.clone()))
                .collect(),
            identities: Vec::new(),
            changed: Arc::new(Notify::new()),
            is_noisy: false,
            due: clock::now() + LOOK_ROUND,
            watcher: None,
        };
        watch.begin();
        watch
    }

    /// Resolves when it is time to look: shortly after a change, or after a while. Whoever stops waiting misses nothing if he waits again.
    pub(crate) async fn changed(&mut self) {
        if !self.is_noisy {
            self.is_noisy = timeout_at(self.due.into(), self.changed.notified()).await.is_ok();
        }
        if self.is_noisy {
            let _ = timeout(LONGEST_NOISE, async {
                while timeout(QUIET, self.changed.notified()).await.is_ok() {}
            })
            .await;
        }
        self.is_noisy = false;
        self.due = clock::now() + LOOK_ROUND;
        if self.identities != identities(&self.paths) {
            self.begin();
        }
    }

    fn begin(&mut self) {
        self.identities = identities(&self.paths);
        // The old one ends first: there is a limit to how many there may be.
        self.watcher = None;
        self.watcher = watch(&self.paths, self.changed.clone())
            .inspect_err(|error| {
                tracing::warn!(
                    "changes are noticed after up to {LOOK_ROUND:?}: the system refuses to watch the files: {error}"
                );
            })
            .ok();
    }
}

fn identities(paths: &[PathBuf]) -> Vec<Option<Identity>> {
    let identity = |path: &PathBuf| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    paths.iter().map(identity).collect()
}

fn watch(paths: &[PathBuf], changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let folders: Vec<PathBuf> = paths.iter().filter(|path| path.is_dir()).cloned().collect();
    // Beside a folder much may happen that is no news.
    let beside: Vec<PathBuf> = folders.iter().map(|folder| above(folder).to_owned()).collect();
    let within = folders.clone();
    let is_news = move |path: &PathBuf| {
        within.iter().any(|folder| path.starts_with(folder))
            || !beside.iter().any(|above| path.parent() == Some(above))
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // That somebody reads a file is no news, and we do it ourselves.
        if event.is_ok_and(|event| {
            matches!(event.kind, EventKind::Access(_))
                || !event.paths.is_empty() && !event.paths.iter().any(&is_news)
        }) {
            return;
        }
        changed.notify_one();
    })?;
    for path in paths {
        // For a file too: a save often replaces it.
        watcher.watch(above(path), RecursiveMode::NonRecursive)?;
    }
    for folder in &folders {
        watcher.watch(folder, RecursiveMode::Recursive)?;
    }
    Ok(watcher)
}

/// The folder that a path is in.
fn above(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::Watch;
    use crate::clock;
    use std::fs;
    use std::time::Duration;
    use tokio::time::timeout;

    /// Well before the look round.
    const SOON: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn what_is_noticed_while_something_else_comes_first_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&[folder.path().to_owned()]);
        watch.changed.notify_one();
        timeout(Duration::ZERO, watch.changed()).await.unwrap_err();
        timeout(SOON, watch.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn it_looks_round_in_time_however_often_something_else_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&[folder.path().to_owned()]);
        watch.due = clock::now() + SOON / 4;
        let looked = async { while timeout(SOON / 8, watch.changed()).await.is_err() {} };
        timeout(SOON, looked).await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_is_made_again_is_watched_as_the_first_one_was() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("manifests");
        fs::create_dir(&folder).unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&folder));
        let mut seen = async |what: &str| {
            timeout(SOON, watch.changed())
                .await
                .unwrap_or_else(|_| panic!("{what} went unnoticed"));
        };
        fs::write(folder.join("a.yaml"), "").unwrap();
        seen("a file").await;
        fs::remove_dir_all(&folder).unwrap();
        seen("the end of the folder").await;
        fs::create_dir(&folder).unwrap();
        seen("a new folder").await;
        fs::write(folder.join("b.yaml"), "").unwrap();
        seen("a file in it").await;
    }
}
