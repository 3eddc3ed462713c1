//! Requests by HTTP/2 that would be two by HTTP/1.1, as which they go on to the origin. Frames are written by hand: no
//! client library says such things.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use super::{HIDDEN, ask, before, frames::*, recorder::Recorder};
use crate::dev::{DEADLINE, Dev};

/// What an attacker hides in a body.
const BODY: &str = "0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: www.example.com\r\nx: y\r\n\r\n";

/// What must become of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The origin hears no whole request.
    Refused,
    /// Its head is good: the origin may have heard a request of the length that was declared before more than that came.
    /// What came then is nowhere, and the client gets no answer.
    Cut,
    /// It is one honest request.
    Passed,
}

use End::{Cut, Passed, Refused};

/// Name, fields, what becomes of it, and why it is dangerous.
type Attack = (&'static str, &'static [(&'static str, &'static str)], End, &'static str);

/// Fields with a colon in front replace the request's own; `^` is the row's path.
const ATTACKS: &[Attack] = &[
    ("H2.TE", &[("transfer-encoding", "chunked")], Refused, "the coding would be believed behind us"),
    ("H2.TE with a space", &[("transfer-encoding ", "chunked")], Refused, "trimmed behind us"),
    ("H2.CL, none", &[("content-length", "0")], Cut, "the body would be the next request"),
    ("H2.CL, less", &[("content-length", "5")], Cut, "its rest would be the next request"),
    ("H2.CL, more", &[("content-length", "5000")], Refused, "the next request would be its rest"),
    ("two lengths", &[("content-length", "0"), ("content-length", "60")], Refused, "first or last"),
    ("a length with sign", &[("content-length", "+60")], Refused, "a number for some"),
    ("a length with underscore", &[("content_length", "0")], Refused, "CGI reads it as one"),
    ("a coding with underscore", &[("transfer_encoding", "chunked")], Refused, "CGI reads it as one"),
    ("a connection's field", &[("connection", "content-length")], Refused, "no such fields in HTTP/2"),
    ("an upgrade", &[("upgrade", "h2c")], Refused, "a tunnel"),
    ("another te", &[("te", "chunked")], Refused, "only trailers may be asked for"),
    ("CRLF in a value", &[("x", "y\r\ntransfer-encoding: chunked")], Refused, "a line of its own behind us"),
    ("LF in a value", &[("x", "y\ntransfer-encoding: chunked")], Refused, "the same for some"),
    ("CR in a value", &[("x", "y\rtransfer-encoding: chunked")], Refused, "the same for some"),
    ("NUL in a value", &[("x", "y\0z")], Refused, "strings end at NUL"),
    ("a head's end in a value", &[("x", "y\r\n\r\nGET /hidden HTTP/1.1\r\nz: ")], Refused, "a whole request"),
    ("CRLF in a name", &[("x: y\r\ntransfer-encoding", "chunked")], Refused, "a line of its own"),
    ("a colon in a name", &[("transfer-encoding: chunked\r\nx", "y")], Refused, "the name would end there"),
    ("a colon only", &[("transfer-encoding:", "chunked")], Refused, "the name would end there"),
    ("a space in a name", &[("x y", "z")], Refused, "no token"),
    ("an empty name", &[("", "transfer-encoding: chunked")], Refused, "a line that begins with a colon"),
    ("capitals", &[("Transfer-Encoding", "chunked")], Refused, "escapes a comparison with small letters"),
    ("CRLF in the path", &[(":path", "^ HTTP/1.1\r\nx: y")], Refused, "the request line would end there"),
    ("a space in the path", &[(":path", "^ HTTP/1.1 /hidden")], Refused, "the target would end there"),
    ("a tab in the path", &[(":path", "^\tHTTP/1.1")], Refused, "white space for some"),
    ("an absolute path", &[(":path", "http://evil.example^")], Refused, "another host"),
    ("no slash", &[(":path", "evil.example^")], Refused, "appended to a host it names another"),
    ("an empty path", &[(":path", "")], Refused, "an empty target"),
    ("a fragment", &[(":path", "^#x")], Passed, "never sent: it is dropped before anything looks at it"),
    ("CRLF in the method", &[(":method", "GET /hidden HTTP/1.1\r\nx: y")], Refused, "a request line"),
    ("a space in the method", &[(":method", "GET /hidden?")], Refused, "the target would begin there"),
    ("CONNECT with a path", &[(":method", "CONNECT")], Refused, "a tunnel"),
    ("CRLF in the authority", &[(":authority", "www.example.com\r\nx: y")], Refused, "a line of its own"),
    ("user in the authority", &[(":authority", "www.example.com@evil.example")], Refused, "whose host?"),
    ("a path in the authority", &[(":authority", "www.example.com/hidden")], Refused, "no host"),
    ("another host", &[("host", "evil.example")], Refused, "the authority or the field"),
    ("two hosts", &[("host", "www.example.com"), ("host", "evil.example")], Refused, "first or last"),
    ("a scheme with more", &[(":scheme", "http://evil.example/?")], Refused, "put before host and path"),
    ("an unknown pseudo-field", &[(":evil", "x")], Refused, "malformed"),
    ("an expectation", &[("expect", "100-continue")], Passed, "the 100 would be taken for the answer"),
    ("crumbs", &[("cookie", "a=b"), ("cookie", "c=d")], Passed, "two fields of one name by HTTP/1.1"),
    ("nothing special", &[], Passed, "the body is the body, whatever is in it"),
];

/// What came back: the data of each stream, which of them ended, and whether the connection did.
#[derive(Debug, Default)]
struct Heard {
    data: BTreeMap<u32, String>,
    ended: Vec<u32>,
    closed: bool,
}

/// Sends these frames, and hears until these streams have ended or the connection has.
fn exchange(dev: &Dev, frames: &[Vec<u8>], streams: &[u32]) -> Heard {
    let mut stream = TcpStream::connect(dev.http).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let preface = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    stream.write_all(&[preface, frames.concat()].concat()).ok();
    let mut heard = Heard::default();
    while !streams.iter().all(|wanted| heard.ended.contains(wanted)) {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            heard.closed = true;
            break;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).unwrap();
        let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if head[3] == DATA {
            heard.data.entry(of).or_default().push_str(&String::from_utf8_lossy(&payload));
        }
        if head[3] == RST_STREAM || matches!(head[3], DATA | HEADERS) && head[4] & END_STREAM != 0 {
            heard.ended.push(of);
        }
        heard.closed |= head[3] == GOAWAY;
    }
    heard
}

