//! Who has asked this replica for the module, and what they were given.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// The most askers that are remembered.
const MOST: usize = 4096;

/// What somebody who asked for a module got last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The module.
    Given,
    /// Nothing: there is none of that name.
    NotFound,
}

/// The last answer to each asker.
#[derive(Debug, Default)]
pub(crate) struct Downloads(Mutex<BTreeMap<IpAddr, Answer>>);

impl Downloads {
    /// Somebody asked.
    pub(crate) fn note(&self, who: IpAddr, found: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(&who) {
            all.pop_first();
        }
        let answer = match found {
            true => Answer::Given,
            false => Answer::NotFound,
        };
        all.insert(who, answer);
    }

    /// What a pod got, by its address.
    pub(crate) fn of(&self, ip: &str) -> Option<Answer> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&ip.parse().ok()?).copied()
    }
}
