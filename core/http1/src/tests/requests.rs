use bytes::BytesMut;
use http::{Method, StatusCode, Version};

use super::super::{Framing, Http1Error, Limits, RequestParser, parse_request_head};
use super::request;

/// A request line with a good `Host` and these lines behind it.
fn with(lines: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n")
}

#[test]
fn every_smuggling_shape_is_refused_by_its_name() {
    let cases: &[(&str, Http1Error)] = &[
        // Two lengths.
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Http1Error::LengthWithEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Http1Error::LengthWithEncoding),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", Http1Error::LengthWithEncoding),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Http1Error::LengthDoubled),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Http1Error::LengthDoubled),
        ("Content-Length: 5\r\ncontent-length: 5\r\n", Http1Error::LengthDoubled),
        // Lengths that two readers read in two ways.
        ("Content-Length: 5, 5\r\n", Http1Error::LengthInvalid),
        ("Content-Length: 5,\r\n", Http1Error::LengthInvalid),
        ("Content-Length: +5\r\n", Http1Error::LengthInvalid),
        ("Content-Length: -5\r\n", Http1Error::LengthInvalid),
        ("Content-Length: 0x5\r\n", Http1Error::LengthInvalid),
        ("Content-Length: 5 5\r\n", Http1Error::LengthInvalid),
        ("Content-Length: 5.0\r\n", Http1Error::LengthInvalid),
        ("Content-Length: 5_0\r\n", Http1Error::LengthInvalid),
        ("Content-Length:\r\n", Http1Error::LengthInvalid),
        ("Content-Length: 18446744073709551616\r\n", Http1Error::LengthInvalid),
        ("Content-Length: 00000000000000000005\r\n", Http1Error::LengthInvalid),
        // Codings.
        ("Transfer-Encoding: gzip\r\n", Http1Error::EncodingUnsupported),
        ("Transfer-Encoding: gzip, chunked\r\n", Http1Error::EncodingUnsupported),
        ("Transfer-Encoding: chunked, gzip\r\n", Http1Error::EncodingUnsupported),
        ("Transfer-Encoding: identity\r\n", Http1Error::EncodingUnsupported),
        ("Transfer-Encoding: xchunked\r\n", Http1Error::EncodingUnsupported),
        ("Transfer-Encoding: chunked, chunked\r\n", Http1Error::EncodingInvalid),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Http1Error::EncodingInvalid),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", Http1Error::EncodingInvalid),
        ("Transfer-Encoding: chunked,\r\n", Http1Error::EncodingInvalid),
        ("Transfer-Encoding: chunked;q=1\r\n", Http1Error::EncodingInvalid),
        ("Transfer-Encoding: \"chunked\"\r\n", Http1Error::EncodingInvalid),
        ("Transfer-Encoding: ch unked\r\n", Http1Error::EncodingInvalid),
        ("Transfer-Encoding:\r\n", Http1Error::EncodingInvalid),
        ("Transfer-Encoding: \x0bchunked\r\n", Http1Error::FieldValue),
        // Line ends and white space.
        ("A: b\nContent-Length: 5\r\n", Http1Error::BareLf),
        ("A: b\n\r\n", Http1Error::BareLf),
        ("A: b\rContent-Length: 5\r\n", Http1Error::BareCr),
        ("A: b\r\r\n", Http1Error::BareCr),
        ("A: b\r\n c\r\n", Http1Error::ObsFold),
        ("A: b\r\n\tc\r\n", Http1Error::ObsFold),
        ("Transfer-Encoding:\r\n chunked\r\n", Http1Error::ObsFold),
        ("Transfer-Encoding : chunked\r\n", Http1Error::SpaceBeforeColon),
        ("Transfer-Encoding\t: chunked\r\n", Http1Error::SpaceBeforeColon),
        // Names and values.
        (": b\r\n", Http1Error::FieldName),
        ("no colon\r\n", Http1Error::FieldName),
        ("A b: c\r\n", Http1Error::FieldName),
        ("A\0: c\r\n", Http1Error::FieldName),
        ("\x0bA: c\r\n", Http1Error::FieldName),
        ("A\u{e9}: c\r\n", Http1Error::FieldName),
        ("A(b): c\r\n", Http1Error::FieldName),
        ("Content_Length: 5\r\n", Http1Error::FieldNameAmbiguous),
        ("transfer_Encoding: chunked\r\n", Http1Error::FieldNameAmbiguous),
        ("A: b\0c\r\n", Http1Error::FieldValue),
        ("A: b\x01\r\n", Http1Error::FieldValue),
        ("A: b\x7f\r\n", Http1Error::FieldValue),
        // Routing.
        ("Host: a.example\r\n", Http1Error::HostDoubled),
        ("Host: b.example\r\n", Http1Error::HostDoubled),
        // Hop-by-hop abuse.
        ("Connection: host\r\n", Http1Error::ConnectionInvalid),
        ("Connection: close, Content-Length\r\n", Http1Error::ConnectionInvalid),
        ("Connection: transfer-encoding\r\n", Http1Error::ConnectionInvalid),
        ("Connection: a b\r\n", Http1Error::ConnectionInvalid),
        // Expectations.
        ("Expect: 200-ok\r\n", Http1Error::Expectation),
        ("Expect: 100-continue\r\nExpect: 100-continue\r\n", Http1Error::Expectation),
    ];
    for (lines, error) in cases {
        assert_eq!(request(with(lines)).map(|head| head.framing), Err(*error), "{lines:?}");
    }
}

