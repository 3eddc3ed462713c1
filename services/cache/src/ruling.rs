//! What a zone's cache rules say of one request. They are asked once, when the request comes; what they say then holds for
//! its way back, and for what it brings to be stored. Code that fetches says so itself, for its own request, and stands above them.

use std::sync::Arc;

use http::StatusCode;
use proxima_model::{BrowserMode, CacheKey, CacheSettings, EdgeLifetime};
use proxima_pipeline::{Asked, Exchange, FetchCaching, Site, SiteRule, extension};

use crate::{policy::wishes::Wishes, serve::BrowserLifetime};

/// The rules that decided, each by its place among those of the zone: nothing is copied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ruling {
    site: Option<Arc<Site>>,
    eligible: Option<usize>,
    edge: Option<usize>,
    browser: Option<usize>,
    stale: Option<usize>,
    key: Option<usize>,
    /// What the code says that fetches.
    own: Option<Arc<CacheSettings>>,
}

impl Ruling {
    /// Asks the rules of an exchange's zone in order, and keeps the answer with the exchange.
    pub(crate) fn decide(exchange: &mut Exchange, stage: &'static str) {
        let own = exchange.extensions.get::<FetchCaching>().map(|FetchCaching(own)| Arc::clone(own));
        let site = exchange.site.as_ref().filter(|site| !site.cache_rules.is_empty()).cloned();
        let ruling = Self { own, ..site.map(|site| Self::by_rules(site, exchange)).unwrap_or_default() };
        if ruling.own.is_none() && ruling.deciding().next().is_none() {
            return;
        }
        for (what, rule) in ruling.deciding() {
            exchange.trace.note(stage, || format!("{rule} decides {what}"));
        }
        if let Some(own) = &ruling.own {
            exchange.trace.note(stage, || format!("the Worker that fetches decides {}", named(own)));
        }
        exchange.extensions.insert(ruling);
    }

    fn by_rules(site: Arc<Site>, exchange: &Exchange) -> Self {
        let mut ruling = Self::default();
        let asked = Asked(exchange);
        for (at, rule) in site.cache_rules.iter().enumerate().filter(|(_, rule)| rule.holds(&asked)) {
            for (slot, says) in ruling.slots(&rule.action) {
                if says {
                    *slot = Some(at);
                }
            }
        }
        ruling.site = Some(site);
        ruling
    }

    /// What was decided for an exchange.
    pub(crate) fn of(exchange: &Exchange) -> Self {
        exchange.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    fn slots(&mut self, settings: &CacheSettings) -> [(&mut Option<usize>, bool); 5] {
        [
            (&mut self.eligible, settings.cache.is_some()),
            (&mut self.edge, settings.edge_ttl.is_some()),
            (&mut self.browser, settings.browser_ttl.is_some()),
            (&mut self.stale, settings.serve_stale.is_some()),
            (&mut self.key, settings.cache_key.is_some()),
        ]
    }

    fn rule(&self, at: Option<usize>) -> Option<&SiteRule<CacheSettings>> {
        self.site.as_ref()?.cache_rules.get(at?)
    }

    fn settings(&self, at: Option<usize>) -> Option<&CacheSettings> {
        self.rule(at).map(|rule| &rule.action)
    }

    /// What is decided, and by which rule.
    fn deciding(&self) -> impl Iterator<Item = (&'static str, &SiteRule<CacheSettings>)> {
        let all = [
            ("cache", self.eligible),
            ("edge_ttl", self.edge),
            ("browser_ttl", self.browser),
            ("serve_stale", self.stale),
            ("cache_key", self.key),
        ];
        all.into_iter().filter_map(|(what, at)| Some((what, self.rule(at)?)))
    }

    /// Whether code that fetches says something itself: what becomes of its answer then says nothing of what others are told.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Whether the request shall go past the cache.
    pub(crate) fn bypasses(&self) -> bool {
        let own = self.own.as_ref().and_then(|own| own.cache);
        own.or_else(|| self.settings(self.eligible)?.cache) == Some(false)
    }

    /// What belongs to the key.
    pub(crate) fn key(&self) -> Option<&CacheKey> {
        self.settings(self.key)?.cache_key.as_ref()
    }

    /// What is wished for an answer of this status to a request for this path.
    pub(crate) fn wishes<'a>(&self, status: StatusCode, path: &'a str) -> Wishes<'a> {
        let own = self.own.as_ref().and_then(|own| own.edge_ttl.as_ref());
        let edge = own.or_else(|| self.settings(self.edge)?.edge_ttl.as_ref());
        let stale = self.settings(self.stale).and_then(|settings| settings.serve_stale.as_ref());
        let armored = self.key().is_some_and(|key| key.cache_deception_armor == Some(true));
        Wishes {
            lifetime: edge.map_or(EdgeLifetime::Origin, |edge| edge.lifetime(status.as_u16())),
            never_while_updating: stale.is_some_and(|stale| stale.disable_stale_while_updating),
            armored: armored.then(|| extension(path)).filter(|extension| !extension.is_empty()),
        }
    }

    /// What browsers shall be told, if a rule says.
    pub(crate) fn browser(&self) -> Option<BrowserLifetime> {
        let ttl = self.settings(self.browser)?.browser_ttl.as_ref()?;
        Some(match (ttl.mode, ttl.default) {
            (BrowserMode::Bypass, _) => BrowserLifetime::None,
            (BrowserMode::OverrideOrigin, Some(seconds)) => BrowserLifetime::Exactly(seconds),
            _ => BrowserLifetime::Origins,
        })
    }
}

/// What settings of code's own set: it can say nothing else.
fn named(own: &CacheSettings) -> &'static str {
    if own.edge_ttl.is_some() && own.cache != Some(false) { "edge_ttl" } else { "cache" }
}

/// What browsers are told of an answer: by a rule, or by its zone.
pub(crate) fn browser_lifetime(exchange: &Exchange) -> BrowserLifetime {
    let of_rule = exchange.extensions.get::<Ruling>().and_then(Ruling::browser);
    of_rule.unwrap_or_else(|| {
        match exchange.site.as_ref().map_or(0, |site| site.zone.settings.browser_cache_ttl) {
            0 => BrowserLifetime::Origins,
            seconds => BrowserLifetime::AtLeast(seconds),
        }
    })
}
