//! Fields that are lists, cookies, and what `Accept-Encoding` asks for: members and pairs lie within their lines, and a
//! coding is chosen only where the request names it.

use http::{HeaderMap, HeaderValue, header};
use proxima_compression::{Coding, coding::negotiate, encoder, fields};
use proxima_pipeline::{
    cookies, extension,
    lists::{WEIGHT_MAX, members, weight},
    name_and_value,
};

/// The target: lines of fields.
pub fn run(octets: &[u8]) {
    let lines =
        || octets.split(|octet| *octet == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let of = |name: header::HeaderName| lines().map(|line| (name.clone(), line)).collect::<HeaderMap>();
    listed(&of(header::ACCEPT_ENCODING));
    cookies_of(&of(header::COOKIE));
    encoded(octets, of(header::VARY));
    if let Some(weight) = weight(octets) {
        assert!(weight <= WEIGHT_MAX && octets.len() <= 5);
    }
    if let Ok(text) = std::str::from_utf8(octets) {
        let extension = extension(text);
        assert!(text.ends_with(extension) && !extension.contains(['/', '.']));
    }
}

fn listed(headers: &HeaderMap) {
    let all: Vec<&[u8]> = members(headers, &header::ACCEPT_ENCODING).collect();
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().map(HeaderValue::as_bytes);
    let commas = lines.map(|line| 1 + line.iter().filter(|octet| **octet == b',').count());
    assert_eq!(all.len(), commas.sum::<usize>());
    assert!(all.iter().all(|member| !member.contains(&b',') && member.trim_ascii() == *member));
    let is_named = |coding: Coding| {
        all.iter().any(|member| {
            let name = member.split(|octet| *octet == b';').next().unwrap_or_default().trim_ascii();
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            is(coding.name()) || name == b"*" || coding == Coding::Gzip && is("x-gzip")
        })
    };
    if let Some(coding) = negotiate(headers, |_| true) {
        assert!(is_named(coding));
        // What is not offered is not missed by who is not offered it.
        assert_ne!(negotiate(headers, |offered| offered != coding), Some(coding));
        assert_eq!(negotiate(headers, |offered| offered == coding), Some(coding));
    }
    assert_eq!(negotiate(headers, |_| false), None);
}

fn cookies_of(headers: &HeaderMap) {
    for (name, value) in cookies(headers) {
        assert!(!name.contains(&b'=') && !name.contains(&b';') && !value.contains(&b';'));
        let pair = [name, b"=", value].concat();
        assert_eq!(name_and_value(&pair), (name, value));
    }
}

fn encoded(octets: &[u8], mut headers: HeaderMap) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    assert!(fields::is_compressible(&headers, None));
    fields::encode(&mut headers, Coding::Zstd, Some(7));
    assert!(!fields::is_compressible(&headers, None));
    let varied: Vec<&[u8]> = members(&headers, &header::VARY).collect();
    assert!(varied.iter().any(|name| *name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding")));
    let lines = headers.get_all(header::VARY).iter().count();
    fields::vary(&mut headers);
    assert_eq!(headers.get_all(header::VARY).iter().count(), lines);
    let coding = Coding::ALL[octets.len() % Coding::ALL.len()];
    let pieces = octets.chunks(1 + octets.len() / 3);
    let written = encoder::encode(coding, pieces).expect("octets in memory are encoded");
    assert_eq!(encoder::decode(coding, &written).expect("it was encoded"), octets);
}
