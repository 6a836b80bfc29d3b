//! What another balancer's configuration becomes: manifests, and what became of each of its directives. Nothing is silently lost: what
//! nobody here understands is named.

mod document;
mod haproxy;
mod ingress;
mod ledger;
mod nginx;
mod plan;
mod policy;
mod servers;

use std::fmt;
use std::sync::Arc;

use ledger::Ledger;
pub use ledger::{Entry, Outcome};
use plan::Plan;

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// nginx.conf and files that it includes, or what `nginx -T` writes
    Nginx,
    /// haproxy.cfg
    Haproxy,
    /// Manifests with Kubernetes Ingresses, and ingress-nginx's annotations
    Ingress,
}

/// A file.
#[derive(Clone, Debug)]
pub struct Input {
    /// As it was named.
    pub file: Arc<str>,
    /// What it says.
    pub text: String,
}

/// Why a file cannot be read at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As it was named.
    pub file: Arc<str>,
    /// From 1; 0 where none is known.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// What it becomes.
#[derive(Clone, Debug)]
pub struct Migrated {
    /// YAML, with a comment wherever somebody has to decide something. Empty where no WebSocket is routed.
    pub manifests: String,
    /// Every directive, in the order in which it was read.
    pub report: Vec<Entry>,
}

impl Format {
    /// Whose configuration a file probably is.
    #[must_use]
    pub fn guess(input: &Input) -> Self {
        let name = input.file.to_ascii_lowercase();
        let first = |words: &[&str]| {
            input.text.lines().any(|line| {
                let mut parts = line.split_whitespace();
                parts.next().is_some_and(|word| words.contains(&word)) && !line.contains(['{', ';'])
            })
        };
        if name.ends_with(".yaml")
            || name.ends_with(".yml")
            || name.ends_with(".json")
            || first(&["apiVersion:"])
        {
            Self::Ingress
        } else if name.contains("haproxy") || first(&["frontend", "backend", "listen", "defaults"]) {
            Self::Haproxy
        } else {
            Self::Nginx
        }
    }
}

/// Translates files that together are one configuration. `stand_alone` adds to Ingresses what a cluster has already, the Gateway and
/// Services without endpoints, for `clew run` and for a look at the whole.
///
/// # Errors
/// When a file is not of this format at all.
pub fn migrate(format: Format, inputs: &[Input], stand_alone: bool) -> Result<Migrated, Refused> {
    let (mut plan, mut ledger) = (Plan::default(), Ledger::default());
    match format {
        Format::Nginx => {
            let files: Result<Vec<_>, _> = inputs
                .iter()
                .flat_map(nginx::undump)
                .map(|input| nginx::parse(&input.file, &input.text, &mut ledger))
                .collect();
            nginx::translate(&files?, &mut plan, &mut ledger);
        }
        Format::Haproxy => haproxy::translate(inputs, &mut plan, &mut ledger),
        Format::Ingress => ingress::translate(inputs, stand_alone, &mut plan, &mut ledger)?,
    }
    let manifests = if plan.routes.is_empty() {
        String::new()
    } else {
        plan.text(&header(inputs))
    };
    Ok(Migrated {
        manifests,
        report: ledger.close(),
    })
}

fn header(inputs: &[Input]) -> Vec<String> {
    let files: Vec<_> = inputs.iter().map(|input| &*input.file).collect();
    vec![
        format!("From {} by clew migrate. Look for DECIDE.", files.join(", ")),
        "Origin checks are in mode Report: handshakes of other pages' Origins pass and are counted. Once only Origins that you know are, \
         list them in security.origin.allowed and set mode: Enforce."
            .to_owned(),
    ]
}

fn tls_remark(place: &str, port: u16) -> String {
    format!(
        "DECIDE ({place}): port {port} was TLS. Put the certificate into a Secret of type kubernetes.io/tls (here: tls), write protocol: HTTPS \
         and tls: {{certificateRefs: [{{name: tls}}]}}, and name the address that clients reach."
    )
}
