//! Requests that two readers end at different places (CWE-444), by HTTP/1.1.

use super::{HIDDEN, answers_in, ask, before, open, read_all, recorder::Recorder};

/// What must become of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Refused from its head on: the origin hears nothing of it.
    Refused,
    /// Its head is good and its body is not: the origin may have begun to hear it, and never a whole of it.
    Cut,
    /// It is one honest request, of this many octets of body.
    Passed(usize),
}

use End::{Cut, Passed, Refused};

/// Name, what stands between the request line with its `Host` and what is hidden, what becomes of it, and why it is
/// dangerous. `^` is the row's own path.
const ATTACKS: &[(&str, &str, End, &str)] = &[
    (
        "CL.TE",
        "content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "one reader believes the length, the other the coding",
    ),
    (
        "TE.CL",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n5c\r\n",
        Refused,
        "the other way round",
    ),
    (
        "CL.0 and TE",
        "content-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "a length of nothing hides the whole body",
    ),
    (
        "space before the colon",
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "some trim the name, some drop the line",
    ),
    ("tab before the colon", "transfer-encoding\t: chunked\r\n\r\n0\r\n\r\n", Refused, "the same with a tab"),
    (
        "vertical tab before the value",
        "transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        Refused,
        "some trim all that is white",
    ),
    (
        "form feed behind the value",
        "transfer-encoding: chunked\x0c\r\n\r\n0\r\n\r\n",
        Refused,
        "the same at its end",
    ),
    (
        "NUL behind the value",
        "transfer-encoding: chunked\0\r\n\r\n0\r\n\r\n",
        Refused,
        "strings end at NUL for some",
    ),
    (
        "obs-text before the value",
        "transfer-encoding: \u{a0}chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "a no-break space is white for some",
    ),
    (
        "chunked, identity",
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        Refused,
        "some look at the first coding only",
    ),
    (
        "identity, chunked",
        "transfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "some look at the last coding only",
    ),
    ("xchunked", "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", Refused, "some search for the word"),
    ("chunked in quotes", "transfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n", Refused, "some take quotes off"),
    (
        "chunked with parameters",
        "transfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        Refused,
        "some cut at the semicolon",
    ),
    (
        "chunked twice in a list",
        "transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "some decode twice",
    ),
    (
        "an empty element",
        "transfer-encoding: ,chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "some take the first element, which is nothing",
    ),
    (
        "two codings",
        "transfer-encoding: chunked\r\ntransfer-encoding: cow\r\n\r\n0\r\n\r\n",
        Refused,
        "first or last field",
    ),
    (
        "two codings, the other way",
        "transfer-encoding: cow\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "first or last field",
    ),
    (
        "folded coding",
        "transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "some unfold, some read an empty value",
    ),
    (
        "a fold that hides a length",
        "a: b\r\n content-length: 30\r\n\r\n",
        Refused,
        "some take the folded line for a field",
    ),
    (
        "coding behind a bare LF",
        "a: b\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "a line for some, a value for others",
    ),
    (
        "coding behind a bare CR",
        "a: b\rtransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "a line for some, a value for others",
    ),
    ("a head that ends in LF LF", "a: b\n\n", Refused, "some see the head end here"),
    ("a head that ends in CR CR LF", "a: b\r\r\n\r\n", Refused, "some see the head end at the first CR"),
    (
        "a first line of white space",
        " transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "some skip it, some trim it",
    ),
    (
        "a name that breaks off",
        "transfer\r\n-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "a line without colon is skipped by some",
    ),
    (
        "underscore for hyphen",
        "transfer_encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "CGI reads both as one",
    ),
    ("underscore in the length", "content_length: 30\r\n\r\n", Refused, "CGI reads both as one"),
    ("control octet in a name", "\x01transfer-encoding: chunked\r\n\r\n0\r\n\r\n", Refused, "some skip it"),
    (
        "capitals",
        "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
        Passed(0),
        "the coding's name has no case; some compare it as it is",
    ),
    ("two lengths", "content-length: 5\r\ncontent-length: 0\r\n\r\n", Refused, "first or last field"),
    (
        "the same length twice",
        "content-length: 5\r\ncontent-length: 5\r\n\r\nabcde",
        Refused,
        "some sum, some refuse, some take one",
    ),
    ("a list of lengths", "content-length: 5, 0\r\n\r\n", Refused, "first or last element"),
    (
        "a list of the same length",
        "content-length: 5, 5\r\n\r\nabcde",
        Refused,
        "some cannot read it, and take nothing",
    ),
    ("a plus", "content-length: +5\r\n\r\nabcde", Refused, "some read a number, some nothing"),
    ("a minus", "content-length: -5\r\n\r\n", Refused, "some wrap around"),
    ("hexadecimal", "content-length: 0x5\r\n\r\nabcde", Refused, "0 for some, 5 for others"),
    ("an underscore in the number", "content-length: 1_0\r\n\r\n", Refused, "some languages allow it"),
    (
        "more than 64 bits",
        "content-length: 18446744073709551621\r\n\r\nabcde",
        Refused,
        "some wrap around to 5",
    ),
    (
        "letters behind the number",
        "content-length: 5a\r\n\r\nabcde",
        Refused,
        "some stop at the first letter",
    ),
    ("a space in the number", "content-length: 5 0\r\n\r\nabcde", Refused, "some stop at the space"),
    ("an empty length", "content-length: \r\n\r\n", Refused, "nothing, or 0"),
    (
        "octal",
        "content-length: 010\r\n\r\nabcdefghij",
        Passed(10),
        "decimal by the grammar; what goes on has no leading zero",
    ),
    (
        "length made hop-by-hop",
        "connection: close, content-length\r\ncontent-length: 5\r\n\r\nabcde",
        Refused,
        "a proxy that obeys sends a body without length",
    ),
    ("host made hop-by-hop", "connection: host\r\n\r\n", Refused, "a proxy that obeys sends no host"),
    (
        "coding made hop-by-hop",
        "connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "the same for the coding",
    ),
    (
        "a body with GET",
        "content-length: 5\r\n\r\nabcde",
        Passed(5),
        "some take the body of a GET for the next request",
    ),
    (
        "chunked with GET",
        "transfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        Passed(5),
        "the same in chunks",
    ),
    (
        "a chunk larger than 64 bits",
        "transfer-encoding: chunked\r\n\r\n10000000000000000\r\n",
        Cut,
        "some wrap around to 0",
    ),
    (
        "a chunk size with sign",
        "transfer-encoding: chunked\r\n\r\n+5\r\nabcde\r\n0\r\n\r\n",
        Cut,
        "some take the sign, some read 0",
    ),
    (
        "a chunk size with prefix",
        "transfer-encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n",
        Cut,
        "0 for some",
    ),
    ("a negative chunk", "transfer-encoding: chunked\r\n\r\n-1\r\n", Cut, "some wrap around"),
    ("an empty chunk size", "transfer-encoding: chunked\r\n\r\n\r\n0\r\n\r\n", Cut, "0 for some"),
    (
        "an underscore in a chunk size",
        "transfer-encoding: chunked\r\n\r\n1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
        Cut,
        "some languages allow it",
    ),
    (
        "LF in an extension",
        "transfer-encoding: chunked\r\n\r\n5;a\nabcde\r\n0\r\n\r\n",
        Cut,
        "TERM.EXT: some end the line here",
    ),
    (
        "CR in an extension",
        "transfer-encoding: chunked\r\n\r\n5;a\rb\r\nabcde\r\n0\r\n\r\n",
        Cut,
        "some end the line here",
    ),
    (
        "LF in a quoted extension",
        "transfer-encoding: chunked\r\n\r\n5;a=\"\n\"\r\nabcde\r\n0\r\n\r\n",
        Cut,
        "EXT.TERM: some read to the quote",
    ),
    (
        "a chunk size ended by LF",
        "transfer-encoding: chunked\r\n\r\n5\nabcde\r\n0\r\n\r\n",
        Cut,
        "one octet more or less",
    ),
    (
        "chunk data without its end",
        "transfer-encoding: chunked\r\n\r\n5\r\nabcdeXX0\r\n\r\n",
        Cut,
        "SPILL: some skip two octets, whatever they are",
    ),
    (
        "chunk data ended by LF",
        "transfer-encoding: chunked\r\n\r\n5\r\nabcde\n0\r\n\r\n",
        Cut,
        "some skip one octet, some two",
    ),
    (
        "an extension",
        "transfer-encoding: chunked\r\n\r\n5;a=\"b\"\r\nabcde\r\n0\r\n\r\n",
        Passed(5),
        "harmless by itself; nothing of it may go on",
    ),
    (
        "a length in the trailers",
        "transfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 30\r\n\r\n",
        Cut,
        "some merge trailers into the head",
    ),
    (
        "a coding in the trailers",
        "transfer-encoding: chunked\r\n\r\n0\r\ntransfer-encoding: chunked\r\n\r\n",
        Cut,
        "the same",
    ),
    (
        "an expectation twice",
        "expect: 100-continue\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nabcde",
        Refused,
        "some strip one, and wait",
    ),
    (
        "an expectation with more in it",
        "expect: y 100-continue\r\ncontent-length: 5\r\n\r\nabcde",
        Refused,
        "some search for the word",
    ),
    (
        "an expectation of a GET without body",
        "expect: 100-continue\r\n\r\n",
        Passed(0),
        "the 100 would be taken for the answer",
    ),
    (
        "an expectation with body at once",
        "expect: 100-continue\r\ncontent-length: 5\r\n\r\nabcde",
        Passed(5),
        "an answer before the body, and the body becomes a request",
    ),
    (
        "h2c",
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
        Passed(0),
        "a tunnel that no rule looks into",
    ),
    (
        "a tunnel of unknown kind",
        "connection: upgrade\r\nupgrade: cow\r\n\r\n",
        Passed(0),
        "the same; the origin does not switch",
    ),
    ("a second host", "host: evil.example\r\n\r\n", Refused, "first or last"),
    ("a colon and nothing before it", ": chunked\r\n\r\n", Refused, "some read past it"),
    (
        "a field that ends in a colon",
        "transfer-encoding:: chunked\r\n\r\n0\r\n\r\n",
        Refused,
        "some drop colons",
    ),
];

