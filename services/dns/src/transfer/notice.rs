//! NOTIFY (RFC 1996): a primary says that a zone which comes from it has changed.

use proxima_ledger::ReadError;
use proxima_model::ZoneId;
use proxima_transfer::{Access, Exchange, tsig};
use tracing::debug;

use super::peers;
use crate::{
    asker::Asker,
    name::Name,
    server::Server,
    wire::{HEADER_OCTETS, Rcode, class, flag, rtype},
};

/// Answers a NOTIFY in the place of what was appended to `out` from `base` on; `None` if the message is none.
pub(super) fn answer(
    server: &Server,
    message: &[u8],
    asker: Asker,
    (out, base): (&mut Vec<u8>, usize),
) -> Option<Rcode> {
    let header = message.first_chunk::<HEADER_OCTETS>()?;
    let flags = u16::from_be_bytes([header[2], header[3]]);
    if flags & (flag::QR | flag::OPCODE) != flag::NOTIFY {
        return None;
    }
    let name = Name::read(&message[HEADER_OCTETS..]).filter(|_| header[4..6] == [0, 1])?;
    let question_end = HEADER_OCTETS + name.wire().len() + 4;
    let question = message.get(question_end - 4..question_end)?;
    let is_of_soa = *question == [rtype::SOA, class::IN].map(u16::to_be_bytes).concat();
    let write = |out: &mut Vec<u8>, rcode: Rcode| {
        out.truncate(base);
        out.extend_from_slice(&message[..question_end]);
        let flags = flag::QR | flag::NOTIFY | flag::AA | rcode.code() & 0b1111;
        out[base + 2..base + 4].copy_from_slice(&flags.to_be_bytes());
        out[base + 6..base + HEADER_OCTETS].fill(0);
        rcode
    };
    let Ok(signature) = tsig::find(message) else { return Some(write(out, Rcode::FormErr)) };
    if !is_of_soa {
        return Some(write(out, Rcode::FormErr));
    }
    let Ok((zone, access)) = primaries(server, &name) else { return Some(write(out, Rcode::ServFail)) };
    let now = server.responder.seconds();
    let checked =
        signature.map(|signature| Exchange::check(message, &signature, &access.keys, now)).transpose();
    let exchange = match checked.map(Option::transpose) {
        Err(_) => return Some(write(out, Rcode::FormErr)),
        Ok(Err(refusal)) => {
            write(out, Rcode::NotAuth);
            refusal.sign(out, base, now);
            return Some(Rcode::NotAuth);
        }
        Ok(Ok(exchange)) => exchange,
    };
    let rcode = match zone {
        None => Rcode::NotAuth,
        Some(zone) if access.allows(asker.address, exchange.as_ref().map(Exchange::key)) => {
            // The primary does not repeat what is acknowledged (RFC 1996, 3.6 and 4.8).
            let is_taken = server.notices.get().is_some_and(|notices| notices.changed(zone));
            if is_taken { Rcode::NoError } else { Rcode::ServFail }
        }
        Some(_) => Rcode::Refused,
    };
    debug!(from = %asker.address, ?rcode, "NOTIFY");
    write(out, rcode);
    if let Some(mut exchange) = exchange {
        exchange.sign(out, base, now);
    }
    Some(rcode)
}

/// The zone of exactly this name, and from whom it comes.
fn primaries(server: &Server, name: &Name) -> Result<(Option<ZoneId>, Access), ReadError> {
    let snapshot = server.replica.snapshot()?;
    match peers::zone_named(&snapshot, name)? {
        Some(zone) => Ok((Some(zone.id), peers::of_incoming(&snapshot, &zone)?)),
        None => Ok((None, Access::default())),
    }
}
