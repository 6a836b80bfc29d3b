//! Who writes: of several replicas the one that holds the Lease. Whoever could not renew it in time stops before anybody
//! else can have it, by its own clock; others wait until the Lease has not moved for its whole duration, by theirs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;

use super::backoff::Backoff;
use super::settings::{CHANNEL, LEASE, Settings};
use crate::clock;

/// How long a Lease that does not move is its holder's.
const DURATION: Duration = Duration::from_secs(15);
/// How long its holder writes after the renewal that it knows of.
const GRACE: Duration = Duration::from_secs(10);
/// Between two renewals.
const RENEWAL: Duration = Duration::from_secs(3);
/// Between two looks at somebody else's.
const LOOK: Duration = Duration::from_secs(2);

/// Whether we write.
#[derive(Debug)]
pub(crate) struct Leadership {
    until: Mutex<Option<Instant>>,
    changed: watch::Sender<bool>,
    /// Where whoever else holds the Lease serves the channel.
    leader: watch::Sender<Option<SocketAddr>>,
}

impl Default for Leadership {
    fn default() -> Self {
        Self {
            until: Mutex::default(),
            changed: watch::Sender::new(false),
            leader: watch::Sender::new(None),
        }
    }
}

impl Leadership {
    /// Whether the Lease is ours at this moment, however long we were asleep.
    pub(crate) fn is_ours(&self) -> bool {
        self.until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|until| clock::now() < until)
    }

    /// Tells when it becomes ours, or ceases to be.
    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.changed.subscribe()
    }

    /// Where the one that leads serves the channel; None: we lead, or nobody knows.
    pub(crate) fn leader(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.leader.subscribe()
    }

    /// For long.
    #[cfg(test)]
    pub(super) fn lead(&self) {
        self.hold(Some(clock::now() + std::time::Duration::from_secs(600)));
    }

    fn hold(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        let ours = until.is_some();
        self.changed
            .send_if_modified(|before| std::mem::replace(before, ours) != ours);
    }
}

/// What one replica knows of the Lease.
#[derive(Debug)]
pub(crate) struct Candidate {
    api: Api<Lease>,
    identity: String,
    reached: Option<SocketAddr>,
    leadership: Arc<Leadership>,
    /// The Lease as it was when it last moved, and when that was seen.
    seen: Option<(String, Instant)>,
}

/// What to do about the Lease.
#[derive(Debug, PartialEq)]
enum Turn {
    /// There is none, or it is ours, or nobody renews it.
    Take,
    /// It is somebody else's.
    Wait,
}

impl Candidate {
    pub(crate) fn new(api: Api<Lease>, settings: &Settings, leadership: Arc<Leadership>) -> Self {
        Self {
            api,
            identity: settings.identity.clone(),
            reached: settings.reached,
            leadership,
            seen: None,
        }
    }

