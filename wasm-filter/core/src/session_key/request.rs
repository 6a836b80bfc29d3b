//! What an upgrade request says, as bytes: nothing promises that it is text.

/// An upgrade request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `:path`, with the query.
    pub path: &'a [u8],
    /// Names in lowercase. A header that came several times is here several times, or once with commas.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// The peer's address: `ip:port`, IPv6 in brackets.
    pub peer: &'a [u8],
}

impl<'a> Request<'a> {
    /// The first value of a header, without the white space around it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Every value of a header in order, without the white space around it.
    pub fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(key, _)| *key == name.as_bytes())
            .map(|(_, value)| trim(value))
    }

    /// Every element of a header that is a list with commas, empty ones left out (RFC 9110, 5.6.1).
    pub fn list(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(trim)
            .filter(|element| !element.is_empty())
    }
}

/// Removes spaces and tabs from both ends (RFC 9110, 5.6.3).
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The pieces that end within bytes which a bound cut off: all up to the last separator.
pub(super) fn whole(cut: &[u8], separator: u8) -> &[u8] {
    cut.rsplitn(2, |&byte| byte == separator)
        .nth(1)
        .unwrap_or_default()
}
