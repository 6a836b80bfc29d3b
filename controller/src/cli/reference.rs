//! The page of the command line is what it is declared as. `make golden` rewrites it.

use std::path::Path;
use std::{env, fs};

use clap::{Arg, Command, CommandFactory};

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
