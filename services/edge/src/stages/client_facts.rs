//! Tells the origin who asks, and the client who answers.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use proxima_chassis::Clock;
use proxima_pipeline::{Decision, Exchange, Flow, Scheme, Stage};

use crate::date::http_date;

/// The ray's name, on requests and on answers.
pub(crate) const CF_RAY: HeaderName = HeaderName::from_static("cf-ray");
/// The client's address.
pub(crate) const CF_CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");
const CF_VISITOR: HeaderName = HeaderName::from_static("cf-visitor");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What only we may say; a client that says it lies.
const OURS: &str = "cf-";
/// Room for the values that are made for each request: an address, a ray, and some of `x-forwarded-for`.
const VALUES_OCTETS: usize = 192;

/// On the way there: takes off `cf-*` fields that the client made up, and adds `cf-connecting-ip`, `cf-ray`,
/// `cf-visitor`, `x-forwarded-for` (appended to) and `x-forwarded-proto`. On the way back: `cf-ray`, `server`, and
/// `date` where the origin gave none (RFC 9110, 6.6.1). Stands first, so that error answers have them too.
pub struct ClientFacts {
    clock: Arc<dyn Clock>,
}

impl ClientFacts {
    /// By this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl Stage for ClientFacts {
    fn name(&self) -> &'static str {
        "client_facts"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        let taken_off = take_off_ours(&mut exchange.request.headers);
        if taken_off > 0 {
            exchange
                .trace
                .note(self.name(), || format!("took off {taken_off} cf-* fields that the client sent"));
        }
        state_facts(exchange);
        Decision::Now(Flow::Continue)
    }

    fn on_response(&self, exchange: &mut Exchange) {
        // Made on the way there already; a clone is a counter raised. A stage between may have taken it off.
        let ray = exchange.request.headers.get(CF_RAY).cloned();
        let ray = ray.or_else(|| HeaderValue::from_maybe_shared(exchange.ray.to_string()).ok());
        let Some(response) = &mut exchange.response else { return };
        if let Some(ray) = ray {
            response.headers.insert(CF_RAY, ray);
        }
        response.headers.insert(header::SERVER, HeaderValue::from_static("proxima"));
        if !response.headers.contains_key(header::DATE) {
            response.headers.insert(header::DATE, http_date(self.clock.now()));
        }
    }
}

/// Removes all `cf-*` fields; says how many there were.
fn take_off_ours(headers: &mut HeaderMap) -> usize {
    if !headers.keys().any(|name| name.as_str().starts_with(OURS)) {
        return 0;
    }
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(OURS)).cloned().collect();
    for name in &ours {
        headers.remove(name);
    }
    ours.len()
}

/// Writes all values that are made for this request into one buffer, of which the fields are slices.
fn state_facts(exchange: &mut Exchange) {
    use std::fmt::Write;

    let headers = &mut exchange.request.headers;
    let address = exchange.client.address.ip().to_canonical();
    let mut values = BytesMut::with_capacity(VALUES_OCTETS);
    // Writing to a buffer that grows does not fail.
    write!(values, "{address}").ok();
    let address = values.split().freeze();

    let mut passed_by_others = headers.get_all(X_FORWARDED_FOR).iter().peekable();
    let forwarded_for = if passed_by_others.peek().is_none() {
        address.clone()
    } else {
        for value in passed_by_others {
            values.put_slice(value.as_bytes());
            values.put_slice(b", ");
        }
        values.put_slice(&address);
        values.split().freeze()
    };
    write!(values, "{}", exchange.ray).ok();

    for (name, octets) in
        [(CF_CONNECTING_IP, address), (X_FORWARDED_FOR, forwarded_for), (CF_RAY, values.freeze())]
    {
        if let Some(value) = value(octets) {
            headers.insert(name, value);
        }
    }
    let (visitor, scheme) = match exchange.request.scheme {
        Scheme::Http => (r#"{"scheme":"http"}"#, "http"),
        Scheme::Https => (r#"{"scheme":"https"}"#, "https"),
    };
    headers.insert(CF_VISITOR, HeaderValue::from_static(visitor));
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
}

/// Addresses, rays and values that were values before always are values.
fn value(octets: Bytes) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(octets).ok()
}
