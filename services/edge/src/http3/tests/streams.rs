//! The streams that carry no request.

#![expect(clippy::cast_possible_truncation, reason = "lengths of what the tests write themselves")]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use crate::http3::{
    Broken, CONTROL_FRAME_BYTES_MAX, Code, ControlDecoder, DecoderStream, EncoderStream, Settings,
    read_varint, write_goaway, write_settings,
};

fn control(stream: &[u8], cut: usize) -> Result<Option<Settings>, Broken> {
    let mut decoder = ControlDecoder::default();
    for some in stream.chunks(cut.max(1)) {
        decoder.decode(Bytes::copy_from_slice(some))?;
    }
    Ok(decoder.settings())
}

/// Settings that say nothing.
const EMPTY: &[u8] = b"\x04\x00";

#[test]
fn what_we_write_ourselves_is_read() {
    let mut out = BytesMut::new();
    write_settings(65_536, &mut out);
    write_goaway(1 << 40, &mut out);
    let (kind, taken) = read_varint(&out).unwrap();
    assert_eq!(kind, 0);
    for cut in 1..out.len() {
        let settings = control(&out[taken..], cut).unwrap().unwrap();
        assert_eq!(settings.field_section_bytes_max, Some(65_536));
    }
}

#[test]
fn settings_come_first_and_once_and_are_those_of_http3() {
    let cases: [(&[u8], Code); 8] = [
        (b"\x07\x01\x00", Code::MISSING_SETTINGS),
        (b"\x21\x00", Code::MISSING_SETTINGS),
        (b"\x04\x00\x04\x00", Code::FRAME_UNEXPECTED),
        (b"\x04\x02\x02\x01", Code::SETTINGS_ERROR),
        (b"\x04\x02\x05\x01", Code::SETTINGS_ERROR),
        (b"\x04\x04\x06\x01\x06\x01", Code::SETTINGS_ERROR),
        (b"\x04\x01\x06", Code::FRAME_ERROR),
        (b"\x04\x02\x06\x40", Code::FRAME_ERROR),
    ];
    for (stream, code) in cases {
        for cut in [1, 100] {
            assert_eq!(control(stream, cut), Err(Broken::Connection(code)), "{stream:?}");
        }
    }
    assert_eq!(control(EMPTY, 1), Ok(Some(Settings::default())));
}

#[test]
fn ids_do_not_go_backwards_and_frames_that_do_not_belong_here_end_the_connection() {
    let cases: [(&[u8], Result<(), Code>); 15] = [
        (b"\x07\x01\x08\x07\x01\x04\x07\x01\x00", Ok(())),
        (b"\x07\x01\x04\x07\x01\x08", Err(Code::ID_ERROR)),
        (b"\x0d\x01\x04\x0d\x01\x08", Ok(())),
        (b"\x0d\x01\x08\x0d\x01\x04", Err(Code::ID_ERROR)),
        (b"\x03\x01\x00", Err(Code::ID_ERROR)),
        (b"\x07\x02\x04\x00", Err(Code::FRAME_ERROR)),
        (b"\x07\x00", Err(Code::FRAME_ERROR)),
        (b"\x00\x01x", Err(Code::FRAME_UNEXPECTED)),
        (b"\x01\x01x", Err(Code::FRAME_UNEXPECTED)),
        (b"\x05\x01x", Err(Code::FRAME_UNEXPECTED)),
        (b"\x02\x00", Err(Code::FRAME_UNEXPECTED)),
        (b"\x06\x00", Err(Code::FRAME_UNEXPECTED)),
        (b"\x08\x00", Err(Code::FRAME_UNEXPECTED)),
        (b"\x09\x00", Err(Code::FRAME_UNEXPECTED)),
        // PRIORITY_UPDATE (RFC 9218, 7.2), which browsers send.
        (b"\x80\x0f\x07\x00\x04\x00u=1", Ok(())),
    ];
    for (frames, expected) in cases {
        let stream = [EMPTY, frames].concat();
        for cut in [1, 100] {
            let read = control(&stream, cut).map(drop);
            assert_eq!(read, expected.map_err(Broken::Connection), "{frames:?}");
        }
    }
}

#[test]
fn what_is_gathered_has_a_bound_and_what_is_skipped_needs_none() {
    let too_long = CONTROL_FRAME_BYTES_MAX + 1;
    let head = |kind: u8| [&[kind][..], &(too_long as u16 | 0x4000).to_be_bytes()].concat();
    assert_eq!(control(&head(0x04), 1), Err(Broken::Connection(Code::EXCESSIVE_LOAD)));
    assert_eq!(control(&[EMPTY, &head(0x07)].concat(), 1), Err(Broken::Connection(Code::EXCESSIVE_LOAD)));
    let settings = (0..65_u16).flat_map(|id| [&(0x4100 | id).to_be_bytes()[..], &[0]].concat());
    let settings: Vec<u8> = settings.collect();
    let many = [&[0x04][..], &(settings.len() as u16 | 0x4000).to_be_bytes(), &settings].concat();
    assert_eq!(control(&many, 100), Err(Broken::Connection(Code::EXCESSIVE_LOAD)));
    assert!(control(&[EMPTY, &[0x21], &[0xff; 8], &[0; 100_000]].concat(), 4096).is_ok());
}

#[test]
fn qpacks_streams_may_say_next_to_nothing() {
    let mut encoder = EncoderStream;
    assert!(encoder.decode(&Bytes::from_static(b"\x20\x20")).is_ok());
    for instruction in [0x21_u8, 0x3f, 0x80, 0xc1, 0x40, 0x00] {
        let expected = Err(Broken::Connection(Code::QPACK_ENCODER_STREAM_ERROR));
        assert_eq!(encoder.decode(&Bytes::copy_from_slice(&[instruction])), expected);
    }
    let mut decoder = DecoderStream::default();
    for some in [&b"\x40\x44"[..], b"\x7f", b"\x80", b"\x80\x01", b"\x7e"] {
        assert!(decoder.decode(&Bytes::from_static(some)).is_ok());
    }
    let expected = Err(Broken::Connection(Code::QPACK_DECODER_STREAM_ERROR));
    for some in [&b"\x80"[..], b"\xff", b"\x00", b"\x01", &[&[0x7f][..], &[0x80; 20]].concat()] {
        assert_eq!(DecoderStream::default().decode(&Bytes::copy_from_slice(some)), expected, "{some:?}");
    }
}

proptest! {
    #[test]
    fn cutting_a_control_stream_changes_nothing(
        frames in proptest::collection::vec(prop_oneof![0_u8..16, any::<u8>()], 0..100),
        cut in 1_usize..100,
    ) {
        let stream = [EMPTY, &frames].concat();
        prop_assert_eq!(control(&stream, cut), control(&stream, stream.len()));
    }
}
