//! The grammar of nginx.conf: directives with words, that end with `;` or hold a block. Total: any text is read, or refused with
//! the line.

use std::mem;
use std::sync::Arc;

use super::super::Refused;
use super::super::ledger::{Id, Ledger};

/// Blocks in blocks; NGINX itself has five.
const MAX_DEPTH: usize = 64;

/// A directive.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Directive {
    pub(in super::super) id: Id,
    pub(in super::super) name: String,
    pub(in super::super) arguments: Vec<String>,
    /// None: it ended with `;`.
    pub(in super::super) block: Option<Vec<Directive>>,
}

impl Directive {
    pub(in super::super) fn first(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }

    pub(in super::super) fn children(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }

    /// The value of an argument `name=value`.
    pub(in super::super) fn option(&self, name: &str) -> Option<&str> {
        self.arguments
            .iter()
            .find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
    }

    pub(in super::super) fn has(&self, flag: &str) -> bool {
        self.arguments.iter().any(|argument| argument == flag)
    }

    /// Itself and everything in it.
    pub(in super::super) fn walk(&self, visit: &mut impl FnMut(&Directive)) {
        visit(self);
        self.children().iter().for_each(|child| child.walk(visit));
    }
}

/// What a text is made of.
#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Semicolon,
    Open,
    Close,
}

/// Reads a file.
pub(in super::super) fn parse(
    file: &Arc<str>,
    text: &str,
    ledger: &mut Ledger,
) -> Result<Vec<Directive>, Refused> {
    let mut scanner = Scanner { rest: text, line: 1 };
    let refused = |line, message: &str| Refused {
        file: Arc::clone(file),
        line,
        message: message.to_owned(),
    };
    let (mut open, mut siblings): (Vec<(Directive, Vec<Directive>)>, Vec<Directive>) = Default::default();
    let (mut words, mut began) = (Vec::new(), 1);
    while let Some(token) = scanner.next().map_err(|message| refused(scanner.line, message))? {
        match token {
            Token::Word(word) => {
                if words.is_empty() {
                    began = scanner.line;
                }
                words.push(word);
            }
            Token::Close if words.is_empty() => match open.pop() {
                Some((mut directive, before)) => {
                    directive.block = Some(mem::replace(&mut siblings, before));
                    siblings.push(directive);
                }
                None => return Err(refused(scanner.line, "this } closes nothing")),
            },
            Token::Close => return Err(refused(scanner.line, "a ; is missing before this }")),
            Token::Semicolon | Token::Open if words.is_empty() => {
                return Err(refused(scanner.line, "a directive begins with its name"));
            }
            Token::Semicolon => {
                let directive = directive(mem::take(&mut words), file, began, ledger);
                siblings.push(directive);
            }
            Token::Open => {
                let directive = directive(mem::take(&mut words), file, began, ledger);
                if open.len() >= MAX_DEPTH {
                    return Err(refused(scanner.line, "blocks are nested too deep"));
                }
                if directive.name.ends_with("_by_lua_block") {
                    scanner
                        .skip_code()
                        .map_err(|message| refused(scanner.line, message))?;
                    siblings.push(directive);
                } else {
                    open.push((directive, mem::take(&mut siblings)));
                }
            }
        }
    }
    if !words.is_empty() || !open.is_empty() {
        let what = if words.is_empty() {
            "a block is not closed"
        } else {
            "the last directive has no ;"
        };
        return Err(refused(scanner.line, what));
    }
    Ok(siblings)
}

fn directive(words: Vec<String>, file: &Arc<str>, line: u32, ledger: &mut Ledger) -> Directive {
    let id = ledger.enter(file, line, words.join(" "));
    let mut words = words.into_iter();
    Directive {
        id,
        name: words.next().unwrap_or_default(),
        arguments: words.collect(),
        block: None,
    }
}

struct Scanner<'a> {
    rest: &'a str,
    line: u32,
}

impl Scanner<'_> {
    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        self.line = self.line.saturating_add(u32::from(c == '\n'));
        Some(c)
    }

    fn next(&mut self) -> Result<Option<Token>, &'static str> {
        loop {
            let Some(c) = self.rest.chars().next() else {
                return Ok(None);
            };
            let token = match c {
                c if c.is_whitespace() || c == '\u{feff}' => None,
                '#' => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                    continue;
                }
                ';' => Some(Token::Semicolon),
                '{' => Some(Token::Open),
                '}' => Some(Token::Close),
                '"' | '\'' => {
                    self.take();
                    return Ok(Some(Token::Word(self.quoted(c)?)));
                }
                _ => return Ok(Some(Token::Word(self.word()))),
            };
            self.take();
            if token.is_some() {
                return Ok(token);
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, &'static str> {
        let mut word = String::new();
        while let Some(c) = self.take() {
            match c {
                c if c == quote => return Ok(word),
                '\\' if self.rest.starts_with(['"', '\'', '\\']) => word.extend(self.take()),
                c => word.push(c),
            }
        }
        Err("a quotation is not closed")
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.rest.chars().next() {
            let is_braced = word.ends_with('$') && c == '{';
            if (c.is_whitespace() || matches!(c, ';' | '{')) && !is_braced {
                break;
            }
            word.extend(self.take());
            if is_braced {
                while let Some(c) = self.take() {
                    word.push(c);
                    if c == '}' || c == '\n' {
                        break;
                    }
                }
            } else if c == '\\' {
                word.extend(self.take());
            }
        }
        word
    }

    /// Code of another language, to the brace that closes it.
    fn skip_code(&mut self) -> Result<(), &'static str> {
        let mut depth = 1;
        while let Some(c) = self.take() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err("a block is not closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Directive>, Refused> {
        parse(&"nginx.conf".into(), text, &mut Ledger::default())
    }

    #[test]
    fn words_quotes_comments_and_blocks() {
        let text =
            "a 'b c' \"d\\\"e\" ${f}g; # h;\nlocation ~ ^/x\\{2} { i j#k; }\nz_by_lua_block { if {} end }";
        let read = read(text).unwrap();
        assert_eq!(read[0].arguments, ["b c", "d\"e", "${f}g"]);
        assert_eq!(read[1].arguments, ["~", "^/x\\{2}"]);
        assert_eq!(read[1].children()[0].arguments, ["j#k"]);
        assert_eq!(read[2].name, "z_by_lua_block");
    }

    #[test]
    fn what_is_broken_is_refused_with_its_line() {
        for (text, line) in [
            ("a;\n}", 2),
            ("a {\nb;\n", 3),
            ("a\nb", 2),
            ("a;\n;", 2),
            ("a {\nb }", 2),
            ("\n'a", 2),
        ] {
            assert_eq!(read(text).unwrap_err().line, line, "{text}");
        }
        assert!(read(&"a {".repeat(100_000)).is_err());
    }
}
