//! `CDN-Loop` (RFC 8586): a request that has passed through this network is not taken a second time.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use proxima_chassis::NetworkConfig;
use proxima_pipeline::{Decision, Exchange, Fault, Flow, Glance, Sight, Stage, Stranger, name_and_value};

const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
/// Our cdn-id: a pseudonym. Which network it was stands in the parameter `network`, so that one may stand before
/// another.
const CDN_ID: &str = "proxima";
const PARAMETER: &str = "network";

/// Refuses requests whose `CDN-Loop` names this network, and adds its name to all others. What a Worker asks of another account's site names
/// it rightly: how often that goes on is counted otherwise ([`Stranger::row`]).
pub struct LoopGuard {
    /// `proxima; network=…`.
    name: HeaderValue,
    /// The value of the parameter.
    network: String,
}

impl LoopGuard {
    /// For the network of these addresses and name servers, which all its nodes have in common.
    pub fn new(network: &NetworkConfig) -> Self {
        let mut parts: Vec<String> = network.anycast_addresses.iter().map(ToString::to_string).collect();
        parts.extend(network.name_servers.iter().map(ToString::to_string));
        parts.sort_unstable();
        let network = format!("{:016x}", fnv1a(parts.join(" ").as_bytes()));
        let name = format!("{CDN_ID}; {PARAMETER}={network}");
        Self { name: HeaderValue::from_maybe_shared(name).expect("its letters are visible ASCII"), network }
    }

    /// Whether a request has passed through this network.
    fn has_passed(&self, headers: &HeaderMap) -> bool {
        headers.get_all(CDN_LOOP).iter().any(|value| self.is_named_in(value.as_bytes()))
    }

    /// Adds the network's name, unless it is there.
    pub(crate) fn sign(&self, headers: &mut HeaderMap) {
        if self.has_passed(headers) {
            return;
        }
        let mut named = BytesMut::new();
        for value in headers.get_all(CDN_LOOP) {
            named.put_slice(value.as_bytes());
            named.put_slice(b", ");
        }
        if named.is_empty() {
            headers.insert(CDN_LOOP, self.name.clone());
            return;
        }
        named.put_slice(self.name.as_bytes());
        if let Ok(value) = HeaderValue::from_maybe_shared(named.freeze()) {
            headers.insert(CDN_LOOP, value);
        }
    }

    /// Whether one of the list's elements names this network. Quoted strings, in which a comma may stand, are honoured
    /// as far as needed: what is inside of one can at worst be taken for us, by which nobody but its sender is refused.
    /// Nor need the other elements be text: what a client writes before our name must not hide it.
    fn is_named_in(&self, list: &[u8]) -> bool {
        list.split(|octet| *octet == b',').any(|element| {
            let mut parts = element.split(|octet| *octet == b';').map(<[u8]>::trim_ascii);
            parts.next().is_some_and(|id| id.eq_ignore_ascii_case(CDN_ID.as_bytes()))
                && parts.map(name_and_value).any(|(name, value)| {
                    name.trim_ascii().eq_ignore_ascii_case(PARAMETER.as_bytes())
                        && unquoted(value.trim_ascii()) == self.network.as_bytes()
                })
        })
    }
}

/// What stands between quotes, if it does.
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// The 64-bit FNV-1a hash: the same on every node and in every release.
fn fnv1a(octets: &[u8]) -> u64 {
    octets
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3))
}

impl Stage for LoopGuard {
    fn name(&self) -> &'static str {
        "loop_guard"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        if self.has_passed(&exchange.request.headers) && exchange.extensions.get::<Stranger>().is_none() {
            return Decision::Now(Flow::Fail(Fault::Loop));
        }
        self.sign(&mut exchange.request.headers);
        Decision::Now(Flow::Continue)
    }

    /// The name is for whoever comes next.
    fn glance(&self, _glance: &mut Glance<'_>) -> Sight {
        Sight::Pass
    }

    fn heeds(&self) -> &'static [&'static str] {
        &["cdn-loop"]
    }
}
