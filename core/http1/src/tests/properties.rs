//! Properties over arbitrary input: cutting it into pieces changes nothing, nothing panics, and what is written is read
//! back as what it was.

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use proptest::prelude::*;

use super::super::{
    BodyDecoder, ConnectionField, Decoded, Framing, Http1Error, Limits, RequestParser, ResponseParser,
    encode_chunk, encode_trailers, parse_request_head, write_request_head, write_response_head,
};

/// Bounds so low that arbitrary input meets them.
const TIGHT: Limits = Limits {
    head_bytes_max: 300,
    head_fields_max: 6,
    target_bytes_max: 24,
    trailer_bytes_max: 60,
    trailer_fields_max: 3,
    chunk_line_bytes_max: 16,
    chunk_extension_bytes_max: 20,
};

/// Octets that are often nearly HTTP: pieces that parsers fall over, strung together.
fn nearly(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        20 => proptest::sample::select(pieces).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn nearly_request() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&str] = &[
        "GET / HTTP/1.1\r\n",
        "POST /path?q HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.0\r\n",
        "GET http://a/ HTTP/1.1\r\n",
        "Host: a\r\n",
        "Host: a\r\n\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "A: b\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        ":",
        "GET",
        "/",
        "HTTP/1.1",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ];
    nearly(pieces)
}

fn nearly_response() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&str] = &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 404 Not Found\r\n",
        "HTTP/1.1 101 x\r\n",
        "HTTP/1.1 304\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: upgrade\r\n",
        "A: b\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        ":",
        "HTTP/1.1",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ];
    nearly(pieces)
}

fn nearly_chunks() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&str] = &[
        "5\r\nhello\r\n",
        "1\r\nx\r\n",
        "1;a=b\r\nx\r\n",
        "a\r\n0123456789\r\n",
        "0\r\n\r\n",
        "0\r\n",
        "A: b\r\n",
        "\r\n",
        "\n",
        "\r",
        "f",
        ";",
        " ",
        "Host: x\r\n",
    ];
    nearly(pieces)
}

/// `input` in pieces: each entry of `cuts` is the length of one, and what is left is the last.
fn pieces<'a>(mut input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for &cut in cuts {
        let (piece, rest) = input.split_at(cut.min(input.len()));
        pieces.push(piece);
        input = rest;
    }
    pieces.push(input);
    pieces
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0usize..20, 0..40)
}

/// All heads in the pieces, as text, up to the first error; and what is left.
fn heads<E: std::fmt::Debug>(
    pieces: &[&[u8]],
    mut parse: impl FnMut(&mut BytesMut) -> Result<Option<String>, E>,
) -> (Vec<String>, Option<String>) {
    let (mut buffer, mut heads) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match parse(&mut buffer) {
                Ok(Some(head)) => heads.push(head),
                Ok(None) => break,
                Err(error) => return (heads, Some(format!("{error:?}"))),
            }
        }
    }
    (heads, Some(format!("left {buffer:?}")))
}

fn requests(pieces: &[&[u8]]) -> (Vec<String>, Option<String>) {
    let mut parser = RequestParser::default();
    heads(pieces, |buffer| Ok::<_, Http1Error>(parser.parse(buffer, &TIGHT)?.map(|head| format!("{head:?}"))))
}

fn responses(pieces: &[&[u8]]) -> (Vec<String>, Option<String>) {
    let mut parser = ResponseParser::default();
    heads(pieces, |buffer| {
        Ok::<_, Http1Error>(parser.parse(buffer, &Method::GET, &TIGHT)?.map(|head| format!("{head:?}")))
    })
}

/// What a body's pieces decode to: data, trailers, and how it ended.
fn body(framing: Framing, limits: &Limits, pieces: &[&[u8]]) -> (Vec<u8>, Option<HeaderMap>, String) {
    let mut decoder = BodyDecoder::new(framing, limits);
    let (mut buffer, mut data, mut trailers) = (BytesMut::new(), Vec::new(), None);
    let mut ended = false;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while !ended {
            match decoder.decode(&mut buffer) {
                Ok(Decoded::Data(piece)) => data.extend_from_slice(&piece),
                Ok(Decoded::Trailers(map)) => trailers = Some(map),
                Ok(Decoded::End) => ended = true,
                Ok(Decoded::NeedMore) => break,
                Err(error) => return (data, trailers, format!("{error:?}")),
            }
        }
    }
    (data, trailers, format!("{:?}, left {buffer:?}", decoder.end_of_input()))
}

