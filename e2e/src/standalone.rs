//! The real `clew`: its commands, and `clew run` with the Envoy that it drives.

pub mod watched;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::envoy::{self, Admin};
use crate::{process, wait};

const START: Duration = Duration::from_secs(180);

/// The binary: `CLEW_BIN`, or `release/clew` in the target folder of this very program.
///
/// # Errors
/// When it was not built.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CLEW_BIN") {
        return Ok(path.into());
    }
    let me = std::env::current_exe()?;
    let built = me
        .ancestors()
        .map(|folder| folder.join("release/clew"))
        .find(|path| path.is_file());
    built.context("no `clew` in the target folder: run `cargo build --release -p clew`, or set CLEW_BIN")
}

/// What a command answered.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// Everything on stdout.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
}

impl Output {
    /// The stdout of a success, as JSON.
    ///
    /// # Errors
    /// When the command failed or printed something else.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(self.success()?).with_context(|| format!("not JSON: {}", self.stdout))
    }

    /// The stdout of a success.
    ///
    /// # Errors
    /// When the command failed.
    pub fn success(&self) -> Result<&str> {
        if self.code != 0 {
            bail!("exit {}: {}{}", self.code, self.stdout, self.stderr);
        }
        Ok(&self.stdout)
    }

    /// Both streams, where it does not matter which.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a command of `clew` to its end.
///
/// # Errors
/// When it does not start or does not end in three minutes.
pub async fn clew<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<Output> {
    let mut command = Command::new(binary()?);
    command.args(arguments);
    output(command).await
}

/// Runs any command to its end.
///
/// # Errors
/// When it does not start or does not end in three minutes.
pub async fn output(mut command: Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .env("NO_COLOR", "1")
        .kill_on_drop(true);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("its stdout")?;
    let stderr = child.stderr.take().context("its stderr")?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ends = async { tokio::try_join!(child.wait(), read(stdout, &mut out), read(stderr, &mut err)) };
    let ended = timeout(START, ends).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&out), text(&err));
    let (status, ..) = ended.with_context(|| format!("the command does not end: {stdout}{stderr}"))??;
    Ok(Output {
        code: status.code().unwrap_or(-1),
        stdout,
        stderr,
    })
}

async fn read(mut stream: impl AsyncRead + Unpin, into: &mut Vec<u8>) -> std::io::Result<usize> {
    stream.read_to_end(into).await
}

/// How to start `clew run`.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folders of manifests.
    pub folders: Vec<PathBuf>,
    /// The state folder.
    pub state: PathBuf,
    /// Envoy's workers.
    pub workers: usize,
    /// Another Envoy than [`envoy::find`]'s.
    pub envoy: Option<PathBuf>,
    /// What runs instead of the binary, with the arguments; empty: the binary.
    pub under: Vec<OsString>,
    /// More arguments.
    pub more: Vec<String>,
}

impl Options {
    /// Two workers.
    pub fn new(folder: &Path, state: &Path) -> Self {
        Self {
            folders: vec![folder.into()],
            state: state.into(),
            workers: 2,
            envoy: None,
            under: Vec::new(),
            more: Vec::new(),
        }
    }

    fn command(&self) -> Result<Command> {
        let mut command = match self.under.split_first() {
            None => Command::new(binary()?),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest);
                command
            }
        };
        command.arg("run");
        for folder in &self.folders {
            command.arg("-f").arg(folder);
        }
        command
            .arg("--state-dir")
            .arg(&self.state)
            .args(["--admin", "127.0.0.1:0", "--api", "127.0.0.1:0"]);
        command
            .arg("--envoy")
            .arg(self.envoy.clone().map_or_else(envoy::find, Ok)?);
        command
            .arg("--concurrency")
            .arg(self.workers.to_string())
            .args(&self.more);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("NO_COLOR", "1");
        command.kill_on_drop(true);
        Ok(command)
    }
}

/// What `clew run` says when it is ready.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Every listener.
    pub listeners: Vec<SocketAddr>,
    /// Envoy's admin port.
    pub admin: Admin,
    /// Clew's own port.
    pub api: SocketAddr,
    /// Envoy's version.
    pub envoy: String,
    /// Envoy's process.
    pub pid: u32,
}

impl Ready {
    fn parse(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).with_context(|| format!("the ready line: {line:?}"))?;
        let address = |v: &Value| -> Result<SocketAddr> { Ok(v.as_str().context("no address")?.parse()?) };
        if value["ready"] != Value::Bool(true) {
            bail!("not ready: {line}");
        }
        let listeners = value["listeners"].as_array().context("no listeners")?;
        Ok(Self {
            listeners: listeners.iter().map(address).collect::<Result<_>>()?,
            admin: Admin {
                address: address(&value["admin"])?,
            },
            api: address(&value["api"])?,
            envoy: value["envoy"].as_str().context("no version of Envoy")?.to_owned(),
            pid: u32::try_from(value["pid"].as_u64().context("no pid")?)?,
        })
    }
}

