//! Ids of versions and deployments: UUIDs (RFC 9562), as the v4 API writes them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Invalid, excerpt};

/// The places of the hyphens (RFC 9562, 4).
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

macro_rules! uuids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id made of these bytes, which callers draw at random: version 4 (RFC 9562, 5.4), whose six fixed bits are
            /// set here.
            pub const fn from_random(mut bytes: [u8; 16]) -> Self {
                bytes[6] = bytes[6] & 0x0f | 0x40;
                bytes[8] = bytes[8] & 0x3f | 0x80;
                Self(bytes)
            }

            /// The sixteen bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&write(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                read(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

uuids! {
    /// A version of a Worker.
    WorkerVersionId,
    /// A deployment of a Worker.
    DeploymentId,
}

fn write(bytes: &[u8; 16]) -> String {
    let mut text = hex::encode(bytes);
    HYPHENS.into_iter().for_each(|place| text.insert(place, '-'));
    text
}

fn read(text: &str) -> Result<[u8; 16], Invalid> {
    let refuse = || {
        Invalid::new("id", format!("{} is not an identifier", excerpt(text)), "give a UUID with its hyphens")
    };
    let mut digits = text.to_owned();
    // From the last one on, so that those before stay where they are. All are ASCII if every octet is a digit in the end.
    if !text.is_ascii() || text.len() != 36 {
        return Err(refuse());
    }
    for place in HYPHENS.into_iter().rev() {
        if digits.remove(place) != '-' {
            return Err(refuse());
        }
    }
    let mut bytes = [0; 16];
    hex::decode_to_slice(&digits, &mut bytes).map_err(|_| refuse())?;
    Ok(bytes)
}