fn fields() -> impl Strategy<Value = HeaderMap> {
    let field = ("x-[a-z0-9]{1,10}", "([!-~]([ -~\t]{0,20}[!-~])?)?");
    proptest::collection::vec(field, 0..8).prop_map(|fields| {
        let parse = |(name, value): (String, String)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(&value).unwrap())
        };
        fields.into_iter().map(parse).collect()
    })
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![Just(Framing::None), (1u64..u64::MAX / 2).prop_map(Framing::Length), Just(Framing::Chunked)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn cutting_requests_into_pieces_changes_nothing(input in nearly_request(), cuts in cuts()) {
        prop_assert_eq!(requests(&pieces(&input, &cuts)), requests(&[&input]));
    }

    #[test]
    fn cutting_responses_into_pieces_changes_nothing(input in nearly_response(), cuts in cuts()) {
        prop_assert_eq!(responses(&pieces(&input, &cuts)), responses(&[&input]));
    }

    #[test]
    fn cutting_a_chunked_body_into_pieces_changes_nothing(input in nearly_chunks(), cuts in cuts()) {
        let whole = body(Framing::Chunked, &TIGHT, &[&input]);
        prop_assert_eq!(body(Framing::Chunked, &TIGHT, &pieces(&input, &cuts)), whole);
    }

    #[test]
    fn arbitrary_octets_never_panic(input in proptest::collection::vec(any::<u8>(), 0..400), cuts in cuts()) {
        let cut = pieces(&input, &cuts);
        prop_assert_eq!(requests(&cut), requests(&[&input]));
        prop_assert_eq!(responses(&cut), responses(&[&input]));
        for framing in [Framing::Chunked, Framing::Length(100), Framing::UntilClose] {
            prop_assert_eq!(body(framing, &TIGHT, &cut), body(framing, &TIGHT, &[&input]));
        }
    }

    #[test]
    fn a_chunked_body_comes_back_as_it_was(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
        trailers in fields(),
        cuts in cuts(),
    ) {
        let mut wire = BytesMut::new();
        for chunk in &chunks {
            encode_chunk(chunk, &mut wire);
        }
        encode_trailers(&trailers, &mut wire);
        let (data, read, end) = body(Framing::Chunked, &Limits::DEFAULT, &pieces(&wire, &cuts));
        prop_assert_eq!(data, chunks.concat());
        prop_assert_eq!(read.unwrap_or_default(), trailers);
        prop_assert_eq!(end, "Ok(()), left b\"\"");
    }

    #[test]
    fn a_request_head_comes_back_as_it_was(fields in fields(), framing in framing(), path in "/[!$-;=?-\\[\\]_a-z~]{0,30}") {
        let mut headers = fields;
        headers.insert("host", HeaderValue::from_static("a.example"));
        let target: PathAndQuery = path.parse().unwrap();
        let mut wire = BytesMut::new();
        write_request_head(&Method::PATCH, &target, &headers, framing, &ConnectionField::Absent, &mut wire).unwrap();
        let mut head = parse_request_head(&mut wire, &Limits::DEFAULT).unwrap().unwrap();
        head.headers.remove("content-length");
        head.headers.remove("transfer-encoding");
        prop_assert_eq!((head.target, head.headers, head.framing), (target, headers, framing));
    }

    #[test]
    fn a_response_head_comes_back_as_it_was(fields in fields(), framing in framing(), status in 200u16..600) {
        let status = StatusCode::from_u16(status).unwrap();
        let mut wire = BytesMut::new();
        write_response_head(status, &fields, framing, &ConnectionField::Close, &mut wire);
        let mut head = ResponseParser::default().parse(&mut wire, &Method::GET, &Limits::DEFAULT).unwrap().unwrap();
        for framed in ["content-length", "transfer-encoding", "connection"] {
            head.headers.remove(framed);
        }
        let expected = match framing {
            _ if super::super::bodiless(status) => Framing::None,
            Framing::None => Framing::Length(0),
            framing => framing,
        };
        prop_assert!(!head.keep_alive);
        prop_assert_eq!((head.status, head.headers, head.framing), (status, fields, expected));
    }
}
