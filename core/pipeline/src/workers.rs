//! Which Worker answers a URL of a zone: pure.

use std::{borrow::Cow, cmp::Reverse, collections::HashMap};

use proxima_model::{RoutePattern, RouteScheme, WorkerHost, WorkerName, WorkerRoute};

use crate::Scheme;

/// The routes and custom domains of a zone. All Workers that they name are of the zone's account.
#[derive(Clone, Debug, Default)]
pub struct SiteWorkers {
    /// The most specific first.
    routes: Vec<(RoutePattern, Option<WorkerName>)>,
    hosts: HashMap<Box<str>, WorkerName>,
}

impl SiteWorkers {
    /// Those of one zone.
    pub fn new(
        routes: impl IntoIterator<Item = WorkerRoute>,
        hosts: impl IntoIterator<Item = WorkerHost>,
    ) -> Self {
        let mut routes: Vec<_> = routes.into_iter().map(|route| (route.pattern, route.script)).collect();
        routes.sort_by_key(|(pattern, _)| Reverse(pattern.specificity()));
        let hosts = hosts.into_iter().map(|host| (host.hostname.as_str().into(), host.service)).collect();
        Self { routes, hosts }
    }

    /// The Worker that answers a URL: `host` in lower case, `target` the path and query. A route goes before a custom
    /// domain, and one without a Worker keeps what it matches from both. Routes are compared with what origins make of a path,
    /// however it is written: a Worker that guards a folder is not walked around.
    pub fn find(&self, scheme: Scheme, host: &str, target: &str) -> Option<&WorkerName> {
        match self.route(scheme, host, target) {
            Some((_, script)) => script.as_ref(),
            None => self.hosts.get(host),
        }
    }

    /// Whether a route matches a URL, so that no custom domain is asked.
    pub fn has_route(&self, scheme: Scheme, host: &str, target: &str) -> bool {
        self.route(scheme, host, target).is_some()
    }

    /// The route that matches a URL, if one does.
    fn route(&self, scheme: Scheme, host: &str, target: &str) -> Option<&(RoutePattern, Option<WorkerName>)> {
        let scheme = match scheme {
            Scheme::Http => RouteScheme::Http,
            Scheme::Https => RouteScheme::Https,
        };
        if self.routes.is_empty() {
            return None;
        }
        let target = &*normalized(target);
        self.routes.iter().find(|(pattern, _)| pattern.matches(scheme, host, target))
    }
}

impl SiteWorkers {
    /// The Worker whose custom domain a host is, lower case: it stands there in the place of an origin.
    pub fn of_domain(&self, host: &str) -> Option<&WorkerName> {
        self.hosts.get(host)
    }

    /// The Worker that a client which comes for this host by TLS most probably asks: what `/` leads to, or the most specific route of
    /// this very host that leads anywhere.
    pub fn of_host(&self, host: &str) -> Option<&WorkerName> {
        let of_route = |(pattern, script): &'_ (RoutePattern, Option<WorkerName>)| {
            script.is_some() && pattern.host() == host
        };
        self.find(Scheme::Https, host, "/")
            .or_else(|| self.routes.iter().find(|route| of_route(route))?.1.as_ref())
    }
}

/// A path and query whose path has no escapes of what needs none, and no segments `.` and `..` (RFC 3986, 6.2.2).
fn normalized(target: &str) -> Cow<'_, str> {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    if !path.contains('%') && !path.contains("/.") {
        return Cow::Borrowed(target);
    }
    let path = unescaped(path);
    let mut segments: Vec<&str> = Vec::new();
    let mut rest = path.strip_prefix('/').unwrap_or(&path).split('/').peekable();
    while let Some(segment) = rest.next() {
        let is_last = rest.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                // What it leads to is a folder.
                if is_last {
                    segments.push("");
                }
            }
            other => segments.push(other),
        }
    }
    Cow::Owned(format!("/{}{query}", segments.join("/")))
}

/// A path without escapes of letters, digits, `-`, `.`, `_` and `~`.
fn unescaped(path: &str) -> String {
    let mut written = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        written.push_str(before);
        let octet = escape.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match octet.filter(|octet| octet.is_ascii_alphanumeric() || b"-._~".contains(octet)) {
            Some(octet) => {
                written.push(char::from(octet));
                rest = &escape[3..];
            }
            None => {
                written.push('%');
                rest = &escape[1..];
            }
        }
    }
    written.push_str(rest);
    written
}

#[cfg(test)]
mod tests {
    use proxima_model::{AccountId, DnsName, RecordId, WorkerDomainId, WorkerRouteId, ZoneId};

    use super::*;

