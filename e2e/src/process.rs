//! What the kernel says of a process, and its end.

use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// CPU time of all threads of a process so far, in nanoseconds (`/proc/<pid>/task/*/schedstat`).
///
/// # Errors
/// When there is no such process.
pub fn cpu_nanos(pid: u32) -> Result<u64> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))? {
        // A thread may end between the listing and the reading.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        total += text
            .split_whitespace()
            .next()
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(total)
}

/// Memory of a process in bytes, shared pages by their share (`Pss` of `/proc/<pid>/smaps_rollup`).
///
/// # Errors
/// When there is no such process.
pub fn memory_bytes(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("Pss:"))
        .context("no Pss")?;
    let kilobytes = line.split_whitespace().nth(1).context("no number")?;
    Ok(kilobytes.parse::<u64>()? * 1024)
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
