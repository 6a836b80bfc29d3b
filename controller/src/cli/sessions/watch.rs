//! Sessions as they come and go.

use std::io::{self, IsTerminal};
use std::time::Duration;

use serde_json::Value;

use super::{name_silent, tables};
use crate::cli::output::{self, Format};
use crate::clock;
use crate::failure::Failure;

/// Proxies say once a second whom they have.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Prints them whenever they change, until Ctrl-C, or until nobody reads on.
pub(super) async fn watch(
    ask: impl AsyncFnMut() -> Result<Value, Failure>,
    output: Format,
) -> Result<(), Failure> {
    tokio::select! {
        ended = follow(ask, output) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow(mut ask: impl AsyncFnMut() -> Result<Value, Failure>, output: Format) -> Result<(), Failure> {
    let on_a_screen = output == Format::Table && io::stdout().is_terminal();
    let mut seen = Value::Null;
    let mut is_away = false;
    loop {
        match ask().await {
            Ok(sessions) if is_away || sessions != seen => {
                let text = match on_a_screen {
                    true => in_place(&tables(&sessions), rows()),
                    false => below(&sessions, output, seen.is_null())?,
                };
                if !output::text_to_stdout(&text)? {
                    return Ok(());
                }
                if on_a_screen || sessions["silent"] != seen["silent"] {
                    name_silent(&sessions);
                }
                seen = sessions;
                is_away = false;
            }
            Ok(_) => {}
            // Who has never answered has not gone away.
            Err(why) if seen.is_null() => return Err(why),
            Err(why) if !is_away => {
                eprintln!("clew: {why}; asked again until there is an answer");
                is_away = true;
            }
            Err(_) => {}
        }
        clock::pause(LOOK_AGAIN).await;
    }
}

/// Below what was printed before.
fn below(sessions: &Value, output: Format, is_first: bool) -> Result<String, Failure> {
    Ok(match output {
        Format::Table if is_first => tables(sessions),
        Format::Table => format!("\n{}", tables(sessions)),
        Format::Json => sessions.to_string(),
        Format::Yaml => {
            let document = serde_saphyr::to_string(sessions);
            format!(
                "---\n{}",
                document.map_err(|error| Failure::refused(error.to_string()))?
            )
        }
    })
}

/// How many the terminal has, where it says so.
fn rows() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_row)).filter(|rows| *rows > 0)
}

/// Instead of what the terminal shows. Of lines that are too long the end is left out, and of too many those before the last, which sums up.
fn in_place(tables: &str, rows: Option<usize>) -> String {
    let lines: Vec<&str> = tables.lines().collect();
    let rows = rows.unwrap_or(usize::MAX);
    let text = match lines.split_last() {
        // The cursor stands in one row more.
        Some((sum, body)) if lines.len() >= rows => {
            let (shown, left_out) = body.split_at(rows.saturating_sub(3).min(body.len()));
            format!("{}\n… {} more lines\n{sum}", shown.join("\n"), left_out.len())
        }
        _ => lines.join("\n"),
    };
    format!("{HOME}{WRAPS_NOT}{text}{WRAPS}\n")
}

/// To the first row, and nothing below it.
const HOME: &str = "\x1b[H\x1b[J";
/// Long lines end at the last column.
const WRAPS_NOT: &str = "\x1b[?7l";
/// And go on in the next row again.
const WRAPS: &str = "\x1b[?7h";

#[cfg(test)]
mod tests {
    use super::{Format, HOME, WRAPS, WRAPS_NOT, below, in_place};
    use serde_json::json;

    #[test]
    fn on_a_screen_the_last_line_stays_where_not_all_have_room() {
        let shown = |rows| {
            let text = in_place("a\nb\nc\nd\n\n4 sessions\n", rows);
            let text = text.strip_prefix(HOME)?.strip_prefix(WRAPS_NOT)?;
            Some(text.strip_suffix('\n')?.strip_suffix(WRAPS)?.to_owned())
        };
        let all = "a\nb\nc\nd\n\n4 sessions";
        assert_eq!(shown(None).as_deref(), Some(all));
        assert_eq!(shown(Some(7)).as_deref(), Some(all));
        let most = "a\nb\nc\n… 2 more lines\n4 sessions";
        assert_eq!(shown(Some(6)).as_deref(), Some(most));
        assert_eq!(shown(Some(1)).as_deref(), Some("\n… 5 more lines\n4 sessions"));
    }

    #[test]
    fn where_nothing_is_redrawn_programs_can_tell_one_answer_from_the_next() {
        let sessions = json!({"total": 1, "rules": [], "backends": []});
        let printed = |output| [true, false].map(|is_first| below(&sessions, output, is_first).unwrap());
        let [first, next] = printed(Format::Table);
        assert_eq!(next, format!("\n{first}"));
        assert_eq!(
            printed(Format::Json),
            [sessions.to_string(), sessions.to_string()]
        );
        for document in printed(Format::Yaml) {
            assert!(
                document.starts_with("---\n") && document.contains("total: 1"),
                "{document}"
            );
        }
    }
}
