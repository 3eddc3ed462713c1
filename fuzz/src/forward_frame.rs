//! Whatever a peer sends as a frame of connection forwarding: decoding returns, what it returns encodes to the same
//! octets, and a packet in it is understood or not, without a panic.

use proxima_anycast::forward::{is_segment, message::Message};

/// The target.
pub fn run(frame: &[u8]) {
    if let Ok(message) = Message::decode(frame) {
        assert_eq!(message.encode(), frame);
        if let Message::Stray(packet) | Message::NotMine(packet) = message {
            let _ = is_segment(&packet);
        }
    }
}
