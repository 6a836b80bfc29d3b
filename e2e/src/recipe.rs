//! A recipe of the guide, followed to the letter: its page's commands, in a copy of the folder of `examples/` that it goes to, beside what examples share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::installed::installed;
use crate::{envoy, standalone};

/// No recipe takes longer.
const LONGEST: Duration = Duration::from_secs(300);

/// Recipes use the ports that their pages name.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Its page, and a copy of its folder in which nothing runs yet.
#[derive(Debug)]
pub struct Recipe {
    page: String,
    home: PathBuf,
    folder: TempDir,
    path: Vec<PathBuf>,
}

impl Recipe {
    /// The recipe whose page has this name, in the folder that the page goes to, with the packages that its lock file pins.
    ///
    /// # Errors
    /// When a part is missing.
    pub async fn new(page: &str) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let page = std::fs::read_to_string(root.join(format!("docs/guide/{page}.md")))?;
        let examples = root.join("examples");
        let name = page
            .lines()
            .find_map(|line| line.strip_prefix("$ cd examples/"))
            .context("the page goes to no folder of examples/")?;
        let folder = tempfile::Builder::new().prefix("clew-recipe-").tempdir()?;
        let home = folder.path().join(name);
        std::fs::create_dir(&home)?;
        let shared = files(&examples)?.filter(|path| path.is_file());
        copy(shared, folder.path()).await?;
        // What somebody's own run left is not part of it.
        let example = examples.join(name);
        let shipped =
            files(&example)?.filter(|path| !path.ends_with("node_modules") && !path.ends_with("run"));
        copy(shipped, &home).await?;
        let modules = installed("install-npm.sh", &[&example]).await?;
        std::os::unix::fs::symlink(modules, home.join("node_modules"))?;
        // A command goes by `clew`, whatever the file that is tested is called.
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin)?;
        std::os::unix::fs::symlink(standalone::binary()?, bin.join("clew"))?;
        std::os::unix::fs::symlink(envoy::find()?, bin.join("envoy"))?;
        Ok(Self {
            page,
            home,
            folder,
            path: vec![bin],
        })
    }

    /// Puts what a script of `e2e/tools` brings on its `PATH`.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn with(mut self, script: &str) -> Result<Self> {
        self.path.push(installed(script, &[]).await?);
        Ok(self)
    }

    /// The commands under these headings of the page, in one shell, and all that they printed. What they leave running in the
    /// background ends with them.
    ///
    /// # Errors
    /// When the page has no such commands, or they hang.
    pub async fn follow(&self, chapters: &[&str]) -> Result<Printed> {
        let _alone = ALONE.lock().await;
        let mut script = "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n".to_owned();
        for chapter in chapters {
            script.push_str(&self.commands(chapter)?);
        }
        let mut path = std::env::join_paths(&self.path)?;
        path.push(":");
        path.push(std::env::var_os("PATH").context("a PATH")?);
        let shell = Command::new("bash")
            .args(["-uc", &script])
            .current_dir(&self.home)
            .env("PATH", path)
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(LONGEST, shell).await.context("the recipe hangs")??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Printed {
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }

    fn commands(&self, chapter: &str) -> Result<String> {
        let body = self
            .page
            .split("\n## ")
            .find_map(|part| part.strip_prefix(chapter)?.strip_prefix('\n'))
            .with_context(|| format!("the page has no chapter {chapter}"))?;
        let blocks: String = body
            .split("```sh\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .collect();
        if blocks.is_empty() {
            bail!("the chapter {chapter} has no commands");
        }
        Ok(blocks)
    }
}

/// What a recipe's commands printed.
#[derive(Debug)]
pub struct Printed {
    /// Everything on stdout.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
}

impl Printed {
    /// The lines `name: number`, a table for each time that they begin anew.
    #[must_use]
    pub fn figures(&self) -> Vec<BTreeMap<&str, u64>> {
        let lines = self.stdout.lines().filter_map(|line| line.split_once(": "));
        let mut tables: Vec<BTreeMap<_, _>> = Vec::new();
        for (name, number) in lines.filter_map(|(name, number)| Some((name, number.parse().ok()?))) {
            match tables.last_mut() {
                Some(table) if !table.contains_key(name) => {
                    table.insert(name, number);
                }
                _ => tables.push(BTreeMap::from([(name, number)])),
            }
        }
        tables
    }
}

fn files(folder: &Path) -> Result<impl Iterator<Item = PathBuf> + use<>> {
    let entries: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    Ok(entries.into_iter().map(|entry| entry.path()))
}

async fn copy(files: impl Iterator<Item = PathBuf>, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-r").args(files).arg(to).status();
    ensure!(
        copied.await?.success(),
        "nothing can be copied to {}",
        to.display()
    );
    Ok(())
}
