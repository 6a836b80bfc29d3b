//! What is printed, and how.

use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

use crate::failure::Failure;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
    /// For programs and people
    Yaml,
}

impl Format {
    /// For what programs read as often as people: a table on a terminal, else JSON.
    pub(crate) fn for_whoever_reads(chosen: Option<Self>) -> Self {
        chosen.unwrap_or(if io::stdout().is_terminal() {
            Self::Table
        } else {
            Self::Json
        })
    }

    /// Prints data, or the table that shows it.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn print(self, data: &impl Serialize, table: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = match self {
            Self::Table => table(),
            Self::Json => {
                serde_json::to_string_pretty(data).map_err(|error| Failure::refused(error.to_string()))?
            }
            Self::Yaml => {
                serde_saphyr::to_string(data).map_err(|error| Failure::refused(error.to_string()))?
            }
        };
        text_to_stdout(&text)?;
        Ok(())
    }
}

/// Prints text, with a line end. False: the reader has read enough (`| head`).
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn text_to_stdout(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(end.as_bytes()))
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::refused(format!("stdout cannot be written: {error}"))),
    }
}

/// `1 session`, `2 sessions`.
pub(crate) fn plural(n: u64, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        _ => format!("{n} {one}s"),
    }
}

/// Columns without lines, as kubectl prints them.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}
