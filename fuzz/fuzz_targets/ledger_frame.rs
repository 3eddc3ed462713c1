//! Whatever a peer node sends as a frame: decoding returns, and what it returns encodes to the same octets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxima_ledger::message::Message;

fuzz_target!(|frame: &[u8]| {
    if let Ok(message) = Message::decode(frame) {
        assert_eq!(message.encode(), frame);
    }
});
