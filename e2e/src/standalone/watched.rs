//! A command of `clew` that goes on until somebody ends it, and what it has said so far.

use std::ffi::{OsStr, OsString};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::{Output, binary, collect};
use crate::{process, wait};

/// Long enough for anything that should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Killed when dropped.
#[derive(Debug)]
pub struct Watched {
    child: Child,
    /// The keyboard of the terminal that it is on.
    keys: Option<ChildStdin>,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Watched {
    /// Starts it, with pipes for its streams.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut command = Command::new(binary()?);
        command.args(arguments).stdin(Stdio::null());
        Self::spawn(command)
    }

    /// Starts it on a terminal of 100 columns and so many rows, where stderr comes on stdout too.
    ///
    /// # Errors
    /// When it does not start.
    pub fn on_a_terminal<S: Into<OsString>>(
        rows: usize,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let mut line = OsString::from(format!("stty rows {rows} cols 100 && exec"));
        for word in [binary()?.into_os_string()]
            .into_iter()
            .chain(arguments.into_iter().map(Into::into))
        {
            line.push(" '");
            line.push(word);
            line.push("'");
        }
        let mut command = Command::new("script");
        command.arg("-qec").arg(line).arg("/dev/null");
        command
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .stdin(Stdio::piped());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Result<Self> {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let (stdout, stderr) = (Arc::default(), Arc::default());
        collect(child.stdout.take().context("its stdout")?, Arc::clone(&stdout));
        collect(child.stderr.take().context("its stderr")?, Arc::clone(&stderr));
        let keys = child.stdin.take();
        Ok(Self {
            child,
            keys,
            stdout,
            stderr,
        })
    }

    /// Everything on stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything on stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until what it has printed on stdout is as it should be.
    ///
    /// # Errors
    /// When it does not become so; the error holds all that it said.
    pub async fn shows(&self, what: &str, is: impl Fn(&str) -> bool) -> Result<()> {
        let shows = wait::until_true(what, SOON, || is(&self.stdout())).await;
        shows.with_context(|| format!("{}{}", self.stdout(), self.stderr()))
    }

    /// Ctrl-C, and its end.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn interrupted(mut self) -> Result<Output> {
        match &mut self.keys {
            Some(keys) => keys.write_all(b"\x03").await?,
            None => {
                let pid = self.child.id().context("it is over")?;
                process::signal(pid, Signal::INT);
            }
        }
        self.end().await
    }

    /// Its end, which comes by itself.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn end(mut self) -> Result<Output> {
        let status = timeout(SOON, self.child.wait()).await;
        let status =
            status.with_context(|| format!("it does not end: {}{}", self.stdout(), self.stderr()))??;
        // Whatever it said last has arrived when nobody holds the other end.
        let ours = || Arc::strong_count(&self.stdout) == 1 && Arc::strong_count(&self.stderr) == 1;
        wait::until_true("its streams end", SOON, ours).await?;
        Ok(Output {
            code: status.code().unwrap_or(-1),
            stdout: self.stdout(),
            stderr: self.stderr(),
        })
    }
}
