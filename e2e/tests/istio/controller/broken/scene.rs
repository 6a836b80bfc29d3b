//! What is looked at: the lines of the check, and what Envoy says of itself.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::Client;
use clew_e2e::pod::PORT;
use clew_e2e::standalone::Output;
use clew_e2e::wait;
use clew_e2e::workstation::clew;
use serde_json::Value;

use super::NAME;
use crate::Mesh;
use crate::controller::{SOON, shop::Shop};

/// A line of the check.
pub(super) struct Line {
    pub(super) sign: char,
    pub(super) category: &'static str,
    pub(super) what: &'static str,
    pub(super) hint: &'static str,
    /// The heading that it links to.
    pub(super) see: &'static str,
}

/// Who asks, and of whom.
pub(super) struct Scene<'a> {
    pub(super) mesh: &'a Mesh,
    pub(super) client: Client,
    pub(super) admin: PathBuf,
    pub(super) began: Instant,
}

impl Line {
    pub(super) fn is_in(&self, checked: &Output) -> Result<()> {
        let Self {
            sign,
            category,
            what,
            hint,
            see,
        } = self;
        let is_it = |line: &&str| line.starts_with(*sign) && line.contains(what);
        let line = checked.stdout.lines().find(is_it);
        let line = line.with_context(|| format!("no {sign} {what}: {}", checked.text()))?;
        let link = format!("/docs/guide/check.md#{see})");
        let mut words = line.split_whitespace().skip(1);
        ensure!(
            words.next() == Some(*category) && line.contains(hint) && line.contains(&link),
            "{line}"
        );
        ensure!(checked.code == i32::from(*sign == '×'), "{checked:?}");
        Ok(())
    }
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
impl Scene<'_> {
    pub(super) async fn check(&self) -> Result<Output> {
        clew(&self.admin, &["check"]).await
    }

    /// Nothing fails, at once or as soon as what was mended has got around.
    pub(super) async fn is_well(&self, what: &str) -> Result<()> {
        let checked = clew(&self.admin, &["check", "--wait", "60s"]).await?;
        let fails = checked.stdout.lines().any(|line| line.starts_with('×'));
        ensure!(checked.code == 0 && !fails, "{what}: {}", checked.text());
        let lines = checked
            .stdout
            .lines()
            .filter(|line| line.starts_with('✓'))
            .count();
        ensure!(lines > 10, "{what}: {}", checked.text());
        println!(
            "{:5.1} s: {what}: {lines} ✓, no ×",
            self.began.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// The fault is found, as soon as those know of it who are asked.
    pub(super) async fn finds(&self, line: Line) -> Result<()> {
        let mut last = None;
        let found = wait::until(line.what, SOON, async || {
            let checked = self.check().await.ok()?;
            let found = line.is_in(&checked);
            let is_found = found.is_ok();
            last = Some(found);
            is_found.then_some(())
        });
        if found.await.is_err() {
            last.context("it was never asked")??;
        }
        println!(
            "{:5.1} s: {} {}",
            self.began.elapsed().as_secs_f64(),
            line.sign,
            line.what
        );
        Ok(())
    }

    /// Waits until Envoy's part of a kind says what is looked for.
    pub(super) async fn envoy_says(
        &self,
        part: &str,
        what: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        let path = format!("/config_dump?resource={part}");
        wait::until(what, SOON, async || {
            let dump = self.mesh.gateway.admin.get(&path).await.ok()?;
            is_so(&serde_json::from_str(&dump).ok()?).then_some(())
        })
        .await
    }

    /// The same of a cluster.
    pub(super) async fn cluster_says(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        self.envoy_says("dynamic_active_clusters", what, |dump| {
            let mut all = dump["configs"].as_array().into_iter().flatten();
            all.any(|one| one["cluster"]["name"] == name && is_so(&one["cluster"]))
        })
        .await
    }

    /// A session that ends in order has Envoy take its pod for ill.
    pub(super) async fn ejects(&self, shop: &Shop) -> Result<()> {
        wait::until("a healthy pod is ejected", SOON, async || {
            let opened = shop.visitors.request(0).open(shop.visitors.gateway).await.ok()?;
            opened.goodbye().await.ok()?;
            let clusters = self.mesh.gateway.admin.get("/clusters?format=json").await.ok()?;
            let clusters: Value = serde_json::from_str(&clusters).ok()?;
            let mut all = clusters["cluster_statuses"].as_array()?.iter();
            let ours = all.find(|one| one["name"] == chat("clew"))?;
            let mut hosts = ours["host_statuses"].as_array()?.iter();
            hosts
                .any(|host| host["health_status"]["failed_outlier_check"] == true)
                .then_some(())
        })
        .await
    }

    pub(super) async fn gone(&self, object: &Value) -> Result<()> {
        self.client.same(object)?.delete().await
    }
}

pub(super) fn chat(subset: &str) -> String {
    format!("outbound|{PORT}|{subset}|chat.{NAME}.svc.cluster.local")
}
