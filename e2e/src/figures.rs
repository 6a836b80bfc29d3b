//! Figures with their bounds, their noise and their controls: a table for people, `bench/results/SUITE.json` for
//! scripts, and a verdict.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

/// What a figure must not exceed or must equal.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// At most.
    AtMost(f64),
    /// Exactly (to one part in a million).
    Exactly(f64),
    /// For comparison only.
    None,
}

/// One figure.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Such as `P1`.
    pub id: String,
    /// What was measured, in words.
    pub what: String,
    /// The value.
    pub value: f64,
    /// Its unit; `1` for a ratio.
    pub unit: &'static str,
    /// The bound.
    pub bound: Bound,
    /// How far the same measurement of two equal arms (or repetitions) lay apart, in the unit of the value.
    pub noise: f64,
    /// How many observations.
    pub n: u64,
    /// What the control arm showed; `null` when the figure needs none.
    pub control: Value,
}

/// How a figure compares with its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Holds.
    Met,
    /// Misses it by no more than the noise.
    WithinNoise,
    /// Misses it.
    Missed,
    /// There is no bound.
    Unbounded,
}

impl Figure {
    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        let excess = match self.bound {
            Bound::AtMost(bound) => self.value - bound,
            Bound::Exactly(bound) => ((self.value - bound).abs() - 1e-6 * bound.abs()).max(0.0),
            Bound::None => return Verdict::Unbounded,
        };
        match excess {
            e if e <= 0.0 => Verdict::Met,
            e if e <= self.noise => Verdict::WithinNoise,
            _ => Verdict::Missed,
        }
    }
}

/// The figures of a suite.
#[derive(Debug)]
pub struct Figures {
    suite: &'static str,
    versions: Value,
    figures: Vec<Figure>,
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    what: &'a str,
    value: f64,
    unit: &'a str,
    bound: Option<f64>,
    noise: f64,
    n: u64,
    control: &'a Value,
}

impl Figures {
    /// None yet.
    pub fn new(suite: &'static str, versions: Value) -> Self {
        Self {
            suite,
            versions,
            figures: Vec::new(),
        }
    }

    /// Adds one and prints it.
    pub fn add(&mut self, figure: Figure) {
        eprintln!("{}", line(&figure));
        self.figures.push(figure);
    }

    /// Writes `SUITE.json` into a folder and returns the table, and whether no bound was missed beyond the noise.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn finish(&self, folder: &Path) -> Result<(String, bool)> {
        let rows: Vec<Row<'_>> = self
            .figures
            .iter()
            .map(|f| Row {
                id: &f.id,
                what: &f.what,
                value: f.value,
                unit: f.unit,
                bound: match f.bound {
                    Bound::AtMost(bound) | Bound::Exactly(bound) => Some(bound),
                    Bound::None => None,
                },
                noise: f.noise,
                n: f.n,
                control: &f.control,
            })
            .collect();
        let report = serde_json::json!({
            "suite": self.suite,
            "versions": self.versions,
            "machine": machine(),
            "figures": rows,
        });
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let path = folder.join(format!("{}.json", self.suite));
        std::fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")?;
        let table: Vec<String> = self.figures.iter().map(line).collect();
        let met = self.figures.iter().all(|f| f.verdict() != Verdict::Missed);
        Ok((table.join("\n"), met))
    }
}

/// `bench/results` of the workspace.
pub fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/results")
}

fn line(figure: &Figure) -> String {
    let bound = match figure.bound {
        Bound::AtMost(bound) => format!("≤ {bound}"),
        Bound::Exactly(bound) => format!("= {bound}"),
        Bound::None => String::new(),
    };
    let verdict = match figure.verdict() {
        Verdict::Met => "met",
        Verdict::WithinNoise => "within noise",
        Verdict::Missed => "MISSED",
        Verdict::Unbounded => "",
    };
    let Figure {
        id,
        what,
        value,
        unit,
        noise,
        n,
        ..
    } = figure;
    let unit = if *unit == "1" { "" } else { unit };
    let decimals = if value.abs() >= 100.0 { 1 } else { 4 };
    format!(
        "{id:<10} {what:<64} {value:>10.decimals$} {unit:<4} {bound:<10} ± {noise:<8.4} n={n:<8} {verdict}"
    )
}

fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .unwrap_or_default();
    let memory = read("/proc/meminfo");
    let kilobytes = memory
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse::<u64>().ok())
        .unwrap_or(0);
    serde_json::json!({
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_gib": kilobytes >> 20,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, bound: Bound, noise: f64) -> Figure {
        let (id, what) = ("P1".to_owned(), "a ratio".to_owned());
        Figure {
            id,
            what,
            value,
            unit: "1",
            bound,
            noise,
            n: 3,
            control: Value::Null,
        }
    }

    #[test]
    fn a_bound_is_missed_only_beyond_the_noise() {
        assert_eq!(figure(1.19, Bound::AtMost(1.2), 0.0).verdict(), Verdict::Met);
        assert_eq!(
            figure(1.22, Bound::AtMost(1.2), 0.03).verdict(),
            Verdict::WithinNoise
        );
        assert_eq!(figure(1.24, Bound::AtMost(1.2), 0.03).verdict(), Verdict::Missed);
        assert_eq!(figure(1.001, Bound::Exactly(1.0), 0.0).verdict(), Verdict::Missed);
    }

    #[test]
    fn the_file_has_the_promised_shape() {
        let folder = tempfile::tempdir().unwrap();
        let mut figures = Figures::new("cost", serde_json::json!({"envoy": "1.40.0"}));
        figures.add(figure(1.1, Bound::AtMost(1.2), 0.01));
        assert!(figures.finish(folder.path()).unwrap().1);
        let text = std::fs::read_to_string(folder.path().join("cost.json")).unwrap();
        let report: Value = serde_json::from_str(&text).unwrap();
        assert!(
            ["suite", "versions", "machine"]
                .iter()
                .all(|key| !report[key].is_null())
        );
        let keys: Vec<&String> = report["figures"][0].as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            ["bound", "control", "id", "n", "noise", "unit", "value", "what"]
        );
    }
}
