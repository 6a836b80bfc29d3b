//! `clew check`.

use std::process::ExitCode;

use super::output::{self, Format};
use super::target::Kube;
use crate::failure::{Failure, REFUSED};
use crate::operate::check::{self, Check, Verdict};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only what must be so before Clew is installed
    #[arg(long)]
    pre: bool,
    #[command(flatten)]
    kube: Kube,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    super::runtime()?.block_on(check(args))
}

async fn check(args: &Args) -> Result<ExitCode, Failure> {
    let cluster = args.kube.open().await?;
    let checks = check::run(
        &cluster.connection,
        &cluster.controller,
        cluster.namespace(),
        args.pre,
    );
    let checks = checks.await?;
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
    let row = |check: &Check| [mark(check), check.category, &check.what, &check.hint].map(str::to_owned);
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
        };
        let text = lines(&[
            check(Verdict::Ok, "all is well", ""),
            check(Verdict::Warning, "unknown", ""),
            check(Verdict::Failed, "missing", "install it"),
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
                "× kinds missing install it"
            ]
        );
    }
}
