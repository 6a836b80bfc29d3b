//! When to look again: the file system's own word, and a slow look round for what it does not tell.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::timeout;

/// An editor's save is several events: wait until it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(12);
/// A folder that never is quiet is looked at all the same.
const LONGEST_NOISE: Duration = Duration::from_millis(120);
/// Links that point out of the folder, and network file systems, tell nothing.
const LOOK_ROUND: Duration = Duration::from_secs(5);

/// Waits for changes below some paths.
pub(crate) struct Watch {
    changed: Arc<Notify>,
    /// Watches as long as it lives.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Begins to watch. Where the system refuses (too many watches), changes are still seen, if later.
    pub(crate) fn new(paths: &[PathBuf]) -> Self {
        let changed = Arc::new(Notify::new());
        let watcher = watch(paths, changed.clone());
        if let Err(error) = &watcher {
            tracing::warn!(
                "changes are noticed after up to {LOOK_ROUND:?}: the system refuses to watch the files: {error}"
            );
        }
        Self {
            changed,
            _watcher: watcher.ok(),
        }
    }

    /// Resolves when it is time to look: shortly after a change, or after a while.
    pub(crate) async fn changed(&self) {
        if timeout(LOOK_ROUND, self.changed.notified()).await.is_err() {
            return;
        }
        let _ = timeout(LONGEST_NOISE, async {
            while timeout(QUIET, self.changed.notified()).await.is_ok() {}
        })
        .await;
    }
}

fn watch(paths: &[PathBuf], changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // That somebody reads a file is no news, and we do it ourselves.
        if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
            changed.notify_one();
        }
    })?;
    for path in paths {
        if path.is_dir() {
            watcher.watch(path, RecursiveMode::Recursive)?;
        } else {
            // The folder, because a save often replaces the file.
            let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            watcher.watch(folder.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
        }
    }
    Ok(watcher)
}
