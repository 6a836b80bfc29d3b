//! Whether all is as it must be for sessions to find their pods: one file a category of questions, each question one line.

mod access;
mod controller;
mod kinds;
mod proxies;

use serde::Serialize;

use super::replicas::{Answers, Controller};
use super::{Connection, routes};
use crate::failure::Failure;

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
}

/// What several categories look at.
struct Scene<'a> {
    connection: &'a Connection,
    controller: &'a Controller,
    /// Whose pods are to be drained.
    namespace: &'a str,
    answers: Result<Answers, String>,
}

/// Asks all questions; before Clew is installed only those that then have an answer.
///
/// # Errors
/// When the API server cannot be reached.
pub(crate) async fn run(
    connection: &Connection,
    controller: &Controller,
    namespace: &str,
    before: bool,
) -> Result<Vec<Check>, Failure> {
    super::pods::now(connection).await?;
    let mut scene = Scene {
        connection,
        controller,
        namespace,
        answers: Err(String::new()),
    };
    let mut checks = kinds::check(&scene, before).await?;
    if !before {
        let asked = controller.ask(&connection.client).await;
        scene.answers = asked.map_err(|why| why.to_string());
        checks.extend(controller::check(&scene).await);
        checks.extend(proxies::check(&scene).await);
    }
    checks.extend(access::check(&scene, before).await?);
    Ok(checks)
}

impl Check {
    fn ok(category: &'static str, what: impl Into<String>) -> Self {
        Self {
            category,
            verdict: Verdict::Ok,
            what: what.into(),
            hint: String::new(),
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
