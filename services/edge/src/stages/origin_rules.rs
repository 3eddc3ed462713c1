//! Origin rules: where a request goes instead of where its records say.

use proxima_pipeline::{Asked, Decision, Exchange, Flow, Glance, Sight, Stage};

/// Applies the zone's origin rules in order; a later rule overrides an earlier one field by field.
#[derive(Default)]
pub struct OriginRules;

impl OriginRules {
    /// The stage; the rules are in the exchange's site.
    pub const fn new() -> Self {
        Self
    }
}

impl Stage for OriginRules {
    fn name(&self) -> &'static str {
        "origin_rules"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        let Some(site) = exchange.site.clone() else { return Decision::Now(Flow::Continue) };
        for rule in &site.origin_rules {
            if !rule.holds(&Asked(exchange)) {
                continue;
            }
            let (choice, route) = (&mut exchange.origin, &rule.action);
            if let Some(host) = &route.origin.host {
                choice.host = Some(host.as_str().into());
            }
            if let Some(port) = route.origin.port {
                choice.port = Some(port);
            }
            if let Some(host_header) = &route.host_header {
                choice.host_header = Some(host_header.as_str().into());
            }
            exchange.trace.note(self.name(), || format!("{rule} applies: {}", rule.expression));
        }
        Decision::Now(Flow::Continue)
    }

    /// Where a request would go is of no matter to one that goes nowhere.
    fn glance(&self, _glance: &mut Glance<'_>) -> Sight {
        Sight::Pass
    }
}