/// A running `clew run`; killed when dropped. Its Envoy is not: see [`State`].
#[derive(Debug)]
pub struct Clew {
    /// The ready line.
    pub ready: Ready,
    child: Child,
    stderr: Arc<Mutex<String>>,
    rest_of_stdout: Arc<Mutex<String>>,
}

impl Clew {
    /// Starts it and waits for its ready line.
    ///
    /// # Errors
    /// When it ends first or says nothing for three minutes; the error holds its stderr.
    pub async fn start(options: &Options) -> Result<Self> {
        let mut child = options.command()?.spawn()?;
        let stderr = Arc::new(Mutex::new(String::new()));
        let rest_of_stdout = Arc::new(Mutex::new(String::new()));
        collect(child.stderr.take().context("stderr")?, Arc::clone(&stderr));
        let mut stdout = BufReader::new(child.stdout.take().context("stdout")?);
        let mut line = String::new();
        let read = timeout(START, stdout.read_line(&mut line)).await;
        let said = || stderr.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match read {
            Ok(Ok(0)) => {
                let status = child.wait().await?;
                bail!("`clew run` ended with {status} before it was ready: {}", said());
            }
            Err(_) => bail!("`clew run` is not ready after {START:?}: {}", said()),
            Ok(read) => read?,
        };
        let ready = Ready::parse(&line).with_context(said)?;
        collect(stdout, Arc::clone(&rest_of_stdout));
        Ok(Self {
            ready,
            child,
            stderr,
            rest_of_stdout,
        })
    }

    /// Starts it, and waits for nothing.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn spawn(options: &Options) -> Result<Child> {
        Ok(options.command()?.spawn()?)
    }

    /// Starts it where it should refuse, and waits for its end.
    ///
    /// # Errors
    /// When it becomes ready instead, or does not end in three minutes.
    pub async fn refused(options: &Options) -> Result<Output> {
        let child = options.command()?.spawn()?;
        let output = timeout(START, child.wait_with_output())
            .await
            .context("`clew run` neither starts nor ends")??;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if stdout.contains("\"ready\":true") {
            bail!("`clew run` became ready");
        }
        Ok(Output {
            code: output.status.code().unwrap_or(-1),
            stdout,
            stderr,
        })
    }

    /// Where sessions enter.
    pub fn gateway(&self) -> SocketAddr {
        self.ready.listeners[0]
    }

    /// The process of `clew run`.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Everything that it said so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What came on stdout after the ready line (nothing should).
    pub fn rest_of_stdout(&self) -> String {
        self.rest_of_stdout
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until it has said something, from byte `from` of its stderr on.
    ///
    /// # Errors
    /// When it does not within 20 s; the error holds what it said.
    pub async fn says(&self, from: usize, what: &str) -> Result<()> {
        let said = || self.stderr().get(from..).is_some_and(|text| text.contains(what));
        let awaited = format!("{what:?} on stderr");
        wait::until_true(&awaited, Duration::from_secs(20), said)
            .await
            .with_context(|| self.stderr().split_off(from))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it is not running.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().context("`clew run` is over")?;
        if !process::signal(pid, signal) {
            bail!("process {pid} is gone");
        }
        Ok(())
    }

    /// Waits for its end: the exit code, -1 after a signal.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn end(&mut self, limit: Duration) -> Result<i32> {
        let status = timeout(limit, self.child.wait())
            .await
            .with_context(|| self.stderr())??;
        Ok(status.code().unwrap_or(-1))
    }

    /// `kill -9`, proven.
    ///
    /// # Errors
    /// When it lives on.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        let code = self.end(Duration::from_secs(10)).await?;
        if code != -1 {
            bail!("it ended by itself, with {code}");
        }
        Ok(())
    }
}

impl Drop for Clew {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.stderr();
            let tail: Vec<&str> = said.lines().rev().take(40).collect();
            eprintln!("`clew run` said last:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

fn collect(mut from: impl tokio::io::AsyncRead + Unpin + Send + 'static, into: Arc<Mutex<String>>) {
    tokio::spawn(async move {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            let text = String::from_utf8_lossy(&bytes[..length]);
            into.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_str(&text);
        }
    });
}

/// A state folder; when dropped, every process that was started with it is killed, Envoy above all.
#[derive(Debug)]
pub struct State {
    folder: TempDir,
    envoys: Mutex<Vec<u32>>,
}

impl State {
    /// An empty one.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("clew-state-").tempdir()?;
        Ok(Self {
            folder,
            envoys: Mutex::default(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The module that `clew run` put there.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn module(&self) -> Result<PathBuf> {
        let is_module = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wasm");
        std::fs::read_dir(self.path())?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(is_module)
            .context("no module in the state folder")
    }

    /// Has this Envoy killed as well, whatever its command line is.
    pub fn owns(&self, envoy: u32) {
        self.envoys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(envoy);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let mut doomed = process::naming(self.path());
        doomed.extend(
            self.envoys
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .filter(|pid| {
                    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                    name.starts_with("envoy")
                }),
        );
        doomed.into_iter().for_each(|pid| {
            process::signal(pid, Signal::KILL);
        });
    }
}