/// Whole request lines that are dangerous by themselves.
const LINES: &[(&str, &str)] = &[
    ("GET  ^ HTTP/1.1", "an empty target for some"),
    ("GET ^ evil HTTP/1.1", "the version, or a part of the target"),
    ("GET ^  HTTP/1.1", "the same"),
    ("GET\t^\tHTTP/1.1", "white space for some"),
    ("GET ^ HTTP/1.1 ", "the same"),
    ("GET ^", "HTTP/0.9: no head follows"),
    ("GET ^ HTTP/1.2", "what does it mean?"),
    ("GET ^ HTTP/2.0", "the same"),
    ("GET ^\0 HTTP/1.1", "NUL ends strings"),
    ("GET ^\u{e9} HTTP/1.1", "octets that no URI has"),
    ("GET ^#/x HTTP/1.1", "fragments are not sent"),
    ("GET ^\\..\\x HTTP/1.1", "a backslash is a slash for some"),
    ("GET http://evil.example^ HTTP/1.1", "the target's host or the field's"),
    ("GET http://www.example.com@evil.example^ HTTP/1.1", "whose host?"),
    ("GET ftp://www.example.com^ HTTP/1.1", "which scheme?"),
    ("GET @evil.example^ HTTP/1.1", "appended to a scheme and a host it names another"),
    ("CONNECT ^ HTTP/1.1", "a tunnel"),
    ("G(T ^ HTTP/1.1", "no token"),
    (" GET ^ HTTP/1.1", "some skip it"),
];

