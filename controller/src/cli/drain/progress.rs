//! A drain as it goes on, on standard error.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock;

/// Between two looks at what is left.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A bar on a terminal, elsewhere a line for each change.
pub(super) struct Progress {
    bar: ProgressBar,
    most: u64,
    seen: Option<u64>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            most: 0,
            seen: None,
        }
    }

    /// So many sessions are left. True: none are, since two looks.
    pub(super) fn is_over(&mut self, left: u64, deadline_ms: Option<u64>) -> bool {
        let over = deadline_ms.unwrap_or(0).saturating_sub(clock::unix_ms()) / 1000;
        self.most = self.most.max(left);
        self.bar.set_length(self.most);
        self.bar.set_position(self.most - left);
        let message = format!("{left} of {} sessions left, {over} s to the deadline", self.most);
        if self.bar.is_hidden() && self.seen != Some(left) {
            eprintln!("{message}");
        }
        self.bar.set_message(message);
        // Counts come once a second: one empty answer may be older than the drain.
        let over = left == 0 && self.seen == Some(0);
        self.seen = Some(left);
        over
    }

    /// Until the next look.
    pub(super) async fn pause(&self) {
        clock::pause(if self.seen == Some(0) {
            LOOK_AGAIN * 5
        } else {
            LOOK_AGAIN
        })
        .await;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
