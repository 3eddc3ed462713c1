//! Whatever a peer node sends as a frame: decoding returns, and what it returns encodes to the same octets.

use proxima_ledger::message::Message;

/// The target.
pub fn run(frame: &[u8]) {
    if let Ok(message) = Message::decode(frame) {
        assert_eq!(message.encode(), frame);
    }
}
