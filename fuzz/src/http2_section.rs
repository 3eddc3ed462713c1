//! What comes on a connection of HTTP/2: no input panics, and a request that is read names a method, a scheme, a host and
//! a path, whatever was sent before it.

use proxima_edge::http2::{
    Decoder, FRAME_HEAD_BYTES, FrameHead, Priority, frame_type, read_request, read_settings, read_trailers,
    unpadded,
};
use proxima_http1::Limits;

/// The target.
pub fn run(data: &[u8]) {
    let limits = Limits { head_bytes_max: 4096, ..Limits::DEFAULT };
    let mut decoder = Decoder::default();
    let mut rest = data;
    while let Ok(Some(head)) = FrameHead::read(rest) {
        let Some((payload, after)) = rest[FRAME_HEAD_BYTES..].split_at_checked(head.length) else { break };
        rest = after;
        match head.kind {
            frame_type::HEADERS => {
                let Ok(range) = unpadded(head, payload) else { continue };
                let section = &payload[range];
                if head.flags & 0x80 != 0 {
                    read_trailers(&mut decoder, section, &limits).ok();
                } else if let Ok(request) = read_request(&mut decoder, section, &limits) {
                    assert!(request.uri().authority().is_some());
                    assert_eq!(request.method() == "CONNECT", request.uri().scheme().is_none());
                }
            }
            frame_type::SETTINGS => {
                if let Ok(settings) = read_settings(payload) {
                    assert!(settings.count() <= payload.len() / 6);
                }
            }
            _ => assert!(Priority::read(payload).urgency < 8),
        }
    }
    // As a section of its own, so that the fuzzer need not find the frame first.
    read_request(&mut Decoder::default(), data, &limits).ok();
}
