//! The key of a request that is only looked at: the same as [`PrimaryKey`], of octets that lie elsewhere.

use std::hash::{Hash, Hasher};

use bytes::BufMut as _;
use proxima_model::ZoneId;
use proxima_pipeline::{Glance, Scheme, put_decimal};

use super::PrimaryKey;
use crate::hashing;

/// Octets of a port with its colon.
const PORT_OCTETS_MAX: usize = 6;

/// A zone, and a URL of it in parts. Made by no rule.
#[derive(Debug)]
pub(crate) struct UrlSeen<'a> {
    hash: u64,
    zone: ZoneId,
    /// They follow each other in the URL; the third is empty, or a colon and a port.
    scheme: &'static str,
    host: &'a str,
    port: Port,
    target: &'a str,
}

/// A colon and a port, or nothing.
#[derive(Debug, Default)]
struct Port {
    octets: [u8; PORT_OCTETS_MAX],
    length: usize,
}

impl Port {
    fn new(port: Option<u16>) -> Self {
        let mut written = Self::default();
        if let Some(port) = port {
            let mut rest = &mut written.octets[..];
            rest.put_u8(b':');
            put_decimal(&mut rest, port.into());
            written.length = PORT_OCTETS_MAX - rest.len();
        }
        written
    }

    fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

impl Hash for UrlSeen<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<'a> UrlSeen<'a> {
    /// What a request asks for, in this zone.
    pub(crate) fn new(zone: ZoneId, glance: &Glance<'a>) -> Self {
        let scheme = match glance.scheme {
            Scheme::Http => "http://",
            Scheme::Https => "https://",
        };
        let (host, target, port) = (glance.host, glance.target, Port::new(glance.port));
        let mut seen = Self { hash: 0, zone, scheme, host, port, target };
        seen.hash = seen.hashed();
        seen
    }

    fn parts(&self) -> [&[u8]; 4] {
        [self.scheme.as_bytes(), self.host.as_bytes(), self.port.as_bytes(), self.target.as_bytes()]
    }

    /// As [`PrimaryKey::new`] makes it of the whole.
    fn hashed(&self) -> u64 {
        /// What ends a text in a hash.
        const TEXT_END: u8 = 0xff;
        let mut hasher = hashing::hasher();
        self.zone.hash(&mut hasher);
        self.parts().iter().for_each(|part| hasher.write(part));
        hasher.write_u8(TEXT_END);
        None::<&[u8]>.hash(&mut hasher);
        hasher.finish()
    }

    /// Whether it is this key.
    pub(crate) fn is(&self, key: &PrimaryKey) -> bool {
        if self.hash != key.hash || self.zone != key.zone || key.parts.is_some() {
            return false;
        }
        let mut url = key.url.as_bytes();
        for part in self.parts() {
            match url.strip_prefix(part) {
                Some(rest) => url = rest,
                None => return false,
            }
        }
        url.is_empty()
    }

    /// The key itself.
    pub(crate) fn to_key(&self) -> PrimaryKey {
        let url = self.parts().concat();
        PrimaryKey::new(self.zone, String::from_utf8_lossy(&url).into_owned(), None)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use proxima_model::PopCode;
    use proxima_pipeline::{Client, Http1Form, Protocol, RayId};
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_url_that_is_seen_has_the_hash_of_its_key_and_is_no_other() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        let client = Client { address, local: address, protocol: Protocol::Http11, tls: None };
        let ray = RayId::new(PopCode::parse("FRA").expect("a code"));
        let zone = ZoneId::from_bytes([7; 16]);
        let urls = [
            (Scheme::Http, "example.test", None, "/", "http://example.test/"),
            (Scheme::Https, "a.example.test", None, "/a/b.css?x=1&y", "https://a.example.test/a/b.css?x=1&y"),
            (Scheme::Http, "example.test", Some(8080), "/a", "http://example.test:8080/a"),
            (Scheme::Https, "example.test", Some(65_535), "/a", "https://example.test:65535/a"),
            (Scheme::Http, "example.test", Some(7), "/", "http://example.test:7/"),
        ];
        let keys = urls.map(|(.., url)| PrimaryKey::new(zone, url.to_owned(), None));
        for (place, (scheme, host, port, target, _)) in urls.into_iter().enumerate() {
            let (received, site) = (Instant::now(), None);
            let glance = Glance {
                client: &client,
                form: &Http1Form,
                scheme,
                host,
                port,
                target,
                accept_encoding: None,
                ray: &ray,
                received,
                site,
            };
            let seen = UrlSeen::new(zone, &glance);
            assert_eq!(seen.to_key(), keys[place]);
            for (other, key) in keys.iter().enumerate() {
                assert_eq!(
                    (seen.is(key), seen.hash == key.hash),
                    (other == place, other == place),
                    "{key:?}"
                );
            }
            assert!(!UrlSeen::new(ZoneId::from_bytes([8; 16]), &glance).is(&keys[place]));
            let of_a_rule = PrimaryKey { parts: Some([].into()), ..keys[place].clone() };
            assert!(!seen.is(&of_a_rule), "although all else is the same");
        }
    }
}
