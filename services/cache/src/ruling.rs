//! What a zone's cache rules say of one request. They are asked once, when the request comes; what they say then holds for
//! its way back, and for what it brings to be stored.

use std::sync::Arc;

use http::StatusCode;
use proxima_model::{BrowserMode, CacheKey, CacheSettings, EdgeLifetime};
use proxima_pipeline::{Asked, Exchange, Site, SiteRule, extension};

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
}

impl Ruling {
    /// Asks the rules of an exchange's zone in order, and keeps the answer with the exchange.
    pub(crate) fn decide(exchange: &mut Exchange, stage: &'static str) {
        let Some(site) = exchange.site.as_ref().filter(|site| !site.cache_rules.is_empty()).cloned() else {
            return;
        };
        let mut ruling = Self::default();
        let asked = Asked(exchange);
        let mut any = false;
        for (at, rule) in site.cache_rules.iter().enumerate().filter(|(_, rule)| rule.holds(&asked)) {
            any = true;
            for (slot, says) in ruling.slots(&rule.action) {
                if says {
                    *slot = Some(at);
                }
            }
        }
        if !any {
            return;
        }
        ruling.site = Some(site);
        for (what, rule) in ruling.deciding() {
            exchange.trace.note(stage, || format!("{rule} decides {what}"));
        }
        exchange.extensions.insert(ruling);
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

    /// Whether the request shall go past the cache.
    pub(crate) fn bypasses(&self) -> bool {
        self.settings(self.eligible).and_then(|settings| settings.cache) == Some(false)
    }

    /// What belongs to the key.
    pub(crate) fn key(&self) -> Option<&CacheKey> {
        self.settings(self.key)?.cache_key.as_ref()
    }

    /// What is wished for an answer of this status to a request for this path.
    pub(crate) fn wishes<'a>(&self, status: StatusCode, path: &'a str) -> Wishes<'a> {
        let edge = self.settings(self.edge).and_then(|settings| settings.edge_ttl.as_ref());
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
