//! `clew drain`.

use std::process::ExitCode;
use std::time::Duration;

use hyper::Method;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::ask::Api;
use super::output::Format;
use crate::clock;
use crate::failure::Failure;

/// Between two looks at what is left.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The pod: `name`, `namespace/name` or `ip:port`
    backend: String,
    /// By when it holds no session, such as 90s or 2m [default: the shortest drain.timeout of its rules]
    #[arg(long, value_name = "DURATION", conflicts_with = "cancel")]
    timeout: Option<String>,
    /// Follow it until no session is left
    #[arg(long, conflicts_with = "cancel")]
    watch: bool,
    /// Take a drain back: new sessions may come again
    #[arg(long)]
    cancel: bool,
    #[command(flatten)]
    api: Api,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    super::runtime()?.block_on(drain(args))
}

async fn drain(args: &Args) -> Result<ExitCode, Failure> {
    if args.cancel {
        let path = format!("/v1/drains/{}", args.backend);
        let answer = args.api.ask(Method::DELETE, &path, None).await?;
        args.output
            .print(&answer, || format!("{} takes new sessions again\n", args.backend))?;
        return Ok(ExitCode::SUCCESS);
    }
    let timeout = args.timeout.as_deref().map(|text| {
        let duration: clew_crds::Duration = text
            .parse()
            .map_err(|error| Failure::usage(format!("--timeout {text}: {error}")))?;
        Ok(duration.as_millis())
    });
    let timeout: Option<u64> = timeout.transpose()?;
    let body = json!({"backend": args.backend, "timeoutMs": timeout});
    let answer = args.api.ask(Method::POST, "/v1/drains", Some(&body)).await?;
    if args.watch {
        watch(args, &answer).await?;
        args.output
            .print(&answer, || format!("{} holds no session\n", args.backend))?;
    } else {
        args.output.print(&answer, || {
            format!(
                "{} takes no new sessions; its sessions leave by and by (--watch follows them)\n",
                args.backend
            )
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Follows a drain on standard error until no session is left.
async fn watch(args: &Args, answer: &Value) -> Result<(), Failure> {
    let pods = answer["pods"].as_array().cloned().unwrap_or_default();
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {msg}") {
        bar.set_style(style);
    }
    let (mut most, mut seen) = (0, None);
    loop {
        let drains = args.api.ask(Method::GET, "/v1/drains", None).await?;
        let ours: Vec<_> = drains
            .as_array()
            .into_iter()
            .flatten()
            .filter(|drain| {
                let pod = format!(
                    "{} {}",
                    drain["backend"].as_str().unwrap_or_default(),
                    drain["address"].as_str().unwrap_or_default()
                );
                pods.iter().any(|wanted| wanted.as_str() == Some(&pod))
            })
            .collect();
        let left: u64 = ours.iter().filter_map(|drain| drain["sessions"].as_u64()).sum();
        let ends = ours
            .iter()
            .filter_map(|drain| Some(drain["sinceMs"].as_u64()? + drain["timeoutMs"].as_u64()?))
            .max();
        let over = ends.unwrap_or(0).saturating_sub(clock::unix_ms()) / 1000;
        most = most.max(left);
        bar.set_length(most);
        bar.set_position(most - left);
        let message = format!("{left} of {most} sessions left, {over} s to the deadline");
        if bar.is_hidden() && seen != Some(left) {
            // No terminal: a line for each change.
            eprintln!("{message}");
        }
        bar.set_message(message);
        // A pod that is gone has left the list.
        if ours.is_empty() {
            bar.finish_and_clear();
            return Ok(());
        }
        // Counts come once a second: one empty answer may be older than the drain.
        if left == 0 && seen == Some(0) {
            bar.finish_and_clear();
            return Ok(());
        }
        seen = Some(left);
        clock::pause(if left == 0 { LOOK_AGAIN * 5 } else { LOOK_AGAIN }).await;
    }
}
