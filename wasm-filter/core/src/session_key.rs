//! What identifies a session: the first of a rule's sources that has a value.
//!
//! Only the value counts, not where it was found: a client that moves from a query parameter to a cookie keeps its
//! pod. Each source gives one spelling of a value (unquoted, percent-decoded, an address in its canonical text), so
//! that equal identities are equal bytes. A key of any length is hashed whole.
//!
//! What has to be parsed is read up to [`READ_AT_MOST`]; a value that does not end within that is no value, never a
//! part of one.

mod cookie;
mod request;
mod source_ip;
mod target;

use std::borrow::Cow;

use clew_filter_config::rule::KeySource;

pub(crate) use self::cookie::values as cookies;
pub use self::request::Request;
pub(crate) use self::request::trim;
use crate::jwt;

/// How many bytes of cookies, of `:path` or of a token are looked at.
pub const READ_AT_MOST: usize = 8 * 1024;

/// A session's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Index of the source that had it.
    pub source: usize,
    /// The key; never empty.
    pub value: Cow<'a, [u8]>,
}

/// Looks for a session's key: the first source with a value that is not empty wins.
#[must_use]
pub fn find<'a>(sources: &[KeySource], request: &Request<'a>) -> Option<Found<'a>> {
    sources.iter().enumerate().find_map(|(source, from)| {
        let value = value(from, request).filter(|value| !value.is_empty())?;
        Some(Found { source, value })
    })
}

fn value<'a>(source: &KeySource, request: &Request<'a>) -> Option<Cow<'a, [u8]>> {
    match source {
        KeySource::Cookie { name } => cookies(request, name.as_bytes()).next().map(Cow::Borrowed),
        KeySource::Header { name } => header(request, name).map(Cow::Borrowed),
        KeySource::QueryParam { name } => target::query_param(request.path, name.as_bytes()),
        KeySource::PathSegment { index } => target::path_segment(request.path, *index),
        KeySource::JwtClaim {
            path,
            header,
            verified,
        } => jwt::claim(request, (header, *verified), path).map(Cow::Owned),
        KeySource::Subprotocol { prefix } => subprotocol(request, prefix.as_bytes()).map(Cow::Borrowed),
        KeySource::SourceIp { trusted_hops } => source_ip::value(request, *trusted_hops).map(Cow::Owned),
    }
}

/// The first of its values that is not empty, as it stands: a comma may be part of it.
fn header<'a>(request: &Request<'a>, name: &str) -> Option<&'a [u8]> {
    request.all(name).find(|value| !value.is_empty())
}

/// What follows the prefix in the first subprotocol that has it and more.
fn subprotocol<'a>(request: &Request<'a>, prefix: &[u8]) -> Option<&'a [u8]> {
    request
        .list("sec-websocket-protocol")
        .filter_map(|protocol| protocol.strip_prefix(prefix))
        .find(|rest| !rest.is_empty())
}
