//! `Accept-Encoding` as origins get it: reduced to one of a few values, so that an answer that varies by it is kept in a few
//! variants and not in as many as there are browsers.

use http::{HeaderMap, HeaderValue, header};
use proxima_pipeline::lists::{WEIGHT_MAX, members, weight};

/// What a request accepts of the codings that origins are asked for: `br, gzip`, `br`, `gzip` or `identity`. `None` if it
/// says nothing. Weights are gone: what is accepted at all is accepted, and an origin chooses.
pub fn accepted(request: &HeaderMap) -> Option<&'static str> {
    if !request.contains_key(header::ACCEPT_ENCODING) {
        return None;
    }
    let (mut brotli, mut gzip, mut others) = (None, None, false);
    for member in members(request, &header::ACCEPT_ENCODING) {
        let mut parts = member.split(|octet| *octet == b';').map(<[u8]>::trim_ascii);
        let coding = parts.next().unwrap_or_default();
        let weight = parts.next().map_or(Some(WEIGHT_MAX), |parameter| {
            let (name, value) = parameter.split_at_checked(2)?;
            name.eq_ignore_ascii_case(b"q=").then(|| weight(value)).flatten()
        });
        // A weight that is none says nothing of its coding.
        let accepts = weight.is_some_and(|weight| weight > 0);
        match coding.to_ascii_lowercase().as_slice() {
            b"br" => brotli = Some(accepts),
            b"gzip" | b"x-gzip" => gzip = Some(accepts),
            b"*" => others = accepts,
            _ => {}
        }
    }
    Some(match (brotli.unwrap_or(others), gzip.unwrap_or(others)) {
        (true, true) => "br, gzip",
        (true, false) => "br",
        (false, true) => "gzip",
        (false, false) => "identity",
    })
}

/// Reduces a request's field; gives the lines that it had.
pub fn reduce(request: &mut HeaderMap) -> Vec<HeaderValue> {
    let Some(accepted) = accepted(request) else { return Vec::new() };
    let lines = request.get_all(header::ACCEPT_ENCODING).iter().cloned().collect();
    request.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
    lines
}

/// Gives a request the lines back that it had.
pub fn give_back(request: &mut HeaderMap, lines: Vec<HeaderValue>) {
    if lines.is_empty() {
        return;
    }
    request.remove(header::ACCEPT_ENCODING);
    for line in lines {
        request.append(header::ACCEPT_ENCODING, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_browsers_accept_is_one_of_a_few() {
        for (lines, expected) in [
            (&[][..], None),
            (&[""], Some("identity")),
            (&["identity"], Some("identity")),
            (&["gzip, deflate, br, zstd"], Some("br, gzip")),
            (&["gzip", "BR;q=0.1"], Some("br, gzip")),
            (&["gzip;q=1.0, br;q=0"], Some("gzip")),
            (&["X-Gzip , deflate"], Some("gzip")),
            (&["br"], Some("br")),
            (&["*"], Some("br, gzip")),
            (&["*;q=0, gzip"], Some("gzip")),
            (&["*, br;q=0"], Some("gzip")),
            (&["deflate, gzip;q=nonsense"], Some("identity")),
        ] {
            let mut request = HeaderMap::new();
            for line in lines {
                request.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(accepted(&request), expected, "{lines:?}");
            let before = request.clone();
            let had = reduce(&mut request);
            assert_eq!(accepted(&request), expected, "{lines:?}: again");
            give_back(&mut request, had);
            assert_eq!(request, before);
        }
    }
}
