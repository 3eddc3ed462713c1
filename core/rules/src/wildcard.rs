//! `wildcard` and `strict wildcard`: the whole text against a pattern in which `*` stands for anything, also nothing.
//! `\*` is a star, `\\` a backslash. `wildcard` does not tell upper case from lower case.

use std::borrow::Cow;

use memchr::memmem;

/// A pattern, taken apart at its stars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wildcard {
    /// Whether case matters.
    pub(crate) strict: bool,
    /// What was written.
    pub(crate) written: Vec<u8>,
    /// What stands between the stars; one more than there are stars. In lower case unless strict.
    pieces: Vec<Vec<u8>>,
}

impl Wildcard {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(written: Vec<u8>, strict: bool) -> Result<Self, &'static str> {
        let mut pieces = vec![Vec::new()];
        let mut octets = written.iter();
        let mut after_star = false;
        while let Some(octet) = octets.next() {
            let literal = match octet {
                b'*' if after_star => return Err("two stars stand side by side"),
                b'*' => None,
                b'\\' => match octets.next() {
                    Some(octet @ (b'*' | b'\\')) => Some(*octet),
                    _ => return Err("a backslash stands before something else than a star or a backslash"),
                },
                octet => Some(*octet),
            };
            after_star = literal.is_none();
            match (literal, pieces.last_mut()) {
                (Some(octet), Some(piece)) => {
                    piece.push(if strict { octet } else { octet.to_ascii_lowercase() });
                }
                _ => pieces.push(Vec::new()),
            }
        }
        Ok(Self { strict, written, pieces })
    }

    pub(crate) fn stars(&self) -> usize {
        self.pieces.len() - 1
    }

    /// Whether a whole text fits. Every piece is sought once, behind the one before: the first place is as good as any.
    pub(crate) fn fits(&self, text: &[u8]) -> bool {
        let text = if self.strict || !text.iter().any(u8::is_ascii_uppercase) {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(text.to_ascii_lowercase())
        };
        let [first, middle @ .., last] = self.pieces.as_slice() else {
            return self.pieces.first().is_some_and(|only| **only == *text);
        };
        let inner = text.strip_prefix(first.as_slice()).and_then(|rest| rest.strip_suffix(last.as_slice()));
        let Some(mut rest) = inner else { return false };
        for piece in middle {
            let Some(at) = memmem::find(rest, piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
        true
    }
}
