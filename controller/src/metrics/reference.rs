//! The page of all metrics is what the filter's are declared as, and what the controller says of its own. `make golden` rewrites it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use std::{env, fs};

use clew_filter_config::metrics::{Kind, LABEL_ROUTE, METRICS, Metric};

use super::Metrics;
use super::places::tests::proxy;
use crate::{clock, cluster};

/// Values of these labels are known to nobody beforehand.
const FREE: [&str; 8] = [
    "kind",
    "code",
    "method",
    "host",
    "version",
    "clew_proxy",
    "clew_backend",
    "clew_pod",
];

#[test]
fn the_reference_names_every_metric() {
    let mut text = "# What is counted\n\nGenerated from where the metrics are declared (`make golden`). How to look at them, [the guide](../guide/observability.md) says.\n\n\
                    ## By Envoy\n\nOn the endpoint of each proxy, by the filter. `clew_route` is namespace/name/rule of the route; no label is ever a session's key. A series \
                    appears when it first counts something.\n\n"
        .to_owned();
    text += &table(METRICS.iter().map(of_filter));
    for metric in METRICS {
        text += &values(metric);
    }
    text += "\n## By the controller\n\nOn `/metrics` of each replica, and of the API of `clew run`. Those that are not called `clew_` have the names by which dashboards for controllers made \
             with controller-runtime and client-go know them.\n\n";
    text += &table(of_controller());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/metrics.md");
    if env::var("CLEW_GOLDEN").is_ok_and(|value| value == "rewrite") {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), text, "run make golden");
}

struct Row {
    name: String,
    kind: String,
    labels: String,
    meaning: String,
}

fn table(rows: impl IntoIterator<Item = Row>) -> String {
    let mut text = "| metric | type | unit | labels | what |\n|---|---|---|---|---|\n".to_owned();
    for Row {
        name,
        kind,
        labels,
        meaning,
    } in rows
    {
        let unit = unit(&name);
        text += &format!("| `{name}` | {kind} | {unit} | {labels} | {meaning} |\n");
    }
    text
}

/// Names end with their unit.
fn unit(name: &str) -> &'static str {
    let name = name.trim_end_matches("_total");
    match name.rsplit('_').next() {
        Some("ms") => "milliseconds",
        Some("seconds") => "seconds",
        Some("bytes") => "bytes",
        _ => "",
    }
}

fn of_filter(metric: &Metric) -> Row {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let more = metric.series.first().and_then(|((_, _, label), _)| *label);
    let more = more.map_or(String::new(), |(label, _)| format!(", `{label}`"));
    Row {
        name: metric.name.to_owned(),
        kind: kind.to_owned(),
        labels: format!("`{LABEL_ROUTE}`{more}"),
        meaning: metric.meaning.trim().to_owned(),
    }
}

/// What each value of a metric's own label means.
fn values(metric: &Metric) -> String {
    let mut text = String::new();
    for ((_, name, label), what) in metric.series {
        let Some((label, value)) = label else {
            return text;
        };
        if text.is_empty() {
            text = format!("\n`{label}` of `{name}`:\n\n| value | what |\n|---|---|\n");
        }
        text += &format!("| `{value}` | {} |\n", what.trim());
    }
    text
}

/// As they are once all has happened that they count.
fn of_controller() -> Vec<Row> {
    let metrics = Metrics::new();
    let (took, now) = (Duration::from_millis(3), clock::now());
    metrics.queue.begins(1, now);
    metrics.queue.ended(true, now);
    metrics.reconciled(true, took);
    metrics.reconciled(false, took);
    metrics.routes(1, 1, 1);
    metrics.envoy_restarted();
    metrics.leads(true);
    metrics.wrote(cluster::Kind::WasmPlugin);
    metrics.requested("200".to_owned(), "GET", "a:443");
    let text = metrics.text(&[proxy(&[("shop/chat/rooms", "chat-0", 7)])]);
    let mut rows = Vec::new();
    for family in text.split("# HELP ").skip(1) {
        let mut lines = family.lines();
        let (name, help) = lines.next().unwrap().split_once(' ').unwrap();
        let kind = lines.next().unwrap().rsplit(' ').next().unwrap();
        let suffix = if kind == "counter" { "_total" } else { "" };
        rows.push(Row {
            name: format!("{name}{suffix}"),
            kind: kind.to_owned(),
            labels: labels(lines),
            meaning: help.to_owned(),
        });
    }
    let files = [
        include_str!("../metrics.rs"),
        include_str!("queue.rs"),
        include_str!("places.rs"),
    ];
    let registered: usize = files
        .map(|file| file.matches("registry.register(").count())
        .iter()
        .sum();
    assert_eq!(
        rows.len(),
        registered,
        "not all of them count something here:\n{text}"
    );
    rows
}

/// The labels of these samples, with their values where these are known.
fn labels<'t>(samples: impl Iterator<Item = &'t str>) -> String {
    let mut labels = BTreeMap::<&str, BTreeSet<&str>>::new();
    for sample in samples {
        let within = sample.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        for label in within.map_or("", |(within, _)| within).split(',') {
            if let Some((name, value)) = label.split_once('=').filter(|(name, _)| *name != "le") {
                labels.entry(name).or_default().insert(value.trim_matches('"'));
            }
        }
    }
    let label = |(name, values): (&str, BTreeSet<&str>)| {
        let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
        match FREE.contains(&name) {
            true => format!("`{name}`"),
            false => format!("`{name}`: {}", values.join(" or ")),
        }
    };
    labels.into_iter().map(label).collect::<Vec<_>>().join("; ")
}
