//! ACLs, and the conditions made of them, as what a WebSocketRoute can match.

use std::collections::BTreeMap;

use super::super::plan::{Match, Path, Text};
use super::super::policy::{is_expression, is_hostname, is_path, is_token, whole};
use super::syntax::Line;

/// More alternatives than this are not written out.
const MAX_ALTERNATIVES: usize = 64;

/// One thing that a handshake is asked for.
#[derive(Clone, Debug, PartialEq)]
enum Atom {
    /// Every handshake has it: it is a WebSocket.
    Always,
    Never,
    Host(String),
    Path(Path),
    Header(Text),
    Query(Text),
}

/// Any of these, of which each asks for a host, or for none, and for the rest.
pub(super) type Alternatives = Vec<(Option<String>, Match)>;

/// What an ACL asks for, any of these, with what differs; or why it cannot be matched.
type Meaning = Result<(Vec<Atom>, Option<String>), String>;

/// The ACLs of a proxy.
#[derive(Default)]
pub(super) struct Acls {
    named: BTreeMap<String, Meaning>,
}

impl Acls {
    /// Reads `acl NAME CRITERION … VALUE…`; lines of one name are alternatives.
    pub(super) fn read(&mut self, line: &Line) {
        let words: Vec<&str> = line.words.iter().skip(2).map(String::as_str).collect();
        let more = criterion(&words);
        let name = line.word(1).to_owned();
        let merged = match (self.named.remove(&name), more) {
            (None, more) => more,
            (Some(Ok((mut atoms, note))), Ok((more, why))) => {
                atoms.extend(more);
                Ok((atoms, note.or(why)))
            }
            (Some(Err(why)), _) | (_, Err(why)) => Err(why),
        };
        self.named.insert(name, merged);
    }

    /// What became of an ACL: what differs, if anything does.
    pub(super) fn meaning(&self, name: &str) -> Result<Option<&str>, &str> {
        match self.named.get(name) {
            Some(Ok((_, note))) => Ok(note.as_deref()),
            Some(Err(why)) => Err(why),
            None => Ok(None),
        }
    }

    /// `if a b or !c { path /x }` as alternatives.
    ///
    /// # Errors
    /// With what cannot be matched.
    pub(super) fn condition(&self, words: &[String]) -> Result<Alternatives, String> {
        let Some((first, words)) = words.split_first() else {
            return Ok(vec![Default::default()]);
        };
        if first != "if" {
            return Err(format!("`{first}` is turned around: it cannot be matched"));
        }
        let mut alternatives = Vec::new();
        for term in split_terms(words) {
            alternatives.extend(self.term(&term)?);
            if alternatives.len() > MAX_ALTERNATIVES {
                return Err("it has too many alternatives".to_owned());
            }
        }
        Ok(alternatives)
    }

    /// What all must hold together.
    fn term(&self, words: &[String]) -> Result<Alternatives, String> {
        let mut found: Alternatives = vec![Default::default()];
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (is_not, word) = match word.strip_prefix('!') {
                Some("") => (true, words.next().map_or("", String::as_str)),
                Some(rest) => (true, rest),
                None => (false, word.as_str()),
            };
            let atoms = if word == "{" {
                let inner: Vec<&str> = words
                    .by_ref()
                    .map(String::as_str)
                    .take_while(|one| *one != "}")
                    .collect();
                criterion(&inner)?.0
            } else {
                match word {
                    "TRUE" | "METH_GET" | "HTTP" | "HTTP_1.1" => vec![Atom::Always],
                    "FALSE" | "METH_POST" | "METH_CONNECT" => vec![Atom::Never],
                    _ => match self.named.get(word) {
                        Some(Ok((atoms, _))) => atoms.clone(),
                        Some(Err(why)) => return Err(why.clone()),
                        None => return Err(format!("no ACL {word} is there")),
                    },
                }
            };
            let atoms = match (is_not, atoms.as_slice()) {
                (false, _) => atoms,
                (true, [Atom::Always, ..]) => vec![Atom::Never],
                (true, [Atom::Never]) => vec![Atom::Always],
                (true, _) => return Err(format!("!{word}: what must not be cannot be matched")),
            };
            let mut product = Vec::new();
            for (host, one) in &found {
                for atom in &atoms {
                    product.extend(both(host.as_deref(), one, atom)?);
                }
            }
            if product.len() > MAX_ALTERNATIVES {
                return Err("it has too many alternatives".to_owned());
            }
            found = product;
        }
        Ok(found)
    }
}

