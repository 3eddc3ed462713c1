//! Cache-Control (RFC 9111, 5.2) of requests and responses, and the targeted fields of RFC 9213.
//!
//! Parsing never fails: what is malformed is read in the way that reuses less. A freshness directive whose argument
//! is no number counts as zero (RFC 9111, 4.2.1: "encouraged to consider … stale"), of a directive given twice the
//! first counts, and `private` or `no-cache` with an argument that is no list of fields counts as the plain form.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use proxima_pipeline::structured;

/// Largest delta-seconds that is told apart; longer ones are this (RFC 9111, 1.2.2).
pub const DELTA_SECONDS_MAX: u64 = 1 << 31;

/// Fields that speak to this cache only and go before `Cache-Control` and `Expires` (RFC 9213), in their order.
pub const TARGETED: [HeaderName; 2] =
    [HeaderName::from_static("cloudflare-cdn-cache-control"), HeaderName::from_static("cdn-cache-control")];

/// How far a `private` or `no-cache` goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The directive is not there.
    #[default]
    Absent,
    /// The qualified form: these fields only.
    Fields(Vec<HeaderName>),
    /// The whole response.
    Whole,
}

impl Scope {
    /// The fields of the qualified form.
    pub fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(fields) => fields,
            Self::Absent | Self::Whole => &[],
        }
    }

    fn narrow_to(&mut self, argument: Option<&[u8]>) {
        let fields = argument.map(|list| {
            list.split(|octet| *octet == b',')
                .map(<[u8]>::trim_ascii)
                .filter(|name| !name.is_empty())
                .map(HeaderName::from_bytes)
                .collect::<Result<Vec<_>, _>>()
        });
        match (fields, &mut *self) {
            (_, Self::Whole) => {}
            (Some(Ok(more)), Self::Fields(known)) if !more.is_empty() => known.extend(more),
            (Some(Ok(fields)), _) if !fields.is_empty() => *self = Self::Fields(fields),
            _ => *self = Self::Whole,
        }
    }
}

/// Where a response's directives were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// In `Cache-Control`, or nowhere.
    #[default]
    CacheControl,
    /// In a targeted field, which silences `Cache-Control` and `Expires` for this cache (RFC 9213, 2.2).
    Targeted,
}

