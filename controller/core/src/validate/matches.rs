use clew_crds::websocket_route::{PathMatch, PathMatchType, RouteMatch, StringMatchType};

use super::expression::expression;
use crate::model::{Expression, Match, Path, Pattern};
use crate::refusal::Code;

/// What is wrong with a match: the field below it, and what to do.
pub(super) type Wrong = (Code, String, String);

/// Reads one match of a rule.
pub(super) fn matching(written: &RouteMatch) -> Result<Match, Wrong> {
    let mut headers = written
        .headers
        .iter()
        .enumerate()
        .map(|(i, header)| {
            let pattern = pattern(header.r#type, &header.value, || format!(".headers[{i}].value"))?;
            Ok((header.name.to_ascii_lowercase(), pattern))
        })
        .collect::<Result<Vec<_>, Wrong>>()?;
    let mut query = written
        .query_params
        .iter()
        .enumerate()
        .map(|(i, param)| {
            let pattern = pattern(param.r#type, &param.value, || format!(".queryParams[{i}].value"))?;
            Ok((param.name.clone(), pattern))
        })
        .collect::<Result<Vec<_>, Wrong>>()?;
    headers.sort_by(|a, b| a.0.cmp(&b.0));
    query.sort_by(|a, b| a.0.cmp(&b.0));
    let mut subprotocols = written.subprotocols.clone();
    subprotocols.sort_unstable();
    subprotocols.dedup();
    Ok(Match {
        path: path(&written.path)?,
        headers,
        query,
        subprotocols,
    })
}

fn path(written: &PathMatch) -> Result<Path, Wrong> {
    let value = written.value.as_str();
    if written.r#type == PathMatchType::RegularExpression {
        return read(value, || ".path.value".to_owned()).map(Path::Regex);
    }
    let wrong = |message: &str| Err((Code::PathInvalid, ".path.value".to_owned(), message.to_owned()));
    if !value.starts_with('/') {
        return wrong("a path begins with a slash");
    }
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong(
            "clients send such characters percent-encoded (RFC 3986, 2.1), as /caf%C3%A9 for /café; write the path that they send",
        );
    }
    if value.contains(['?', '#']) {
        return wrong("a path has no query; write parameters under queryParams");
    }
    if value.contains("//") || value.split('/').any(|segment| segment == "." || segment == "..") {
        return wrong(
            "no request has an empty segment, . or .. in its path; write the path that clients send",
        );
    }
    Ok(match written.r#type {
        PathMatchType::Exact => Path::Exact(value.to_owned()),
        _ => Path::Prefix(value.trim_end_matches('/').to_owned()),
    })
}

fn pattern(kind: StringMatchType, value: &str, field: impl Fn() -> String) -> Result<Pattern, Wrong> {
    match kind {
        StringMatchType::Exact => Ok(Pattern::Exact(value.to_owned())),
        StringMatchType::RegularExpression => read(value, field).map(Pattern::Regex),
    }
}

fn read(value: &str, field: impl Fn() -> String) -> Result<Expression, Wrong> {
    expression(value).map_err(|what| {
        (
            Code::ExpressionInvalid,
            field(),
            format!("{value:?} is not an expression that Envoy takes: {what}"),
        )
    })
}
