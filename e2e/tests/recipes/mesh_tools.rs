//! Retries, timeouts, outlier detection, limits and faults on handshakes: open sessions notice none of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use clew_e2e::recipe::Recipe;

type Table<'a> = BTreeMap<&'a str, u64>;

/// Of each check.
const KEYS: u64 = 60;
const CHAPTERS: [&str; 8] = [
    "The servers",
    "Timeouts that cut nobody",
    "Faults",
    "Sessions that end",
    "A server that is ill",
    "A server that is gone",
    "Servers that hang",
    "Stop",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_of_a_mesh_are_for_handshakes_and_leave_sessions_alone() -> Result<()> {
    let printed = Recipe::new("mesh-tools").await?.follow(&CHAPTERS).await?;
    let tables = printed.figures();
    let [
        timeouts,
        cutting,
        faults,
        ejecting,
        ended,
        ill,
        out,
        gone,
        retried,
        given_up,
        waiting,
        unlimited,
        limited,
    ] = tables.as_slice()
    else {
        anyhow::bail!("{} tables: {printed:?}", tables.len());
    };
    let check = || {
        for table in &tables {
            ensure!(is(table, "handshakes")? == KEYS, "{table:?}");
            ensure!(
                is(table, "doubled")? + is(table, "out of order")? == 0,
                "{table:?}"
            );
        }
        for table in tables.iter().filter(|table| !std::ptr::eq(*table, cutting)) {
            ensure!(is(table, "lost")? + is(table, "cut off")? == 0, "{table:?}");
        }
        println!("timeouts with Clew: {timeouts:?}");
        println!("and with Envoy alone: {cutting:?}");
        ensure!(
            is(timeouts, "closed with 1001")? == KEYS / 2 && is(timeouts, "closed with 1000")? == KEYS / 2
        );
        ensure!(is(cutting, "cut off")? == KEYS / 2, "the control");

        println!("a fifth refused, a fifth held back: {faults:?}");
        ensure!((2..30).contains(&is(faults, "answered with 503")?));
        ensure!((2..30).contains(&is(faults, LATE)?));
        ensure!(is(faults, "answered with 101")? + is(faults, "answered with 503")? == KEYS);

        println!("sessions end, with Envoy's outlier detection and with ours: {ejecting:?}, {ended:?}");
        ensure!(is(ejecting, MOVED)? > 0, "the control");
        ensure!(is(ended, MOVED)? == 0 && is(ended, "closed with 1000")? == KEYS);

        println!("a server is ill, without outlier detection and with it: {ill:?}, {out:?}");
        let its_keys = is(ill, "answered with 500")?;
        ensure!(its_keys > 4, "the control");
        // A worker may hear of the ejection one handshake late.
        ensure!((3..=4).contains(&is(out, "answered with 500")?));
        ensure!(is(out, "answered with 101")? + is(out, "answered with 500")? == KEYS);

        println!("a server is gone, without retries and with them: {gone:?}, {retried:?}");
        ensure!(is(gone, "answered with 503")? == its_keys, "the control");
        ensure!(is(retried, "answered with 101")? == KEYS);

        println!("a server hangs, one second and ten: {given_up:?}, {waiting:?}");
        for table in [given_up, waiting] {
            ensure!(is(table, "answered with 504")? == its_keys && is(table, LATE)? == its_keys);
        }
        ensure!(is(given_up, LAST)? < 4 && is(waiting, LAST)? >= 10);

        println!("all hang, without a limit and with one of four: {unlimited:?}, {limited:?}");
        ensure!(is(unlimited, LATE)? == KEYS, "the control");
        // Two workers may both find room for the fourth.
        ensure!(is(limited, "answered with 503")? == KEYS && (1..=5).contains(&is(limited, LATE)?));
        Ok(())
    };
    check().with_context(|| format!("{printed:?}"))
}

const LATE: &str = "answered after 400 ms or more";
const LAST: &str = "seconds until the last answer";
const MOVED: &str = "on another server than before";

fn is(table: &Table<'_>, name: &str) -> Result<u64> {
    table.get(name).copied().with_context(|| format!("no {name}"))
}
