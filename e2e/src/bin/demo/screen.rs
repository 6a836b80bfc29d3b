//! What the person at the terminal sees.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const BAR: usize = 36;

/// A heading.
pub(crate) fn act(title: &str) {
    println!("\n{title}");
}

/// One line under a heading.
pub(crate) fn say(line: &str) {
    println!("  {line}");
}

/// A bar for each backend: how many keys and sessions, and some of the keys.
pub(crate) fn homes(keys: &BTreeMap<String, Vec<String>>, sessions: &BTreeMap<String, usize>) {
    let most = keys.values().map(Vec::len).max().unwrap_or(1).max(1);
    for (backend, keys) in keys {
        let bar = "█".repeat((keys.len() * BAR).div_ceil(most).min(BAR));
        let some: Vec<&str> = keys.iter().take(3).map(String::as_str).collect();
        let live = sessions.get(backend).copied().unwrap_or(0);
        let keys = keys.len();
        say(&format!(
            "{backend}  {bar:<BAR$}  {keys:>2} keys, {live:>3} sessions  ({}, …)",
            some.join(", ")
        ));
    }
}

/// A line that is written over on a terminal, and every few seconds elsewhere.
pub(crate) struct Progress {
    terminal: bool,
    written: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            written: None,
        }
    }

    /// `done` of `all`, and what else there is to say.
    pub(crate) fn show(&mut self, done: usize, all: usize, rest: &str) {
        let pause = Duration::from_secs(if self.terminal { 0 } else { 4 });
        if done < all && self.written.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        self.written = Some(Instant::now());
        let filled = (done * BAR).checked_div(all).unwrap_or(BAR);
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled));
        if self.terminal {
            print!("\r\x1b[2K  {bar}  {done:>3} of {all} gone  {rest}");
            std::io::stdout().flush().ok();
        } else {
            say(&format!("{bar}  {done:>3} of {all} gone  {rest}"));
        }
    }

    pub(crate) fn end(self) {
        if self.terminal {
            println!();
        }
    }
}
