//! Who polls: which version each proxy holds and who is connected to it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clew_filter_config::channel::{About, Live, Missed, Poll};

use super::view::ProxyView;

/// A proxy that has no poll open is taken for gone after this long. Longer than the handing over of the poll from one
/// worker of an Envoy to another.
const EXPIRY: Duration = Duration::from_secs(10);

/// How far the proxies of a gateway are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    /// Connected.
    pub(crate) proxies: usize,
    /// Of these, how many hold an older version.
    pub(crate) behind: usize,
}

/// The version that each proxy of each gateway holds, by what the gateways and the proxies call themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held(pub(super) BTreeMap<String, BTreeMap<String, u64>>);

/// What has come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Proxies came, or went, or have lost what they had.
    Others,
    /// The same proxies hold newer versions.
    Newer,
}

impl Held {
    /// What is otherwise than before.
    pub(crate) fn since(&self, before: &Self) -> Option<News> {
        if self == before {
            return None;
        }
        let proxies = |held: &Self| -> Vec<(String, String, u64)> {
            let of = |(gateway, proxies): (&String, &BTreeMap<String, u64>)| {
                let of = |(proxy, holds): (&String, &u64)| (gateway.clone(), proxy.clone(), *holds);
                proxies.iter().map(of).collect::<Vec<_>>()
            };
            held.0.iter().flat_map(of).collect()
        };
        let (now, before) = (proxies(self), proxies(before));
        if now == before {
            // A gateway without proxies is another one.
            return None;
        }
        let is_same = |(now, before): (&(String, String, u64), &(String, String, u64))| {
            (&now.0, &now.1) == (&before.0, &before.1) && now.2 >= before.2
        };
        let are_same = now.len() == before.len() && now.iter().zip(&before).all(is_same);
        Some(if are_same { News::Newer } else { News::Others })
    }
}

/// The proxies of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Proxies(BTreeMap<String, Proxy>);

#[derive(Debug)]
struct Proxy {
    /// The number of the version that it holds; 0 when it holds none of ours.
    holds: u64,
    live: Vec<Live>,
    missed: Vec<Missed>,
    about: About,
    /// When it said that.
    said: Instant,
    open_polls: u32,
    heard: Instant,
}

impl Proxies {
    /// A poll came in.
    pub(crate) fn polled(&mut self, poll: &Poll, holds: u64, now: Instant) {
        let id = &poll.proxy;
        let proxy = self.0.entry(id.clone()).or_insert_with(|| Proxy {
            holds,
            live: Vec::new(),
            missed: Vec::new(),
            about: About::default(),
            said: now,
            open_polls: 0,
            heard: now,
        });
        proxy.holds = holds;
        proxy.said = now;
        proxy.live.clone_from(&poll.live);
        proxy.missed.clone_from(&poll.missed);
        if proxy.about != poll.about {
            tracing::debug!("proxy {id} is {:?}", poll.about);
            proxy.about.clone_from(&poll.about);
        }
        proxy.open_polls += 1;
        proxy.heard = now;
    }

    /// The number of the version that a proxy holds; 0 when it holds none of ours.
    pub(crate) fn held_by(&self, id: &str) -> u64 {
        self.0.get(id).map_or(0, |proxy| proxy.holds)
    }

    /// A proxy holds this version, or a newer one. True: that was not known.
    pub(crate) fn holds(&mut self, id: &str, number: u64) -> bool {
        let proxy = self.0.get_mut(id).filter(|proxy| proxy.holds < number);
        proxy.map(|proxy| proxy.holds = number).is_some()
    }

    /// A poll was answered, or its connection broke.
    pub(crate) fn answered(&mut self, id: &str, now: Instant) {
        if let Some(proxy) = self.0.get_mut(id) {
            proxy.open_polls = proxy.open_polls.saturating_sub(1);
            proxy.heard = now;
        }
    }

    /// Forgets those that have gone.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.0
            .retain(|_, proxy| proxy.open_polls > 0 || now.duration_since(proxy.heard) < EXPIRY);
    }

    /// How many of the connected hold `version` or a newer one.
    pub(crate) fn holding(&self, version: u64) -> Acknowledgement {
        Acknowledgement {
            proxies: self.0.len(),
            behind: self.0.values().filter(|proxy| proxy.holds < version).count(),
        }
    }

    /// What each of the connected holds.
    pub(crate) fn held(&self) -> BTreeMap<String, u64> {
        let held = |(id, proxy): (&String, &Proxy)| (id.clone(), proxy.holds);
        self.0.iter().map(held).collect()
    }

    /// Every proxy as operators see it, where `version` is the newest.
    pub(crate) fn view(&self, version: u64, now: Instant) -> Vec<ProxyView> {
        let view = |(id, proxy): (&String, &Proxy)| ProxyView {
            id: id.clone(),
            node: proxy.about.node.clone(),
            installation: proxy.about.installation.clone(),
            envoy: proxy.about.envoy.clone(),
            istio: proxy.about.istio.clone(),
            heard_ms: u64::try_from(now.duration_since(proxy.said).as_millis()).unwrap_or(u64::MAX),
            acknowledged: proxy.holds >= version,
            live: proxy.live.clone(),
        };
        self.0.iter().map(view).collect()
    }

    /// What every proxy said of its live sessions.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Live> {
        self.0.values().flat_map(|proxy| &proxy.live)
    }

    /// Of these, the sessions that are elsewhere than they were sent.
    pub(crate) fn missed(&self) -> impl Iterator<Item = &Missed> {
        self.0.values().flat_map(|proxy| &proxy.missed)
    }

    /// What every proxy is.
    pub(crate) fn about(&self) -> impl Iterator<Item = &About> {
        self.0.values().map(|proxy| &proxy.about)
    }
}

#[cfg(test)]
mod tests {
    use super::{Acknowledgement, EXPIRY, Proxies};
    use crate::clock;
    use clew_filter_config::channel::{Live, Poll};
    use std::time::Duration;

    fn poll(proxy: &str, sessions: u64) -> Poll {
        let live = Live {
            rule: "r".into(),
            backend: "b".into(),
            pod: "p".into(),
            sessions,
        };
        Poll {
            proxy: proxy.to_owned(),
            live: vec![live],
            ..Poll::default()
        }
    }

    #[test]
    fn a_version_is_acknowledged_when_every_proxy_holds_it() {
        let (mut proxies, now) = (Proxies::default(), clock::now());
        assert_eq!(
            proxies.holding(1),
            Acknowledgement {
                proxies: 0,
                behind: 0
            }
        );
        proxies.polled(&poll("x", 0), 1, now);
        proxies.polled(&poll("y", 0), 0, now);
        assert_eq!(
            proxies.holding(1),
            Acknowledgement {
                proxies: 2,
                behind: 1
            }
        );
        proxies.polled(&poll("y", 0), 2, now);
        assert_eq!(
            proxies.holding(1),
            Acknowledgement {
                proxies: 2,
                behind: 0
            }
        );
    }

    #[test]
    fn a_proxy_lives_as_long_as_it_polls() {
        let (mut proxies, now) = (Proxies::default(), clock::now());
        proxies.polled(&poll("x", 3), 1, now);
        proxies.expire(now + EXPIRY * 10);
        assert_eq!(proxies.holding(1).proxies, 1);
        proxies.answered("x", now);
        proxies.expire(now + EXPIRY - Duration::from_millis(1));
        assert_eq!(proxies.live().map(|l| l.sessions).sum::<u64>(), 3);
        proxies.expire(now + EXPIRY);
        assert_eq!(proxies.holding(1).proxies, 0);
        assert_eq!(proxies.live().count(), 0);
    }
}
