//! What somebody who helps has to see, in one file that may be shown to others: how it stands, the objects that decide where
//! sessions go, logs and metrics. Secrets are not read, and what looks like one is left out of everything else.

mod archive;
mod cluster;
mod redact;
mod standalone;

use clew_core::model::ObjectName;
use serde_json::json;

use crate::clock;
use crate::module;

pub(crate) use archive::Archive;
pub(crate) use cluster::of_cluster;
pub(crate) use standalone::of_standalone;

/// What is in a report.
const README: &str = "\
What clew bug-report collected. Secrets were not read. In all files, whatever is under a name that says that it is secret, tokens,
credentials in URLs, private keys, how containers are started, and the values of query parameters were left out, and say so;
session keys are in no file.
Names, addresses and labels are as they are: look through the files before you show them to others.

about.yaml      which clew, and when
missing.yaml    what could not be had, and why
check.yaml      what clew check says (in a cluster)
controller/     its replicas and what they know of the proxies, its pods, their logs and metrics (in a cluster)
objects/        the objects that decide where sessions go; Events of routes and policies (in a cluster)
status.yaml, sessions.yaml, drains.yaml, metrics.txt, manifests.yaml, envoy/     of clew run (stand-alone)
";

/// Which clew collects, and when.
fn about(what: &str) -> serde_json::Value {
    json!({
        "what": what,
        "clew": env!("CARGO_PKG_VERSION"),
        "module": module::sha256(),
        "takenAtUnixMs": clock::unix_ms(),
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// As a file is called that is about an object.
fn file_of(name: &ObjectName) -> String {
    format!("{}_{}", name.namespace, name.name)
}