    /// Gets the Lease and keeps it, for as long as the task lives.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(LOOK);
        loop {
            let asked = clock::now();
            match self.attempt().await {
                Ok(true) => {
                    backoff.reset();
                    self.leadership.hold(Some(asked + GRACE));
                    clock::pause(RENEWAL).await;
                }
                Ok(false) => {
                    self.leadership.hold(None);
                    clock::pause(LOOK).await;
                }
                Err(error) => {
                    tracing::warn!("CLEW0924: the Lease {LEASE} cannot be renewed: {error}");
                    if !self.leadership.is_ours() {
                        self.leadership.hold(None);
                    }
                    clock::pause(backoff.next()).await;
                }
            }
        }
    }

    /// Whether it is ours now.
    async fn attempt(&mut self) -> kube::Result<bool> {
        let kept = self.api.get_opt(LEASE).await?;
        let now = clock::now();
        let moved = format!("{:?}", kept.as_ref().map(|lease| &lease.spec));
        if self.seen.as_ref().is_none_or(|(before, _)| *before != moved) {
            self.seen = Some((moved, now));
        }
        let still = self
            .seen
            .as_ref()
            .map_or(Duration::ZERO, |(_, at)| now.duration_since(*at));
        let spec = kept.as_ref().and_then(|lease| lease.spec.as_ref());
        let turn = turn(spec, &self.identity, still);
        let leader = kept.as_ref().filter(|_| turn == Turn::Wait).and_then(channel);
        self.leadership.leader.send_replace(leader);
        if turn == Turn::Wait {
            return Ok(false);
        }
        let wanted = self.wanted(kept.as_ref());
        let params = PostParams::default();
        let written = match kept {
            None => self.api.create(&params, &wanted).await,
            // Only if nobody else was faster.
            Some(_) => self.api.replace(LEASE, &params, &wanted).await,
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn wanted(&self, kept: Option<&Lease>) -> Lease {
        let before = kept.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let now = MicroTime(clock::timestamp());
        let is_new = before.holder_identity.as_deref() != Some(&self.identity);
        let mut metadata = kept.map_or_else(
            || ObjectMeta {
                name: Some(LEASE.to_owned()),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata.clone(),
        );
        let annotations = metadata.annotations.get_or_insert_default();
        match self.reached {
            Some(reached) => annotations.insert(CHANNEL.to_owned(), reached.to_string()),
            None => annotations.remove(CHANNEL),
        };
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: match is_new {
                    true => Some(now.clone()),
                    false => before.acquire_time,
                },
                lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(is_new)),
                renew_time: Some(now),
                ..before
            }),
        }
    }
}

/// Gives the Lease back, so that another replica need not wait.
pub(crate) async fn release(api: &Api<Lease>, identity: &str, leadership: &Leadership) {
    leadership.hold(None);
    let Ok(Some(mut lease)) = api.get_opt(LEASE).await else {
        return;
    };
    let Some(spec) = lease.spec.as_mut() else { return };
    if spec.holder_identity.as_deref() == Some(identity) {
        spec.holder_identity = Some(String::new());
        // If it fails, the Lease runs out.
        let _ = api.replace(LEASE, &PostParams::default(), &lease).await;
    }
}

/// Where its holder serves the channel.
fn channel(lease: &Lease) -> Option<SocketAddr> {
    let annotations = lease.metadata.annotations.as_ref()?;
    annotations.get(CHANNEL)?.parse().ok()
}

/// `still`: for how long it has not moved.
fn turn(spec: Option<&LeaseSpec>, identity: &str, still: Duration) -> Turn {
    let holder = spec
        .and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    match holder.is_empty() || holder == identity || still > duration {
        true => Turn::Take,
        false => Turn::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::{DURATION, GRACE, Leadership, LeaseSpec, Turn, turn};
    use crate::clock;
    use std::time::Duration;

    #[test]
    fn a_lease_is_taken_from_whoever_does_not_renew_it() {
        let held = |holder: &str| LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        let moment = Duration::from_secs(1);
        assert_eq!(turn(None, "a", Duration::ZERO), Turn::Take);
        assert_eq!(turn(Some(&held("")), "a", Duration::ZERO), Turn::Take);
        assert_eq!(turn(Some(&held("a")), "a", Duration::ZERO), Turn::Take);
        assert_eq!(turn(Some(&held("b")), "a", DURATION), Turn::Wait);
        assert_eq!(turn(Some(&held("b")), "a", DURATION + moment), Turn::Take);
        assert!(
            GRACE < DURATION,
            "its holder stops before anybody else can have it"
        );
    }

    #[test]
    fn whoever_slept_past_the_lease_does_not_write() {
        let leadership = Leadership::default();
        assert!(!leadership.is_ours());
        leadership.hold(Some(clock::now() + GRACE));
        assert!(leadership.is_ours());
        leadership.hold(Some(clock::now()));
        assert!(!leadership.is_ours());
    }
}