/// What a response says about its caching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// Which field said it.
    pub origin: Origin,
    /// `max-age`, in seconds (5.2.2.1).
    pub max_age: Option<u64>,
    /// `s-maxage`, in seconds (5.2.2.10).
    pub s_maxage: Option<u64>,
    /// `no-store` (5.2.2.5).
    pub no_store: bool,
    /// `no-cache` (5.2.2.4).
    pub no_cache: Scope,
    /// `private` (5.2.2.7).
    pub private: Scope,
    /// `public` (5.2.2.9).
    pub public: bool,
    /// `must-revalidate` (5.2.2.2).
    pub must_revalidate: bool,
    /// `proxy-revalidate` (5.2.2.8).
    pub proxy_revalidate: bool,
    /// `must-understand` (5.2.2.3).
    pub must_understand: bool,
    /// `stale-while-revalidate`, in seconds (RFC 5861, 3).
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error`, in seconds (RFC 5861, 4).
    pub stale_if_error: Option<u64>,
}

impl ResponseDirectives {
    /// Reads a response's fields: the first targeted field that is valid and not empty, or else `Cache-Control`.
    pub fn read(headers: &HeaderMap) -> Self {
        for name in &TARGETED {
            let mut found = Self { origin: Origin::Targeted, ..Self::default() };
            let mut any = false;
            let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
            let valid = structured::dictionary(lines, |key, value| any |= found.take_structured(key, value));
            if valid && any {
                return found;
            }
        }
        Self::of_cache_control(headers)
    }

    /// What `Cache-Control` says, whatever the targeted fields say: what browsers hear.
    pub fn of_cache_control(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for line in headers.get_all(header::CACHE_CONTROL) {
            for (name, argument) in Directives(line.as_bytes()) {
                found.take(name, &argument);
            }
        }
        found
    }

    /// Whether anything here allows a stored response to be used at some later time without asking.
    pub fn explicit_freshness(&self) -> bool {
        self.max_age.is_some() || self.s_maxage.is_some()
    }

    fn take(&mut self, name: &[u8], argument: &Argument) {
        let seconds = |slot: &mut Option<u64>| {
            slot.get_or_insert_with(|| argument.seconds().unwrap_or(0));
        };
        match name.to_ascii_lowercase().as_slice() {
            b"max-age" => seconds(&mut self.max_age),
            b"s-maxage" => seconds(&mut self.s_maxage),
            b"stale-while-revalidate" => seconds(&mut self.stale_while_revalidate),
            b"stale-if-error" => seconds(&mut self.stale_if_error),
            other => {
                let _known = self.scope(other, argument.quoted()) || self.flag(other);
            }
        }
    }

    fn flag(&mut self, name: &[u8]) -> bool {
        match name {
            b"no-store" => self.no_store = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            _ => return false,
        }
        true
    }

    /// Takes a member of a targeted field. One of the wrong type is not consumed (RFC 9213, 2.1).
    fn take_structured(&mut self, key: &[u8], value: &structured::Item) -> bool {
        use structured::Item;
        let slot = match key {
            b"max-age" => Some(&mut self.max_age),
            b"s-maxage" => Some(&mut self.s_maxage),
            b"stale-while-revalidate" => Some(&mut self.stale_while_revalidate),
            b"stale-if-error" => Some(&mut self.stale_if_error),
            _ => None,
        };
        match (slot, value) {
            (Some(slot), Item::Integer(seconds)) => {
                *slot = Some(u64::try_from(*seconds).unwrap_or(0).min(DELTA_SECONDS_MAX));
                true
            }
            (Some(_), _) | (None, Item::Boolean(false) | Item::Integer(_) | Item::Other) => false,
            (None, Item::Boolean(true)) => self.scope(key, None) || self.flag(key),
            (None, Item::String(list)) => self.scope(key, Some(list)),
        }
    }

    fn scope(&mut self, name: &[u8], fields: Option<&[u8]>) -> bool {
        match name {
            b"no-cache" => self.no_cache.narrow_to(fields),
            b"private" => self.private.narrow_to(fields),
            _ => return false,
        }
        true
    }
}

/// What a request asks of caches (RFC 9111, 5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `max-age`: no older than this many seconds.
    pub max_age: Option<u64>,
    /// `min-fresh`: fresh for at least this many seconds more.
    pub min_fresh: Option<u64>,
    /// `max-stale`: stale by no more than this many seconds; without argument by [`DELTA_SECONDS_MAX`].
    pub max_stale: Option<u64>,
    /// `no-cache`: not without validation.
    pub no_cache: bool,
    /// `no-store`: nothing of this exchange may be stored.
    pub no_store: bool,
    /// `only-if-cached`: from here or not at all.
    pub only_if_cached: bool,
}

impl RequestDirectives {
    /// Reads a request's `Cache-Control`. `Pragma` is not read: RFC 9111, 5.4, deprecates it.
    pub fn read(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for line in headers.get_all(header::CACHE_CONTROL) {
            for (name, argument) in Directives(line.as_bytes()) {
                let seconds = argument.seconds();
                match name.to_ascii_lowercase().as_slice() {
                    b"max-age" => found.max_age = found.max_age.or(Some(seconds.unwrap_or(0))),
                    b"min-fresh" => found.min_fresh = found.min_fresh.or(seconds),
                    b"max-stale" if matches!(argument, Argument::Absent) => {
                        found.max_stale = found.max_stale.or(Some(DELTA_SECONDS_MAX));
                    }
                    b"max-stale" => found.max_stale = found.max_stale.or(seconds),
                    b"no-cache" => found.no_cache = true,
                    b"no-store" => found.no_store = true,
                    b"only-if-cached" => found.only_if_cached = true,
                    _ => {}
                }
            }
        }
        found
    }
}

/// Parses delta-seconds (RFC 9111, 1.2.2): digits only, held at [`DELTA_SECONDS_MAX`].
pub fn delta_seconds(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = text.iter().fold(0_u64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')).min(DELTA_SECONDS_MAX)
    });
    Some(seconds)
}

/// The argument of a directive.
#[derive(Debug, PartialEq, Eq)]
enum Argument {
    Absent,
    Token(Vec<u8>),
    Quoted(Vec<u8>),
    /// White space about the `=`, something after a quoted string, or a quote that does not end.
    Malformed,
}

impl Argument {
    fn seconds(&self) -> Option<u64> {
        match self {
            Self::Token(text) | Self::Quoted(text) => delta_seconds(text),
            Self::Absent | Self::Malformed => None,
        }
    }

    fn quoted(&self) -> Option<&[u8]> {
        match self {
            Self::Quoted(text) => Some(text),
            Self::Absent | Self::Token(_) | Self::Malformed => None,
        }
    }
}

/// The directives of one line: names and arguments, split at commas outside quoted strings.
struct Directives<'a>(&'a [u8]);

impl<'a> Iterator for Directives<'a> {
    type Item = (&'a [u8], Argument);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.0.is_empty() {
                return None;
            }
            let end = member_end(self.0);
            let member = self.0[..end].trim_ascii();
            self.0 = self.0.get(end + 1..).unwrap_or_default();
            if member.is_empty() {
                continue;
            }
            let Some(equals) = member.iter().position(|octet| *octet == b'=') else {
                return Some((member, Argument::Absent));
            };
            let (name, value) = (&member[..equals], &member[equals + 1..]);
            return Some((name.trim_ascii_end(), argument(name, value)));
        }
    }
}

/// Where the first member ends: at a comma outside quotes, or at the end.
fn member_end(text: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, octet) in text.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

fn argument(name: &[u8], value: &[u8]) -> Argument {
    if name.last().is_some_and(u8::is_ascii_whitespace) || value.first().is_some_and(u8::is_ascii_whitespace)
    {
        return Argument::Malformed;
    }
    let Some(inner) = value.strip_prefix(b"\"") else {
        return Argument::Token(value.to_vec());
    };
    let mut text = Vec::with_capacity(inner.len());
    let mut octets = inner.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' if octets.as_slice().is_empty() => return Argument::Quoted(text),
            b'"' => return Argument::Malformed,
            b'\\' => text.extend(octets.next()),
            other => text.push(*other),
        }
    }
    Argument::Malformed
}

#[cfg(test)]
#[path = "directives_tests.rs"]
mod tests;
