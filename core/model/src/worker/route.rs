//! Routes: which URLs of a zone a Worker answers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::WorkerName;
use crate::{DnsName, Entity, Invalid, Key, Kind, WorkerRouteId, ZoneId, ZoneName, excerpt, limits};

/// A route: requests whose URL the pattern matches go to the Worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRoute {
    /// Its id.
    pub id: WorkerRouteId,
    /// The zone.
    pub zone: ZoneId,
    /// Which URLs.
    pub pattern: RoutePattern,
    /// The Worker, of the zone's account; without one, no Worker answers what would match less specific patterns.
    pub script: Option<WorkerName>,
}

impl Entity for WorkerRoute {
    const KIND: Kind = Kind::WorkerRoute;
    type Id = (ZoneId, WorkerRouteId);

    fn key(&self) -> Key {
        Self::key_of(&(self.zone, self.id))
    }

    fn key_of((zone, id): &Self::Id) -> Key {
        Key::new(Self::KIND, &[zone, id])
    }
}

/// The schemes of URLs that come to Workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteScheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

/// Which URLs: `https://*.example.com/images/*`. A scheme or none; a host, which `*` may begin and stands then for any
/// octets; a path, which `*` may end. Without a path it is `/`. All of a URL is matched, its query too, though no pattern
/// has one: a path that does not end in `*` matches no URL with a query. Case matters in paths alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoutePattern {
    /// As its owner wrote it, but for the host, which is in its one form.
    text: String,
    scheme: Option<RouteScheme>,
    /// What the host is or, of one that begins with `*`, what it ends in: perhaps with a dot first.
    host: Box<str>,
    any_before: bool,
    /// What the path is or, of one that ends with `*`, begins with.
    path: Box<str>,
    any_after: bool,
}

/// How specific a pattern is: of those that match a URL, the one with the greatest wins. Of two that match the same URL no
/// two have the same, unless they match the same URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteSpecificity {
    host_octets: usize,
    whole_host: bool,
    path_octets: usize,
    whole_path: bool,
    has_scheme: bool,
}

impl RoutePattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// What matches no URL of any zone, or has `*` elsewhere.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = |problem: &str| {
            Invalid::new(
                "pattern",
                format!("{} {problem}", excerpt(text)),
                "give a pattern such as *.example.com/images/*: * may begin the host and end the path",
            )
        };
        if text.len() > limits::ROUTE_PATTERN_OCTETS_MAX {
            return Err(refuse("is too long"));
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Some(RouteScheme::Http), rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Some(RouteScheme::Https), rest),
            Some(_) => return Err(refuse("has a scheme other than http and https")),
            None => (None, text),
        };
        let (host, given_path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if rest.contains(['?', '#']) {
            return Err(refuse("has a query or a fragment"));
        }
        if host.contains([':', '@']) {
            return Err(refuse("has a port or a user"));
        }
        let (any_before, host) = host.strip_prefix('*').map_or((false, host), |host| (true, host));
        let (dot, name) = match host.strip_prefix('.') {
            Some(name) if any_before => (".", name),
            _ => ("", host),
        };
        if name.contains('*') {
            return Err(refuse("has * within its host"));
        }
        let name = DnsName::parse(name).map_err(|_| refuse("has no host's name"))?;
        if name.parent().is_none() {
            return Err(refuse("has no host of a zone"));
        }
        if !given_path.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(refuse("has a character that is written %XX in URLs"));
        }
        let path = if given_path.is_empty() { "/" } else { given_path };
        let (any_after, path) = path.strip_suffix('*').map_or((false, path), |path| (true, path));
        if path.contains('*') {
            return Err(refuse("has * within its path"));
        }
        let shown_scheme = scheme.map_or("", RouteScheme::prefix);
        let shown_star = if any_before { "*" } else { "" };
        Ok(Self {
            text: format!("{shown_scheme}{shown_star}{dot}{name}{given_path}"),
            scheme,
            host: format!("{dot}{name}").into(),
            any_before,
            path: path.into(),
            any_after,
        })
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What its host is, or ends in: without `*` and a dot behind that.
    pub fn host(&self) -> &str {
        self.host.strip_prefix('.').unwrap_or(&self.host)
    }

    /// Whether it can match URLs of this zone alone: its host, without `*`, is the zone's name or lies below it.
    pub fn is_within(&self, zone: &ZoneName) -> bool {
        self.host().strip_suffix(zone.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// Whether a URL of its zone is matched: `host` in lower case without a port, `target` the path and query as they
    /// were sent.
    pub fn matches(&self, scheme: RouteScheme, host: &str, target: &str) -> bool {
        self.scheme.is_none_or(|wanted| wanted == scheme)
            && if self.any_before { host.ends_with(&*self.host) } else { host == &*self.host }
            && if self.any_after { target.starts_with(&*self.path) } else { target == &*self.path }
    }

    /// How specific it is: more of the host before more of the path before a scheme.
    pub const fn specificity(&self) -> RouteSpecificity {
        RouteSpecificity {
            host_octets: self.host.len(),
            whole_host: !self.any_before,
            path_octets: self.path.len(),
            whole_path: !self.any_after,
            has_scheme: self.scheme.is_some(),
        }
    }

    /// Whether it matches the same URLs, however it is written: a zone has one route of each.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let parts = |it: &Self| (it.scheme, it.any_before, it.any_after);
        parts(self) == parts(other) && self.host == other.host && self.path == other.path
    }
}

impl RouteScheme {
    /// What URLs of it begin with.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Http => "http://",
            Self::Https => "https://",
        }
    }
}

impl fmt::Display for RouteScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.prefix().trim_end_matches("://"))
    }
}

impl From<RoutePattern> for String {
    fn from(pattern: RoutePattern) -> Self {
        pattern.text
    }
}

impl TryFrom<String> for RoutePattern {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for RoutePattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoutePattern({})", self.text)
    }
}
