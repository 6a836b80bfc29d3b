//! A process that is not our child: whether it is still the one that we mean, and when it ends.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Names a process for good: pids are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity {
    pub(super) pid: u32,
    /// In the kernel's ticks since boot.
    start_time: u64,
}

impl Identity {
    /// The process that has this pid now.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may hold anything: fields are counted from its end (proc_pid_stat(5): 3 and 22).
        let fields: Vec<_> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        match (
            fields.first(),
            fields.get(19).and_then(|ticks| ticks.parse().ok()),
        ) {
            (Some(&("Z" | "X")), _) | (_, None) => Err(io::ErrorKind::NotFound.into()),
            (_, Some(start_time)) => Ok(Self { pid, start_time }),
        }
    }
}

/// A process that runs.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    ended: watch::Receiver<bool>,
}

impl Process {
    /// The process of this identity.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn open(identity: Identity) -> io::Result<Self> {
        let pid = i32::try_from(identity.pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = Arc::new(pidfd_open(pid, PidfdFlags::empty())?);
        // After the pidfd is held the pid cannot pass to another process, so this check holds.
        if Identity::of(identity.pid)? != identity {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (say, ended) = watch::channel(false);
        let waits_for = pidfd.clone();
        // A thread of its own, because only a blocking wait is told at once: a process that is not our child sends us
        // no signal.
        std::thread::Builder::new()
            .name("pidfd".to_owned())
            .spawn(move || {
                while poll(&mut [PollFd::new(&waits_for, PollFlags::IN)], None).is_err() {}
                // Where we are the reaper of orphans (as pid 1 of a container), the dead is ours to bury.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
                let _ = say.send(true);
            })?;
        Ok(Self {
            pid: identity.pid,
            pidfd,
            ended,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Resolves when it has ended.
    pub(super) async fn ended(&self) {
        // An error says that the thread is gone, and it ends after its process only.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::TERM);
    }

    /// Ends it.
    pub(super) fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::{Identity, Process};
    use std::process::Command;

    #[tokio::test]
    async fn the_end_of_a_process_is_noticed_and_its_identity_is_gone() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        let process = Process::open(identity).unwrap();
        process.kill();
        process.ended().await;
        let _ = child.wait();
        assert!(Process::open(identity).is_err());
    }

    #[tokio::test]
    async fn a_pid_that_was_used_again_is_another_process() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(
            Process::open(Identity {
                start_time: me.start_time + 1,
                ..me
            })
            .is_err()
        );
    }
}
