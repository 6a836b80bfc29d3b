//! What the command line says where nobody else is asked: each command with all that it prints and its exit code, in `cmd`.
//! `TRYCMD=overwrite` writes what it says now; read the diff.

use std::fs;
use std::process::Command;

#[test]
fn it_says_what_is_written_down() {
    trycmd::TestCases::new()
        .env("COLUMNS", "100")
        .env("HOME", "/nonexistent")
        .env("XDG_STATE_HOME", "/nonexistent")
        .env("KUBECONFIG", "")
        .case("tests/cmd/*.trycmd");
}

/// The completions of bash, as bash takes them.
#[test]
fn bash_completes_commands_and_options() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("clew.bash");
    let written = Command::new(env!("CARGO_BIN_EXE_clew"))
        .args(["completion", "bash"])
        .output()
        .expect("clew runs");
    fs::write(&script, written.stdout).expect("it can be written");
    for (typed, offered) in [
        ("clew sess", "sessions"),
        ("clew sessions --wat", "--watch"),
        ("clew drain --out", "--output"),
        ("clew sessions --output y", "yaml"),
        ("clew completion f", "fish"),
    ] {
        let words: Vec<_> = typed.split(' ').collect();
        let (at, before) = (words.len() - 1, words[words.len() - 2]);
        // As bash calls it when the tabulator key is pressed.
        let line = format!(
            "set -e; source '{}'; COMP_WORDS=({typed}); COMP_CWORD={at}; _clew clew '{}' '{before}'; echo \"${{COMPREPLY[@]}}\"",
            script.display(),
            words[at]
        );
        let completed = Command::new("bash")
            .args(["--norc", "-c", &line])
            .output()
            .expect("bash runs");
        let said = String::from_utf8_lossy(&completed.stdout);
        assert!(
            completed.status.success() && said.trim() == offered,
            "{typed}: {said}{}",
            String::from_utf8_lossy(&completed.stderr)
        );
    }
}
