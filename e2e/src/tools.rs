//! A mesh's tools on the handshakes of a route in a cluster, each beside what happens without it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::cluster::{Client, Object};
use crate::echo_server::Behaviour;
use crate::pod::Pod;
use crate::visitors::{LONG, Outcome, Visitors};
use crate::wait;
use crate::ws_client::{Request, Traffic};

/// How many keys come.
pub const KEYS: usize = 60;

/// A route whose one rule is given one tool after the other.
#[derive(Debug)]
pub struct Bench<'s> {
    /// Who comes.
    pub visitors: &'s Visitors,
    /// The pods behind it.
    pub pods: &'s mut [Pod],
    /// The API server.
    pub client: &'s Client,
    /// The route there.
    pub route: &'s Object,
    /// The route's text.
    pub manifest: Value,
    /// The pods of all keys while all is well.
    pub placed: Vec<String>,
}

fn with(outcomes: &[Outcome], status: u16) -> usize {
    outcomes.iter().filter(|one| one.status == status).count()
}

impl Bench<'_> {
    /// Gives the rule these fields, and waits until every proxy has it.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn say(&mut self, policy: &Value) -> Result<()> {
        let rule = self.manifest["spec"]["rules"][0].as_object_mut();
        let rule = rule.context("a rule")?;
        for field in ["timeouts", "resilience"] {
            rule.remove(field);
        }
        rule.extend(policy.as_object().cloned().unwrap_or_default());
        self.client.apply(&self.manifest).await?;
        let programmed = |route: &Value| {
            let conditions = route["status"]["parents"][0]["conditions"].as_array()?;
            let of_now = |one: &&Value| {
                one["type"] == "Programmed" && one["observedGeneration"] == route["metadata"]["generation"]
            };
            let one = conditions.iter().find(of_now)?;
            (one["status"] == "True").then_some(())
        };
        self.route.until("every proxy has it", programmed).await
    }

    /// Waits until each key is where it is when all is well.
    ///
    /// # Errors
    /// When one is not for long.
    pub async fn at_home(&self) -> Result<()> {
        let is_so = |now: &[String]| now == self.placed;
        self.visitors
            .settled("each key is at home", KEYS, is_so)
            .await
            .map(drop)
    }

    fn keys_of(&self, pod: usize) -> Result<Vec<usize>> {
        let name = self.pods[pod].name();
        let keys: Vec<_> = (0..KEYS).filter(|key| self.placed[*key] == name).collect();
        ensure!(keys.len() > 6, "{} keys on {name}", keys.len());
        Ok(keys)
    }

    /// Waits until handshakes of these keys, all at once, end as they should.
    async fn until(
        &self,
        what: &str,
        keys: &[usize],
        mut is_so: impl FnMut(&[Outcome]) -> bool,
    ) -> Result<Vec<Outcome>> {
        let mut last = Vec::new();
        let seen = wait::until(what, LONG, async || {
            last = self.visitors.ask_all(keys.iter().copied()).await.ok()?;
            is_so(&last).then(|| last.clone())
        });
        seen.await.with_context(|| format!("{last:?}"))
    }

    /// A pod that says nothing: the handshake's timeout is the rule's, and ends with the 101.
    ///
    /// # Errors
    /// When it is not.
    pub async fn timeouts(&mut self) -> Result<String> {
        const SHORT: Duration = Duration::from_secs(5);
        let silent = Behaviour {
            silent: true,
            ..Behaviour::default()
        };
        let silent = self.visitors.request(0).behave(&silent);
        let visitors = self.visitors;
        let ends = async |within: std::ops::Range<Duration>| {
            let mut last = None;
            let ended = wait::until("it is given up in time", LONG, async || {
                let outcome = visitors.ask(&silent).await;
                let is_so = |one: &Outcome| one.status == 504 && within.contains(&one.after);
                let ended = outcome
                    .as_ref()
                    .ok()
                    .filter(|one| is_so(one))
                    .map(|one| one.after);
                last = Some(outcome);
                ended
            });
            ended
                .await
                .with_context(|| format!("{last:?}, not in {within:?}"))
        };
        let without = ends(SHORT..4 * SHORT).await?;
        self.say(&json!({"timeouts": {"handshake": "1s"}})).await?;
        let with = ends(Duration::from_millis(900)..SHORT).await?;
        let socket = visitors.request(1).open(visitors.gateway).await?;
        let session = socket.session(Traffic::every(Duration::from_millis(50), 64));
        let old = || session.opened.elapsed() > Duration::from_secs(3);
        wait::until_true("a session is three times as old", LONG, old).await?;
        session.check().await?;
        self.say(&json!({})).await?;
        Ok(format!(
            "a pod says nothing: 504 after {without:?}, and after {with:?} with timeouts.handshake of 1s; sessions outlive it"
        ))
    }

    /// Handshakes to a pod that cannot be connected to are tried elsewhere.
    ///
    /// # Errors
    /// When they are not, or are without being told to.
    pub async fn retries(&mut self) -> Result<String> {
        let (its, every) = (self.keys_of(1)?.len(), (0..KEYS).collect::<Vec<_>>());
        self.pods[1].server.refuse();
        let is_control =
            |outcomes: &[Outcome]| with(outcomes, 503) == its && with(outcomes, 101) == KEYS - its;
        self.until("the control: its handshakes fail", &every, is_control)
            .await?;
        self.say(&json!({"resilience": {"connectRetries": 2}})).await?;
        self.until("all get a 101", &every, |outcomes| with(outcomes, 101) == KEYS)
            .await?;
        self.pods[1].listen().await?;
        self.say(&json!({})).await?;
        self.at_home().await?;
        Ok(format!(
            "{KEYS} handshakes, {its} of them to a pod that is gone: {} get a 101, and {KEYS} with connectRetries",
            KEYS - its
        ))
    }

    /// Sessions that their servers end, all at once.
    ///
    /// # Errors
    /// When one ends otherwise.
    pub async fn end_all(&self, request: impl Fn(usize) -> Request) -> Result<()> {
        let closing = Behaviour {
            close: Some(1000),
            ..Behaviour::default()
        };
        let mut sockets = Vec::new();
        for key in 0..KEYS {
            let request = request(key).behave(&closing);
            sockets.push(request.open(self.visitors.gateway).await?);
        }
        let ended = sockets.into_iter().map(async |socket| {
            let traffic = Traffic::every(Duration::from_millis(100), 64);
            socket.session(traffic).ended(LONG).await
        });
        for record in join_all(ended).await {
            let record = record?;
            ensure!(record.code() == Some(1000), "{record:?}");
        }
        Ok(())
    }

    /// A pod that answers handshakes with errors gets no more of them; one whose sessions end does.
    ///
    /// # Errors
    /// When it is otherwise.
    pub async fn outliers(&mut self) -> Result<String> {
        let its = self.keys_of(0)?;
        let error = Behaviour {
            status: Some(500),
            ..Behaviour::default()
        };
        let fail = async |pod: &Pod, visitors: &Visitors| -> Result<usize> {
            let before = pod.server.plain();
            for key in &its {
                visitors.ask(&visitors.request(*key).behave(&error)).await?;
            }
            Ok(pod.server.plain() - before)
        };
        let without = fail(&self.pods[0], self.visitors).await?;
        ensure!(without == its.len(), "the control: {without} of {}", its.len());
        let outlier = json!({"consecutiveHandshakeFailures": 3, "ejectionTime": "5s"});
        self.say(&json!({"resilience": {"outlierDetection": outlier}}))
            .await?;
        let mut last = None;
        let three = wait::until("it gets three", LONG, async || {
            self.at_home().await.ok()?;
            let got = fail(&self.pods[0], self.visitors).await;
            // A worker may hear of it one handshake late.
            let with = got.as_ref().ok().copied().filter(|got| (3..=4).contains(got));
            last = Some(got);
            with
        });
        let with = three.await.with_context(|| format!("it gets {last:?}"))?;
        self.at_home().await?;
        self.end_all(|key| self.visitors.request(key)).await?;
        let now = self.visitors.place(KEYS).await?;
        ensure!(now == self.placed, "healthy pods are ejected");
        self.say(&json!({})).await?;
        Ok(format!(
            "{} handshakes to a pod that answers with 500: it gets {without}, and {with} with outlierDetection of 3; {KEYS} sessions ended by their servers: 0 keys moved",
            its.len()
        ))
    }

    /// Where a pod takes no connections few wait, and the others are answered at once.
    ///
    /// # Errors
    /// When they are not, or are without being told to.
    pub async fn limits(&mut self) -> Result<String> {
        const WAIT: usize = 4;
        let its = self.keys_of(2)?;
        let timeouts = json!({"handshake": "4s"});
        self.say(&json!({"timeouts": timeouts})).await?;
        let hanging = self.pods[2].hang().await?;
        let at_once = |outcomes: &[Outcome]| {
            let quick = outcomes.iter().filter(|one| one.after < Duration::from_secs(2));
            quick.filter(|one| one.status == 503).count()
        };
        self.until("the control: all wait", &its, |outcomes| at_once(outcomes) == 0)
            .await?;
        let limit = json!({"maxPendingHandshakes": WAIT});
        self.say(&json!({"timeouts": timeouts, "resilience": limit}))
            .await?;
        // The kernel may find room for one or two.
        let few = its.len() - WAIT - 2..=its.len() - WAIT;
        let limited = self
            .until("few wait", &its, |outcomes| few.contains(&at_once(outcomes)))
            .await?;
        drop(hanging);
        self.pods[2].listen().await?;
        self.say(&json!({})).await?;
        self.at_home().await?;
        Ok(format!(
            "{} handshakes to a pod that accepts nothing: 0 are answered at once, and {} with maxPendingHandshakes of {WAIT}",
            its.len(),
            at_once(&limited)
        ))
    }
}
