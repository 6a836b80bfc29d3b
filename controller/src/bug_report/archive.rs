//! The file: a tar.gz, made in memory and written at once, for its owner alone.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::Value;

use super::{README, redact};
use crate::clock;
use crate::failure::Failure;

/// Of a longer text the end is kept.
const LONGEST: usize = 16 << 20;

/// A report that is being made.
pub(crate) struct Archive {
    tar: tar::Builder<GzEncoder<Vec<u8>>>,
    summary: Summary,
}

/// What became of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) files: usize,
    pub(crate) missing: Vec<Missing>,
}

/// What could not be had.
#[derive(Debug, Serialize)]
pub(crate) struct Missing {
    pub(crate) what: String,
    pub(crate) why: String,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self {
            tar: tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default())),
            summary: Summary::default(),
        }
    }

    /// Adds data.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub(super) fn yaml(&mut self, name: &str, data: &impl Serialize) -> Result<(), Failure> {
        let mut data = serde_json::to_value(data).map_err(unpacked)?;
        redact::value(&mut data);
        let text = match &data {
            // Objects, as kubectl prints several.
            Value::Array(all) if !all.is_empty() && all.iter().all(|one| one.get("kind").is_some()) => {
                let all: Result<Vec<_>, _> = all.iter().map(serde_saphyr::to_string).collect();
                all.map_err(unpacked)?.join("---\n")
            }
            data => serde_saphyr::to_string(data).map_err(unpacked)?,
        };
        self.pack(name, &text)
    }

    /// Adds text.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub(super) fn text(&mut self, name: &str, text: &[u8]) -> Result<(), Failure> {
        let end = text.get(text.len().saturating_sub(LONGEST)..).unwrap_or_default();
        self.pack(name, &redact::text(&String::from_utf8_lossy(end)))
    }

    /// Adds what was had, or why it was not.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub(super) fn add<T: Serialize>(
        &mut self,
        name: &str,
        had: Result<T, impl ToString>,
    ) -> Result<(), Failure> {
        match had {
            Ok(data) => self.yaml(name, &data),
            Err(why) => {
                self.miss(name, why.to_string());
                Ok(())
            }
        }
    }

    /// Notes what could not be had.
    pub(super) fn miss(&mut self, what: &str, why: String) {
        tracing::warn!("{what}: {why}");
        self.summary.missing.push(Missing {
            what: what.to_owned(),
            why: redact::text(&why),
        });
    }

    fn pack(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        tracing::info!("{name}");
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(text.len()).unwrap_or(u64::MAX));
        header.set_mode(0o600);
        header.set_mtime(clock::unix_ms() / 1000);
        let path = format!("clew-bug-report/{name}");
        self.summary.files += 1;
        self.tar
            .append_data(&mut header, path, text.as_bytes())
            .map_err(unpacked)
    }

    /// Writes the file; it must not be there yet. `-` is stdout.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(mut self, path: &Path) -> Result<Summary, Failure> {
        let missing = std::mem::take(&mut self.summary.missing);
        self.yaml("missing.yaml", &missing)?;
        self.pack("README.txt", README)?;
        self.summary.missing = missing;
        let bytes = self
            .tar
            .into_inner()
            .and_then(GzEncoder::finish)
            .map_err(unpacked)?;
        let written = match path.to_str() {
            Some("-") => io::stdout().lock().write_all(&bytes),
            _ => OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .and_then(|mut file| file.write_all(&bytes)),
        };
        written.map_err(|error| {
            Failure::refused(format!(
                "{} cannot be written: {error}; --output says where else",
                path.display()
            ))
        })?;
        Ok(self.summary)
    }
}

fn unpacked(error: impl std::fmt::Display) -> Failure {
    Failure::refused(format!("the report cannot be packed: {error}"))
}
