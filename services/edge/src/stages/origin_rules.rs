//! Origin rules: where a request goes instead of where its records say.

use proxima_pipeline::{Decision, Exchange, Flow, Stage};

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
            if !rule.expression.holds(&exchange.request.host) {
                continue;
            }
            let choice = &mut exchange.origin;
            if let Some(host) = &rule.origin.host {
                choice.host = Some(host.as_str().into());
            }
            if let Some(port) = rule.origin.port {
                choice.port = Some(port);
            }
            if let Some(host_header) = &rule.host_header {
                choice.host_header = Some(host_header.as_str().into());
            }
            exchange.trace.note(self.name(), || format!("rule {} applies: {}", rule.id, rule.expression));
        }
        Decision::Now(Flow::Continue)
    }
}
