use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::manifests::Paths;
use super::output;
use crate::failure::{Failure, REFUSED};
use crate::finding::Finding;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    paths: Paths,
    /// How findings are printed
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A line each
    Table,
    /// `{"findings": [{"file", "line", "severity", "code", "object", "field", "message"}]}`
    Json,
    /// The same
    Yaml,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

pub(super) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let checked = args.paths.check();
    let findings = &checked.findings;
    let data = json!({"findings": findings});
    match args.output {
        Format::Table => {
            let lines: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
            output::text_to_stdout(&lines)?;
            eprintln!("{}", summary(findings, checked.validated.routes.len()));
            if checked.is_empty {
                eprintln!("nothing was read: in a folder, files named *.yaml, *.yml or *.json are manifests");
            }
        }
        Format::Json => output::Format::Json.print(&data, String::new)?,
        Format::Yaml => output::Format::Yaml.print(&data, String::new)?,
        Format::Sarif => output::Format::Json.print(&sarif(findings), String::new)?,
    }
    Ok(if checked.is_refused() {
        REFUSED.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn summary(findings: &[Finding], routes: usize) -> String {
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}: {}, {}",
        count(routes, "route"),
        count(errors, "error"),
        count(findings.len() - errors, "warning")
    )
}

fn sarif(findings: &[Finding]) -> Value {
    let results: Vec<_> = findings
        .iter()
        .map(|finding| {
            let region = json!({"startLine": finding.line.max(1)});
            let location =
                json!({"physicalLocation": {"artifactLocation": {"uri": finding.file}, "region": region}});
            let of = [finding.object.as_str(), finding.field.as_str()].map(|part| {
                if part.is_empty() {
                    String::new()
                } else {
                    format!("{part}: ")
                }
            });
            json!({
                "ruleId": finding.code,
                "level": if finding.is_error() { "error" } else { "warning" },
                "message": {"text": format!("{}{}{}", of[0], of[1], finding.message)},
                "locations": if finding.file.is_empty() { json!([]) } else { json!([location]) },
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "clew", "version": env!("CARGO_PKG_VERSION")}},
            "results": results,
        }],
    })
}
