//! How to speak HTTPS to what is proxied.

use proxima_model::limits::TTL_SECONDS_AUTO;

use crate::{rrset::RrSet, wire::rtype};

/// What proxied names answer to who asks how to speak HTTPS to them (RFC 9460, 9).
#[derive(Clone, Debug)]
pub(super) struct Https {
    /// Of zones that want HTTP/3: with it, if the network speaks it.
    pub(super) http3: RrSet,
    /// Of others.
    pub(super) http2: RrSet,
}

impl Https {
    pub(super) fn new(v4: &[Box<[u8]>], v6: &[Box<[u8]>], http3: bool) -> Self {
        /// Keys of parameters (RFC 9460, 14.3.2), in the order in which they must stand.
        const ALPN: u16 = 1;
        const IPV4HINT: u16 = 4;
        const IPV6HINT: u16 = 6;
        let set = |alpn: &[u8]| {
            // Priority 1, at this very name.
            let mut data = vec![0, 1, 0];
            for (key, value) in [(ALPN, alpn), (IPV4HINT, &v4.concat()), (IPV6HINT, &v6.concat())] {
                if !value.is_empty() {
                    let length = u16::try_from(value.len()).expect("a node has 64 addresses at most");
                    data.extend([key.to_be_bytes(), length.to_be_bytes()].concat());
                    data.extend_from_slice(value);
                }
            }
            RrSet::of_one(rtype::HTTPS, TTL_SECONDS_AUTO, data)
        };
        let http2 = set(b"\x02h2");
        Self { http3: if http3 { set(b"\x02h3\x02h2") } else { http2.clone() }, http2 }
    }
}
