//! What a stored response is found by (RFC 9111, 2): zone and URL, or what a cache rule makes of it.

mod custom;
mod exercise;
mod seen;

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use http::Uri;
use proxima_model::ZoneId;
use proxima_pipeline::{Exchange, ResponsePlace};

pub(crate) use self::exercise::exercise;
pub(crate) use self::seen::UrlSeen;
use crate::{hashing, ruling::Ruling};

/// What stands before the URL of slices: no URL's scheme.
const SLICES: &str = "slices:";

/// What the parts of keys of responses begin with that code keeps: no rule's do (`custom`).
const OF_CODE: u8 = b'w';

/// On a request of this cache's own for a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice;

/// The primary key: a zone, and a URL with scheme, host, port where it is not the scheme's own, path and query as
/// the client wrote them. The zone is in it so that a name that moves to another zone takes nothing along.
///
/// A cache rule may leave something of the query out and put something of the fields in. Such a key equals no other; it is
/// forgotten with every URL of its path, whatever their query ([`Self::path`]), since a purge knows nothing of the fields.
///
/// Its hash is made once: a request looks for its key in half a dozen tables. It is keyed (`hashing`), so that nobody can
/// choose URLs that collide.
#[derive(Clone, Debug)]
pub struct PrimaryKey {
    hash: u64,
    zone: ZoneId,
    url: Arc<str>,
    /// What a cache rule put in; `None` if no rule made this key.
    parts: Option<Arc<[u8]>>,
}

impl PartialEq for PrimaryKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.zone == other.zone
            && self.url == other.url
            && self.parts == other.parts
    }
}

impl Eq for PrimaryKey {}

impl Hash for PrimaryKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PrimaryKey {
    fn new(zone: ZoneId, url: String, parts: Option<Arc<[u8]>>) -> Self {
        let hash = hashing::of((zone, url.as_str(), parts.as_deref()));
        Self { hash, zone, url: url.into(), parts }
    }

    /// Its hash, under the process's key.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    /// The key of what an exchange asks for; `None` if it asks for no site.
    pub fn of(exchange: &Exchange) -> Option<Self> {
        let zone = exchange.site.as_ref()?.zone.id;
        let rule = exchange.extensions.get::<Ruling>().and_then(Ruling::key);
        let key = match rule.and_then(|rule| custom::make(&exchange.request, rule)) {
            Some((url, parts)) => Self::new(zone, url, Some(parts.into())),
            None => Self::new(zone, exchange.request.url(), None),
        };
        Some(if exchange.extensions.get::<Slice>().is_some() { key.slices() } else { key })
    }

    /// The key under which the slices of this URL lie. Purges of hosts and prefixes read it as the URL.
    #[must_use]
    pub fn slices(&self) -> Self {
        Self::new(self.zone, format!("{SLICES}{}", self.url), self.parts.clone())
    }

    /// The key of the whole, of which these are slices.
    #[must_use]
    pub fn whole(&self) -> Self {
        let url = self.url.strip_prefix(SLICES);
        url.map_or_else(|| self.clone(), |url| Self::new(self.zone, url.to_owned(), self.parts.clone()))
    }

    /// The URL by which its home among other servers is chosen.
    pub(crate) fn place(&self) -> Arc<str> {
        self.url.strip_prefix(SLICES).map_or_else(|| self.url.clone(), Arc::from)
    }

    /// Whether it is one of slices.
    pub fn is_of_slices(&self) -> bool {
        self.url.starts_with(SLICES)
    }

    /// The key of a URL that was given to be forgotten; `None` if it is no absolute `http` or `https` URL.
    pub fn of_url(zone: ZoneId, url: &str) -> Option<Self> {
        let uri: Uri = url.split('#').next()?.trim().parse().ok()?;
        Self::of_uri(zone, &uri)
    }

    /// The same for a URL that is parsed already.
    pub fn of_uri(zone: ZoneId, uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?;
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let host = uri.host()?.trim_end_matches('.').to_ascii_lowercase();
        let port = uri.port_u16().filter(|port| *port != default_port);
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Some(Self::new(zone, format!("{scheme}://{host}{port}{path}"), None))
    }

    /// The key of a response that code keeps: its account and the cache's name stand in it, as what no rule makes. A URL of none
    /// of the account's zones lies under the account's id, which is no zone's. `None` as with [`Self::of_uri`].
    pub fn of_response(place: &ResponsePlace<'_>) -> Option<Self> {
        let zone = place.zone.unwrap_or_else(|| ZoneId::from_bytes(*place.account.as_bytes()));
        let url = Self::of_uri(zone, place.url)?.url;
        let named: &[u8] = if place.cache.is_some() { b"n" } else { b"d" };
        let cache = place.cache.unwrap_or_default().as_bytes();
        let parts = [[OF_CODE].as_slice(), place.account.as_bytes().as_slice(), named, cache].concat();
        Some(Self::new(zone, url.to_string(), Some(parts.into())))
    }

    /// The zone.
    pub const fn zone(&self) -> ZoneId {
        self.zone
    }

    /// The URL, absolute.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether a cache rule made it.
    pub const fn is_custom(&self) -> bool {
        self.parts.is_some()
    }

    /// What a cache rule put in.
    pub(crate) fn parts(&self) -> Option<&[u8]> {
        self.parts.as_deref()
    }

    /// The URL without its query.
    pub fn path(&self) -> &str {
        let url = self.url.strip_prefix(SLICES).unwrap_or(&self.url);
        url.split_once('?').map_or(url, |(path, _)| path)
    }

    /// Octets that it takes in memory.
    pub fn octets(&self) -> usize {
        self.url.len() + self.parts.as_ref().map_or(0, |parts| parts.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_name_the_same_have_the_same_key() {
        let zone = ZoneId::from_bytes([1; 16]);
        for (given, expected) in [
            ("http://EXAMPLE.test", Some("http://example.test/")),
            ("http://example.test.:80/A?b#c", Some("http://example.test/A?b")),
            ("https://example.test:443/", Some("https://example.test/")),
            ("https://example.test:8443/", Some("https://example.test:8443/")),
            ("ftp://example.test/", None),
            ("/path", None),
            ("", None),
        ] {
            let key = PrimaryKey::of_url(zone, given);
            assert_eq!(key.as_ref().map(PrimaryKey::url), expected, "{given}");
        }
    }
}
