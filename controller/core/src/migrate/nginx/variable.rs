//! NGINX's variables as session keys, for nginx.conf and for annotations.

use std::collections::BTreeMap;

use super::super::plan::Path;
use super::super::policy::{Key, is_token, segments};
use super::syntax::Directive;

/// The `map`s by the variable that they make.
pub(in super::super) type Maps<'a> = BTreeMap<&'a str, &'a Directive>;

/// Maps of maps; deeper ones are not followed.
const MAX_DEPTH: usize = 8;

/// A text of variables as keys: the sources in their order, and what differs, if anything does.
///
/// # Errors
/// With the reason, where no source says the same.
pub(in super::super) fn keys(
    text: &str,
    path: Option<&Path>,
    maps: &Maps<'_>,
    hops: u32,
) -> Result<(Vec<Key>, Option<String>), String> {
    keys_below(text, path, maps, hops, 0)
}

fn keys_below(
    text: &str,
    path: Option<&Path>,
    maps: &Maps<'_>,
    hops: u32,
    depth: usize,
) -> Result<(Vec<Key>, Option<String>), String> {
    let names = variables(text);
    let Some(name) = names.first() else {
        return Err(format!("{text} is the same for every session"));
    };
    let (mut keys, mut note) = (Vec::new(), None);
    for name in &names {
        let (more, why) = match maps.get(name.as_str()) {
            Some(map) if depth < MAX_DEPTH => mapped(map, path, maps, hops, depth)?,
            _ => one(name, path, hops)?,
        };
        for key in more {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        note = note.or(why);
    }
    if names.len() > 1 && keys.len() > 1 {
        let words: Vec<_> = keys.iter().map(Key::words).collect();
        note = Some(format!(
            "several variables made one key; here the first that is there is the key: {}",
            words.join(", then ")
        ));
    } else if *text != format!("${name}") && *text != format!("${{{name}}}") && names.len() == 1 {
        note = note.or(Some(format!("the text around ${name} is left out of the key")));
    }
    keys.truncate(8);
    Ok((keys, note))
}

/// `map $a $b { default …; "" …; }`: the value where there is one, and what stands for its absence.
fn mapped(
    map: &Directive,
    path: Option<&Path>,
    maps: &Maps<'_>,
    hops: u32,
    depth: usize,
) -> Result<(Vec<Key>, Option<String>), String> {
    let source = map.first();
    let (mut keys, mut note) = keys_below(source, path, maps, hops, depth + 1)?;
    for entry in map.children() {
        match (entry.name.as_str(), entry.first()) {
            ("hostnames" | "volatile", _) => {}
            ("default", value) if value == source || value.is_empty() => {}
            ("" | "default", value) => match keys_below(value, path, maps, hops, depth + 1) {
                Ok((more, why)) => {
                    keys.extend(more);
                    note = note.or(why);
                }
                Err(why) => note = Some(why),
            },
            _ => {
                note = Some(format!(
                    "the map makes other values of {source}; here the key is {source} itself"
                ))
            }
        }
    }
    Ok((keys, note))
}

fn one(name: &str, path: Option<&Path>, hops: u32) -> Result<(Vec<Key>, Option<String>), String> {
    let key = |key| Ok((vec![key], None));
    let token = |name: &str, key: fn(String) -> Key| match is_token(name) {
        true => key_of(key(name.to_owned())),
        false => Err(format!("{name:?} is no name")),
    };
    fn key_of(key: Key) -> Result<(Vec<Key>, Option<String>), String> {
        Ok((vec![key], None))
    }
    match name {
        "remote_addr" | "binary_remote_addr" | "realip_remote_addr" => key(Key::Address { hops }),
        "request_uri" | "uri" | "document_uri" => segment(name, path),
        "proxy_add_x_forwarded_for" => token("x-forwarded-for", Key::Header),
        "http_host" | "host" => {
            Err("the host is no key: sessions of one host would all go to one server".to_owned())
        }
        "request_id" | "msec" | "connection" => Err(format!("${name} is another for every session")),
        _ => {
            if let Some(name) = name.strip_prefix("cookie_") {
                token(name, Key::Cookie)
            } else if let Some(name) = name.strip_prefix("arg_") {
                token(name, Key::Query)
            } else if let Some(name) = name.strip_prefix("http_") {
                token(&name.replace('_', "-").to_ascii_lowercase(), Key::Header)
            } else if let Some(name) = name.strip_prefix("jwt_claim_") {
                token(name, Key::Claim)
            } else {
                Err(format!("${name} is no source of keys"))
            }
        }
    }
}

/// The path as a key: the segment after what the rule matches.
fn segment(name: &str, path: Option<&Path>) -> Result<(Vec<Key>, Option<String>), String> {
    let index = match path {
        None => 0,
        Some(Path::Prefix(prefix)) => segments(prefix),
        Some(Path::Exact(_)) => {
            return Err(format!(
                "${name} differs by its query only, for one path: name the parameter (type QueryParam)"
            ));
        }
        Some(Path::Expression(_)) => {
            return Err(format!(
                "${name} is no source of keys, and an expression does not say which segment it means"
            ));
        }
    };
    if index > 31 {
        return Err(format!("${name} has too many segments"));
    }
    Ok((
        vec![Key::Segment(index)],
        Some(format!(
            "the key is segment {index} of the path, not all of ${name}: equal paths still share a server, and so do \
             paths that differ after that segment"
        )),
    ))
}

/// The names of the variables in a text.
pub(in super::super) fn variables(text: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split('$')
        .skip(1)
        .filter_map(|rest| match rest.strip_prefix('{') {
            Some(rest) => rest.split('}').next(),
            None => rest.split(|c| !is_name(c)).next(),
        })
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}