fn split_terms(words: &[String]) -> Vec<Vec<String>> {
    let mut terms = vec![Vec::new()];
    for word in words {
        if matches!(word.as_str(), "or" | "||") {
            terms.push(Vec::new());
        } else if let Some(term) = terms.last_mut() {
            term.push(word.clone());
        }
    }
    terms
}

/// Both together; none where no handshake has both.
fn both(host: Option<&str>, one: &Match, atom: &Atom) -> Result<Option<(Option<String>, Match)>, String> {
    let (mut host, mut one) = (host.map(str::to_owned), one.clone());
    match atom {
        Atom::Always => {}
        Atom::Never => return Ok(None),
        Atom::Host(other) => match &host {
            Some(host) if host != other => return Ok(None),
            _ => host = Some(other.clone()),
        },
        Atom::Path(other) => match &one.path {
            Some(path) if path != other => return Err("two paths at once cannot be matched".to_owned()),
            _ => one.path = Some(other.clone()),
        },
        Atom::Header(text) => one_more(&mut one.headers, text)?,
        Atom::Query(text) => one_more(&mut one.query, text)?,
    }
    Ok(Some((host, one)))
}

/// The API takes one value of a name, and sixteen names.
fn one_more(texts: &mut Vec<Text>, text: &Text) -> Result<(), String> {
    match texts
        .iter()
        .find(|other| other.name.eq_ignore_ascii_case(&text.name))
    {
        Some(other) if other == text => Ok(()),
        Some(_) => Err(format!("two values of {} at once cannot be matched", text.name)),
        None if texts.len() >= 16 => Err("it asks for too much at once".to_owned()),
        None => {
            texts.push(text.clone());
            Ok(())
        }
    }
}

/// What a criterion with its flags and values asks for: any of these.
fn criterion(words: &[&str]) -> Meaning {
    let (fetch, rest) = words.split_first().ok_or("it says nothing")?;
    let mut values = Vec::new();
    let (mut ignores_case, mut method, mut is_over) = (false, None, false);
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        match *word {
            "-i" if !is_over => ignores_case = true,
            "-n" | "-M" | "-u" if !is_over => {}
            "-m" if !is_over => method = rest.next().copied(),
            "-f" if !is_over => return Err("its values are in another file".to_owned()),
            "--" if !is_over => is_over = true,
            value => values.push(value),
        }
    }
    let converters: Vec<&str> = fetch.split(',').skip(1).collect();
    if converters.iter().any(|one| !matches!(*one, "lower" | "lower()")) {
        return Err(format!("{fetch} changes what it compares"));
    }
    let fetch = fetch.split(',').next().unwrap_or_default();
    let (name, argument) = match fetch.split_once('(') {
        Some((name, argument)) => (
            name,
            argument
                .trim_end_matches(')')
                .split(',')
                .next()
                .unwrap_or_default(),
        ),
        None => (fetch, ""),
    };
    // `path_beg` is `path -m beg`.
    let (base, suffix) = match name.rsplit_once('_') {
        Some((base, suffix @ ("beg" | "end" | "sub" | "dir" | "dom" | "reg" | "len" | "str"))) => {
            (base, Some(suffix))
        }
        _ => (name, None),
    };
    let how = method.or(suffix).unwrap_or("str");
    match base {
        "hdr" | "req.hdr" | "req.fhdr" | "hdr_ip" if argument.eq_ignore_ascii_case("host") => {
            hosts(how, &values)
        }
        "req.hdrs" => Err("all headers at once cannot be matched".to_owned()),
        "ssl_fc_sni" | "req.ssl_sni" => hosts(how, &values),
        "hdr" | "req.hdr" | "req.fhdr"
            if argument.eq_ignore_ascii_case("upgrade")
                || argument.eq_ignore_ascii_case("connection")
                || argument.to_ascii_lowercase().starts_with("sec-websocket-") && how == "found" =>
        {
            Ok((vec![Atom::Always], None))
        }
        "hdr_cnt" | "req.hdr_cnt" if argument.to_ascii_lowercase().starts_with("sec-websocket-") => {
            Ok((vec![Atom::Always], None))
        }
        "hdr" | "req.hdr" | "req.fhdr" | "cook" | "req.cook" => {
            let is_cookie = base.ends_with("cook");
            let texts = texts(argument, how, &values, ignores_case)?;
            Ok((
                texts
                    .into_iter()
                    .map(|text| Atom::Header(if is_cookie { cookie(&text) } else { text }))
                    .collect(),
                is_cookie.then(|| "the cookie is looked for in the header, by an expression".to_owned()),
            ))
        }
        "url_param" | "urlp" => Ok((
            texts(argument, how, &values, ignores_case)?
                .into_iter()
                .map(Atom::Query)
                .collect(),
            None,
        )),
        "path" | "url" | "pathq" | "capture.req.uri" => paths(how, &values, ignores_case),
        "method" => Ok((
            vec![if values.contains(&"GET") {
                Atom::Always
            } else {
                Atom::Never
            }],
            None,
        )),
        "always_true" => Ok((vec![Atom::Always], None)),
        "always_false" => Ok((vec![Atom::Never], None)),
        _ => Err(format!("{fetch} cannot be matched")),
    }
}

