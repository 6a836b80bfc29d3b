//! `clew man`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;

use super::Cli;
use crate::failure::Failure;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder to write the pages into, such as ~/.local/share/man/man1; made where it is missing
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

pub(super) fn main(args: &Args) -> Result<ExitCode, Failure> {
    write(&args.output)
        .map_err(|error| Failure::refused(format!("{} cannot be written: {error}", args.output.display())))?;
    Ok(ExitCode::SUCCESS)
}

fn write(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}

#[cfg(test)]
mod tests {
    use super::{Cli, write};
    use clap::CommandFactory;
    use std::fs;

    #[test]
    fn every_command_has_a_page_and_clew_names_them_all() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("man1");
        write(&folder).unwrap();
        let clew = fs::read_to_string(folder.join("clew.1")).unwrap();
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let page = fs::read_to_string(folder.join(format!("clew-{name}.1"))).unwrap();
            let about = command.get_about().unwrap().to_string();
            let about = about.split([' ', '-']).next().unwrap();
            assert!(page.contains(about), "{name}: {page}");
            assert!(
                clew.contains(&format!("clew\\-{}(1)", name.replace('-', "\\-"))),
                "{clew}"
            );
        }
    }
}
