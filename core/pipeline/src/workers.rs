//! Which Worker answers a URL of a zone: pure.

use std::{cmp::Reverse, collections::HashMap};

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
    /// domain, and one without a Worker keeps what it matches from both.
    pub fn find(&self, scheme: Scheme, host: &str, target: &str) -> Option<&WorkerName> {
        let scheme = match scheme {
            Scheme::Http => RouteScheme::Http,
            Scheme::Https => RouteScheme::Https,
        };
        match self.routes.iter().find(|(pattern, _)| pattern.matches(scheme, host, target)) {
            Some((_, script)) => script.as_ref(),
            None => self.hosts.get(host),
        }
    }
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
    fn a_custom_domain_answers_what_no_route_matches() {
        let mut workers = workers();
        workers.routes.retain(|(pattern, _)| !pattern.as_str().starts_with('*'));
        let found = |target| workers.find(Scheme::Https, "app.example.com", target).map(WorkerName::as_str);
        assert_eq!(found("/"), Some("app"));
        assert_eq!(found("/api/users"), Some("api"));
        assert_eq!(workers.find(Scheme::Https, "example.com", "/"), None);
    }
}