fn hosts(how: &str, values: &[&str]) -> Meaning {
    let (mut atoms, mut note) = (Vec::new(), None);
    for value in values {
        let value = value.to_ascii_lowercase();
        let bare = value.split(':').next().unwrap_or_default();
        let found = match how {
            "str" => vec![bare.to_owned()],
            "end" if value.starts_with('.') => vec![format!("*{bare}")],
            "end" | "dom" | "sub" => {
                note = Some(format!("{value}: the name itself and what is below it"));
                vec![bare.to_owned(), format!("*.{bare}")]
            }
            _ => return Err(format!("a host cannot be matched by {how}")),
        };
        if let Some(wrong) = found.iter().find(|host| !is_hostname(host)) {
            return Err(format!("{wrong} is no hostname of Gateway API"));
        }
        atoms.extend(found.into_iter().map(Atom::Host));
    }
    Ok((atoms, note))
}

fn paths(how: &str, values: &[&str], ignores_case: bool) -> Meaning {
    let (mut atoms, mut note) = (Vec::new(), None);
    let escape = |value: &str| regex_syntax::escape(value);
    for value in values {
        let plain = !ignores_case && is_path(value);
        let by_expression =
            |text: &str| whole(text, ignores_case).ok_or_else(|| format!("{value} is no RE2 expression"));
        let path = match how {
            "str" if plain => Path::Exact((*value).to_owned()),
            "str" => by_expression(&format!("^{}$", escape(value)))?,
            "beg" if *value == "/" => {
                atoms.push(Atom::Always);
                continue;
            }
            "beg" if plain => {
                if !value.ends_with('/') {
                    note = Some(format!(
                        "PathPrefix by segments: {value} takes {value} and {value}/a, not {value}x as HAProxy did"
                    ));
                }
                Path::Prefix((*value).to_owned())
            }
            "beg" => by_expression(&format!("^{}", escape(value)))?,
            "end" => by_expression(&format!("{}$", escape(value)))?,
            "sub" => by_expression(&escape(value))?,
            "dir" => by_expression(&format!("(^|.*/){}(/.*)?$", escape(value.trim_matches('/'))))?,
            "reg" => by_expression(value)?,
            _ => return Err(format!("a path cannot be matched by {how}")),
        };
        atoms.push(Atom::Path(path));
    }
    Ok((atoms, note))
}

fn texts(name: &str, how: &str, values: &[&str], ignores_case: bool) -> Result<Vec<Text>, String> {
    if !is_token(name) {
        return Err(format!("{name:?} is no name"));
    }
    let text = |value: String, by_expression: bool| {
        if value.is_empty() || value.len() > 1024 || by_expression && !is_expression(&value) {
            return Err(format!("{value:?} cannot be matched"));
        }
        Ok(Text {
            name: name.to_owned(),
            value,
            is_expression: by_expression,
        })
    };
    let case = if ignores_case { "(?i)" } else { "" };
    if how == "found" {
        return Ok(vec![text(".+".to_owned(), true)?]);
    }
    let of = |value: &&str| {
        let escaped = regex_syntax::escape(value);
        match how {
            "str" if !ignores_case => text((*value).to_owned(), false),
            "str" => text(format!("{case}{escaped}"), true),
            "beg" => text(format!("{case}{escaped}.*"), true),
            "end" => text(format!("{case}.*{escaped}"), true),
            "sub" => text(format!("{case}.*{escaped}.*"), true),
            "reg" => match whole(value, ignores_case) {
                Some(Path::Expression(whole)) => text(whole, true),
                _ => Err(format!("{value} is no RE2 expression")),
            },
            _ => Err(format!("a text cannot be matched by {how}")),
        }
    };
    values.iter().map(of).collect()
}

/// A cookie's value, in the header that carries all of them.
pub(in super::super) fn cookie(text: &Text) -> Text {
    let value = if text.is_expression {
        text.value.clone()
    } else {
        regex_syntax::escape(&text.value)
    };
    Text {
        name: "cookie".to_owned(),
        value: format!("(.*; ?)?{}={value}(;.*)?", regex_syntax::escape(&text.name)),
        is_expression: true,
    }
}
