//! Requests that are looked at where they lie: what is said of them is what would be found by taking them apart.

use bytes::BytesMut;
use http::header::{ACCEPT_ENCODING, CONNECTION};
use http::{Method, Version};
use proptest::prelude::*;
use proxima_pipeline::strip_hop_by_hop;

use super::super::{Framing, Limits, PlainRequest, RequestParser};

/// What is said of a head at a glance, copied: host, port, target, codings, octets.
type Said = (String, Option<u16>, String, Option<Vec<u8>>, u64);

fn heeded(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"range")
}

/// Looks at a whole head, and takes it apart; both must say the same. `None`: it is not plain.
fn look(head: &[u8], default_port: u16) -> Option<Said> {
    let (mut buffer, mut parser) = (BytesMut::from(head), RequestParser::default());
    if !matches!(parser.scan(&buffer, &Limits::DEFAULT), Ok(true)) {
        return None;
    }
    let PlainRequest { host, port, target, accept_encoding, bytes } =
        parser.plain(&buffer, default_port, heeded)?;
    let said = (host.to_owned(), port, target.to_owned(), accept_encoding.map(<[u8]>::to_vec), bytes);
    let mut skipped = (parser.clone(), buffer.clone());
    skipped.0.skip(&mut skipped.1);
    let mut taken = parser.take(&mut buffer).expect("what is plain is well-formed");
    assert!(skipped.1 == buffer && skipped.0.is_idle(b""), "both pass over the same octets");
    assert_eq!(
        (&taken.method, taken.version, taken.framing),
        (&Method::GET, Version::HTTP_11, Framing::None)
    );
    assert_eq!((taken.keep_alive, taken.expect_continue, taken.upgrade.is_some()), (true, false, false));
    assert_eq!((taken.host.name(), taken.host.port(), taken.scheme), (host_of(&said), port, None));
    assert_eq!(taken.target.as_str(), said.2);
    let codings: Vec<&[u8]> =
        taken.headers.get_all(ACCEPT_ENCODING).iter().map(|line| line.as_bytes()).collect();
    assert_eq!(codings, said.3.iter().map(|line| &line[..]).collect::<Vec<_>>());
    assert!(!taken.headers.keys().any(|name| heeded(name.as_str().as_bytes())));
    let (before, connection) = (taken.headers.len(), taken.headers.get_all(CONNECTION).iter().count());
    strip_hop_by_hop(&mut taken.headers);
    assert_eq!(before - taken.headers.len(), connection, "nothing but `Connection` is of the connection");
    let fields = taken.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let octets = "GET  HTTP/1.1\r\n\r\n".len() + said.2.len() + fields.sum::<usize>();
    assert_eq!(said.4, octets as u64);
    Some(said)
}

fn host_of(said: &Said) -> &str {
    &said.0
}

/// The same of a request line and fields.
fn looked_at(line: &str, fields: &[&str]) -> bool {
    let head =
        format!("{line}\r\n{}\r\n", fields.iter().map(|field| format!("{field}\r\n")).collect::<String>());
    look(head.as_bytes(), 80).is_some()
}

#[test]
fn a_get_for_one_host_in_its_usual_spelling_is_plain() {
    for fields in [
        &["Host: a.example"][..],
        &["host: a"],
        &["Host: a.example:8080"],
        &["Host: a.example", "Connection: Keep-Alive"],
        &["Connection: keep-alive", "Host: a.example", "Connection: keep-alive"],
        &["Host: x_y.example", "Accept-Encoding: gzip, br", "Cookie: a=b", "cookie: c=d", "X-Range: 1"],
        &["User-Agent: x", "Accept: */*", "Accept: text/html", "Host: a-1.example", "X-Empty:"],
    ] {
        for target in ["/", "/a/b.css?x=%20&y=@", "//a", "/~a;b=c,d!$'()*+:"] {
            assert!(looked_at(&format!("GET {target} HTTP/1.1"), fields), "{target} {fields:?}");
        }
    }
}

#[test]
fn whatever_could_mean_more_is_not_plain() {
    const LINE: &str = "GET / HTTP/1.1";
    for line in [
        "HEAD / HTTP/1.1",
        "POST / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET http://a/ HTTP/1.1",
        "OPTIONS * HTTP/1.1",
    ] {
        assert!(!looked_at(line, &["Host: a"]), "{line}");
    }
    for target in ["/`", "/{", "/[a]", "/\"", "/a|b", "/^"] {
        assert!(!looked_at(&format!("GET {target} HTTP/1.1"), &["Host: a"]), "{target}");
    }
    for host in [
        "", "A", "a.", ".a", "a..b", "a:80", "a:08080", "a:0", "a:", "a:65536", "a:8x", "[::1]", "a@b",
        "a%41", "a b",
    ] {
        assert!(!looked_at(LINE, &[&format!("Host: {host}")]), "{host}");
    }
    for fields in
        [&[][..], &["Host: a", "Host: a"], &["Host: a", "Host: b"], &[&format!("Host: {}", "a".repeat(254))]]
    {
        assert!(!looked_at(LINE, fields), "{fields:?}");
    }
    for field in [
        "Content-Length: 0",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "Connection: upgrade",
        "Connection: keep-alive, x-mine",
        "Connection:",
        "Upgrade: websocket",
        "Expect: 100-continue",
        "TE: trailers",
        "Trailer: x",
        "Keep-Alive: 5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: x",
        "Proxy-Authenticate: x",
        "Range: bytes=0-1",
        "RANGE: bytes=0-1",
        "x_forwarded_for: 1",
    ] {
        assert!(!looked_at(LINE, &["Host: a", field]), "{field}");
    }
    for twice in ["Accept-Encoding: gzip", "Connection: x"] {
        assert!(!looked_at(LINE, &["Host: a", twice, twice]), "{twice}");
    }
}

proptest! {
    #[test]
    fn what_is_said_of_a_head_is_what_is_in_it(
        line in proptest::sample::select(&[
            "GET / HTTP/1.1", "GET /a?b HTTP/1.1", "GET /a?b HTTP/1.1", "HEAD / HTTP/1.1", "GET http://a/ HTTP/1.1",
        ][..]),
        fields in proptest::collection::vec(proptest::sample::select(&[
            "Host: a", "Host: a", "host: a.example:8443", "Host: A", "Host: a:443", "Accept: x", "accept: y",
            "Accept-Encoding: gzip", "ACCEPT-ENCODING:  br ", "Connection: keep-alive", "Connection: close",
            "Content-Length: 0", "Content-Length: 1", "Transfer-Encoding: chunked", "Expect: 100-continue",
            "Range: bytes=0-", "Keep-Alive: 1", "Upgrade: x", "x_y: 1", "X-Y: 1", "Cookie: a", "Cookie: b",
            "Transfer-Encoding : chunked", " folded", "X: \x01",
        ][..]), 0..6),
        mangled in proptest::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())),
        default_port in proptest::sample::select(&[80, 443][..]),
    ) {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let mut head = format!("{line}\r\n{fields}\r\n").into_bytes();
        if let Some((place, octet)) = mangled {
            let place = place.index(head.len());
            head[place] = octet;
        }
        look(&head, default_port);
    }
}
