//! Transfers of zones to the other servers that they have (RFC 5936, RFC 1995), and signed questions (RFC 8945).
//!
//! ```text
//!  TCP, TLS ─▶ waiting: AXFR or IXFR? ─▶ open: the zone's peers, its key, is there room? ─▶ Outgoing ─▶ message by message
//!                                           │ no: REFUSED, NOTAUTH, SERVFAIL                (content.rs: what goes out)
//!  any ─▶ Responder ─▶ NOTAUTH, signed? ─▶ signed: checked, asked again without its signature, and the answer signed
//!                   ├▶ NOTIMP, NOTIFY? ─▶ notice: from the zone's primary? ─▶ ZoneNotices (services/control looks at it)
//!                   └▶ REFUSED, IXFR over UDP? ─▶ differences: the SOA record alone
//! ```
//!
//! Whatever is not signed and no transfer costs nothing here: `Server::say` comes here only after the usual way has
//! refused.
//!
//! What is transferred is what is answered (`content.rs`): a proxied name has the network's addresses and how it speaks
//! HTTPS, an alias that is flattened has the addresses that it leads to now. A zone that is signed on line is transferred
//! without signatures and keys: a signature made for a question lasts days, and whoever has the zone from here may answer
//! with it for as long as its SOA says. So a server that has such a zone from here has to sign it itself (RFC 8901), or must
//! not be delegated to while the parent's DS names our keys. A zone that its primary signed goes out as it came, with its keys,
//! signatures and denials.
//!
//! Invariants:
//! * **Nothing goes to who is not listed.** A zone without outgoing transfers has no peers.
//! * **One state from SOA to SOA.** A transfer holds the compiled zone that it began with; what changes meanwhile is told
//!   by the next one. A connection that breaks costs its place and nothing else.
//! * **Bounded memory:** one message at a time is made, when the one before was taken; beside it a transfer holds the names
//!   of its zone.
//!
//! Who asks for differences gets them where it had the zone from this server lately (`journal.rs`), and else everything.
//!
//! Limits: what is remembered for differences (`journal.rs`), transfers at a time, of all and of one client, and how long one
//! may take ([`TRANSFERS_MAX`] and following).

mod content;
mod journal;
mod notice;
mod outgoing;
mod peers;
mod signed;

use std::time::Duration;

use crate::{
    name,
    wire::{HEADER_OCTETS, LENGTH_OCTETS, flag, rtype},
};

pub(crate) use journal::Journal;
pub(crate) use outgoing::serve;

/// Transfers at a time: each holds a zone's names, some MiB of the largest.
pub(crate) const TRANSFERS_MAX: usize = 32;
/// Transfers of one client at a time: some servers ask for all their zones at once.
pub(crate) const TRANSFERS_PER_CLIENT_MAX: usize = 8;
/// How long one transfer may take: 100,000 records at a few KiB a second.
const TRANSFER_WITHIN: Duration = Duration::from_secs(1_800);
/// Octets of a message of a transfer: names are compressed only against what stands before that (RFC 1035, 4.1.4), so that
/// larger ones are hardly better. A record that needs more has more.
const MESSAGE_OCTETS: usize = 16 << 10;

/// Octets of the whole message at the beginning of a stream, with its length, if it asks for a transfer.
pub(crate) fn waiting(unread: &[u8]) -> Option<usize> {
    let (length, rest) = unread.split_first_chunk::<LENGTH_OCTETS>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let message = rest.get(..length)?;
    is_asked_for(message).then_some(LENGTH_OCTETS + length)
}

/// Whether a message asks for a transfer.
pub(crate) fn is_asked_for(message: &[u8]) -> bool {
    let qtype = |message: &[u8]| {
        let header = message.first_chunk::<HEADER_OCTETS>()?;
        let flags = u16::from_be_bytes([header[2], header[3]]);
        let asks = flags & (flag::QR | flag::OPCODE) == 0 && header[4..6] == [0, 1];
        let at = HEADER_OCTETS + name::skip(&message[HEADER_OCTETS..]).filter(|_| asks)?;
        Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]))
    };
    matches!(qtype(message), Some(rtype::AXFR | rtype::IXFR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_question_for_a_transfer_is_told_from_all_else() {
        let question = |flags: u8, questions: u8, rtype: u8| {
            [&[1, 2, flags, 0, 0, questions, 0, 0, 0, 0, 0, 0][..], b"\x03com\x00\x00", &[rtype, 0, 1]]
                .concat()
        };
        let framed = |message: &[u8]| [&[0, u8::try_from(message.len()).unwrap()][..], message].concat();
        for (message, expected) in [
            (question(0, 1, 252), true),
            (question(0, 1, 251), true),
            (question(1, 1, 252), true),
            (question(0, 1, 255), false),
            (question(0x80, 1, 252), false),
            (question(0x20, 1, 252), false),
            (question(0, 0, 252), false),
            (question(0, 2, 252), false),
            (question(0, 1, 252)[..18].to_vec(), false),
            (question(0, 1, 252)[..5].to_vec(), false),
        ] {
            let framed = framed(&message);
            assert_eq!(waiting(&framed), expected.then_some(framed.len()), "{message:?}");
            assert_eq!(waiting(&framed[..framed.len() - 1]), None);
        }
        assert_eq!(waiting(&[0]), None);
    }
}
