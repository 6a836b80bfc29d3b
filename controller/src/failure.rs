//! Why a command ends without having done what it was asked.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// Findings, or input that was refused.
pub(crate) const REFUSED: u8 = 1;
/// The command line makes no sense.
pub(crate) const USAGE: u8 = 2;
/// Envoy or `clew run` cannot be reached or started.
pub(crate) const UNREACHABLE: u8 = 3;

/// A message and the exit code that goes with it.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: u8,
    message: String,
}

impl Failure {
    /// Input was refused.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self {
            exit: REFUSED,
            message: message.into(),
        }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: USAGE,
            message: message.into(),
        }
    }

    /// Envoy, `clew run`, or something that they stand on is not there.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self {
            exit: UNREACHABLE,
            message: message.into(),
        }
    }

    /// The same, where some of what was asked is done already.
    pub(crate) fn after(mut self, done: &[String]) -> Self {
        if !done.is_empty() {
            self.message = format!("{}; done before: {}", self.message, done.join(", "));
        }
        self
    }

    /// Whether somebody was reached, and said no.
    pub(crate) fn is_refusal(&self) -> bool {
        self.exit == REFUSED
    }

    /// With which code to end.
    pub(crate) fn exit(&self) -> ExitCode {
        self.exit.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

/// Why the API server did not do what was asked.
pub(crate) fn refused(what: &str, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            Failure::refused(format!("{what}: no permission: {}", status.message))
        }
        kube::Error::Api(status) if matches!(status.code, 401 | 429) || status.code >= 500 => {
            Failure::unreachable(format!("{what}: {}", status.message))
        }
        kube::Error::Api(status) => Failure::refused(format!("{what}: {}", status.message)),
        other => Failure::unreachable(format!(
            "{what}: the API server cannot be asked: {}",
            chain(other)
        )),
    }
}

/// An error with what caused it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
