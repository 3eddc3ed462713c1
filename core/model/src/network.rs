//! What the network is made of: regions, PoPs and nodes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Entity, Invalid, Key, Kind, Timestamp, excerpt, name::text_name};

/// A PoP's code: three to five upper-case letters or digits, by custom an airport's (`FRA`). It ends every `cf-ray`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PopCode(String);

impl PopCode {
    /// Parses a code, in any case.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let fits = (3..=5).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_alphanumeric());
        if !fits {
            return Err(Invalid::new(
                "pop",
                format!("{} is not a PoP code", excerpt(text)),
                "give 3 to 5 letters or digits",
            ));
        }
        Ok(Self(text.to_ascii_uppercase()))
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A server's name, or a region's: a DNS label (RFC 1123, 2.1). A node's stands in its certificate.
fn label(field: &'static str, text: &str) -> Result<String, Invalid> {
    let fits = (1..=63).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new(
            field,
            format!("{} is not a label", excerpt(text)),
            "use at most 63 lower-case letters, digits and hyphens",
        ))
    }
}

/// A server's name; its certificate's common name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    /// Parses a node's name.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        label("node", text).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A region's name (`europe`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegionName(String);

impl RegionName {
    /// Parses a region's name.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        label("region", text).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(PopCode);
text_name!(NodeName);
text_name!(RegionName);

/// A point of presence: servers that stand in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pop {
    /// Its code.
    pub code: PopCode,
    /// The region that it stands in.
    pub region: RegionName,
}

impl Entity for Pop {
    const KIND: Kind = Kind::Pop;
    type Id = PopCode;

    fn key(&self) -> Key {
        Self::key_of(&self.code)
    }

    fn key_of(code: &PopCode) -> Key {
        Key::new(Self::KIND, &[code])
    }
}

/// A server of the network, as it said of itself when it first joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Where it stands.
    pub pop: PopCode,
    /// The program's version that it ran when it joined.
    pub version: String,
    /// Its own addresses, at which other nodes reach it.
    pub addresses: Vec<IpAddr>,
    /// When it joined.
    pub joined_at: Timestamp,
}

impl Entity for Node {
    const KIND: Kind = Kind::Node;
    type Id = NodeName;

    fn key(&self) -> Key {
        Self::key_of(&self.name)
    }

    fn key_of(name: &NodeName) -> Key {
        Key::new(Self::KIND, &[name])
    }
}
