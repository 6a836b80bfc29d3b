//! Where a module can panic.
//!
//! Whatever panics in Rust says where: it hands the panic handler a `core::panic::Location`, a constant in the module's
//! data: the address and length of a file's name, a line and a column. So the data of a module, also of one without
//! names, holds every place, whatever was inlined into what. Not among them is memory that runs out: it aborts.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Result, bail};
use wasmparser::{DataKind, Operator, Parser, Payload};

/// A line of a source that can panic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// As the compiler knew it, without the folders of registries and of the toolchain.
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Every place of a module.
///
/// # Errors
/// When the bytes are no module, or its memory is not laid out as rustc does it.
pub(crate) fn places(module: &[u8]) -> Result<BTreeSet<Place>> {
    let memory = Memory::of(module)?;
    Ok(memory
        .segments
        .iter()
        .flat_map(|segment| memory.places(segment))
        .collect())
}

/// The data that a module begins with.
struct Memory<'a> {
    segments: Vec<(usize, &'a [u8])>,
}

impl<'a> Memory<'a> {
    fn of(module: &'a [u8]) -> Result<Self> {
        let mut segments = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            let Payload::DataSection(data) = payload? else {
                continue;
            };
            for segment in data {
                let segment = segment?;
                let DataKind::Active { offset_expr, .. } = segment.kind else {
                    bail!("a segment of data without an address");
                };
                let Operator::I32Const { value } = offset_expr.get_operators_reader().read()? else {
                    bail!("a segment of data with an address that is not constant");
                };
                segments.push((usize::try_from(value)?, segment.data));
            }
        }
        Ok(Self { segments })
    }

    fn bytes(&self, at: u32, len: u32) -> Option<&'a [u8]> {
        let (at, len) = (usize::try_from(at).ok()?, usize::try_from(len).ok()?);
        self.segments.iter().find_map(|(start, data)| {
            let from = at.checked_sub(*start)?;
            data.get(from..from.checked_add(len)?)
        })
    }

    /// Constants of four aligned words that read as a place.
    fn places(&self, (start, data): &(usize, &'a [u8])) -> impl Iterator<Item = Place> {
        data.get(start.wrapping_neg() % 4..)
            .unwrap_or_default()
            .as_chunks::<4>()
            .0
            .windows(4)
            .filter_map(|words| {
                let [at, len, line, column] = words else {
                    return None;
                };
                let [at, len, line, column] = [at, len, line, column].map(|word| u32::from_le_bytes(*word));
                let named = line > 0 && column > 0 && (4..1024).contains(&len);
                let file = std::str::from_utf8(self.bytes(at, len).filter(|_| named)?).ok()?;
                let file = file.ends_with(".rs").then(|| short(file).to_owned())?;
                Some(Place { file, line, column })
            })
    }
}

/// Without the folders that differ from one machine or toolchain to the next.
fn short(file: &str) -> &str {
    for (start, skip) in [("/rustc/", "/library/"), ("/crates/", "/"), ("/rust/deps/", "")] {
        if let Some(rest) = file.strip_prefix(start) {
            return rest.split_once(skip).map_or(rest, |(_, rest)| rest);
        }
    }
    file
}
