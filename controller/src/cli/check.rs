//! `clew check`.

use std::process::ExitCode;
use std::time::Duration;

use super::output::{self, Format};
use super::target::Kube;
use crate::clock;
use crate::failure::{Failure, REFUSED};
use crate::operate::check::{self, Check, Verdict};

/// Between two looks.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only what must be so before Clew is installed
    #[arg(long)]
    pre: bool,
    /// Look again until nothing fails, such as after an installation, for at most so long: 90s or 2m
    #[arg(long, value_name = "DURATION")]
    wait: Option<clew_crds::Duration>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    #[command(flatten)]
    kube: Kube,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    super::runtime()?.block_on(check(args))
}

async fn check(args: &Args) -> Result<ExitCode, Failure> {
    let cluster = args.kube.open().await?;
    let scope = cluster.scope();
    let until = clock::now() + args.wait.unwrap_or_default().to_std();
    let mut said = String::new();
    let checks = loop {
        let (connection, namespace) = (&cluster.connection, cluster.namespace());
        let looked = check::run(connection, &cluster.controller, &scope, namespace, args.pre).await;
        let fails = match &looked {
            Ok(checks) => checks
                .iter()
                .find(|one| one.verdict == Verdict::Failed)
                .map(|one| one.what.clone()),
            Err(why) => Some(why.to_string()),
        };
        let Some(fails) = fails.filter(|_| clock::now() < until) else {
            break looked?;
        };
        if fails != said {
            eprintln!("waiting: {fails}");
            said = fails;
        }
        clock::pause(AGAIN).await;
    };
    args.output.print(&checks, || lines(&checks))?;
    Ok(
        match checks.iter().any(|check| check.verdict == Verdict::Failed) {
            true => REFUSED.into(),
            false => ExitCode::SUCCESS,
        },
    )
}

fn lines(checks: &[Check]) -> String {
    let mark = |check: &Check| match check.verdict {
        Verdict::Ok => "✓",
        Verdict::Warning => "‼",
        Verdict::Failed => "×",
    };
    let row = |check: &Check| {
        let hint = match (&*check.hint, &*check.docs) {
            (hint, "") => hint.to_owned(),
            ("", docs) => docs.to_owned(),
            (hint, docs) => format!("{hint} ({docs})"),
        };
        [
            mark(check).to_owned(),
            check.category.to_owned(),
            check.what.clone(),
            hint,
        ]
    };
    output::table(["", "ABOUT", "WHAT", "HINT"], checks.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::{Check, Verdict, lines};

    #[test]
    fn each_question_is_a_line_with_its_verdict() {
        let check = |verdict, what: &str, hint: &str| Check {
            category: "kinds",
            verdict,
            what: what.into(),
            hint: hint.into(),
            docs: String::new(),
        };
        let explained = Check {
            docs: "page#missing".into(),
            ..check(Verdict::Failed, "gone", "install it")
        };
        let text = lines(&[
            check(Verdict::Ok, "all is well", ""),
            check(Verdict::Warning, "unknown", ""),
            check(Verdict::Failed, "missing", "install it"),
            explained,
        ]);
        let rows: Vec<String> = text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            rows,
            [
                "✓ kinds all is well",
                "‼ kinds unknown",
                "× kinds missing install it",
                "× kinds gone install it (page#missing)"
            ]
        );
    }
}
