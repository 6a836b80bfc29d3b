use std::cmp::Reverse;

use regex::bytes::RegexBuilder;

/// What a handshake must look like: everything of it must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Match {
    /// The path.
    pub path: Path,
    /// Headers, by name.
    pub headers: Vec<HeaderRule>,
    /// Query parameters, by name.
    pub query: Vec<QueryRule>,
    /// The client must offer one of these; sorted. Empty: it may offer what it likes.
    pub subprotocols: Vec<String>,
}

impl Match {
    /// Every request.
    #[must_use]
    pub const fn any() -> Self {
        Self {
            path: Path::Prefix(String::new()),
            headers: Vec::new(),
            query: Vec::new(),
            subprotocols: Vec::new(),
        }
    }
}

/// The path, without the query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// This path.
    Exact(String),
    /// These first segments, without a slash at the end; empty: every path.
    Prefix(String),
    /// The whole path matches.
    Regex(Expression),
}

/// The value of a header or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This value.
    Exact(String),
    /// The whole value matches.
    Regex(Expression),
}

/// One header: its name is lowercase.
pub type HeaderRule = (String, Pattern);
/// One query parameter.
pub type QueryRule = (String, Pattern);

/// A regular expression that RE2 takes, by its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expression(String);

impl Match {
    /// Sorts matches of one virtual host into the order in which Gateway API wants them tried: an exact path,
    /// an expression, a prefix; of two the longer; then the one with more headers, more query parameters, and
    /// subprotocols at all.
    #[must_use]
    pub fn precedence(&self) -> impl Ord + use<> {
        let (kind, length) = match &self.path {
            Path::Exact(path) => (0, path.len()),
            Path::Regex(expression) => (1, expression.as_str().len()),
            Path::Prefix(path) => (2, path.len()),
        };
        (
            kind,
            Reverse((
                length,
                self.headers.len(),
                self.query.len(),
                !self.subprotocols.is_empty(),
            )),
        )
    }
}

impl Match {
    /// What `Sec-WebSocket-Protocol` looks like as a whole: a list with commas, of which one element is one of ours.
    #[must_use]
    pub fn subprotocol_expression(&self) -> Option<String> {
        let any: Vec<_> = self
            .subprotocols
            .iter()
            .map(|token| regex_syntax::escape(token))
            .collect();
        let any = any.join("|");
        (!any.is_empty()).then(|| format!("(?:.*,)?[ \\t]*(?:{any})[ \\t]*(?:,.*)?"))
    }

    /// Whether it certainly takes every handshake that the other one takes.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let path = match (&self.path, &other.path) {
            (Path::Prefix(prefix), Path::Prefix(longer)) => longer
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            (Path::Prefix(prefix), Path::Regex(_)) => prefix.is_empty(),
            (mine, Path::Exact(path)) => mine.takes(path.as_bytes()),
            (mine, theirs) => mine == theirs,
        };
        path && self.headers.iter().all(|rule| other.headers.contains(rule))
            && self.query.iter().all(|rule| other.query.contains(rule))
            && (self.subprotocols.is_empty()
                || !other.subprotocols.is_empty()
                    && other
                        .subprotocols
                        .iter()
                        .all(|one| self.subprotocols.contains(one)))
    }
}

impl Path {
    /// Whether a path, without its query, is taken.
    #[must_use]
    pub fn takes(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => path == exact.as_bytes(),
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_bytes())
                .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with(b"/")),
            Self::Regex(expression) => expression.is_match(path),
        }
    }
}

impl Pattern {
    /// Whether a value is taken.
    #[must_use]
    pub fn takes(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => value == exact.as_bytes(),
            Self::Regex(expression) => expression.is_match(value),
        }
    }
}

impl Expression {
    /// Validation has read it.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole text matches, byte by byte as RE2 reads ASCII. Compiles the expression, which is much larger
    /// than its text, each time.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        RegexBuilder::new(&format!("^(?:{})$", self.0))
            .unicode(false)
            .build()
            .is_ok_and(|whole| whole.is_match(text))
    }
}
