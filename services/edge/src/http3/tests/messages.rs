//! The frames of request streams.

#![expect(clippy::cast_possible_truncation, reason = "lengths of what the tests write themselves")]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use crate::http3::{Broken, Code, MessageDecoder, Piece};

const SECTION_BYTES_MAX: usize = 64;

/// What came of it: pieces, with data that follow each other put together, and how it ended.
fn read(input: &[u8], cut: usize) -> (Vec<Piece>, Result<(), Broken>) {
    let mut decoder = MessageDecoder::new(SECTION_BYTES_MAX);
    let mut pieces: Vec<Piece> = Vec::new();
    for some in input.chunks(cut.max(1)) {
        let mut some = Bytes::copy_from_slice(some);
        loop {
            match decoder.decode(&mut some) {
                Err(broken) => return (pieces, Err(broken)),
                Ok(None) => break,
                Ok(Some(Piece::Data(data))) => match pieces.last_mut() {
                    Some(Piece::Data(before)) => *before = [&before[..], &data[..]].concat().into(),
                    _ => pieces.push(Piece::Data(data)),
                },
                Ok(Some(piece)) => pieces.push(piece),
            }
        }
        assert!(some.is_empty(), "all of it is taken");
    }
    (pieces, decoder.finish())
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 64);
    [&[kind, payload.len() as u8], payload].concat()
}

#[test]
fn a_request_is_a_head_then_data_then_trailers_and_what_is_unknown_between_them_is_skipped() {
    let grease = frame(0x21, b"whatever");
    let stream = [
        &grease[..],
        &frame(1, b"head"),
        &grease,
        &frame(0, b""),
        &frame(0, b"some "),
        &frame(0, b"data"),
        &grease,
        &frame(1, b"trailers"),
        &grease,
    ]
    .concat();
    let expected = vec![
        Piece::Head(Bytes::from_static(b"head")),
        Piece::Data(Bytes::from_static(b"some data")),
        Piece::Trailers(Bytes::from_static(b"trailers")),
    ];
    for cut in 1..=stream.len() {
        assert_eq!(read(&stream, cut), (expected.clone(), Ok(())), "cut at {cut}");
    }
}

#[test]
fn frames_where_they_may_not_be_end_the_connection() {
    let head = frame(1, b"head");
    let whole = [&head[..], &frame(0, b"x"), &frame(1, b"t")].concat();
    let cases: [(&[u8], u8); 13] = [
        (b"", 0x00),
        (b"", 0x02),
        (b"", 0x03),
        (b"", 0x04),
        (b"", 0x05),
        (b"", 0x06),
        (b"", 0x07),
        (b"", 0x08),
        (b"", 0x09),
        (b"", 0x0d),
        (&head, 0x04),
        (&whole, 0x00),
        (&whole, 0x01),
    ];
    for (before, kind) in cases {
        let stream = [before, &frame(kind, b"x")].concat();
        let expected = Err(Broken::Connection(Code::FRAME_UNEXPECTED));
        assert_eq!(read(&stream, 1).1, expected, "{kind:#x} after {before:?}");
    }
}

#[test]
fn a_stream_that_ends_too_soon_says_what_is_missing() {
    let cases: [(&[u8], Result<(), Broken>); 7] = [
        (b"", Err(Broken::Stream(Code::REQUEST_INCOMPLETE))),
        (b"\x21\x01x", Err(Broken::Stream(Code::REQUEST_INCOMPLETE))),
        (b"\x01", Err(Broken::Connection(Code::FRAME_ERROR))),
        (b"\x01\x04hea", Err(Broken::Connection(Code::FRAME_ERROR))),
        (b"\x01\x04head\x00\x02x", Err(Broken::Connection(Code::FRAME_ERROR))),
        (b"\x01\x04head\x21\x02x", Err(Broken::Connection(Code::FRAME_ERROR))),
        (b"\x01\x04head\x00\x00", Ok(())),
    ];
    for (stream, expected) in cases {
        for cut in [1, 100] {
            assert_eq!(read(stream, cut).1, expected, "{stream:?}");
        }
    }
}

#[test]
fn a_section_over_its_bound_is_refused_by_its_length_alone() {
    assert!(read(&[&[1, 0x40, 64][..], &[b'x'; 64]].concat(), 7).1.is_ok());
    assert_eq!(read(&[1, 0x40, 65], 1).1, Err(Broken::TooLarge));
    // The longest length that there is.
    assert_eq!(read(&[&[1][..], &[0xff; 8]].concat(), 1).1, Err(Broken::TooLarge));
}

#[test]
fn data_and_unknown_frames_of_any_length_are_passed_on_without_being_gathered() {
    let mut decoder = MessageDecoder::new(SECTION_BYTES_MAX);
    let mut input = Bytes::from([&b"\x01\x01h\x00"[..], &[0xff; 8], b"data"].concat());
    assert_eq!(decoder.decode(&mut input), Ok(Some(Piece::Head(Bytes::from_static(b"h")))));
    assert_eq!(decoder.decode(&mut input), Ok(Some(Piece::Data(Bytes::from_static(b"data")))));
    assert_eq!(decoder.decode(&mut input), Ok(None));
    let mut decoder = MessageDecoder::new(SECTION_BYTES_MAX);
    let mut input = Bytes::from([&b"\x21"[..], &[0xff; 8], &[0; 1000]].concat());
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert!(input.is_empty());
}

proptest! {
    #[test]
    fn cutting_changes_nothing_and_no_octets_are_too_much(
        stream in proptest::collection::vec(prop_oneof![0_u8..16, any::<u8>()], 0..200),
        cut in 1_usize..200,
    ) {
        let mut begun = BytesMut::from(&b"\x01\x01h"[..]);
        begun.extend_from_slice(&stream);
        for stream in [&stream[..], &begun[..]] {
            prop_assert_eq!(read(stream, cut), read(stream, stream.len()));
        }
    }
}
