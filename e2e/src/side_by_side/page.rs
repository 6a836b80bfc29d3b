//! The figures of `make bench SUITE=side-by-side` and `SUITE=rooms` as pages show them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::rooms::Store;
use super::ways;
use crate::figures::results;

const END: &str = "<!-- end -->\n";
/// What of each way is shown, and with how many decimals.
const SHOWN: [(&str, &str, usize); 6] = [
    ("sticky", "keys that kept to one server, %", 0),
    ("moved", "keys moved ÷ minimum", 2),
    ("reload", "live sessions lost by a reload", 0),
    ("orderly", "drained sessions that got a Close, %", 0),
    ("unanswered", "their messages without an answer", 0),
    ("peak", "busiest tenth of a drain ÷ evenly", 1),
];

/// The same of rooms, and where in a figure both sides are.
const OF_ROOMS: [(&str, &str, usize, [&str; 2]); 17] = [
    ("lost", "messages lost while all servers are restarted", 0, SIDES),
    (
        "lost",
        "… with Clew and nothing between the servers",
        0,
        ["", "/control/Clew and nothing between"],
    ),
    ("doubled", "heard twice meanwhile", 0, SIDES),
    ("late", "out of order meanwhile", 0, SIDES),
    ("closes", "sessions that ended with a Close of 1012, %", 0, SIDES),
    (
        "reconnects",
        "who come back in the busiest tenth ÷ evenly",
        1,
        SIDES,
    ),
    ("moves", "times that a person had to come back", 1, SIDES),
    ("took", "time of that restart, s", 0, SIDES),
    ("cpu", "CPU per message that somebody hears, µs", 0, SIDES),
    (
        "cpu",
        "… of the proxy",
        0,
        [
            "/control/of it with NGINX/proxy",
            "/control/of it with Clew/proxy",
        ],
    ),
    (
        "cpu",
        "… of the servers",
        0,
        [
            "/control/of it with NGINX/servers",
            "/control/of it with Clew/servers",
        ],
    ),
    (
        "cpu",
        "… of Redis or NATS",
        0,
        [
            "/control/of it with NGINX/store",
            "/control/of it with Clew/store",
        ],
    ),
    ("median", "until half of the messages are heard, ms", 1, SIDES),
    ("p99", "until 99 % are heard, ms", 1, SIDES),
    ("crash-lost", "messages lost when a server is killed", 0, SIDES),
    ("crash-doubled", "heard twice then", 0, SIDES),
    (
        "remembered",
        "what a newcomer gets of all that was said before, %",
        0,
        SIDES,
    ),
];
const SIDES: [&str; 2] = ["/control/NGINX", "/value"];

/// The pages that show figures, each with those that are in `bench/results`.
///
/// # Errors
/// When a page is not there, or there are no figures.
pub fn pages() -> Result<Vec<(PathBuf, String)>> {
    let ways = ("side-by-side", of_ways(&report("side-by-side")?)?);
    let rooms = report("rooms")?;
    let rooms = |stores: &[Store]| Ok::<_, anyhow::Error>(("rooms", of_rooms(&rooms, stores)?));
    [
        ("benchmarks.md", vec![ways, rooms(&Store::ALL)?]),
        (
            "guide/coming-from-redis-sessions.md",
            vec![rooms(&[Store::Redis])?],
        ),
        (
            "guide/coming-from-message-queues.md",
            vec![rooms(&[Store::Nats])?],
        ),
    ]
    .into_iter()
    .map(|(page, measured)| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
        let mut text = std::fs::read_to_string(&file).context(page)?;
        for (suite, tables) in measured {
            text = filled(&text, suite, &tables).with_context(|| format!("{page}, {suite}"))?;
        }
        Ok((file, text))
    })
    .collect()
}

