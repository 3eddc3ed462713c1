//! Frames, settings and priorities.

use crate::http2::{
    Broken, Code, FRAME_BYTES_MAX, FrameHead, Priority, Setting, flag, frame_type, read_settings, unpadded,
};

const fn connection(code: Code) -> Broken {
    Broken::Connection(code)
}

fn head(length: usize, kind: u8, flags: u8) -> FrameHead {
    FrameHead { length, kind, flags, stream: 1 }
}

#[test]
fn a_frame_s_head_is_read_once_it_is_whole() {
    let octets = [0, 0x40, 0, 1, 5, 0x80, 0, 0, 3, 9];
    for length in 0..9 {
        assert_eq!(FrameHead::read(&octets[..length]), Ok(None));
    }
    let expected = FrameHead { length: FRAME_BYTES_MAX, kind: 1, flags: 5, stream: 3 };
    assert_eq!(FrameHead::read(&octets), Ok(Some(expected)), "the reserved bit means nothing");
    let larger = [0, 0x40, 1, 0, 0, 0, 0, 0, 1];
    assert_eq!(FrameHead::read(&larger), Err(Code::FRAME_SIZE_ERROR));
}

#[test]
fn padding_and_old_priorities_are_left_out() {
    let payload = [2, b'a', b'b', b'c', 0, 0];
    assert_eq!(unpadded(head(6, frame_type::DATA, 0), &payload), Ok(0..6));
    assert_eq!(unpadded(head(6, frame_type::DATA, flag::PADDED), &payload), Ok(1..4));
    assert_eq!(unpadded(head(6, frame_type::DATA, flag::PRIORITY), &payload), Ok(0..6), "not of DATA");
    assert_eq!(unpadded(head(6, frame_type::HEADERS, flag::PRIORITY), &payload), Ok(5..6));
    let both = flag::PADDED | flag::PRIORITY;
    for (flags, payload, code) in [
        (flag::PADDED, &[][..], Code::FRAME_SIZE_ERROR),
        (flag::PADDED, &[6, 0, 0, 0, 0, 0], Code::PROTOCOL_ERROR),
        (flag::PADDED, &[255, 0], Code::PROTOCOL_ERROR),
        (flag::PRIORITY, &[0; 4], Code::PROTOCOL_ERROR),
        (both, &[1, 0, 0, 0, 0, 0], Code::PROTOCOL_ERROR),
    ] {
        let read = unpadded(head(payload.len(), frame_type::HEADERS, flags), payload);
        assert_eq!(read, Err(connection(code)), "{flags:#x} {payload:?}");
    }
    assert_eq!(unpadded(head(7, frame_type::HEADERS, both), &[1, 0, 0, 0, 0, 0, 0]), Ok(6..6));
}

#[test]
fn settings_are_heeded_or_refused_by_their_values() {
    let setting = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let read = |payload: &[u8]| read_settings(payload).map(Iterator::collect::<Vec<_>>);
    let payload =
        [setting(1, 0), setting(4, 70_000), setting(2, 1), setting(99, 7), setting(5, 1 << 20)].concat();
    assert_eq!(read(&payload), Ok(vec![Setting::HeaderTableSize(0), Setting::InitialWindowSize(70_000)]));
    assert_eq!(read(&payload[..5]), Err(connection(Code::FRAME_SIZE_ERROR)));
    for (id, value, code) in [
        (2, 2, Code::PROTOCOL_ERROR),
        (4, 1 << 31, Code::FLOW_CONTROL_ERROR),
        (5, 16_383, Code::PROTOCOL_ERROR),
        (5, 1 << 24, Code::PROTOCOL_ERROR),
        (8, 2, Code::PROTOCOL_ERROR),
        (9, 2, Code::PROTOCOL_ERROR),
    ] {
        assert_eq!(read(&setting(id, value)), Err(connection(code)), "{id} = {value}");
    }
}

#[test]
fn priorities_are_read_member_by_member_and_what_is_wrong_is_as_if_it_were_not_there() {
    for (value, urgency, incremental) in [
        ("", 3, false),
        ("u=0", 0, false),
        ("u=7, i", 7, true),
        ("i, u=1", 1, true),
        ("i=?1,u=5", 5, true),
        ("i=?0", 3, false),
        ("u=2;x=1, i;y", 2, true),
        ("u=8", 3, false),
        ("u=-1, i=1, foo=bar", 3, false),
        ("u = 1", 3, false),
        ("u=1, u=6", 6, false),
    ] {
        assert_eq!(Priority::read(value.as_bytes()), Priority { urgency, incremental }, "{value}");
    }
}
