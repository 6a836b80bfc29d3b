//! Autobahn|Testsuite: its fuzzing client, its strict server, and what it thinks of a peer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::address;

/// How many cases there are.
pub const CASES: usize = 517;
/// No case takes longer; the longest wait 8 minutes for a thousand messages.
const LONGEST: Duration = Duration::from_secs(500);

/// The suite, installed.
#[derive(Debug)]
pub struct Suite {
    folder: PathBuf,
}

/// What the suite says of one case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Such as `7.1.5`.
    pub case: String,
    /// `OK`, `NON-STRICT`, `FAILED`, `INFORMATIONAL`, `UNIMPLEMENTED`: what was said until the Close.
    pub behavior: String,
    /// How it was closed; also `WRONG CODE`, `UNCLEAN`, `FAILED BY CLIENT`.
    pub behavior_close: String,
    /// In words.
    pub result: String,
}

/// Verdicts by case.
pub type Verdicts = BTreeMap<String, Verdict>;

/// How two runs of the same cases compare.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Cases whose verdicts differ.
    pub differ: Vec<String>,
    /// Cases that are `OK` in one run and `NON-STRICT` in the other: the suite accepts both.
    pub strictness: Vec<String>,
}

impl Comparison {
    /// Of the cases of the first run.
    pub fn of(one: &Verdicts, other: &Verdicts) -> Self {
        let mut comparison = Self::default();
        let strict = |verdict: &str| if verdict == "NON-STRICT" { "OK" } else { verdict }.to_owned();
        for (case, a) in one {
            let Some(b) = other.get(case) else {
                comparison.differ.push(case.clone());
                continue;
            };
            if (strict(&a.behavior), &a.behavior_close) != (strict(&b.behavior), &b.behavior_close) {
                comparison.differ.push(case.clone());
            } else if a.behavior != b.behavior {
                comparison.strictness.push(case.clone());
            }
        }
        comparison
    }
}

/// A strict echo server with permessage-deflate; killed when dropped.
#[derive(Debug)]
pub struct StrictServer {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Child,
}

impl Suite {
    /// Installs it into the cache unless it is there.
    ///
    /// # Errors
    /// When that fails; the reason was printed.
    pub async fn installed() -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/autobahn/install.sh");
        let output = Command::new(script).stderr(Stdio::inherit()).output().await?;
        if !output.status.success() {
            bail!("Autobahn|Testsuite is not here");
        }
        let folder = PathBuf::from(String::from_utf8(output.stdout)?.trim());
        Ok(Self { folder })
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join("venv/bin/python"));
        command
            .arg(self.folder.join(name))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts a server.
    ///
    /// # Errors
    /// When it does not listen.
    pub async fn server(&self) -> Result<StrictServer> {
        let address = address::next();
        let mut process = self
            .program("echo.py")
            .args([address.ip().to_string(), address.port().to_string()])
            .spawn()?;
        let stdout = process.stdout.take().context("no stdout")?;
        let listening = BufReader::new(stdout).lines().next_line().await?;
        listening.context("the strict server does not listen")?;
        Ok(StrictServer {
            address,
            _process: process,
        })
    }

    /// Runs the cases that the patterns (`7.*`) name against a server; so many clients share them, since many cases only
    /// wait. `seen` is told of each verdict.
    ///
    /// # Errors
    /// When a client hangs, or fails.
    pub async fn run(
        &self,
        server: SocketAddr,
        clients: usize,
        patterns: &[&str],
        seen: impl Fn(&Verdict),
    ) -> Result<Verdicts> {
        let shares =
            (1..=clients).map(|share| self.share(server, format!("{share}/{clients}"), patterns, &seen));
        Ok(try_join_all(shares).await?.into_iter().flatten().collect())
    }

    async fn share(
        &self,
        server: SocketAddr,
        share: String,
        patterns: &[&str],
        seen: &impl Fn(&Verdict),
    ) -> Result<Verdicts> {
        let mut client = self
            .program("fuzz.py")
            .args(["peer", &format!("ws://{server}/ws"), &share])
            .args(patterns)
            .spawn()?;
        let mut lines = BufReader::new(client.stdout.take().context("no stdout")?).lines();
        let mut verdicts = Verdicts::new();
        while let Some(line) = timeout(LONGEST, lines.next_line())
            .await
            .context("a case hangs")??
        {
            let verdict: Verdict = serde_json::from_str(&line).with_context(|| line.clone())?;
            seen(&verdict);
            verdicts.insert(verdict.case.clone(), verdict);
        }
        if !client.wait().await?.success() {
            bail!("the fuzzing client failed");
        }
        Ok(verdicts)
    }
}
