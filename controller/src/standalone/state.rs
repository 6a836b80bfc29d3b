//! The state folder: what must survive `clew run`, and who holds it.
//!
//! | file | what |
//! |---|---|
//! | `lock` | held while a `clew run` works here |
//! | `seed`, `token` | secrets, made once |
//! | `signing-keys.json` | the keys of persistence tokens |
//! | `routes.json`, `key-sets.json` | the routes, and the public keys for tokens, as they last were good |
//! | `manifests/` | every manifest as it last was good, Secrets among them |
//! | `births.json`, `ports.json`, `drains.json`, `envoy.json` | what was seen first, bound, ordered and started |
//! | `longest-drain.json`, `api-address` | how long sessions may take to leave, where the API is |
//! | `filter-<sha256>.wasm` | the filter's module, as Envoy loads it |
//! | `envoy/` | the bootstrap, the xDS files and the log of Envoy |

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// A state folder that nobody else works in.
#[derive(Debug)]
pub(crate) struct State {
    folder: PathBuf,
    /// Releases the folder when it is dropped.
    _lock: File,
}

impl State {
    /// Where the state is kept when nothing else is said: `$XDG_STATE_HOME/clew`, else `~/.local/state/clew`.
    pub(crate) fn default_folder() -> Option<PathBuf> {
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
            .map(|base| base.join("clew"))
    }

    /// Makes the folder where it is missing, closes it to others, and locks it.
    ///
    /// # Errors
    /// When another `clew run` works there, or it cannot be written.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let broken = |error: io::Error| unwritable(folder, &error);
        fs::create_dir_all(folder.join("envoy")).map_err(broken)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(broken)?;
        let folder = fs::canonicalize(folder).map_err(broken)?;
        let lock = private()
            .create(true)
            .truncate(false)
            .open(folder.join("lock"))
            .map_err(broken)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Failure::unreachable(format!(
                "CLEW0904: another clew run works in {}; stop it, or give this one a folder of its own with --state-dir",
                folder.display()
            ))),
            Err(TryLockError::Error(error)) => Err(unwritable(&folder, &error)),
        }
    }

    /// The absolute path of something in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The secret of this name: 32 hex digits, made at the first call and the same ever after.
    ///
    /// # Errors
    /// When it can be neither read nor written, or is not what was written.
    pub(crate) fn secret(&self, name: &str) -> Result<String, Failure> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let text = text.trim();
                if text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Ok(text.to_owned());
                }
                Err(Failure::unreachable(format!(
                    "CLEW0903: {} is not 32 hex digits; restore it from a backup (without it every session key moves), or remove it for a new one",
                    path.display()
                )))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = random_hex()?;
                self.write(name, secret.as_bytes())
                    .map_err(|error| unwritable(&self.folder, &error))?;
                Ok(secret)
            }
            Err(error) => Err(unwritable(&path, &error)),
        }
    }

    /// What was saved under this name; `None` when there is nothing that can be understood.
    pub(crate) fn load<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let bytes = fs::read(self.path(name)).ok()?;
        serde_json::from_slice(&bytes)
            .inspect_err(|error| {
                tracing::warn!(
                    "{} is not understood and counts as empty: {error}",
                    self.path(name).display()
                )
            })
            .ok()
    }

    /// Saves a value.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn save(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        self.write(name, &serde_json::to_vec(value)?)
    }

    /// Removes the files whose names begin so, but for this one.
    pub(crate) fn sweep(&self, prefix: &str, but: &Path) {
        let files = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        let begins = |path: &Path| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
        };
        for path in files.filter(|path| path != but && begins(path)) {
            // What stays behind takes room and does no harm.
            let _ = fs::remove_file(path);
        }
    }

    /// Writes a file whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written; the old file is then still there.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        replace(&self.folder.join(name), bytes)
    }
}

/// Puts a file in the place of another, which readers see whole: the old one or the new one.
///
/// # Errors
/// When it cannot be written; the old one is then still there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.new"));
    let written = private()
        .create(true)
        .truncate(true)
        .open(&new)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // What a full disk left behind.
        let _ = fs::remove_file(&new);
    }
    written
}

/// 128 random bits.
///
/// # Errors
/// When the system has none to give.
pub(crate) fn random_hex() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::unreachable(format!("CLEW0903: the system gives no random numbers: {error}"))
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// How a file is opened that others are not to read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::unreachable(format!(
        "CLEW0903: the state folder cannot be used: {}: {error}; make room or permission, or choose another with --state-dir",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::State;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_are_made_once_and_kept_to_oneself() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("deep/clew");
        let seed = State::open(&root).unwrap().secret("seed").unwrap();
        assert_eq!(State::open(&root).unwrap().secret("seed").unwrap(), seed);
        assert_eq!(seed.len(), 32);
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(root.clone()), mode(root.join("seed"))), (0o700, 0o600));
    }

    #[test]
    fn a_damaged_secret_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        fs::write(state.path("seed"), "x").unwrap();
        assert!(state.secret("seed").unwrap_err().to_string().contains("CLEW0903"));
    }

    #[test]
    fn what_an_older_clew_left_is_swept_away() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        for name in ["filter-a", "filter-b", "other"] {
            state.write(name, b"").unwrap();
        }
        state.sweep("filter-", &state.path("filter-b"));
        let left = ["filter-a", "filter-b", "other"].map(|name| state.path(name).exists());
        assert_eq!(left, [false, true, true]);
    }

    #[test]
    fn two_cannot_work_in_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = State::open(folder.path()).unwrap();
        assert!(
            State::open(folder.path())
                .unwrap_err()
                .to_string()
                .contains("CLEW0904")
        );
        drop(first);
        State::open(folder.path()).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_said_and_the_old_stays() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        state.save("a.json", &1).unwrap();
        fs::create_dir(state.path(".a.json.new")).unwrap();
        assert!(state.save("a.json", &2).is_err());
        assert_eq!(state.load::<u32>("a.json"), Some(1));
    }
}
