//! Answers of an origin that end at different places for different readers: what is hidden in one must be nobody's
//! answer, and an origin's connection whose state is in doubt carries no further request.

use super::{HIDDEN, ask, before, open, read_all, recorder::Recorder, recorder::ok, recorder::told};

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// An error that says that the origin is at fault.
    Refused,
    /// The beginning of an answer, and no proper end.
    Cut,
    /// An answer of this status.
    Passed(u16),
}

use End::{Cut, Passed, Refused};

/// Name, the origin's octets (`^` becomes a whole hidden answer), what the client gets, and why it is dangerous.
const ATTACKS: &[(&str, &str, End, &str)] = &[
    ("two lengths", "200 OK\r\ncontent-length: 0\r\ncontent-length: 60\r\n\r\n^", Refused, "first or last"),
    (
        "the same length twice",
        "200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        Refused,
        "sum or one",
    ),
    ("a list of lengths", "200 OK\r\ncontent-length: 0, 60\r\n\r\n^", Refused, "first or last"),
    ("a length with sign", "200 OK\r\ncontent-length: +2\r\n\r\nok", Refused, "a number for some"),
    (
        "a length and a coding",
        "200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n^",
        Refused,
        "which?",
    ),
    (
        "an unknown coding",
        "200 OK\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n^",
        Refused,
        "chunked for some",
    ),
    (
        "two codings",
        "200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n^",
        Refused,
        "which?",
    ),
    ("space before the colon", "200 OK\r\ncontent-length : 0\r\n\r\n^", Refused, "a length for some"),
    ("a fold", "200 OK\r\nx: y\r\n content-length: 0\r\n\r\n^", Refused, "a length for some"),
    ("a bare LF", "200 OK\r\nx: y\ncontent-length: 0\r\n\r\n^", Refused, "a length for some"),
    ("a bare CR", "200 OK\r\nx: y\rcontent-length: 0\r\n\r\n^", Refused, "a length for some"),
    ("NUL", "200 OK\r\nx: y\0\r\ncontent-length: 0\r\n\r\n^", Refused, "the head ends for some"),
    (
        "length made hop-by-hop",
        "200 OK\r\nconnection: content-length\r\ncontent-length: 0\r\n\r\n^",
        Refused,
        "then until the end",
    ),
    (
        "a coding by HTTP/1.0",
        "!HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n^",
        Refused,
        "unknown there",
    ),
    ("another version", "!HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n^", Refused, "what follows?"),
    ("no version", "!200 OK\r\n\r\n^", Refused, "HTTP/0.9"),
    ("a status of two digits", "20 OK\r\ncontent-length: 0\r\n\r\n^", Refused, "no status"),
    ("a status of 600", "600 OK\r\ncontent-length: 0\r\n\r\n^", Refused, "no status"),
    (
        "a switch that nobody asked for",
        "101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: cow\r\n\r\n^",
        Refused,
        "a tunnel",
    ),
    (
        "a chunk larger than 64 bits",
        "200 OK\r\ntransfer-encoding: chunked\r\n\r\n10000000000000000\r\n^",
        Cut,
        "wraps around",
    ),
    (
        "a chunk without its end",
        "200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokXX0\r\n\r\n^",
        Cut,
        "some skip two octets",
    ),
    (
        "LF in an extension",
        "200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;a\nok\r\n0\r\n\r\n^",
        Cut,
        "some end the line there",
    ),
    (
        "a length in the trailers",
        "200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 2\r\n\r\n^",
        Cut,
        "merged by some",
    ),
    (
        "more than its length",
        "200 OK\r\ncontent-length: 0\r\n\r\n^",
        Passed(200),
        "an answer before its request",
    ),
    (
        "more than its chunks",
        "200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n^",
        Passed(200),
        "the same",
    ),
    ("204 with a body", "204 No Content\r\n\r\n^", Passed(204), "it has none, whatever follows"),
    ("204 with a length", "204 No Content\r\ncontent-length: 60\r\n\r\n^", Passed(204), "it has none"),
    (
        "204 in chunks",
        "204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n^",
        Passed(204),
        "it has none",
    ),
    (
        "304 with a body",
        "304 Not Modified\r\ncontent-length: 60\r\n\r\n^",
        Refused,
        "nobody asked whether it was modified",
    ),
    (
        "100 with a length",
        "100 Continue\r\ncontent-length: 60\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n^",
        Passed(204),
        "it has none",
    ),
];

fn octets(raw: &str) -> String {
    let hidden = format!("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n{HIDDEN}");
    let raw = raw.replace('^', &hidden);
    raw.strip_prefix('!').map_or_else(|| format!("HTTP/1.1 {raw}"), str::to_owned)
}

#[test]
fn an_answer_in_an_answer_is_nobodys() {
    let origin = Recorder::start(|request| {
        let number = request.target.strip_prefix("/attack-").and_then(|number| number.parse::<usize>().ok());
        match number.and_then(|number| ATTACKS.get(number)) {
            Some((_, raw, ..)) => octets(raw).into_bytes(),
            None => ok("cache-control: no-store\r\n", &told(request)),
        }
    });
    let dev = before(&origin);
    for (number, (name, _, end, why)) in ATTACKS.iter().enumerate() {
        let both = format!(
            "GET /attack-{number} HTTP/1.1\r\nhost: www.example.com\r\n\r\n\
             GET /next-{number} HTTP/1.1\r\nhost: www.example.com\r\nconnection: close\r\n\r\n"
        );
        let answer = read_all(&mut open(&dev, both.as_bytes()));
        let seen = format!("{name} ({why}): {answer:?}");
        assert!(!answer.contains(HIDDEN), "{seen}");
        let next = answer.ends_with(&format!("asked: GET /next-{number} with 0 octets"));
        match end {
            Refused => assert!(answer.starts_with("HTTP/1.1 5") && next, "{seen}"),
            // Where the answer that was begun has no end, the connection has.
            Cut => assert!(!answer.starts_with("HTTP/1.1 200") || !next, "{seen}"),
            Passed(status) => {
                let last =
                    answer.starts_with(&format!("HTTP/1.1 {status}")) || answer.starts_with("HTTP/1.1 1");
                assert!(last && next, "{seen}");
            }
        }
        for turn in 0..2 {
            let bystander = ask(&dev, "GET", &format!("/bystander-{number}-{turn}"), "");
            let own = format!("asked: GET /bystander-{number}-{turn} with 0 octets");
            assert!(bystander.ends_with(&own), "{name} ({why}): {bystander}");
        }
        let head = ask(&dev, "HEAD", &format!("/attack-{number}"), "");
        assert!(!head.contains(HIDDEN), "{name} ({why}), asked by HEAD: {head}");
    }
}

#[test]
fn informational_answers_without_end_are_an_error_of_the_origin() {
    let flood = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(1_000);
    let origin = Recorder::start(move |request| match request.target.as_str() {
        "/flood" => flood.clone().into_bytes(),
        _ => ok("cache-control: no-store\r\n", &told(request)),
    });
    let dev = before(&origin);
    let answer = ask(&dev, "GET", "/flood", "");
    assert!(answer.contains("HTTP/1.1 5"), "{answer}");
    assert!(answer.matches("HTTP/1.1 103").count() < 10, "{answer}");
    assert!(ask(&dev, "GET", "/page", "").ends_with("asked: GET /page with 0 octets"));
}
