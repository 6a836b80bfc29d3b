//! Cookies, as RFC 6265, 4.2 writes them and 5.4 sends them.

use super::READ_AT_MOST;
use super::request::{Request, trim, whole};

/// The values of the cookie that are not empty, without their quotes. The name is case-sensitive. All `Cookie`
/// headers together are read up to the bound.
pub(crate) fn values<'a>(request: &Request<'a>, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut budget = READ_AT_MOST;
    request.all("cookie").flat_map(move |header| {
        let pairs = match header.split_at_checked(budget) {
            Some((head, [_, ..])) => whole(head, b';'),
            _ => header,
        };
        budget = budget.saturating_sub(header.len());
        pairs
            .split(|&byte| byte == b';')
            .filter_map(move |pair| of_pair(pair, name))
    })
}

fn of_pair<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let equals = pair.iter().position(|&byte| byte == b'=')?;
    let (key, value) = pair.split_at_checked(equals)?;
    if trim(key) != name {
        return None;
    }
    let value = trim(value.strip_prefix(b"=")?);
    let value = match value {
        [b'"', inside @ .., b'"'] => inside,
        plain => plain,
    };
    (!value.is_empty()).then_some(value)
}