/// A request by this stream, and `GET /next-…` by the next.
fn with_next(number: usize, more: &[(&str, &str)], trailers: &[(&str, &str)]) -> Vec<Vec<u8>> {
    let path = format!("/attack-{number}");
    let next = section(&fields("GET", &format!("/next-{number}"), &[]));
    let mut frames = vec![frame(HEADERS, END_HEADERS, 1, &section(&fields("POST", &path, more)))];
    if trailers.is_empty() {
        frames.push(frame(DATA, END_STREAM, 1, BODY.as_bytes()));
    } else {
        let owned: Vec<_> = trailers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        frames.push(frame(DATA, 0, 1, BODY.as_bytes()));
        frames.push(frame(HEADERS, END_HEADERS | END_STREAM, 1, &section(&owned)));
    }
    frames.push(frame(HEADERS, END_HEADERS | END_STREAM, 3, &next));
    frames
}

#[test]
fn what_would_be_two_requests_by_http1_is_refused_by_http2() {
    let origin = Recorder::telling();
    let mut dev = before(&origin);
    for (number, (name, more, end, why)) in ATTACKS.iter().enumerate() {
        let heard = exchange(&dev, &with_next(number, more, &[]), &[1, 3]);
        let seen = format!("{name} ({why}): {heard:?}");
        let own = format!("asked: POST /attack-{number} with {} octets", BODY.len());
        let answered = heard.data.get(&1).is_some_and(|data| data == &own);
        assert_eq!(answered, *end == Passed, "{seen}");
        assert!(!heard.data.values().any(|data| data.contains(HIDDEN)), "{seen}");
        let next = format!("asked: GET /next-{number} with 0 octets");
        assert!(heard.data.get(&3) == Some(&next) || (heard.closed && *end != Passed), "{seen}");
        let bystander = ask(&dev, "GET", &format!("/bystander-{number}"), "");
        assert!(bystander.ends_with(&format!("asked: GET /bystander-{number} with 0 octets")), "{seen}");
    }
    let requests = origin.requests_after(&mut dev);
    for (number, (name, _, end, why)) in ATTACKS.iter().enumerate() {
        let path = format!("/attack-{number}");
        let heard: Vec<_> = requests.iter().filter(|request| request.target == path).collect();
        let seen = format!("{name} ({why}): {heard:?}");
        match end {
            Refused => assert!(heard.is_empty(), "{seen}"),
            Cut => assert!(heard.len() <= 1 && heard.iter().all(|request| request.body.len() <= 5), "{seen}"),
            Passed => assert!(heard.len() == 1 && heard[0].body == BODY.as_bytes(), "{seen}"),
        }
    }
    assert!(!requests.iter().any(|request| request.target.contains(HIDDEN)), "{requests:?}");
    assert!(requests.iter().all(|request| !request.fields.iter().any(|(name, _)| name == "expect")));
}

#[test]
fn trailers_that_frame_or_route_never_reach_the_origin() {
    let origin = Recorder::telling();
    let mut dev = before(&origin);
    let cases: &[(&str, &str)] = &[
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("host", "evil.example"),
        ("content_length", "5"),
        ("x", "y\r\n\r\nGET /hidden HTTP/1.1\r\n"),
    ];
    for (number, trailer) in cases.iter().enumerate() {
        let heard = exchange(&dev, &with_next(number, &[], &[*trailer]), &[1, 3]);
        assert!(!heard.data.get(&1).is_some_and(|data| data.contains("asked")), "{trailer:?}: {heard:?}");
        let bystander = ask(&dev, "GET", &format!("/bystander-{number}"), "");
        assert!(bystander.contains("asked: GET /bystander-"), "{trailer:?}: {bystander}");
    }
    // A pseudo-field comes too late to mean anything.
    let heard = exchange(&dev, &with_next(cases.len(), &[], &[(":path", "/hidden")]), &[1, 3]);
    assert!(!heard.data.values().any(|data| data.contains(HIDDEN)), "{heard:?}");
    let requests = origin.requests_after(&mut dev);
    let last = format!("/attack-{}", cases.len());
    assert!(
        requests.iter().all(|request| request.method != "POST" || request.target == last),
        "{requests:?}"
    );
    assert!(!requests.iter().any(|request| request.target.contains(HIDDEN)), "{requests:?}");
}
