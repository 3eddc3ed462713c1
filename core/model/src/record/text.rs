//! Character strings (RFC 1035, 3.3 and 5.1), and the types of record that are little else.

use serde::{Deserialize, Serialize};

use crate::{Invalid, excerpt, limits};

/// A TXT record's text, as octets; cut into character strings of at most 255 octets only on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TxtData(String);

/// The tag of a CAA property (RFC 8659, 4.1.1): letters and digits, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CaaTag(String);

impl TxtData {
    /// Takes content as the API gives it: quoted character strings (`"a" "b"`, RFC 1035, 5.1, with `\"`, `\\` and
    /// `\DDD`), or plain text, which is taken as it is.
    pub fn parse(content: &str) -> Result<Self, Invalid> {
        let refuse = |problem: &str| {
            Invalid::new("content", problem, "give text of at most 4096 octets, or quoted strings")
        };
        let trimmed = content.trim();
        let text = if trimmed.starts_with('"') {
            unquote(trimmed)
                .ok_or_else(|| refuse("a quote or an escape is not finished, or the text is not UTF-8"))?
        } else {
            content.to_owned()
        };
        Self::try_from(text)
    }

    /// The text, whole.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The character strings of at most 255 octets that go onto the wire; one empty string for an empty text.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        let octets = self.0.as_bytes();
        let empty = octets.is_empty().then_some(octets);
        empty.into_iter().chain(octets.chunks(limits::TXT_STRING_OCTETS_MAX))
    }
}

/// The text of quoted character strings, joined; `None` where a quote or an escape is not finished, or where the octets
/// are not UTF-8. Octets are joined before they are read as text: a string may end, and be escaped, within a character.
pub(super) fn unquote(text: &str) -> Option<String> {
    let mut joined = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b' ' | b'\t' => {}
            b'"' => unquote_one(&mut octets, &mut joined)?,
            _ => return None,
        }
    }
    String::from_utf8(joined).ok()
}

/// The rest of one character string, up to and with its closing quote.
fn unquote_one(octets: &mut std::str::Bytes<'_>, joined: &mut Vec<u8>) -> Option<()> {
    loop {
        match octets.next()? {
            b'"' => return Some(()),
            b'\\' => joined.push(unescape(octets)?),
            plain => joined.push(plain),
        }
    }
}

/// The words of a presentation form (RFC 1035, 5.1), as they were written: what stands in quotes is not cut. `None` where a
/// quote or an escape is not finished.
pub(super) fn words(text: &str) -> Option<Vec<&str>> {
    let (mut words, mut start, mut quoted) = (Vec::new(), None, false);
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            ' ' | '\t' | '\r' | '\n' if !quoted => words.extend(start.take().map(|start| &text[start..at])),
            _ => {
                start.get_or_insert(at);
                match letter {
                    '\\' => drop(letters.next()?),
                    '"' => quoted = !quoted,
                    _ => {}
                }
            }
        }
    }
    words.extend(start.map(|start| &text[start..]));
    (!quoted).then_some(words)
}

/// The octets of a word, in quotes or without (RFC 1035, 5.1); `None` where a quote or an escape is not finished, or where
/// a quote stands within the word.
pub(super) fn unquote_word(word: &str) -> Option<Vec<u8>> {
    let (text, quoted) = word.strip_prefix('"').map_or((word, false), |text| (text, true));
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        match octet {
            b'\\' => octets.push(unescape(&mut rest)?),
            b'"' => return (quoted && rest.next().is_none()).then_some(octets),
            plain => octets.push(plain),
        }
    }
    (!quoted).then_some(octets)
}

/// The octet behind a backslash: three digits, or itself.
fn unescape(octets: &mut std::str::Bytes<'_>) -> Option<u8> {
    match octets.next()? {
        first if first.is_ascii_digit() => {
            let digits = [first, octets.next()?, octets.next()?];
            std::str::from_utf8(&digits).ok()?.parse().ok()
        }
        plain => Some(plain),
    }
}

impl CaaTag {
    /// Parses a tag.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > 15 || !text.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
            return Err(Invalid::new(
                "data.tag",
                format!("{} is not a tag", excerpt(text)),
                "use issue, issuewild or iodef",
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// From the text itself, without the quotes and escapes of a zone file.
impl TryFrom<String> for TxtData {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        if text.len() > limits::TXT_OCTETS_MAX {
            return Err(Invalid::new(
                "content",
                "the text is longer than 4096 octets",
                "give a shorter text",
            ));
        }
        Ok(Self(text))
    }
}

impl From<TxtData> for String {
    fn from(text: TxtData) -> String {
        text.0
    }
}

crate::name::text_name!(CaaTag);

/// A character string in quotes, with what RFC 1035, 5.1 wants escaped.
pub fn quote(octets: &[u8]) -> String {
    let mut text = String::from("\"");
    for part in octets.utf8_chunks() {
        for letter in part.valid().chars() {
            match letter {
                '"' | '\\' => text.extend(['\\', letter]),
                control if control.is_ascii_control() => {
                    text.push_str(&format!("\\{:03}", u32::from(control)))
                }
                plain => text.push(plain),
            }
        }
        for octet in part.invalid() {
            text.push_str(&format!("\\{octet:03}"));
        }
    }
    text.push('"');
    text
}
