//! Purges of the cache.
//!
//! Each kind of purge has its noun, and only what is valid can be one: a [`CacheTag`], a [`UrlPrefix`], a
//! [`DnsName`]. URLs are kept as they were given, since they are compared with what clients ask for.

use serde::{Deserialize, Serialize};

use crate::{DnsName, Entity, Invalid, Key, Kind, PurgeId, Timestamp, ZoneId, excerpt, limits};

/// What a purge removes. Logs keep purges as they were written, so a variant is never renamed, and never means
/// something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurgeWhat {
    /// Everything of the zone.
    Everything,
    /// These URLs, in all their variants.
    Files(Vec<String>),
    /// Everything of these hosts, in all schemes and at all ports.
    Hosts(Vec<DnsName>),
    /// Everything beneath these, in all schemes and at all ports.
    Prefixes(Vec<UrlPrefix>),
    /// Everything to which the origin gave one of these tags.
    Tags(Vec<CacheTag>),
}

/// A tag that an origin gives its responses in `Cache-Tag`: printable ASCII without spaces and commas, in lower case,
/// because case does not matter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CacheTag(String);

impl CacheTag {
    /// Parses a tag, in any case.
    ///
    /// # Errors
    /// What no response can be tagged with.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > limits::CACHE_TAG_OCTETS_MAX {
            let problem =
                format!("a tag has {} octets, more than {}", text.len(), limits::CACHE_TAG_OCTETS_MAX);
            return Err(Invalid::new("tags", problem, "give a shorter one"));
        }
        if !Self::is_valid(text.as_bytes()) {
            let problem = format!("{} is not a tag", excerpt(text));
            return Err(Invalid::new("tags", problem, "use printable ASCII without spaces and commas"));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// Whether these octets are a tag, in any case.
    pub fn is_valid(text: &[u8]) -> bool {
        (1..=limits::CACHE_TAG_OCTETS_MAX).contains(&text.len())
            && text.iter().all(|octet| octet.is_ascii_graphic() && *octet != b',')
    }

    /// The tag, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CacheTag {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<CacheTag> for String {
    fn from(tag: CacheTag) -> Self {
        tag.0
    }
}

/// A host with the beginning of a path, `www.example.com/foo`. It covers whole segments of a path: `/foo`, `/foo/bar`
/// and `/foo?a=b`, but not `/foobar`; written `www.example.com/foo/`, only what lies beneath, not `/foo` itself. The
/// host is in its one form; the path is as it was given, since case and escapes matter in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UrlPrefix {
    host: DnsName,
    path: String,
}

impl UrlPrefix {
    /// Parses a prefix: no scheme, no port, no query and no fragment.
    ///
    /// # Errors
    /// What is not the beginning of any URL that a cache may hold.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = |problem: &str| {
            let problem = format!("{} {problem}", excerpt(text));
            Invalid::new(
                "prefixes",
                problem,
                "give a host and the beginning of a path, such as www.example.com/foo",
            )
        };
        if text.len() > limits::URL_PREFIX_OCTETS_MAX {
            return Err(refuse("is too long"));
        }
        if text.contains("://") {
            return Err(refuse("has a scheme"));
        }
        if text.contains(['?', '#']) {
            return Err(refuse("has a query or a fragment"));
        }
        let (host, path) = text.split_at(text.find('/').unwrap_or(text.len()));
        if host.contains(':') {
            return Err(refuse("has a port"));
        }
        let host = DnsName::parse(host).map_err(|_| refuse("does not begin with a host"))?;
        if host.is_wildcard() {
            return Err(refuse("begins with a wildcard"));
        }
        if !path.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(refuse("has a character that is written %XX in URLs"));
        }
        if path.matches('/').count() > limits::URL_PREFIX_SEPARATORS_MAX {
            return Err(refuse("has more than 31 slashes"));
        }
        Ok(Self { host, path: path.to_owned() })
    }

    /// The host.
    pub const fn host(&self) -> &DnsName {
        &self.host
    }

    /// The beginning of the path: empty, or from its first slash.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl TryFrom<String> for UrlPrefix {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<UrlPrefix> for String {
    fn from(UrlPrefix { host, path }: UrlPrefix) -> Self {
        format!("{host}{path}")
    }
}

/// One order to forget, as it travels through the log to every server's cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// Its id.
    pub id: PurgeId,
    /// The zone whose cache it is.
    pub zone: ZoneId,
    /// What to forget.
    pub what: PurgeWhat,
    /// When it was ordered. Old ones are removed from the log's state; a cache that missed them is emptied instead.
    pub at: Timestamp,
}

impl Entity for Purge {
    const KIND: Kind = Kind::Purge;
    type Id = (ZoneId, PurgeId);

    fn key(&self) -> Key {
        Self::key_of(&(self.zone, self.id))
    }

    fn key_of((zone, id): &(ZoneId, PurgeId)) -> Key {
        Key::new(Self::KIND, &[zone, id])
    }
}
