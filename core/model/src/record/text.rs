//! Character strings (RFC 1035, 3.3 and 5.1), and the types of record that are little else.

use serde::{Deserialize, Serialize};

use crate::{Invalid, excerpt, limits};

/// A TXT record's character strings. Most who read them take them as one text (RFC 7208, 3.3; RFC 6376, 3.6.2.2); where one
/// string ends and the next begins is their owner's all the same, and is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Kept", into = "Kept")]
pub struct TxtData {
    /// As they stand on the wire: of each its length in one octet, and its octets. There is one at least.
    octets: Box<[u8]>,
}

/// As it stands in the log. A version that knew of no strings reads the text alone.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The strings joined; octets that are not UTF-8 replaced.
    text: String,
    /// The octets, in base 16, where they are not what is made of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wire: Option<String>,
}

/// The tag of a CAA property (RFC 8659, 4.1.1): letters and digits, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CaaTag(String);

impl TxtData {
    /// Takes content as the API gives it: quoted character strings (`"a" "b"`, RFC 1035, 5.1, with `\"`, `\\` and
    /// `\DDD`), or plain text, which is taken as it is. A string of more than 255 octets is cut.
    pub fn parse(content: &str) -> Result<Self, Invalid> {
        let trimmed = content.trim();
        if trimmed.starts_with('"') {
            let strings = quoted_strings(trimmed).ok_or_else(|| {
                Invalid::new("content", "a quote or an escape is not finished", TEXT_REMEDY)
            })?;
            return Self::of_strings(strings.iter().map(Vec::as_slice));
        }
        Self::of_strings([content.as_bytes()])
    }

    /// Takes character strings as they stand on the wire.
    pub fn of_octets(octets: &[u8]) -> Result<Self, Invalid> {
        let (mut strings, mut rest) = (Vec::new(), octets);
        while let Some((length, after)) = rest.split_first() {
            let (string, after) = after.split_at_checked(usize::from(*length)).ok_or_else(|| {
                Invalid::new("content", "a character string ends before its length says", TEXT_REMEDY)
            })?;
            strings.push(string);
            rest = after;
        }
        if strings.is_empty() {
            return Err(Invalid::new("content", "there is no character string", TEXT_REMEDY));
        }
        Self::of_strings(strings)
    }

    fn of_strings<'s>(strings: impl IntoIterator<Item = &'s [u8]>) -> Result<Self, Invalid> {
        let mut octets = Vec::new();
        for string in strings {
            let empty = string.is_empty().then_some(string);
            for part in empty.into_iter().chain(string.chunks(limits::TXT_STRING_OCTETS_MAX)) {
                octets.push(u8::try_from(part.len()).expect("a part has 255 octets at most"));
                octets.extend_from_slice(part);
            }
        }
        let made = Self { octets: octets.into() };
        let text: usize = made.strings().map(<[u8]>::len).sum();
        if text > limits::TXT_OCTETS_MAX || made.octets.len() > limits::TXT_WIRE_OCTETS_MAX {
            return Err(Invalid::new("content", "the text is longer than 4096 octets", TEXT_REMEDY));
        }
        Ok(made)
    }

    /// The strings, joined; octets that are not UTF-8 replaced.
    pub fn text(&self) -> String {
        let joined: Vec<u8> = self.strings().flatten().copied().collect();
        String::from_utf8(joined)
            .unwrap_or_else(|other| String::from_utf8_lossy(other.as_bytes()).into_owned())
    }

    /// The strings, of at most 255 octets each.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.octets;
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first()?;
            let (string, after) = after.split_at(usize::from(*length));
            rest = after;
            Some(string)
        })
    }

    /// The data on the wire.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The presentation form: each string in quotes.
    pub fn content(&self) -> String {
        self.strings().map(quote).collect::<Vec<_>>().join(" ")
    }
}

const TEXT_REMEDY: &str = "give text of at most 4096 octets, or quoted strings";

/// The octets of quoted character strings; `None` where a quote or an escape is not finished.
fn quoted_strings(text: &str) -> Option<Vec<Vec<u8>>> {
    let mut strings = Vec::new();
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b' ' | b'\t' => {}
            b'"' => {
                let mut string = Vec::new();
                unquote_one(&mut octets, &mut string)?;
                strings.push(string);
            }
            _ => return None,
        }
    }
    Some(strings)
}

/// The text of quoted character strings, joined; `None` where a quote or an escape is not finished, or where the octets
/// are not UTF-8. Octets are joined before they are read as text: a string may end, and be escaped, within a character.
pub(super) fn unquote(text: &str) -> Option<String> {
    String::from_utf8(quoted_strings(text)?.concat()).ok()
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
        Self::of_strings([text.as_bytes()])
    }
}

impl TryFrom<Kept> for TxtData {
    type Error = Invalid;

    fn try_from(Kept { text, wire }: Kept) -> Result<Self, Invalid> {
        let Some(wire) = wire else { return Self::try_from(text) };
        let octets = hex::decode(wire)
            .map_err(|_| Invalid::new("content", "the strings are not in base 16", TEXT_REMEDY))?;
        Self::of_octets(&octets)
    }
}

impl From<TxtData> for Kept {
    fn from(data: TxtData) -> Self {
        let text = data.text();
        if TxtData::of_strings([text.as_bytes()]).is_ok_and(|usual| usual == data) {
            return Self { text, wire: None };
        }
        // A replaced octet is three, and a version that reads the text alone takes no more than it ever did.
        let text = text[..text.floor_char_boundary(limits::TXT_OCTETS_MAX)].to_owned();
        Self { text, wire: Some(hex::encode(&data.octets)) }
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
