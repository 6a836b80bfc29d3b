//! What the commands that answer and end have in common: manifests, and the state folder of a `clew run`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use clew_core::in_force::InForce;
use clew_core::render::rules::Drains;
use clew_core::validate::{Target, Validated};
use clew_filter_config::persistence::SigningKey;
use clew_filter_core::placement::Seed;
use clew_filter_core::token::Ring;

use crate::clock;
use crate::failure::Failure;
use crate::finding::Finding;
use crate::manifests::Manifests;
use crate::standalone::signing::Signing;
use crate::standalone::state::State;

/// Which manifests.
#[derive(Args)]
pub(crate) struct Paths {
    /// File or folder of manifests; may be given several times
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    filename: Vec<PathBuf>,
}

/// Whose hash seed.
#[derive(Args)]
pub(crate) struct StateDir {
    /// State folder of the `clew run` that is asked about [default: $XDG_STATE_HOME/clew]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Manifests that were read and checked.
pub(crate) struct Checked {
    pub(crate) validated: Validated,
    /// Everything that is wrong, and what is passed over.
    pub(crate) findings: Vec<Finding>,
    /// Pods whose endpoints are terminating.
    pub(crate) drains: Drains,
    /// There is no file.
    pub(crate) is_empty: bool,
}

impl Paths {
    /// These.
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        Self {
            filename: paths.to_vec(),
        }
    }

    /// Reads and checks all of them.
    pub(crate) fn check(&self) -> Checked {
        self.check_as_edits(&mut InForce::default())
    }

    /// The same, where edits of what is in force may be refused.
    pub(crate) fn check_as_edits(&self, in_force: &mut InForce) -> Checked {
        let manifests = Manifests::once(self.filename.clone());
        let validated = in_force.validate(&manifests.objects(), Target::Every);
        let mut findings = manifests.findings();
        findings.extend(Finding::of_validated(&validated));
        findings.sort();
        let mut drains = Drains::default();
        drains.observe(&validated.world, clock::unix_ms());
        Checked {
            validated,
            findings,
            drains,
            is_empty: manifests.is_empty(),
        }
    }
}

impl Checked {
    /// Says on stderr what is wrong.
    pub(crate) fn report(&self) {
        for finding in &self.findings {
            eprintln!("{finding}");
        }
    }

    /// Whether something is refused.
    pub(crate) fn is_refused(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }
}

impl StateDir {
    /// The hash seed of that `clew run`. Where none has run yet there is none, and an answer for another seed would be
    /// about other pods: said on stderr, and a seed of zeros is taken.
    ///
    /// # Errors
    /// When there is something else than a seed.
    pub(crate) fn seed(&self) -> Result<Seed, Failure> {
        let Some(path) = self
            .folder()
            .map(|folder| folder.join("seed"))
            .filter(|path| self.state_dir.is_some() || path.exists())
        else {
            eprintln!(
                "warning: no hash seed in the state folder, because no clew run has made one yet: the answer is for a seed of zeros (--state-dir names another folder)"
            );
            return Ok(Seed::new([0; 16]));
        };
        read_seed(&path)
    }
}

impl StateDir {
    /// The keys of persistence tokens: those of the manifests' Secret, and the one that the `clew run` has made.
    ///
    /// # Errors
    /// When there is something else than keys.
    pub(crate) fn ring(&self, of_secret: &[SigningKey]) -> Result<Ring, Failure> {
        let kept = self
            .folder()
            .map(|folder| Signing::of(&folder))
            .transpose()?
            .flatten();
        Ok(match kept {
            Some(signing) => Ring::new(&signing.wanted(of_secret)),
            None => Ring::new(of_secret),
        })
    }

    fn folder(&self) -> Option<PathBuf> {
        self.state_dir.clone().or_else(State::default_folder)
    }
}

fn read_seed(path: &Path) -> Result<Seed, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::refused(format!(
            "CLEW0903: {} cannot be read: {error}; --state-dir is the folder that clew run was given",
            path.display()
        ))
    })?;
    Seed::parse(text.trim())
        .ok_or_else(|| Failure::refused(format!("CLEW0903: {} is not 32 hex digits", path.display())))
}
