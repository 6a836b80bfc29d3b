//! Who of the process's contexts polls the channel: the one that holds the lease, an entry that all see and that
//! expires unless its holder renews it.

/// A lease that was not renewed for so long is anybody's.
pub const LEASE_MS: u64 = 3_000;
/// How old a holder lets it become.
const RENEW_MS: u64 = 1_000;

/// What a context does about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It is another's.
    Theirs,
    /// It is ours and fresh.
    Ours,
    /// It is ours: write the entry anew, if nobody else has in the meantime.
    Renew,
    /// It is nobody's: write the entry. It is ours when the next look says so, for two may have written the first.
    Take,
}

/// Looks at the entry.
#[must_use]
pub fn look(entry: Option<&[u8]>, me: u64, now: u64) -> Lease {
    let Some((holder, until)) = entry.and_then(decode) else {
        return Lease::Take;
    };
    // A clock that was set back would keep a lease for ever.
    let current = now < until && until <= now.saturating_add(LEASE_MS.saturating_mul(2));
    match (holder == me, current) {
        (true, true) if until.saturating_sub(now) > LEASE_MS.saturating_sub(RENEW_MS) => Lease::Ours,
        (true, true) => Lease::Renew,
        (false, true) => Lease::Theirs,
        (_, false) => Lease::Take,
    }
}

/// The entry of a holder.
#[must_use]
pub fn entry(me: u64, now: u64) -> [u8; 16] {
    let mut entry = [0; 16];
    let both = me
        .to_le_bytes()
        .into_iter()
        .chain(now.saturating_add(LEASE_MS).to_le_bytes());
    for (to, from) in entry.iter_mut().zip(both) {
        *to = from;
    }
    entry
}

/// The entry of a holder that gives it up.
#[must_use]
pub const fn released() -> [u8; 16] {
    [0; 16]
}

fn decode(entry: &[u8]) -> Option<(u64, u64)> {
    let (holder, rest) = entry.split_first_chunk::<8>()?;
    let until = rest.first_chunk::<8>()?;
    Some((u64::from_le_bytes(*holder), u64::from_le_bytes(*until)))
}

#[cfg(test)]
mod tests {
    use super::{LEASE_MS, Lease, entry, look, released};

    #[test]
    fn one_holds_it_until_it_lets_it_expire() {
        assert_eq!(look(None, 1, 50_000), Lease::Take);
        assert_eq!(look(Some(b"broken"), 1, 50_000), Lease::Take);
        let held = entry(1, 50_000);
        assert_eq!(look(Some(&held), 1, 50_250), Lease::Ours);
        assert_eq!(look(Some(&held), 2, 50_250), Lease::Theirs);
        assert_eq!(look(Some(&held), 1, 51_000), Lease::Renew);
        assert_eq!(look(Some(&held), 2, 50_000 + LEASE_MS - 1), Lease::Theirs);
        assert_eq!(look(Some(&held), 2, 50_000 + LEASE_MS), Lease::Take);
        assert_eq!(look(Some(&released()), 2, 50_000), Lease::Take);
    }

    #[test]
    fn a_lease_from_the_future_is_nobodys() {
        assert_eq!(look(Some(&entry(1, 1_000_000)), 2, 50_000), Lease::Take);
    }
}
