//! What the kernel says of a process, and its end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::wait;

/// CPU time of all threads of a process so far, in nanoseconds (`/proc/<pid>/task/*/schedstat`).
///
/// # Errors
/// When there is no such process.
pub fn cpu_nanos(pid: u32) -> Result<u64> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))? {
        // A thread may end between the listing and the reading.
        total += schedstat(&task?.path()).unwrap_or(0);
    }
    Ok(total)
}

/// A process and all that it has started, and these, and so on.
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(pid) = family.get(next).copied() {
        next += 1;
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
    }
    family
}

/// CPU time of a process and all that it has started, so far, in nanoseconds.
///
/// # Errors
/// When one of them is gone.
pub fn cpu_nanos_of_family(pid: u32) -> Result<u64> {
    family(pid).into_iter().map(cpu_nanos).sum()
}

/// One thread of a process.
#[derive(Debug)]
pub struct Thread {
    folder: PathBuf,
}

impl Thread {
    /// The first of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(pid: u32, name: &str) -> Result<Self> {
        let folders =
            std::fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))?;
        let is = |folder: &PathBuf| {
            std::fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let folder = folders.filter_map(|folder| Some(folder.ok()?.path())).find(is);
        Ok(Self {
            folder: folder.with_context(|| format!("no thread {name} in process {pid}"))?,
        })
    }

    /// CPU time so far, in nanoseconds, as soon as it sleeps: the kernel brings it up to date when a thread leaves the CPU.
    ///
    /// # Errors
    /// When it is gone, or always busy.
    pub async fn cpu_nanos(&self) -> Result<u64> {
        wait::until("the thread sleeps", Duration::from_secs(20), async || {
            let stat = std::fs::read_to_string(self.folder.join("stat")).ok()?;
            let sleeps = stat.rsplit(')').next()?.trim_start().starts_with('S');
            sleeps.then(|| schedstat(&self.folder))?
        })
        .await
    }
}

fn schedstat(task: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Memory of a process in bytes, shared pages by their share (`Pss` of `/proc/<pid>/smaps_rollup`).
///
/// # Errors
/// When there is no such process.
pub fn memory_bytes(pid: u32) -> Result<u64> {
    kilobytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// The most memory that it had at once, in bytes, with what it shares.
///
/// # Errors
/// When it is gone.
pub fn peak_bytes(pid: u32) -> Result<u64> {
    kilobytes(&format!("/proc/{pid}/status"), "VmHWM:")
}

/// A line of a file of the kernel's, in bytes.
fn kilobytes(file: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let mut lines = text.lines();
    let line = lines.find(|line| line.starts_with(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kilobytes
        .with_context(|| format!("no {name} in {file}"))?
        .parse::<u64>()?
        * 1024)
}

/// Whether the process exists and is not a zombie.
pub fn lives(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    pid_of(pid).is_some_and(|pid| test_kill_process(pid).is_ok())
        && !stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// Sends a signal; whether there was someone to get it.
pub fn signal(pid: u32, signal: Signal) -> bool {
    pid_of(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// The processes that name this path on their command line.
pub fn naming(path: &Path) -> Vec<u32> {
    let wanted = path.to_string_lossy();
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*wanted))
        })
        .collect()
}

fn pid_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}