#[test]
fn every_bad_request_line_is_refused_by_its_name() {
    let cases: &[(&str, Http1Error)] = &[
        ("GET /", Http1Error::VersionMissing),
        ("GET", Http1Error::RequestLine),
        ("GET ", Http1Error::RequestLine),
        ("GET  / HTTP/1.1", Http1Error::RequestLine),
        ("GET /  HTTP/1.1", Http1Error::RequestLine),
        ("GET / HTTP/1.1 ", Http1Error::RequestLine),
        (" GET / HTTP/1.1", Http1Error::RequestLine),
        ("GET\t/\tHTTP/1.1", Http1Error::RequestLine),
        ("GET / http/1.1", Http1Error::RequestLine),
        ("GET / HTTP/1", Http1Error::RequestLine),
        ("GET / HTTP/1.1x", Http1Error::RequestLine),
        ("GET / HTTP/ 1.1", Http1Error::RequestLine),
        ("GET / HTTP/01.1", Http1Error::RequestLine),
        ("GET / HTTP/1.2", Http1Error::VersionUnsupported),
        ("GET / HTTP/0.9", Http1Error::VersionUnsupported),
        ("GET / HTTP/2.0", Http1Error::VersionUnsupported),
        ("GET / HTTP/3.0", Http1Error::VersionUnsupported),
        ("PRI * HTTP/2.0", Http1Error::Http2Preface),
        ("G(T / HTTP/1.1", Http1Error::Method),
        ("G\0T / HTTP/1.1", Http1Error::Method),
        ("(GET / HTTP/1.1", Http1Error::RequestLine),
        ("\x16\x03\x01 / HTTP/1.1", Http1Error::RequestLine),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHI / HTTP/1.1", Http1Error::MethodTooLong),
        ("CONNECT a.example:443 HTTP/1.1", Http1Error::Connect),
        ("CONNECT / HTTP/1.1", Http1Error::Connect),
        ("GET a.example:443 HTTP/1.1", Http1Error::Target),
        ("GET * HTTP/1.1", Http1Error::Target),
        ("OPTIONS ** HTTP/1.1", Http1Error::Target),
        ("GET index.html HTTP/1.1", Http1Error::Target),
        ("GET /a#b HTTP/1.1", Http1Error::Target),
        ("GET /\u{e9} HTTP/1.1", Http1Error::Target),
        ("GET /\0 HTTP/1.1", Http1Error::Target),
        ("GET /\x7f HTTP/1.1", Http1Error::Target),
        ("GET /a\\b HTTP/1.1", Http1Error::Target),
        ("GET ftp://a.example/ HTTP/1.1", Http1Error::Target),
        ("GET http:/a.example/ HTTP/1.1", Http1Error::Target),
        ("GET http:///x HTTP/1.1", Http1Error::Target),
        ("GET http://user@a.example/ HTTP/1.1", Http1Error::Target),
        ("GET http://b.example/ HTTP/1.1", Http1Error::HostMismatch),
        ("GET http://a.example:81/ HTTP/1.1", Http1Error::HostMismatch),
        ("GET http://a.example@b.example/ HTTP/1.1", Http1Error::Target),
    ];
    for (line, error) in cases {
        let refused = request(format!("{line}\r\nHost: a.example\r\n\r\n")).map(|head| head.target);
        assert_eq!(refused, Err(*error), "{line:?}");
    }
}

