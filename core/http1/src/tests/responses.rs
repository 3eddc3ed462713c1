use bytes::BytesMut;
use http::{Method, StatusCode};

use super::super::{Framing, Http1Error, Limits, ResponseHead, parse_response_head};

fn response_to(method: &Method, text: &str) -> Result<ResponseHead, Http1Error> {
    let mut buffer = BytesMut::from(text);
    parse_response_head(&mut buffer, method, &Limits::DEFAULT).map(|head| head.expect("whole"))
}

fn response(text: &str) -> Result<ResponseHead, Http1Error> {
    response_to(&Method::GET, text)
}

#[test]
fn every_bad_answer_of_an_origin_is_refused_by_its_name() {
    let cases: &[(&str, Http1Error)] = &[
        ("HTTP/1.1 99 x\r\n\r\n", Http1Error::StatusLine),
        ("HTTP/1.1 099 x\r\n\r\n", Http1Error::StatusLine),
        ("HTTP/1.1 600 x\r\n\r\n", Http1Error::StatusLine),
        ("HTTP/1.1 2000 x\r\n\r\n", Http1Error::StatusLine),
        ("HTTP/1.1 20x OK\r\n\r\n", Http1Error::StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", Http1Error::StatusLine),
        ("HTTP/1.1 200 O\0K\r\n\r\n", Http1Error::StatusLine),
        ("HTTP/1.1\r\n\r\n", Http1Error::StatusLine),
        ("ICY 200 OK\r\n\r\n", Http1Error::StatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Http1Error::StatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", Http1Error::VersionUnsupported),
        ("HTTP/1.1 200 OK\n\r\n", Http1Error::BareLf),
        ("HTTP/1.1 200 OK\r\nA: b\n\r\n", Http1Error::BareLf),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Http1Error::ObsFold),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", Http1Error::SpaceBeforeColon),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", Http1Error::LengthDoubled),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", Http1Error::LengthInvalid),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            Http1Error::LengthWithEncoding,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Http1Error::EncodingUnsupported),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Http1Error::EncodingInHttp10),
        ("HTTP/1.1 304 x\r\nContent-Length: x\r\n\r\n", Http1Error::LengthInvalid),
    ];
    for (text, error) in cases {
        assert_eq!(response(text).map(|head| head.framing), Err(*error), "{text:?}");
    }
}

#[test]
fn an_origin_with_endless_headers_is_cut_off() {
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(129));
    let result = parse_response_head(&mut BytesMut::from(endless.as_str()), &Method::GET, &Limits::DEFAULT);
    assert_eq!(result.map(|_| ()), Err(Http1Error::TooManyFields));
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(Limits::DEFAULT.head_bytes_max));
    let result = parse_response_head(&mut BytesMut::from(endless.as_str()), &Method::GET, &Limits::DEFAULT);
    assert_eq!(result.map(|_| ()), Err(Http1Error::HeadTooLarge));
    let endless = "x".repeat(Limits::DEFAULT.head_bytes_max);
    let result = parse_response_head(&mut BytesMut::from(endless.as_str()), &Method::GET, &Limits::DEFAULT);
    assert_eq!(result.map(|_| ()), Err(Http1Error::HeadTooLarge));
}

#[test]
fn framing_follows_status_method_and_version() {
    let cases = [
        (Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::Length(5), true),
        (Method::GET, "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Chunked, true),
        (Method::GET, "HTTP/1.1 200 \r\n\r\n", Framing::UntilClose, false),
        (Method::GET, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::Length(5), false),
        (
            Method::GET,
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
            Framing::Length(5),
            true,
        ),
        (Method::GET, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", Framing::UntilClose, false),
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
            Framing::Length(5),
            false,
        ),
        (Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::None, true),
        (Method::HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::None, true),
        (Method::HEAD, "HTTP/1.1 200 OK\r\n\r\n", Framing::None, true),
        (Method::GET, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Framing::None, true),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Framing::None, true),
        (Method::GET, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", Framing::None, true),
    ];
    for (method, text, framing, keep_alive) in cases {
        let head = response_to(&method, text).unwrap();
        assert_eq!((head.framing, head.keep_alive), (framing, keep_alive), "{method} {text:?}");
    }
}

#[test]
fn interim_answers_are_told_from_a_switch_of_protocols() {
    let early = response("HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
    assert!(early.is_interim());
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let switch = response(switch).unwrap();
    assert_eq!((switch.status, switch.is_interim()), (StatusCode::SWITCHING_PROTOCOLS, false));
    assert_eq!(switch.upgrade.unwrap(), "websocket");
    assert!(!switch.keep_alive);
}
