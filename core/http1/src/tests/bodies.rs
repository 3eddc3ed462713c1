use bytes::BytesMut;
use http::HeaderMap;

use super::super::{BodyDecoder, Decoded, Framing, Http1Error, Limits, encode_chunk, encode_trailers};

/// Everything that a decoder finds in `input`: data, trailers, and what was left over.
type Found = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

fn decode(framing: Framing, input: &[u8]) -> Result<Found, Http1Error> {
    let mut decoder = BodyDecoder::new(framing, &Limits::DEFAULT);
    let (mut buffer, mut data, mut trailers) = (BytesMut::from(input), Vec::new(), None);
    loop {
        match decoder.decode(&mut buffer)? {
            Decoded::Data(piece) => data.extend_from_slice(&piece),
            Decoded::Trailers(map) => trailers = Some(map),
            Decoded::End => return Ok((data, trailers, buffer.to_vec())),
            Decoded::NeedMore => {
                decoder.end_of_input()?;
                return Ok((data, trailers, buffer.to_vec()));
            }
        }
    }
}

fn chunked(input: &str) -> Result<Vec<u8>, Http1Error> {
    decode(Framing::Chunked, input.as_bytes()).map(|(data, ..)| data)
}

#[test]
fn every_bad_chunk_is_refused_by_its_name() {
    let long_extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(2_000));
    let many_extensions = format!("1;{}\r\nx\r\n", "x".repeat(1_000)).repeat(17);
    let cases: &[(&str, Http1Error)] = &[
        ("0x5\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        ("+5\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        ("-5\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        (" 5\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        ("5 \r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        ("5 ;x\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        ("5\t;x\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        ("5_0\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        ("\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        (";x\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        ("g\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        ("fffffffffffffffff\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        ("10000000000000005\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        ("0000000000000005\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkSize),
        ("5;a=\x01\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkExtension),
        (&long_extension, Http1Error::ChunkExtension),
        (&many_extensions, Http1Error::ChunkExtension),
        ("5\nhello\r\n0\r\n\r\n", Http1Error::BareLf),
        ("5;x\nhello\r\n0\r\n\r\n", Http1Error::BareLf),
        ("5\rx\r\nhello\r\n0\r\n\r\n", Http1Error::BareCr),
        ("5\r\nhello\n0\r\n\r\n", Http1Error::ChunkEnd),
        ("5\r\nhelloX0\r\n\r\n", Http1Error::ChunkEnd),
        ("5\r\nhello\rX0\r\n\r\n", Http1Error::ChunkEnd),
        ("4\r\nhello\r\n0\r\n\r\n", Http1Error::ChunkEnd),
        ("0\r\n\n", Http1Error::BareLf),
        ("0\r\nHost: x\r\n\r\n", Http1Error::TrailerForbidden),
        ("0\r\nContent-Length: 3\r\n\r\n", Http1Error::TrailerForbidden),
        ("0\r\nTransfer-Encoding: chunked\r\n\r\n", Http1Error::TrailerForbidden),
        ("0\r\nA : b\r\n\r\n", Http1Error::SpaceBeforeColon),
        ("0\r\nA: b\r\n c\r\n\r\n", Http1Error::ObsFold),
        ("5\r\nhel", Http1Error::Incomplete),
        ("5\r\nhello", Http1Error::Incomplete),
        ("5\r\nhello\r\n", Http1Error::Incomplete),
        ("5\r\nhello\r\n0\r\n", Http1Error::Incomplete),
        ("5", Http1Error::Incomplete),
    ];
    for (input, error) in cases {
        assert_eq!(chunked(input), Err(*error), "{:?}", &input[..input.len().min(60)]);
    }
}

#[test]
fn a_trailer_section_over_its_bounds_is_refused() {
    let many = format!("0\r\n{}\r\n", "A: b\r\n".repeat(33));
    assert_eq!(chunked(&many), Err(Http1Error::TrailersTooLarge));
    let long = format!("0\r\nA: {}", "b".repeat(8 * 1024));
    assert_eq!(chunked(&long), Err(Http1Error::TrailersTooLarge));
    let most = format!("0\r\n{}\r\n", "A: b\r\n".repeat(32));
    assert_eq!(chunked(&most), Ok(Vec::new()));
}

#[test]
fn good_chunks_give_their_data_and_trailers_and_leave_the_next_message() {
    let input = b"5;name=\"v;,\"\r\nhello\r\n0A\r\n, chunked!\r\n000\r\nDigest: x\r\n\r\nGET /";
    let (data, trailers, rest) = decode(Framing::Chunked, input).unwrap();
    assert_eq!(data, b"hello, chunked!");
    assert_eq!(trailers.unwrap()["digest"], "x");
    assert_eq!(rest, b"GET /");
}

#[test]
fn a_counted_body_ends_at_its_count_and_no_sooner() {
    let (data, _, rest) = decode(Framing::Length(5), b"helloGET /").unwrap();
    assert_eq!((data.as_slice(), rest.as_slice()), (&b"hello"[..], &b"GET /"[..]));
    assert_eq!(decode(Framing::Length(6), b"hello"), Err(Http1Error::Incomplete));
    for empty in [Framing::None, Framing::Length(0)] {
        assert_eq!(decode(empty, b"GET /").unwrap(), (Vec::new(), None, b"GET /".to_vec()));
    }
    assert_eq!(decode(Framing::UntilClose, b"all of it").unwrap().0, b"all of it");
}

#[test]
fn trailers_that_may_not_be_trailers_are_not_written() {
    let mut trailers = HeaderMap::new();
    trailers.insert("digest", "x".parse().unwrap());
    trailers.insert("content-length", "5".parse().unwrap());
    let mut buffer = BytesMut::new();
    encode_chunk(b"", &mut buffer);
    encode_chunk(b"hello world, sixteen", &mut buffer);
    encode_trailers(&trailers, &mut buffer);
    assert_eq!(&buffer[..], b"14\r\nhello world, sixteen\r\n0\r\ndigest: x\r\n\r\n");
}