#[test]
fn every_bad_host_is_refused() {
    let bad = [
        "",
        " ",
        ",",
        "a b",
        "a,b",
        "a.example:",
        "a.example:0",
        "a.example:65536",
        "a.example:8x",
        "a.example:+80",
        "a.example:80:80",
        "a@b",
        "a/b",
        "a?b",
        "a#b",
        "a%2eb",
        ".a",
        "a..b",
        "a..",
        ".",
        "[::1",
        "::1",
        "[::g]",
        "[::1]x",
        "[fe80::1%eth0]",
        "http://a.example",
        "a\u{e9}",
        "a_\t_b",
    ];
    for host in bad {
        let refused = request(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).map(|head| head.host);
        assert_eq!(refused, Err(Http1Error::HostInvalid), "{host:?}");
    }
    let long = "a.".repeat(127);
    assert!(request(format!("GET / HTTP/1.1\r\nHost: {long}\r\n\r\n")).is_ok());
    let refused = request(format!("GET / HTTP/1.1\r\nHost: {long}a\r\n\r\n")).map(|head| head.host);
    assert_eq!(refused, Err(Http1Error::HostInvalid));
    for version in ["1.0", "1.1"] {
        let refused = request(format!("GET / HTTP/{version}\r\nA: b\r\n\r\n")).map(|head| head.host);
        assert_eq!(refused, Err(Http1Error::HostMissing));
    }
}

#[test]
fn good_hosts_are_folded_to_one_spelling() {
    let cases = [
        ("A.Example", "a.example", None),
        ("a.example.", "a.example", None),
        ("a.example.:8080", "a.example", Some(8080)),
        ("xn--bcher-kva.example:443", "xn--bcher-kva.example", Some(443)),
        ("[2001:DB8::1]:8443", "[2001:db8::1]", Some(8443)),
        ("192.0.2.1", "192.0.2.1", None),
        ("_acme.a_b.example", "_acme.a_b.example", None),
    ];
    for (text, name, port) in cases {
        let host = request(format!("GET / HTTP/1.1\r\nHost:{text}\t \r\n\r\n")).unwrap().host;
        assert_eq!((host.name(), host.port()), (name, port), "{text:?}");
    }
}

