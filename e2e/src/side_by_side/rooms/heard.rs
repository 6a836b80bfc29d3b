//! What one person heard of another, who numbers what is said.

use std::collections::BTreeSet;

/// Arrivals of one speaker's messages, numbered from 0.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    next: u64,
    skipped: BTreeSet<u64>,
    /// Arrived again.
    pub(super) doubled: u64,
    /// Arrived after a later one.
    pub(super) late: u64,
}

impl Heard {
    pub(super) fn enter(&mut self, number: u64) {
        if number >= self.next {
            self.skipped.extend(self.next..number);
            self.next = number + 1;
        } else if self.skipped.remove(&number) {
            self.late += 1;
        } else {
            self.doubled += 1;
        }
    }

    /// The last one.
    pub(super) fn last(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// How many of those that were said have not arrived.
    pub(super) fn lacks(&self, said: u64) -> u64 {
        self.skipped.len() as u64 + said.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::Heard;

    #[test]
    fn what_is_lost_doubled_and_late_is_told_apart() {
        let mut heard = Heard::default();
        [0, 1, 4, 4, 2, 5]
            .into_iter()
            .for_each(|number| heard.enter(number));
        assert_eq!((heard.doubled, heard.late, heard.last()), (1, 1, Some(5)));
        assert_eq!((heard.lacks(6), heard.lacks(8)), (1, 3));
    }

    #[test]
    fn who_heard_nothing_lacks_everything() {
        let heard = Heard::default();
        assert_eq!((heard.last(), heard.lacks(3)), (None, 3));
    }
}
