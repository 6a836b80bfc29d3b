//! Which edits of a rule may end sessions that are open: its terms hold for all of them as they are now.

use clew_crds::Duration;
use clew_filter_config::terms::Terms;

/// A sentence for each field that has become stricter. Empty: no session ends.
#[must_use]
pub fn who_may_end(old: &Terms, new: &Terms) -> Vec<String> {
    let mut ends = Vec::new();
    let time = Duration::from_millis;
    if is_stricter(old.max_duration_ms, new.max_duration_ms) {
        let longest = time(new.max_duration_ms);
        ends.push(format!(
            "timeouts.maxConnectionDuration: those older than {longest}"
        ));
    }
    if is_stricter(old.idle_ms, new.idle_ms) {
        ends.push(format!("timeouts.idle: those idle for {}", time(new.idle_ms)));
    }
    if is_stricter(old.max_message_bytes, new.max_message_bytes) {
        let most = new.max_message_bytes;
        ends.push(format!(
            "limits.maxMessageSize: those with a message of more than {most} bytes"
        ));
    }
    if is_slower(old, new) {
        ends.push("limits.messageRate: those whose client sends more".to_owned());
    }
    ends
}

/// Of a bound for which 0 is none.
const fn is_stricter(old: u64, new: u64) -> bool {
    new != 0 && (old == 0 || new < old)
}

fn is_slower(old: &Terms, new: &Terms) -> bool {
    let per_time = |a: &Terms, b: &Terms| u128::from(a.rate_messages) * u128::from(b.rate_interval_ms);
    new.is_rated()
        && (!old.is_rated() || per_time(new, old) < per_time(old, new) || new.rate_burst < old.rate_burst)
}
