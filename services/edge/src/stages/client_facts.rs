//! Tells the origin who asks, and the client who answers.

use std::{net::IpAddr, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use proxima_chassis::Clock;
use proxima_pipeline::{
    Adding, Decision, Exchange, Flow, Glance, Scheme, Sight, Stage, Stranger, put_decimal,
};

use crate::date::http_date;

/// The ray's name, on requests and on answers.
pub(crate) const CF_RAY: HeaderName = HeaderName::from_static("cf-ray");
/// The client's address.
pub(crate) const CF_CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");
/// Where a Worker of another account belongs that asks.
const CF_WORKER: HeaderName = HeaderName::from_static("cf-worker");
const CF_VISITOR: HeaderName = HeaderName::from_static("cf-visitor");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What only we may say; a client that says it lies.
const OURS: &str = "cf-";
/// What we state or add to beside those. CGI-like origins read `_` and `-` as one: another spelling of these, and of
/// [`OURS`], would be a second value there that nobody vouches for.
const VOUCHED_FOR: [&str; 3] = ["cdn-loop", "x-forwarded-for", "x-forwarded-proto"];
/// Room for the values that are made for each request: an address, a ray, and some of `x-forwarded-for`.
const VALUES_OCTETS: usize = 192;
/// What answers are said to come from.
const OWN_NAME: &str = "proxima";
/// Octets of a ray: its digits, and a PoP's code behind a hyphen.
const RAY_OCTETS_MAX: usize = 22;

/// On the way there: takes off `cf-*` fields that the client made up and look-alikes with `_` of what we state, and adds `cf-connecting-ip`, `cf-ray`,
/// `cf-visitor`, `x-forwarded-for` (appended to) and `x-forwarded-proto`; and `cf-worker`, if another account's Worker asks. On the way back: `cf-ray`, `server`, and
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
                .note(self.name(), || format!("took off {taken_off} fields by which the client posed as us"));
        }
        state_facts(exchange);
        if let Some(Stranger { named, .. }) = exchange.extensions.get() {
            exchange.trace.note(self.name(), || format!("a Worker of {named:?} asks, another account's"));
            exchange.request.headers.insert(CF_WORKER, named.clone());
        }
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
        response.headers.insert(header::SERVER, HeaderValue::from_static(OWN_NAME));
        if !response.headers.contains_key(header::DATE) {
            response.headers.insert(header::DATE, http_date(self.clock.now()));
        }
    }

    /// What is stated on the way there is for origins.
    fn glance(&self, _glance: &mut Glance<'_>) -> Sight {
        Sight::Pass
    }

    fn add(&self, glance: &Glance<'_>, answer: &mut Adding<'_>) {
        let mut ray = [0; RAY_OCTETS_MAX];
        let mut left = &mut ray[..];
        glance.ray.put(&mut left);
        let length = RAY_OCTETS_MAX - left.len();
        answer.add(&CF_RAY, &ray[..length]);
        answer.add(&header::SERVER, OWN_NAME.as_bytes());
        if !answer.says(&header::DATE) {
            answer.add(&header::DATE, http_date(self.clock.now()).as_bytes());
        }
    }

    fn heeds(&self) -> &'static [&'static str] {
        &["cf-*"]
    }
}

/// Removes all fields that pose as ours; says how many there were.
pub(crate) fn take_off_ours(headers: &mut HeaderMap) -> usize {
    // Collecting nothing does not allocate.
    let ours: Vec<HeaderName> = headers.keys().filter(|name| poses_as_ours(name.as_str())).cloned().collect();
    for name in &ours {
        headers.remove(name);
    }
    ours.len()
}

/// Whether a field's name, in lower case, is one that only we may use, or could be taken for one.
fn poses_as_ours(name: &str) -> bool {
    if !name.contains('_') {
        return name.starts_with(OURS);
    }
    let folded = name.replace('_', "-");
    folded.starts_with(OURS) || VOUCHED_FOR.contains(&folded.as_str())
}

/// Writes all values that are made for this request into one buffer, of which the fields are slices.
fn state_facts(exchange: &mut Exchange) {
    let headers = &mut exchange.request.headers;
    let mut values = BytesMut::with_capacity(VALUES_OCTETS);
    put_address(&mut values, exchange.client.address.ip().to_canonical());
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
    exchange.ray.put(&mut values);

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

/// Writes an address. Every request has one: those of IPv4 do without the machinery of formatting.
fn put_address(buffer: &mut BytesMut, address: IpAddr) {
    use std::fmt::Write;

    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    buffer.put_u8(b'.');
                }
                put_decimal(buffer, octet.into());
            }
        }
        // Writing to a buffer that grows does not fail.
        IpAddr::V6(address) => drop(write!(buffer, "{address}")),
    }
}

/// Addresses, rays and values that were values before always are values.
fn value(octets: Bytes) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_everybody_writes_them() {
        for address in ["0.0.0.0", "192.0.2.10", "255.255.255.255", "2001:db8::1", "::"] {
            let mut written = BytesMut::new();
            put_address(&mut written, address.parse().unwrap());
            assert_eq!(written, address.as_bytes());
        }
    }

    #[test]
    fn a_client_cannot_pose_as_us_with_underscores() {
        let mut headers = HeaderMap::new();
        for name in [
            "cf-ray",
            "cf_connecting_ip",
            "cf-connecting_ip",
            "x_forwarded_for",
            "x-forwarded_proto",
            "cdn_loop",
            "x-forwarded-for",
            "cdn-loop",
            "my_cf_field",
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        assert_eq!(take_off_ours(&mut headers), 6);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cdn-loop", "my_cf_field", "x-forwarded-for"]);
    }
}
