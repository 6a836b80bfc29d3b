//! What the request's target says: query parameters and path segments.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::READ_AT_MOST;
use super::request::whole;

/// The first value of a query parameter that is not empty. Names and values are decoded as forms are (WHATWG URL,
/// `application/x-www-form-urlencoded`): `%XX`, and `+` for a space; what is not `%XX` stays as it is.
pub(super) fn query_param<'a>(target: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    let (_, query) = parts(target);
    query?.split(|&byte| byte == b'&').find_map(|pair| {
        let (key, value) = split_once(pair, b'=')?;
        (!value.is_empty() && *form_decode(key) == *name).then(|| form_decode(value))
    })
}

/// A segment of the path, percent-decoded: `/a%62` names what `/ab` names (RFC 3986, 6.2.2.2). Empty segments count,
/// as RFC 3986 has it.
pub(super) fn path_segment(target: &[u8], index: u32) -> Option<Cow<'_, [u8]>> {
    let (path, _) = parts(target);
    let mut segments = path.strip_prefix(b"/")?.split(|&byte| byte == b'/');
    let segment = segments.nth(usize::try_from(index).ok()?)?;
    Some(percent_decode(segment).into())
}

/// The path and the query of a target; of one beyond the bound, what is whole within it.
fn parts(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let (head, cut) = match target.split_at_checked(READ_AT_MOST) {
        Some((head, [_, ..])) => (head, true),
        _ => (target, false),
    };
    match split_once(head, b'?') {
        Some((path, query)) if cut => (path, Some(whole(query, b'&'))),
        Some((path, query)) => (path, Some(query)),
        None if cut => (whole(head, b'/'), None),
        None => (head, None),
    }
}

fn form_decode(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'+') {
        return percent_decode(raw).into();
    }
    let spaced: Vec<u8> = raw
        .iter()
        .map(|&byte| if byte == b'+' { b' ' } else { byte })
        .collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let mut halves = bytes.splitn(2, |&byte| byte == separator);
    Some((halves.next()?, halves.next()?))
}
