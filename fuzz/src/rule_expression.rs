//! An expression of anybody's rule: parsed or refused with a place in it, never a panic; what was parsed is written and
//! parsed as the same, and holds or not for a request that has the text in every field.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr},
    ops::ControlFlow,
};

use proxima_rules::{Expression, Flag, Listing, Map, Number, Request, Text};

struct Asked<'a>(&'a [u8]);

impl Request for Asked<'_> {
    fn text(&self, _: Text) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.0)
    }

    fn flag(&self, _: Flag) -> bool {
        true
    }

    fn number(&self, _: Number) -> i64 {
        1
    }

    fn address(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    }

    fn values(&self, _: Map, _: &[u8], see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) {
        let _seen = see(self.0);
    }

    fn listing(&self, _: Listing, see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) {
        let _seen = see(self.0);
    }
}

/// The target.
pub fn run(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    match Expression::parse(text) {
        Ok(expression) => {
            let written = expression.to_string();
            // What is written in full may be longer than an expression may be.
            if let Ok(again) = Expression::parse(&written) {
                assert_eq!(again, expression);
            } else {
                assert!(written.len() > proxima_rules::limits::EXPRESSION_OCTETS_MAX, "{written}");
            }
            let _held = expression.holds(&Asked(text.as_bytes()));
        }
        Err(error) => {
            assert!(error.line > 0 && error.column > 0);
            let _shown = error.pointed(text);
        }
    }
}
