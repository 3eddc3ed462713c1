//! Which requests a cache may answer, and which answers may be anybody else's.

use http::Method;
use proxima_pipeline::Exchange;

use crate::{policy::conditions, ruling::Ruling, status::Pass};

/// Fields by which origins are known to choose another answer, and which no key contains: a request with one could
/// make a common URL answer what one client wanted. The edge's own fields are not among them. Compared with `_` read
/// as `-`, as CGI-like origins do.
pub(super) const UNKEYED_FIELDS: [&str; 19] = [
    "forwarded",
    "front-end-https",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

/// Why a request is not for a cache, if it is not.
pub(super) fn not_for_a_cache(exchange: &Exchange) -> Option<Pass> {
    let request = &exchange.request;
    if request.method != Method::GET && request.method != Method::HEAD {
        return Some(Pass::Method);
    }
    if !exchange.request_body.is_empty() {
        return Some(Pass::Body);
    }
    not_for_anybody(exchange)
}

/// Why the answer to a request may be nobody else's, whatever its method.
pub(super) fn not_for_anybody(exchange: &Exchange) -> Option<Pass> {
    let request = &exchange.request;
    if request.upgrade.is_some() {
        return Some(Pass::Upgrade);
    }
    let now = exchange.received_at;
    if exchange.site.as_ref().is_some_and(|site| site.zone.settings.in_development(now)) {
        return Some(Pass::DevelopmentMode);
    }
    if exchange.extensions.get::<Ruling>().is_some_and(Ruling::bypasses) {
        return Some(Pass::Rule);
    }
    if conditions::for_the_origin(&request.headers) {
        return Some(Pass::OriginCondition);
    }
    request.headers.keys().find_map(|name| unkeyed(name.as_str())).map(Pass::UnkeyedField)
}

/// The field of [`UNKEYED_FIELDS`] for which an origin may take the one of this name.
fn unkeyed(name: &str) -> Option<&'static str> {
    let reads_as = |known: &str| {
        known.len() == name.len()
            && known
                .bytes()
                .zip(name.bytes())
                .all(|(known, octet)| known == if octet == b'_' { b'-' } else { octet })
    };
    UNKEYED_FIELDS.into_iter().find(|known| reads_as(known))
}
