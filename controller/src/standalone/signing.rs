//! The keys of persistence tokens over the lives of `clew run`: the one that is made here, where no Secret gives any, and
//! those that every proxy is known to hold.

use std::fs;
use std::io;
use std::path::Path;

use clew_filter_config::persistence::SigningKey;
use serde::{Deserialize, Serialize};

use super::state::{State, random_hex};
use crate::failure::Failure;

/// Where in the state folder they are.
const FILE: &str = "signing-keys.json";

/// What is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Signing {
    /// Made at the first start, and the same ever after: 64 hex digits.
    own: String,
    /// What the proxies hold, and of which one signs.
    in_force: Vec<SigningKey>,
}

impl Signing {
    /// What an earlier `clew run` kept, or a new key.
    ///
    /// # Errors
    /// When the file can be neither read nor written, or is not what was written.
    pub(super) fn open(state: &State) -> Result<Self, Failure> {
        if let Some(kept) = Self::read(&state.path(FILE))? {
            return Ok(kept);
        }
        let new = Self {
            own: random_hex()? + &random_hex()?,
            in_force: Vec::new(),
        };
        new.save(state).map_err(|error| {
            Failure::unreachable(format!(
                "CLEW0903: the state folder cannot be written: {error}; make room, or choose another with --state-dir"
            ))
        })?;
        Ok(new)
    }

    /// What the `clew run` of a state folder kept; `None`: there was none.
    ///
    /// # Errors
    /// When the file cannot be read, or is not what was written.
    pub(crate) fn of(folder: &Path) -> Result<Option<Self>, Failure> {
        Self::read(&folder.join(FILE))
    }

    fn read(path: &Path) -> Result<Option<Self>, Failure> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let message = format!("CLEW0903: {} cannot be read: {error}", path.display());
                return Err(Failure::unreachable(message));
            }
        };
        // Neither the text nor what is wrong with it is shown: it is secret.
        serde_json::from_slice(&bytes).map(Some).map_err(|_| {
            Failure::unreachable(format!(
                "CLEW0903: {} is not what was written there; restore it from a backup (without it persistent sessions lose their pods), or remove it for a new key",
                path.display()
            ))
        })
    }

    /// The keys that are to be in force: a Secret's, and ours beside them, so that what it signed before stays good. Without
    /// a Secret, ours.
    pub(crate) fn wanted(&self, of_secret: &[SigningKey]) -> Vec<SigningKey> {
        let own = SigningKey {
            secret: self.own.clone(),
            signs: of_secret.is_empty(),
        };
        let others = of_secret.iter().filter(|key| key.secret != own.secret);
        others.cloned().chain([own.clone()]).collect()
    }

    pub(super) fn in_force(&self) -> &[SigningKey] {
        &self.in_force
    }

    /// Every proxy holds these.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(super) fn put_in_force(&mut self, keys: &[SigningKey], state: &State) -> io::Result<()> {
        if self.in_force != keys {
            self.in_force = keys.to_vec();
            self.save(state)?;
        }
        Ok(())
    }

    fn save(&self, state: &State) -> io::Result<()> {
        state.save(FILE, self)
    }
}

impl std::fmt::Debug for Signing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signing(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::{FILE, Signing};
    use crate::standalone::state::State;
    use clew_filter_config::persistence::SigningKey;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let mut first = Signing::open(&state).unwrap();
        let wanted = first.wanted(&[]);
        assert!(wanted.len() == 1 && wanted[0].signs && wanted[0].secret.len() == 64);
        let mode = fs::metadata(state.path(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        first.put_in_force(&wanted, &state).unwrap();
        let second = Signing::open(&state).unwrap();
        assert_eq!(
            (second.wanted(&[]), second.in_force()),
            (wanted.clone(), &wanted[..])
        );
        fs::write(state.path(FILE), "{").unwrap();
        assert!(
            Signing::open(&state)
                .unwrap_err()
                .to_string()
                .contains("CLEW0903")
        );
    }

    #[test]
    fn a_secrets_key_signs_and_ours_still_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let signing = Signing::open(&State::open(folder.path()).unwrap()).unwrap();
        let theirs = SigningKey {
            secret: "ab".repeat(32),
            signs: true,
        };
        let wanted = signing.wanted(std::slice::from_ref(&theirs));
        assert_eq!((wanted.len(), &wanted[0], wanted[1].signs), (2, &theirs, false));
    }
}