#[test]
fn all_forms_of_a_target_come_out_as_origin_form() {
    let cases = [
        ("GET", "/", "/"),
        ("GET", "//b.example/x", "//b.example/x"),
        ("GET", "/a{b}?c=http://d/&e={|}", "/a{b}?c=http://d/&e={|}"),
        ("GET", "http://a.example", "/"),
        ("GET", "http://A.EXAMPLE:80/x?y", "/x?y"),
        ("GET", "HTTP://a.example?y", "/?y"),
        ("OPTIONS", "*", "*"),
        ("OPTIONS", "http://a.example", "*"),
        ("OPTIONS", "/x", "/x"),
    ];
    for (method, target, expected) in cases {
        let head = request(format!("{method} {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!(head.map(|head| head.target.as_str().to_owned()), Ok(expected.to_owned()), "{target:?}");
    }
}

#[test]
fn framing_persistence_expectation_and_upgrade_are_read_from_the_head() {
    let head = request(with("Content-Length: 0042\r\nExpect: 100-Continue\r\n")).unwrap();
    assert_eq!((head.framing, head.keep_alive, head.expect_continue), (Framing::Length(42), true, true));
    let head = request(with("Transfer-Encoding: Chunked\r\nConnection: Close\r\n")).unwrap();
    assert_eq!((head.framing, head.keep_alive), (Framing::Chunked, false));
    let head = request(with("Content-Length: 0\r\nExpect: 100-continue\r\n")).unwrap();
    assert!(head.framing.is_empty() && !head.expect_continue, "no body: nothing to continue with");
    let head = request(with("Connection: , keep-alive ,Upgrade\r\nUpgrade: websocket\r\n")).unwrap();
    assert_eq!(head.upgrade.unwrap(), "websocket");
    let head = request(with("Upgrade: websocket\r\n")).unwrap();
    assert_eq!(head.upgrade, None, "not listed in Connection");
    let old = |lines: &str| request(format!("GET / HTTP/1.0\r\nHost: a\r\n{lines}\r\n"));
    let head = old("").unwrap();
    assert_eq!((head.version, head.keep_alive), (Version::HTTP_10, false));
    assert!(old("Connection: keep-alive\r\n").unwrap().keep_alive);
    assert!(!old("Connection: keep-alive, close\r\n").unwrap().keep_alive);
    assert!(!old("Expect: 100-continue\r\nContent-Length: 5\r\n").unwrap().expect_continue);
    assert_eq!(
        old("Transfer-Encoding: chunked\r\n").map(|head| head.framing),
        Err(Http1Error::EncodingInHttp10)
    );
}

#[test]
fn pipelined_requests_come_out_one_by_one() {
    let mut buffer =
        BytesMut::from("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPUT /2 HTTP/1.1\r\nHost: b\r\n\r\n\r\nX /3 HT");
    let mut parser = RequestParser::default();
    let mut next = |buffer: &mut BytesMut| parser.parse(buffer, &Limits::DEFAULT).unwrap();
    assert_eq!(next(&mut buffer).unwrap().target, "/1");
    let second = next(&mut buffer).unwrap();
    assert_eq!((second.method, second.host.name()), (Method::PUT, "b"));
    assert!(next(&mut buffer).is_none());
    buffer.extend_from_slice(b"TP/1.1\r\nHost: c\r\n\r\n");
    assert_eq!(next(&mut buffer).unwrap().method.as_str(), "X");
    assert!(buffer.is_empty());
}

#[test]
fn one_empty_line_before_a_request_is_forgiven_and_two_are_not() {
    assert!(request("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
    let refused = request("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").map(|head| head.host);
    assert_eq!(refused, Err(Http1Error::RequestLine));
    assert_eq!(request("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").map(|head| head.host), Err(Http1Error::BareLf));
}

#[test]
fn what_is_too_large_is_refused_with_its_own_status_even_before_it_is_whole() {
    let limits =
        Limits { head_bytes_max: 2_000, head_fields_max: 10, target_bytes_max: 100, ..Limits::DEFAULT };
    let parse = |text: String| parse_request_head(&mut BytesMut::from(text.as_str()), &limits).map(|_| ());
    let start = "GET / HTTP/1.1\r\nHost: a\r\n";
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length));
    assert_eq!(parse(line(99)), Ok(()));
    assert_eq!(parse(line(100)), Err(Http1Error::TargetTooLong));
    assert_eq!(parse(format!("GET /{}", "x".repeat(1_000))), Err(Http1Error::TargetTooLong));
    assert_eq!(parse(format!("{start}A: {}", "x".repeat(2_000))), Err(Http1Error::HeadTooLarge));
    assert_eq!(parse(format!("{start}A: {}\r\n\r\n", "x".repeat(2_000))), Err(Http1Error::HeadTooLarge));
    assert_eq!(parse(format!("{start}{}\r\n", "A: b\r\n".repeat(9))), Ok(()));
    assert_eq!(parse(format!("{start}{}", "A: b\r\n".repeat(10))), Err(Http1Error::TooManyFields));
    assert_eq!(Http1Error::TargetTooLong.status(), StatusCode::URI_TOO_LONG);
    assert_eq!(Http1Error::HeadTooLarge.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(Http1Error::TooManyFields.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(Http1Error::Connect.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(Http1Error::EncodingUnsupported.status(), StatusCode::NOT_IMPLEMENTED);
    assert_eq!(Http1Error::LengthWithEncoding.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn all_reasons_are_different_words() {
    let mut reasons: Vec<_> = Http1Error::ALL.iter().map(|error| error.reason()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), Http1Error::ALL.len());
}