fn path(number: usize) -> String {
    format!("/attack-{number}")
}

#[test]
fn what_two_readers_could_end_at_different_places_is_refused_or_made_plain() {
    let origin = Recorder::telling();
    let mut dev = before(&origin);
    let hidden = format!("GET /{HIDDEN} HTTP/1.1\r\nhost: www.example.com\r\nconnection: close\r\n\r\n");
    for (number, (name, lines, end, why)) in ATTACKS.iter().enumerate() {
        let method = if name.contains("GET") { "GET" } else { "POST" };
        let request = format!("{method} {} HTTP/1.1\r\nhost: www.example.com\r\n{lines}", path(number));
        let attack = if let Passed(_) = end {
            // Whoever asks next over the same connection is answered what it asked.
            let next = format!("/next-{number}");
            format!("{request}GET {next} HTTP/1.1\r\nhost: www.example.com\r\nconnection: close\r\n\r\n")
        } else {
            format!("{request}{hidden}")
        };
        let answer = read_all(&mut open(&dev, attack.as_bytes()));
        let seen = format!("{name} ({why}): {answer:?}");
        assert!(!answer.contains(HIDDEN), "{seen}");
        match end {
            Passed(octets) => {
                let own = format!("asked: {method} {} with {octets} octets", path(number));
                assert!(answer.contains(&own), "{seen}");
                assert!(answer.ends_with(&format!("asked: GET /next-{number} with 0 octets")), "{seen}");
            }
            Refused | Cut => {
                assert_eq!(answers_in(&answer), 1, "{seen}");
                assert!(answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5"), "{seen}");
            }
        }
        // Over whichever connection to the origin is free now.
        let bystander = ask(&dev, "GET", &format!("/bystander-{number}"), "");
        assert!(
            bystander.ends_with(&format!("asked: GET /bystander-{number} with 0 octets")),
            "{name}: {bystander}"
        );
    }
    let requests = origin.requests_after(&mut dev);
    for (number, (name, _, end, why)) in ATTACKS.iter().enumerate() {
        let whole = requests.iter().filter(|request| request.target == path(number)).count();
        let expected = usize::from(matches!(end, Passed(_)));
        assert_eq!(whole, expected, "{name} ({why}): whole requests at the origin");
    }
    assert!(!requests.iter().any(|request| request.target.contains(HIDDEN)));
    assert!(requests.iter().all(|request| request.field("upgrade") != Some("h2c")), "h2c is not passed on");
}

#[test]
fn a_request_line_with_two_meanings_is_refused() {
    let origin = Recorder::telling();
    let mut dev = before(&origin);
    for (line, why) in LINES {
        let attack = format!("{}\r\nhost: www.example.com\r\n\r\n", line.replace('^', "/attack"));
        let answer = read_all(&mut open(&dev, attack.as_bytes()));
        assert!(
            (answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5"))
                && answers_in(&answer) == 1,
            "{line:?} ({why}): {answer:?}"
        );
    }
    // The same host in both places is one meaning.
    let same =
        "GET http://WWW.example.com:80/same HTTP/1.1\r\nhost: www.example.com\r\nconnection: close\r\n\r\n";
    assert!(read_all(&mut open(&dev, same.as_bytes())).contains("asked: GET /same"));
    let requests = origin.requests_after(&mut dev);
    assert!(!requests.iter().any(|request| request.target.contains("attack")), "{requests:?}");
}
