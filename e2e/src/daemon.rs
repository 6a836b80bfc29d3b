//! A real server that a test starts: what it writes is kept, and it ends with all that it started.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{process, wait};

/// How much of what it wrote is shown when something goes wrong.
const TAIL: usize = 40;

/// A process and its own, killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; both its streams go to `NAME.log` in this folder, after what is there.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let stream = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(stream.try_clone()?)
            .stderr(stream)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name} does not start: {command:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Its process, which leads a group of its own.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `condition` answers.
    ///
    /// # Errors
    /// When the process ends first, or `limit` has passed; the error holds what it wrote last.
    pub async fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T> {
        let what = format!("{}: {what}", self.name);
        let (name, child) = (&self.name, &mut self.child);
        let answer = wait::until(&what, limit, async || match child.try_wait() {
            Ok(Some(status)) => Some(Err(status)),
            _ => condition().await.map(Ok),
        });
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(status)) => bail!("{name} ended with {status}:\n{}", self.last_words()),
            Err(error) => Err(error.context(self.last_words())),
        }
    }

    /// Sends a signal to the process alone.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if !process::signal(self.pid(), signal) {
            bail!("{} is gone", self.name);
        }
        Ok(())
    }

    /// Waits for its end: the exit code, or minus the signal.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn end(&mut self, limit: Duration) -> Result<i32> {
        let code = |status: ExitStatus| status.code().or(status.signal().map(|s| -s));
        let child = &mut self.child;
        let ended = wait::until("its end", limit, async || child.try_wait().ok().flatten());
        let status = ended
            .await
            .with_context(|| format!("{}:\n{}", self.name, self.last_words()))?;
        Ok(code(status).unwrap_or_default())
    }

    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} wrote last:\n{}", self.name, self.last_words());
        }
        if let Some(group) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            kill_process_group(group, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}
