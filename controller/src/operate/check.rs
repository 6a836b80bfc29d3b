//! Whether all is as it must be for sessions to find their pods: one file a category of questions, each question one line.

mod access;
mod controller;
mod kinds;
mod others;
mod proxies;
mod routes;

use clew_core::validate::Validated;
use kinds::Installed;
use serde::Serialize;

use super::Connection;
use super::replicas::{Answers, Controller, Replicas};
use crate::cluster::{Once, Scope, rights};
use crate::failure::{Failure, refused};

/// Where each finding is explained.
const PAGE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/guide/check.md");

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Ok,
    /// It works, and something of it may not, or cannot be told.
    Warning,
    Failed,
}

/// One question, answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) category: &'static str,
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hint: String,
    /// Where to read on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) docs: String,
}

/// What several categories look at.
struct Scene<'a> {
    connection: &'a Connection,
    controller: &'a Controller,
    /// Whose kinds there are.
    installed: Installed,
    /// Whose pods are to be drained.
    namespace: &'a str,
    answers: Result<Answers, String>,
    /// What replicas say that are not ready.
    unready: Answers,
    /// The one namespace that the controller looks at; None: all, as far as is known.
    watched: Option<String>,
    /// What the controller makes of the cluster, as far as the person who asks may see it. None: it knows no routes.
    validated: Result<Option<Validated>, String>,
}

/// Asks all questions; before Clew is installed only those that then have an answer.
///
/// # Errors
/// When the API server cannot be reached.
pub(crate) async fn run(
    connection: &Connection,
    controller: &Controller,
    scope: &Scope,
    namespace: &str,
    before: bool,
) -> Result<Vec<Check>, Failure> {
    super::pods::now(connection).await?;
    let mut scene = Scene {
        connection,
        controller,
        installed: Installed::of(&connection.client).await?,
        namespace,
        answers: Err(String::new()),
        unready: Answers::default(),
        watched: None,
        validated: Ok(None),
    };
    let mut checks = kinds::check(&scene, before).await?;
    if !before {
        let replicas = controller.open(&connection.client).await;
        match replicas.map(Replicas::with_rights) {
            Ok(replicas) => {
                scene.answers = replicas.ask().await.map_err(|why| why.to_string());
                scene.unready = replicas.ask_unready().await.unwrap_or_default();
            }
            Err(why) => scene.answers = Err(why.to_string()),
        }
        let answers = scene.answers.iter().chain([&scene.unready]);
        let mut replicas = answers.flat_map(|answers| &answers.replicas);
        scene.watched = replicas.find_map(|replica| replica.watched.clone());
        let scope = Scope {
            watched: scene.watched.clone(),
            ..scope.clone()
        };
        scene.validated = validated(connection, &scope).await;
        checks.extend(controller::check(&scene).await);
        checks.extend(proxies::check(&scene).await);
        checks.extend(routes::check(&scene).await);
        checks.extend(others::check(&scene));
    }
    checks.extend(access::check(&scene, before).await?);
    Ok(checks)
}

/// By the controller's own code, from what the person who asks may see.
async fn validated(connection: &Connection, scope: &Scope) -> Result<Option<Validated>, String> {
    let client = &connection.client;
    // Asked before, nobody is refused anything.
    let unlisted = rights::unlisted(client, scope).await.unwrap_or_default();
    if !unlisted.is_empty() {
        let kinds: Vec<_> = unlisted.iter().map(|kind| kind.resource().plural).collect();
        return Err(format!("you may not list {}", kinds.join(", ")));
    }
    let looked = Once::look(client, scope).await;
    let looked = looked
        .map_err(|unseen| refused(&format!("{} cannot be listed", unseen.kind), &unseen.error).to_string())?;
    let Some(mut once) = looked else {
        return Ok(None);
    };
    let beside = once.look_beside(client).await;
    let hidden =
        beside.map_err(|error| refused("other people's objects cannot be listed", &error).to_string())?;
    if !hidden.is_empty() {
        eprintln!(
            "warning: you may not list {}: what edits of them would cut is not said",
            hidden.join(", ")
        );
    }
    Ok(Some(once.validate()))
}

impl Check {
    fn ok(category: &'static str, what: impl Into<String>) -> Self {
        Self {
            category,
            verdict: Verdict::Ok,
            what: what.into(),
            hint: String::new(),
            docs: String::new(),
        }
    }

    /// Which heading of the [`PAGE`] is about it.
    fn see(self, heading: &str) -> Self {
        Self {
            docs: format!("{PAGE}#{heading}"),
            ..self
        }
    }

    fn warning(category: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warning,
            hint: hint.into(),
            ..Self::ok(category, what)
        }
    }

    fn failed(category: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Failed,
            ..Self::warning(category, what, hint)
        }
    }
}

#[cfg(test)]
mod tests {
    /// What is said, and what the page says of it.
    const SOURCES: [&str; 6] = [
        include_str!("check/access.rs"),
        include_str!("check/controller.rs"),
        include_str!("check/kinds.rs"),
        include_str!("check/others.rs"),
        include_str!("check/proxies.rs"),
        include_str!("check/routes.rs"),
    ];
    const PAGE: &str = include_str!("../../../docs/guide/check.md");

    #[test]
    fn every_finding_has_a_heading_of_its_own_on_the_page() {
        let headings: Vec<String> = PAGE
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .map(|heading| heading.to_lowercase().replace(' ', "-"))
            .collect();
        let named: Vec<&str> = SOURCES
            .iter()
            .flat_map(|source| source.split(".see(\"").skip(1))
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(named.len() > 10, "{named:?}");
        for heading in named {
            assert!(
                headings.iter().any(|known| known == heading),
                "{heading} of {headings:?}"
            );
        }
    }
}