    fn workers() -> SiteWorkers {
        let zone = ZoneId::from_bytes([1; 16]);
        let route = |(place, (pattern, script)): (u8, (&str, Option<&str>))| WorkerRoute {
            id: WorkerRouteId::from_bytes([place; 16]),
            zone,
            pattern: RoutePattern::parse(pattern).expect("a pattern"),
            script: script.map(|name| WorkerName::parse(name).expect("a name")),
        };
        let routes = [
            ("*example.com/*", Some("all")),
            ("www.example.com/*", Some("www")),
            ("www.example.com/static/*", None),
            ("https://www.example.com/secure/*", Some("secure")),
            ("app.example.com/api/*", Some("api")),
        ];
        let host = WorkerHost {
            zone,
            hostname: DnsName::parse("app.example.com").expect("a name"),
            account: AccountId::from_bytes([2; 16]),
            service: WorkerName::parse("app").expect("a name"),
            domain: WorkerDomainId::from_bytes([3; 16]),
            record: RecordId::from_bytes([4; 16]),
        };
        SiteWorkers::new((0..).zip(routes).map(route), [host])
    }

    #[test]
    fn the_most_specific_route_answers_and_one_without_a_worker_keeps_others_away() {
        let workers = workers();
        for (scheme, host, target, expected) in [
            (Scheme::Http, "example.com", "/", Some("all")),
            (Scheme::Http, "other.example.com", "/x?y", Some("all")),
            (Scheme::Http, "www.example.com", "/x", Some("www")),
            (Scheme::Http, "www.example.com", "/static/logo.png", None),
            (Scheme::Http, "www.example.com", "/secure/x", Some("www")),
            (Scheme::Https, "www.example.com", "/secure/x", Some("secure")),
            (Scheme::Https, "app.example.com", "/api/users", Some("api")),
        ] {
            let found = workers.find(scheme, host, target).map(WorkerName::as_str);
            assert_eq!(found, expected, "{host}{target}");
        }
    }

    #[test]
    fn a_route_matches_its_paths_however_they_are_written() {
        let workers = workers();
        for target in [
            "/static/x",
            "/x/../static/x",
            "/./static/x",
            "/../../static/x",
            "/%73tatic/x",
            "/stati%63/%2e%2E/static/.",
            "/static/..%2fx",
            "/static/%",
            "/static/%zz?/..",
        ] {
            assert_eq!(workers.find(Scheme::Http, "www.example.com", target), None, "{target}");
        }
        for target in [
            "/static/../x",
            "/static/..",
            "/x?/../static/",
            "/%2fstatic/x",
            "/x%2f..%2fstatic/x",
            "/.static/x",
        ] {
            let found = workers.find(Scheme::Http, "www.example.com", target).map(WorkerName::as_str);
            assert_eq!(found, Some("www"), "{target}");
        }
        for (target, expected) in [
            ("/a/b?c=/../%61", "/a/b?c=/../%61"),
            ("/a/./b/../c", "/a/c"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/%7Ea/%41%2F%c3%a4", "/~a/A%2F%c3%a4"),
            ("*", "*"),
        ] {
            assert_eq!(normalized(target), expected, "{target}");
        }
    }

    #[test]
    fn a_host_has_the_worker_of_its_root_or_of_a_route_of_its_own() {
        let mut workers = workers();
        let found = |workers: &SiteWorkers, host| workers.of_host(host).map(|name| name.as_str().to_owned());
        assert_eq!(found(&workers, "www.example.com").as_deref(), Some("www"));
        assert_eq!(found(&workers, "other.example.com").as_deref(), Some("all"));
        workers.routes.retain(|(pattern, _)| {
            pattern.as_str().contains("static") || pattern.as_str().contains("secure")
        });
        assert_eq!(found(&workers, "www.example.com").as_deref(), Some("secure"));
        assert_eq!(found(&workers, "app.example.com").as_deref(), Some("app"));
        assert_eq!(found(&workers, "other.example.com"), None);
    }

    #[test]
    fn a_custom_domain_answers_what_no_route_matches() {
        let mut workers = workers();
        workers.routes.retain(|(pattern, _)| !pattern.as_str().starts_with('*'));
        let found = |target| workers.find(Scheme::Https, "app.example.com", target).map(WorkerName::as_str);
        assert_eq!(found("/"), Some("app"));
        assert_eq!(found("/api/users"), Some("api"));
        let has_route = |target| workers.has_route(Scheme::Https, "app.example.com", target);
        assert!(!has_route("/") && has_route("/api/users"));
        assert!(workers.has_route(Scheme::Http, "www.example.com", "/static/x"), "one that leads nowhere");
        assert_eq!(workers.of_domain("app.example.com").map(WorkerName::as_str), Some("app"));
        assert_eq!(workers.of_domain("www.example.com"), None, "it has routes only");
        assert_eq!(workers.find(Scheme::Https, "example.com", "/"), None);
    }
}
