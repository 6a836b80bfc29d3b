//! Which regular expressions Envoy takes. One that it does not would make it refuse everybody's routes, so whatever RE2
//! might read otherwise than we do is refused here.

use regex_syntax::ast::{
    AssertionKind, Ast, ClassSet, ClassSetItem, Flag, FlagsItemKind, GroupKind, HexLiteralKind, LiteralKind,
    RepetitionKind, RepetitionRange, parse::Parser,
};

use crate::model::Expression;

/// RE2's limit for one counted repetition, and for nested ones together.
const MOST_REPEATS: u32 = 1000;
/// Far below what RE2 has memory for, and far above what a path needs.
const MOST_STATES: u32 = 10_000;

/// Reads an expression, or says what is wrong with it.
pub(super) fn expression(text: &str) -> Result<Expression, String> {
    let ast = Parser::new()
        .parse(text)
        .map_err(|error| format!("{}, at character {}", error.kind(), error.span().start.column))?;
    let states = check(&ast, 1)?;
    if states > MOST_STATES {
        return Err("it is too large once its repetitions are written out".to_owned());
    }
    Ok(Expression::new(text.to_owned()))
}

/// How many states the expression takes, written out; an error for what RE2 does not read alike.
fn check(ast: &Ast, repeats: u32) -> Result<u32, String> {
    match ast {
        Ast::Empty(_) | Ast::Dot(_) | Ast::ClassPerl(_) => Ok(1),
        Ast::ClassUnicode(_) => Err("write the characters out instead of a Unicode class".to_owned()),
        Ast::ClassBracketed(class) => set(&class.kind),
        Ast::Literal(literal) => character(&literal.kind),
        Ast::Assertion(assertion) => match assertion.kind {
            AssertionKind::StartLine
            | AssertionKind::EndLine
            | AssertionKind::StartText
            | AssertionKind::EndText
            | AssertionKind::WordBoundary
            | AssertionKind::NotWordBoundary => Ok(1),
            _ => Err("of the assertions RE2 has ^ $ \\A \\z \\b and \\B only".to_owned()),
        },
        Ast::Flags(set) => flags(&set.flags.items).map(|()| 1),
        Ast::Group(group) => {
            match &group.kind {
                GroupKind::NonCapturing(set) => flags(&set.items)?,
                GroupKind::CaptureName { name, .. } => {
                    if !name
                        .name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                    {
                        return Err(format!(
                            "RE2 does not take {:?} as the name of a group",
                            name.name
                        ));
                    }
                }
                GroupKind::CaptureIndex(_) => {}
            }
            check(&group.ast, repeats)
        }
        Ast::Repetition(repetition) => {
            if matches!(
                *repetition.ast,
                Ast::Repetition(_) | Ast::Assertion(_) | Ast::Flags(_) | Ast::Empty(_)
            ) {
                return Err("a repetition must follow a character, a class or a group".to_owned());
            }
            let times = match &repetition.op.kind {
                RepetitionKind::Range(
                    RepetitionRange::Exactly(n)
                    | RepetitionRange::AtLeast(n)
                    | RepetitionRange::Bounded(_, n),
                ) => *n,
                RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
            };
            let repeats = repeats.saturating_mul(times.max(1));
            if repeats > MOST_REPEATS {
                return Err(format!(
                    "RE2 repeats at most {MOST_REPEATS} times, nested repetitions together"
                ));
            }
            Ok(check(&repetition.ast, repeats)?
                .saturating_mul(times.max(1))
                .saturating_add(1))
        }
        Ast::Alternation(alternation) => all(&alternation.asts, repeats),
        Ast::Concat(concat) => all(&concat.asts, repeats),
    }
}

fn all(asts: &[Ast], repeats: u32) -> Result<u32, String> {
    asts.iter()
        .try_fold(1_u32, |sum, ast| Ok(sum.saturating_add(check(ast, repeats)?)))
}

fn set(set: &ClassSet) -> Result<u32, String> {
    match set {
        ClassSet::BinaryOp(_) => Err("RE2 has no operations on classes, such as &&".to_owned()),
        ClassSet::Item(item) => set_item(item),
    }
}

fn set_item(item: &ClassSetItem) -> Result<u32, String> {
    match item {
        ClassSetItem::Empty(_) | ClassSetItem::Ascii(_) | ClassSetItem::Perl(_) => Ok(1),
        ClassSetItem::Literal(literal) => character(&literal.kind),
        ClassSetItem::Range(range) => {
            character(&range.start.kind)?;
            character(&range.end.kind)
        }
        ClassSetItem::Unicode(_) => Err("write the characters out instead of a Unicode class".to_owned()),
        ClassSetItem::Bracketed(_) => Err("RE2 has no class inside a class; escape the inner [".to_owned()),
        ClassSetItem::Union(union) => union
            .items
            .iter()
            .try_fold(0_u32, |sum, item| Ok(sum.saturating_add(set_item(item)?))),
    }
}

fn character(kind: &LiteralKind) -> Result<u32, String> {
    match kind {
        LiteralKind::HexFixed(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
        | LiteralKind::HexBrace(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong) => {
            Err("write \\x{...} instead of \\u or \\U".to_owned())
        }
        LiteralKind::Octal => Err("write \\x{...} instead of an octal number".to_owned()),
        _ => Ok(1),
    }
}

fn flags(items: &[regex_syntax::ast::FlagsItem]) -> Result<(), String> {
    let known = items.iter().all(|item| {
        matches!(
            item.kind,
            FlagsItemKind::Negation
                | FlagsItemKind::Flag(
                    Flag::CaseInsensitive | Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed
                )
        )
    });
    if known {
        Ok(())
    } else {
        Err("of the flags RE2 has i, m, s and U only".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::expression;

    #[test]
    fn takes_what_re2_takes() {
        for text in [
            "/ws/[^/]+",
            "/v[0-9]{1,3}/.*",
            "(?i:/WS)(/\\w+)?",
            "/a|/b",
            "^/x$",
            "/\\x{41}[[:alpha:]-]",
            "(?P<room>x)",
            "",
        ] {
            assert!(expression(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_what_re2_refuses_or_reads_otherwise() {
        for text in [
            "(",
            "a(?=b)",
            "(?<!a)b",
            "\\1",
            "a**",
            "a{2}{3}",
            "^*",
            "a{1001}",
            "(a{100}){11}",
            "((a{10}){10}){11}",
            "[a&&b]",
            "[a[b]]",
            "(?x) a",
            "\\pL",
            "\\u0041",
            "\\<a",
            "[z-a]",
            "(?<a.b>x)",
            &"[a-z]{999}".repeat(11),
        ] {
            assert!(expression(text).is_err(), "{text}");
        }
    }
}
