//! The page of the command line is what it is declared as. `make golden` rewrites it.

use std::path::Path;
use std::{env, fs};

use clap::{Arg, Command, CommandFactory, Parser};
use regex::Regex;

use super::Cli;

#[test]
fn the_reference_names_every_command_and_option() {
    let mut clew = Cli::command();
    clew.build();
    let mut text = "# The command line\n\nGenerated from how it is declared (`make golden`). `clew COMMAND --help` says the same, `clew man` writes manual pages, and `kubectl clew` is the same \
                    command where the binary is on the PATH as `kubectl-clew`. Data goes to standard output, progress and logs to standard error.\n\n\
                    | exit code | means |\n|---|---|\n| 0 | all is well |\n| 1 | something was found, or the input was refused |\n| 2 | the command line is not understood |\n\
                    | 3 | Envoy, `clew run` or the cluster cannot be reached |\n\nOptions of all commands:\n\n"
        .to_owned();
    text += &options(clew.get_arguments().filter(|arg| arg.is_global_set()));
    for command in clew.get_subcommands_mut() {
        text += &page(command);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/cli.md");
    if env::var("CLEW_GOLDEN").is_ok_and(|value| value == "rewrite") {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), text, "run make golden");
}

fn page(command: &mut Command) -> String {
    let usage = command.render_usage().to_string();
    let about = command.get_about().unwrap();
    let mut text = format!(
        "\n## `clew {}`\n\n{about}.\n\n```text\n{}\n```\n",
        command.get_name(),
        usage.trim_start_matches("Usage: ")
    );
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_global_set() && !arg.is_hide_set() && arg.get_id() != "help")
        .collect();
    if !own.is_empty() {
        text += "\n";
        text += &options(own);
    }
    text
}

fn options<'a>(args: impl IntoIterator<Item = &'a Arg>) -> String {
    let mut text = "| option | default | environment | what |\n|---|---|---|---|\n".to_owned();
    for arg in args {
        let values: Vec<_> = arg
            .get_possible_values()
            .iter()
            .filter(|_| arg.get_action().takes_values())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let what = match values.is_empty() {
            true => help,
            false => format!("{help}: {}", values.join(", ")),
        };
        let defaults: Vec<_> = arg
            .get_default_values()
            .iter()
            .filter(|_| arg.get_action().takes_values())
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let variable = arg
            .get_env()
            .map_or(String::new(), |name| format!("`{}`", name.to_string_lossy()));
        text += &format!(
            "| {} | {} | {variable} | {} |\n",
            called(arg),
            defaults.join(", "),
            what.replace('|', "\\|").replace('<', "\\<").replace('\n', " ")
        );
    }
    text
}

/// `-f`, `--filename PATH`.
fn called(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default();
    let value = match arg.get_action().takes_values() {
        true => values.iter().map(|name| format!(" {name}")).collect(),
        false => String::new(),
    };
    let names: Vec<_> = arg
        .get_short()
        .map(|short| format!("`-{short}`"))
        .into_iter()
        .chain(arg.get_long().map(|long| format!("`--{long}{value}`")))
        .collect();
    match names.is_empty() {
        true => format!("`{}`", value.trim()),
        false => names.join(", "),
    }
}

/// Who copies a command from a document is understood.
#[test]
fn every_command_in_the_documents_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|ending| ending.to_str()) {
                None if path.is_dir() => folders.push(path),
                Some("md") => pages.push(path),
                _ => {}
            }
        }
    }
    let texts = pages.iter().map(|page| fs::read_to_string(page).unwrap());
    let commands: Vec<_> = texts.flat_map(|text| commands(&scripts(&text))).collect();
    assert!(commands.len() > 60, "they were read: {commands:?}");
    let misunderstood: Vec<_> = commands
        .iter()
        .filter_map(|command| misunderstood(command))
        .collect();
    assert!(misunderstood.is_empty(), "{}", misunderstood.join("\n"));
}

#[test]
fn a_command_that_is_not_understood_is_found() {
    for (script, how_many) in [
        (
            "until clew status; do sleep 1; done\nRUST_LOG=debug clew run -f 'my manifests' >clew.log 2>&1 &",
            0,
        ),
        (
            "kubectl clew check --pre && clew crd | kubectl apply -f -   # clew nonsense",
            0,
        ),
        ("clew drian chat-2", 1),
        ("helm install clew charts/clew\nkubectl clew check --pree", 1),
        ("clew drain chat-2 \\\n  --cancel --watch; clew explain", 2),
    ] {
        let page = format!(
            "Text: `clew nonsense`.\n\n```sh\n{script}\n```\n\n```console\n$ clew version\nclew 0\n```\n"
        );
        let commands = commands(&scripts(&page));
        assert_eq!(
            commands
                .iter()
                .filter_map(|command| misunderstood(command))
                .count(),
            how_many,
            "{commands:?}"
        );
    }
}

/// What a page has somebody type.
fn scripts(page: &str) -> String {
    let mut tag = None;
    let mut script = String::new();
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), tag) {
            (Some(new), None) => tag = Some(new),
            (Some(_), Some(_)) => tag = None,
            (None, Some("sh" | "bash")) => script += &format!("{line}\n"),
            (None, Some("console")) => {
                script += &line
                    .strip_prefix("$ ")
                    .map_or_else(String::new, |line| format!("{line}\n"))
            }
            (None, _) => {}
        }
    }
    script
}

/// The words of each `clew` in a script, as far as documents need a shell.
fn commands(script: &str) -> Vec<Vec<String>> {
    let token = Regex::new(r#"'([^']*)'|"([^"]*)"|#.*|([;&|()<>\n])|[^\s;&|()<>'"]+"#).unwrap();
    let mut commands = vec![Vec::new()];
    for found in token.captures_iter(&script.replace("\\\n", " ")) {
        let quoted = found.get(1).or(found.get(2));
        let word = quoted.unwrap_or(found.get_match()).as_str();
        match quoted.is_some() || !word.starts_with('#') && found.get(3).is_none() {
            true => commands.last_mut().unwrap().push(word.to_owned()),
            false => commands.push(Vec::new()),
        }
    }
    let is_before = |word: &&String| {
        word.contains('=') || ["until", "while", "if", "then", "do", "!"].contains(&word.as_str())
    };
    let of_clew = |words: Vec<String>| {
        let words: Vec<_> = words.iter().skip_while(is_before).cloned().collect();
        match words.iter().map(String::as_str).take(2).collect::<Vec<_>>()[..] {
            ["clew", ..] => Some(words),
            ["kubectl", "clew"] => Some(words[1..].to_vec()),
            _ => None,
        }
    };
    commands.into_iter().filter_map(of_clew).collect()
}

/// What is said of a command, if anything.
fn misunderstood(command: &[String]) -> Option<String> {
    let error = Cli::try_parse_from(command).err()?;
    (error.exit_code() != 0).then(|| format!("{}: {error}", command.join(" ")))
}
