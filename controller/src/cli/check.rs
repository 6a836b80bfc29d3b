//! `clew check`.

use std::process::ExitCode;
use std::time::Duration;

use super::output::Format;
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
    let hint = |check: &Check| match (&*check.hint, &*check.docs) {
        (hint, "") => hint.to_owned(),
        ("", docs) => docs.to_owned(),
        (hint, docs) => format!("{hint} ({docs})"),
    };
    let width = checks.iter().map(|check| check.category.len()).max().unwrap_or(0);
    let line = |check: &Check| {
        let (mark, category, what) = (mark(check), check.category, &check.what);
        // No column of its own: the longest of all that is said would push it off the screen.
        match hint(check) {
            hint if hint.is_empty() => format!("{mark} {category:width$}   {what}\n"),
            hint => format!("{mark} {category:width$}   {what} → {hint}\n"),
        }
    };
    checks.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{Check, Verdict, lines};

    #[test]
    fn each_question_is_a_line_with_its_verdict_and_what_to_do() {
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
        assert_eq!(
            text,
            "✓ kinds   all is well\n\
             ‼ kinds   unknown\n\
             × kinds   missing → install it\n\
             × kinds   gone → install it (page#missing)\n"
        );
    }
}
