//! `clew drain` of a `clew run`'s backends.

use hyper::Method;
use serde_json::{Value, json};

use super::Args;
use super::progress::Progress;
use crate::cli::ask::Standalone;
use crate::failure::Failure;

pub(super) async fn drain(args: &Args, standalone: &Standalone) -> Result<(), Failure> {
    let mut pods = Vec::new();
    for pod in &args.pods {
        let answer = match args.cancel {
            true => {
                let path = format!("/v1/drains/{pod}");
                standalone.ask(Method::DELETE, &path, None).await?
            }
            false => {
                let timeout = args.timeout.map(clew_crds::Duration::as_millis);
                let body = json!({"backend": pod, "timeoutMs": timeout});
                standalone.ask(Method::POST, "/v1/drains", Some(&body)).await?
            }
        };
        pods.extend(answer["pods"].as_array().cloned().unwrap_or_default());
    }
    if args.watch {
        watch(standalone, &pods).await?;
    }
    let said = match (args.cancel, args.watch) {
        (true, _) => "takes new sessions again",
        (false, true) => "holds no session",
        (false, false) => "takes no new sessions; its sessions leave by and by (--watch follows them)",
    };
    let lines = || args.pods.iter().map(|pod| format!("{pod} {said}\n")).collect();
    args.output.print(&json!({"pods": pods}), lines)
}

/// Follows a drain until no session is left.
async fn watch(standalone: &Standalone, pods: &[Value]) -> Result<(), Failure> {
    let mut progress = Progress::new();
    loop {
        let drains = standalone.ask(Method::GET, "/v1/drains", None).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let is_ours = |drain: &&Value| {
            let pod = format!("{} {}", text(&drain["backend"]), text(&drain["address"]));
            pods.iter().any(|wanted| *wanted == pod.as_str())
        };
        let ours: Vec<_> = drains.as_array().into_iter().flatten().filter(is_ours).collect();
        let left: u64 = ours.iter().filter_map(|drain| drain["sessions"].as_u64()).sum();
        let end = |drain: &&Value| Some(drain["sinceMs"].as_u64()? + drain["timeoutMs"].as_u64()?);
        let is_over = progress.is_over(left, ours.iter().filter_map(end).max());
        // A pod that is gone has left the list.
        if is_over || ours.is_empty() {
            return Ok(());
        }
        progress.pause().await;
    }
}
