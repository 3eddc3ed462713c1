//! Header fields that mean one connection only.

use http::{
    HeaderMap, HeaderName,
    header::{CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};

/// Those that do whether or not `Connection` lists them (RFC 9110, 7.6.1).
static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes them, and those that `Connection` lists.
pub(crate) fn take_off_hop_by_hop(headers: &mut HeaderMap) {
    let mut listed = Vec::new();
    for value in headers.get_all(CONNECTION) {
        let names = value.as_bytes().split(|octet| *octet == b',').map(<[u8]>::trim_ascii);
        listed.extend(names.filter_map(|name| HeaderName::from_bytes(name).ok()));
    }
    // What frames and routes a message is no connection's to take off.
    listed.retain(|name| *name != http::header::CONTENT_LENGTH && *name != http::header::HOST);
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_means_one_connection_goes_no_further() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, x-mine, host"),
            ("keep-alive", "timeout=5"),
            ("x-mine", "1"),
            ("x-other", "2"),
            ("transfer-encoding", "chunked"),
            ("host", "example.com"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        take_off_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-other"]);
    }
}