fn filled(text: &str, suite: &str, tables: &str) -> Result<String> {
    let begin = format!("<!-- measured: make bench SUITE={suite} -->\n");
    let (before, rest) = text
        .split_once(&begin)
        .context("the page has no place for figures")?;
    let (_, after) = rest
        .split_once(END)
        .context("the figures of the page have no end")?;
    Ok(format!("{before}{begin}\n{tables}\n{END}{after}"))
}

fn report(suite: &str) -> Result<Value> {
    let file = results().join(format!("{suite}.json"));
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

fn find<'r>(report: &'r Value, id: &str) -> Result<&'r Value> {
    let figures = report["figures"].as_array().context("figures")?;
    let found = figures.iter().find(|figure| figure["id"] == id);
    found.with_context(|| format!("there is no figure {id}"))
}

fn number(value: &Value, decimals: usize) -> String {
    let value = value.as_f64().unwrap_or(f64::NAN);
    format!("{value:.decimals$}")
}

fn of_rooms(report: &Value, stores: &[Store]) -> Result<String> {
    let mut text = String::from("| NGINX in turn, everything through the store → Clew by the room |");
    for store in stores {
        text += &format!(" {} | noise |", store.name());
    }
    text += &format!("\n|---|{}\n", "---|---|".repeat(stores.len()));
    for (id, what, decimals, sides) in OF_ROOMS {
        text += &format!("| {what} |");
        for store in stores {
            let figure = find(report, &format!("{id}.{}", store.id()))?;
            let [before, after] = sides.map(|side| match figure.pointer(side) {
                Some(value) if !side.is_empty() => number(value, decimals),
                _ => "–".to_owned(),
            });
            let noise = match sides == SIDES {
                true => format!("± {}", number(&figure["noise"], decimals)),
                false => String::new(),
            };
            text += &format!(" {before} → {after} | {noise} |");
        }
        text += "\n";
    }
    Ok(text)
}

fn of_ways(report: &Value) -> Result<String> {
    let mut text = String::from("| theirs → Clew |");
    for (_, what, _) in SHOWN {
        text += &format!(" {what} |");
    }
    text += &format!("\n|---|{}\n", "---|".repeat(SHOWN.len()));
    for way in ways::ALL {
        text += &format!("| {} `{}` |", way.kind.name(), way.what);
        for (id, _, decimals) in SHOWN {
            let figure = find(report, &format!("{id}.{}", way.id))?;
            let (before, after) = (&figure["control"][way.kind.name()], &figure["value"]);
            text += &format!(" {} → {} |", number(before, decimals), number(after, decimals));
        }
        text += "\n";
    }
    text += "\n| | NGINX | HAProxy | Envoy without Clew | Clew | noise |\n|---|---|---|---|---|---|\n";
    for id in ["upgrade", "message", "idle"] {
        let figure = find(report, id)?;
        let control = &figure["control"];
        text += &format!(
            "| {}, {} | {} | {} | {} | {} | ± {} |\n",
            figure["what"].as_str().unwrap_or_default(),
            figure["unit"].as_str().unwrap_or_default(),
            number(&control["NGINX"], 1),
            number(&control["HAProxy"], 1),
            number(&control["Envoy without Clew"], 1),
            number(&mean(&figure["value"], &control["Clew again"]), 1),
            number(&figure["noise"], 1),
        );
    }
    Ok(text)
}

/// Of two equal arms.
fn mean(one: &Value, again: &Value) -> Value {
    let both = one.as_f64().zip(again.as_f64());
    both.map(|(one, again)| f64::midpoint(one, again)).into()
}

#[cfg(test)]
mod tests {
    use super::pages;

    #[test]
    fn pages_say_what_was_measured() {
        for (file, page) in pages().unwrap() {
            if std::env::var_os("CLEW_GOLDEN").is_some() {
                std::fs::write(&file, &page).unwrap();
            }
            assert_eq!(
                std::fs::read_to_string(&file).unwrap(),
                page,
                "make golden writes it"
            );
        }
    }
}
