//! `clew-filter-panics MODULE LIST`: exit 1 where the module can panic at a place that the list does not name.
//!
//! In the list each place, `FILE:LINE:COLUMN`, stands in a paragraph that begins with the reason why it is never reached.
#![expect(clippy::print_stdout, reason = "the output of a program")]

mod places;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::places::places;

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, list] = &arguments[..] else {
        bail!("clew-filter-panics MODULE LIST");
    };
    let module = std::fs::read(module).with_context(|| module.clone())?;
    let reviewed = std::fs::read_to_string(list).with_context(|| list.clone())?;
    let found = compare(&module, &reviewed)?;
    if found.all == 0 {
        bail!("this is not the filter's module: nothing of the library can panic in it");
    }
    for place in &found.gone {
        println!("no longer in the module; take it from {list}: {place}");
    }
    for place in &found.new {
        println!("a new path to a panic: {place}");
    }
    println!(
        "{} places of panic in the module, {} of them not reviewed",
        found.all,
        found.new.len()
    );
    if found.new.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "A panic ends every session of a worker. Take the path out, or add it to {list} with the reason why nothing reaches it."
    );
    Ok(ExitCode::FAILURE)
}

/// How a module differs from the list.
#[derive(Debug, Default)]
struct Difference {
    all: usize,
    new: BTreeSet<String>,
    gone: BTreeSet<String>,
}

fn compare(module: &[u8], list: &str) -> Result<Difference> {
    let found: BTreeSet<String> = places(module)?.iter().map(ToString::to_string).collect();
    let reviewed = reviewed(list)?;
    Ok(Difference {
        all: found.len(),
        new: found.difference(&reviewed).cloned().collect(),
        gone: reviewed.difference(&found).cloned().collect(),
    })
}

fn reviewed(list: &str) -> Result<BTreeSet<String>> {
    let mut places = BTreeSet::new();
    for paragraph in list
        .split("\n\n")
        .filter(|paragraph| !paragraph.trim().is_empty())
    {
        if !paragraph.trim_start().starts_with('#') {
            bail!("a paragraph without a reason: {paragraph}");
        }
        let lines = paragraph
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        places.extend(lines.map(str::to_owned));
    }
    Ok(places)
}
