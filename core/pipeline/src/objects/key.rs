//! What objects and uploads are called.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{OBJECT_KEY_OCTETS_MAX, ObjectError};

/// What an object is called: 1 to [`OBJECT_KEY_OCTETS_MAX`] octets of UTF-8. A key is no path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

impl ObjectKey {
    /// This text as a key.
    ///
    /// # Errors
    /// It is empty or too long.
    pub fn new(text: impl Into<String>) -> Result<Self, ObjectError> {
        let text = text.into();
        match text.len() {
            0 => Err(ObjectError::Invalid("a key has at least one character".to_owned())),
            1..=OBJECT_KEY_OCTETS_MAX => Ok(Self(text)),
            _ => Err(ObjectError::KeyTooLong),
        }
    }

    /// Whether a new object may be called so: S3 writes keys in XML, which has no way to write some characters (XML 1.0, 2.2).
    ///
    /// # Errors
    /// [`ObjectError::Invalid`]: it has one of these.
    pub fn check_new(&self) -> Result<(), ObjectError> {
        match self.0.chars().find(|&character| !is_of_xml(character)) {
            None => Ok(()),
            Some(character) => Err(ObjectError::Invalid(format!(
                "a key may not have the character U+{:04X}, which XML cannot write",
                u32::from(character)
            ))),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether XML 1.0 has this character.
pub const fn is_of_xml(character: char) -> bool {
    !matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

impl TryFrom<String> for ObjectKey {
    type Error = ObjectError;

    fn try_from(text: String) -> Result<Self, ObjectError> {
        Self::new(text)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

/// An upload of an object in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UploadId(pub [u8; 16]);

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for UploadId {
    type Err = ObjectError;

    fn from_str(text: &str) -> Result<Self, ObjectError> {
        let is_hex = text.len() == 32 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
        let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or(ObjectError::NoSuchUpload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_has_no_character_that_xml_cannot_write() {
        for text in ["a", "a\tb\nc\rd", "\u{7f}", "\u{85}", "é", "😀", "\u{fffd}"] {
            assert_eq!(ObjectKey::new(text).unwrap().check_new(), Ok(()), "{text:?}");
        }
        for text in ["\0", "a\u{1}", "\u{8}", "\u{b}", "\u{c}", "\u{e}", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
            let refused = ObjectKey::new(text).unwrap().check_new();
            assert!(matches!(refused, Err(ObjectError::Invalid(_))), "{text:?}");
        }
    }
}
