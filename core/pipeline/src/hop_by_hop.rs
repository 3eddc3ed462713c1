//! Fields that mean one connection only (RFC 9110, 7.6.1).

use http::{
    HeaderMap, HeaderName,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};
use smallvec::SmallVec;

use crate::lists::members;

/// Removes what is meant for this connection only: the fields that `Connection` lists and those that old senders do not list.
/// Everybody who passes a message on calls this before it is looked at further. One look at each name: most messages have
/// nothing to be removed.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let found: SmallVec<[HeaderName; 2]> =
        headers.keys().filter(|name| is_hop_by_hop(name.as_str())).cloned().collect();
    if found.contains(&CONNECTION) {
        let listed: Vec<HeaderName> = members(headers, &CONNECTION)
            .filter(|name| !frames_or_routes(name))
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .collect();
        for name in listed {
            headers.remove(name);
        }
    }
    for name in found {
        headers.remove(name);
    }
}

/// Whether a field must arrive wherever its message does: to list one in `Connection` asks a proxy to drop it, which is a known
/// attack and never an honest wish.
pub fn frames_or_routes(name: &[u8]) -> bool {
    [HOST, CONTENT_LENGTH, TRANSFER_ENCODING]
        .iter()
        .any(|field| name.eq_ignore_ascii_case(field.as_str().as_bytes()))
}

/// Whether a field, by its name in lower case, is meant for one connection whether or not `Connection` lists it.
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_means_one_connection_goes_no_further_and_what_frames_or_routes_does() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Mine, host,, no name"),
            ("connection", "x-second"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "x"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("upgrade", "x"),
            ("x-mine", "1"),
            ("x-second", "1"),
            ("x-other", "2"),
            ("transfer-encoding", "chunked"),
            ("host", "example.com"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-other"]);
    }
}
