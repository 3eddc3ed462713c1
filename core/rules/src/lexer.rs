//! Text into tokens, each with its place.

use std::borrow::Cow;

use crate::error::ParseError;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    /// A name, a keyword, a number or an address: all begin alike.
    Word(&'a str),
    /// A quoted or raw string.
    Text(Vec<u8>),
    /// `(`, `==`, `[*]` and the like.
    Sign(&'static str),
    /// The end of the text.
    End,
}

/// A token and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind<'a>,
    pub(crate) offset: usize,
}

/// The signs, longer ones before their beginnings.
const SIGNS: [&str; 18] =
    ["[*]", "..", "==", "!=", "<=", ">=", "&&", "||", "^^", "(", ")", "{", "}", "[", "]", ",", "<", ">"];
/// Signs of one character that others begin with.
const SINGLE: [&str; 3] = ["~", "!", "$"];

/// Reads all tokens of a text.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let mut tokens = Vec::new();
    let mut offset = 0;
    loop {
        offset += text[offset..].len() - text[offset..].trim_start().len();
        let rest = &text[offset..];
        let Some(first) = rest.chars().next() else {
            tokens.push(Token { kind: Kind::End, offset });
            return Ok(tokens);
        };
        let (kind, length) = if first == '"' {
            quoted(text, offset)?
        } else if let Some(hashes) = raw_start(rest) {
            raw(text, offset, hashes)?
        } else if let Some(sign) = SIGNS.iter().chain(&SINGLE).find(|sign| rest.starts_with(**sign)) {
            (Kind::Sign(sign), sign.len())
        } else {
            word(text, offset)?
        };
        tokens.push(Token { kind, offset });
        offset += length;
    }
}

/// A word ends before `..`, so that ranges can be written without spaces.
fn word(text: &str, offset: usize) -> Result<(Kind<'_>, usize), ParseError> {
    let rest = &text[offset..];
    let is_part =
        |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'.' | b':' | b'/' | b'-');
    let mut length = rest.bytes().take_while(|octet| is_part(*octet)).count();
    if let Some(range) = rest[..length].find("..") {
        length = range;
    }
    if length == 0 {
        return Err(ParseError::at(
            text,
            offset,
            "this character begins nothing",
            "put text into quotes, and write names of fields as they are documented",
        ));
    }
    Ok((Kind::Word(&rest[..length]), length))
}

/// How many hashes a raw string (`r"…"`, `r#"…"#`) begins with, if one begins here.
fn raw_start(rest: &str) -> Option<usize> {
    let rest = rest.strip_prefix('r')?;
    let hashes = rest.bytes().take_while(|octet| *octet == b'#').count();
    rest[hashes..].starts_with('"').then_some(hashes)
}

fn raw(text: &str, offset: usize, hashes: usize) -> Result<(Kind<'_>, usize), ParseError> {
    let start = offset + 1 + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = text[start..].find(&end).ok_or_else(|| unended(text, offset))?;
    let content = text.as_bytes()[start..start + length].to_vec();
    Ok((Kind::Text(content), start + length + end.len() - offset))
}

fn unended(text: &str, offset: usize) -> ParseError {
    ParseError::at(text, offset, "this string does not end", "close it with a quote")
}

fn quoted(text: &str, offset: usize) -> Result<(Kind<'_>, usize), ParseError> {
    let octets = text.as_bytes();
    let mut content = Vec::new();
    let mut at = offset + 1;
    loop {
        match octets.get(at) {
            None => return Err(unended(text, offset)),
            Some(b'"') => return Ok((Kind::Text(content), at + 1 - offset)),
            Some(b'\\') => {
                let (octet, length) = escape(&octets[at + 1..]).ok_or_else(|| {
                    ParseError::at(
                        text,
                        at,
                        "this escape does not exist",
                        "give \\\\, \\\" or \\xHH, or write a raw string such as r\"^/a\\.b$\"",
                    )
                })?;
                content.push(octet);
                at += 1 + length;
            }
            Some(octet) => {
                content.push(*octet);
                at += 1;
            }
        }
    }
}

/// The octet that an escape means, and its length behind the backslash.
fn escape(rest: &[u8]) -> Option<(u8, usize)> {
    let digits = |from: usize, count: usize, radix: u32| {
        let digits = std::str::from_utf8(rest.get(from..from + count)?).ok()?;
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
        u8::from_str_radix(digits, radix).ok()
    };
    match rest.first()? {
        octet @ (b'"' | b'\\') => Some((*octet, 1)),
        b'x' => Some((digits(1, 2, 16)?, 3)),
        b'0'..=b'3' => Some((digits(0, 3, 8)?, 3)),
        _ => None,
    }
}

/// A string as [`tokens`] reads it back.
pub(crate) fn write_quoted(octets: &[u8]) -> Cow<'static, str> {
    let mut written = String::with_capacity(octets.len() + 2);
    written.push('"');
    for octet in octets {
        match octet {
            b'"' => written.push_str("\\\""),
            b'\\' => written.push_str("\\\\"),
            b' '..=b'~' => written.push(char::from(*octet)),
            other => written.push_str(&format!("\\x{other:02x}")),
        }
    }
    written.push('"');
    written.into()
}
