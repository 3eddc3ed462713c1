//! What objects and uploads are called.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{OBJECT_KEY_OCTETS_MAX, ObjectError};

/// What an object is called: 1 to [`OBJECT_KEY_OCTETS_MAX`] octets of UTF-8. Any of them: a key is no path.
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

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
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
