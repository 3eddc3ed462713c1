use bytes::BytesMut;
use http::header::{HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};

use super::super::{
    ConnectionField, Framing, Http1Error, write_request_end, write_request_head, write_request_start,
    write_response_head,
};

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

fn response(status: u16, fields: &[(&'static str, &'static str)], framing: Framing) -> String {
    let mut buffer = BytesMut::new();
    let status = StatusCode::from_u16(status).unwrap();
    write_response_head(status, &headers(fields), framing, &ConnectionField::Absent, &mut buffer);
    String::from_utf8(buffer.to_vec()).unwrap()
}

#[test]
fn only_the_writer_decides_how_a_message_is_framed() {
    let lying = [("content-length", "7"), ("transfer-encoding", "gzip"), ("connection", "x"), ("a", "b")];
    assert_eq!(
        response(200, &lying, Framing::Length(5)),
        "HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 5\r\n\r\n"
    );
    assert_eq!(
        response(200, &lying, Framing::Chunked),
        "HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!(response(200, &lying, Framing::UntilClose), "HTTP/1.1 200 OK\r\na: b\r\n\r\n");
    assert_eq!(response(200, &lying, Framing::None), "HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(response(204, &lying, Framing::Length(5)), "HTTP/1.1 204 No Content\r\na: b\r\n\r\n");
    assert_eq!(response(304, &lying, Framing::None), "HTTP/1.1 304 Not Modified\r\na: b\r\n\r\n");
    assert_eq!(
        response(299, &[], Framing::Length(u64::MAX)),
        "HTTP/1.1 299 \r\ncontent-length: 18446744073709551615\r\n\r\n"
    );
}

#[test]
fn connection_and_upgrade_are_written_as_told() {
    let mut buffer = BytesMut::new();
    let upgrade = ConnectionField::Upgrade(HeaderValue::from_static("websocket"));
    write_response_head(
        StatusCode::SWITCHING_PROTOCOLS,
        &HeaderMap::new(),
        Framing::None,
        &upgrade,
        &mut buffer,
    );
    let expected = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    assert_eq!(&buffer[..], expected.as_bytes());
}

#[test]
fn a_request_that_would_be_read_as_another_is_not_written() {
    let path = PathAndQuery::from_static("/a?b");
    let one = headers(&[("host", "a.example")]);
    let none = HeaderMap::new();
    let mut two = one.clone();
    two.append("host", HeaderValue::from_static("b.example"));
    let write = |method: &Method, path: &PathAndQuery, headers: &HeaderMap, framing| {
        let mut buffer = BytesMut::new();
        write_request_head(method, path, headers, framing, &ConnectionField::Absent, &mut buffer)
            .map(|()| String::from_utf8(buffer.to_vec()).unwrap())
    };
    assert_eq!(
        write(&Method::PUT, &path, &one, Framing::Length(0)).unwrap(),
        "PUT /a?b HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\n\r\n"
    );
    assert_eq!(
        write(&Method::GET, &path, &one, Framing::None).unwrap(),
        "GET /a?b HTTP/1.1\r\nhost: a.example\r\n\r\n"
    );
    for refused in [
        write(&Method::GET, &path, &none, Framing::None),
        write(&Method::GET, &path, &two, Framing::None),
        write(&Method::GET, &path, &one, Framing::UntilClose),
        write(&Method::CONNECT, &path, &one, Framing::None),
        write(&Method::GET, &"/\u{e9}".parse().unwrap(), &one, Framing::None),
    ] {
        assert_eq!(refused, Err(Http1Error::Unwritable));
    }
}

#[test]
fn a_request_in_absolute_form_is_written_in_two_parts() {
    let fields = headers(&[("content-length", "7"), ("connection", "x"), ("a", "b")]);
    let write = |method: &Method, url: &str, framing, connection: &ConnectionField| {
        let mut buffer = BytesMut::new();
        let written = write_request_start(method, url, &fields, &mut buffer);
        assert!(written.is_ok() || buffer.is_empty());
        write_request_end(framing, connection, &mut buffer);
        written.map(|()| String::from_utf8(buffer.to_vec()).unwrap())
    };
    let url = "https://a.example:8443/b?c";
    assert_eq!(
        write(&Method::PUT, url, Framing::Chunked, &ConnectionField::Close).unwrap(),
        "PUT https://a.example:8443/b?c HTTP/1.1\r\na: b\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    let upgrade = ConnectionField::Upgrade(HeaderValue::from_static("websocket"));
    assert_eq!(
        write(&Method::GET, url, Framing::None, &upgrade).unwrap(),
        "GET https://a.example:8443/b?c HTTP/1.1\r\na: b\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    for (method, url) in [
        (Method::CONNECT, url),
        (Method::GET, ""),
        (Method::GET, "http://a/ b"),
        (Method::GET, "http://a/\r\nx: y"),
    ] {
        assert_eq!(write(&method, url, Framing::None, &ConnectionField::Absent), Err(Http1Error::Unwritable));
    }
}
