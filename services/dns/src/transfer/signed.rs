//! Questions that are signed and ask for no transfer: a peer asks for a zone's SOA record so before it asks for the zone.

use proxima_transfer::{Access, Exchange, tsig};

use super::{notice, outgoing, peers};
use crate::{
    asker::{Asker, Transport},
    flattening::Asking,
    message::Writer,
    query::Query,
    respond::Answered,
    server::Server,
    wire::{Rcode, rtype},
};

impl Answered {
    /// Whether it was refused for what only peers do: a question that is signed or asks for differences, or NOTIFY.
    pub(crate) fn may_be_a_peers(&self) -> bool {
        let is_difference = self.qtype == Some(rtype::IXFR) && self.rcode == Rcode::Refused;
        let is_notice = self.qtype.is_none() && self.rcode == Rcode::NotImp;
        self.limited.is_none() && (self.rcode == Rcode::NotAuth || is_difference || is_notice)
    }
}

impl Server {
    /// Answers what only peers ask in the place of the refusal that was appended to `out` from `base` on.
    #[cold]
    pub(crate) fn answer_peer(
        &self,
        asking: &Asking<'_>,
        message: &[u8],
        asker: Asker,
        (out, base): (&mut Vec<u8>, usize),
        refused: Answered,
    ) -> Answered {
        match (refused.qtype, asker.transport) {
            (Some(rtype::IXFR), Transport::Udp) => {
                let mut answer = Vec::new();
                let rcode = outgoing::in_a_datagram(self, asking, (message, asker), &mut answer);
                if answer.is_empty() {
                    return refused;
                }
                out.truncate(base);
                out.append(&mut answer);
                Answered { rcode, ..refused }
            }
            (Some(rtype::IXFR | rtype::AXFR), _) => refused,
            (None, _) if refused.rcode == Rcode::NotImp => {
                match notice::answer(self, message, asker, (&mut *out, base)) {
                    Some(rcode) => Answered { rcode, ..refused },
                    None => refused,
                }
            }
            _ => self.answer_signed(asking, message, asker, (out, base), refused),
        }
    }

    /// Answers a signed question in the place of what was appended to `out` from `base` on.
    /// It was counted as a refusal, and is not counted once more.
    fn answer_signed(
        &self,
        asking: &Asking<'_>,
        message: &[u8],
        asker: Asker,
        (out, base): (&mut Vec<u8>, usize),
        refused: Answered,
    ) -> Answered {
        let Ok(query) = Query::parse(message) else { return refused };
        let now = self.responder.seconds();
        let checked = tsig::find(message).and_then(|found| {
            let found = found.ok_or(proxima_transfer::Malformed)?;
            let checked = Exchange::check(message, &found, &self.keys_for(&query).keys, now)?;
            Ok(checked.map(|exchange| (exchange, found.stripped(message))))
        });
        out.truncate(base);
        let question = &message[..query.question_end];
        let answer_only = |out: &mut Vec<u8>, rcode, truncated| {
            let opt = query.edns.map(|asked| self.responder.opt(asked, None, asker.transport));
            let limit = self.responder.limit_of(&query, asker.transport);
            let mut writer = Writer::new(out, question, limit, opt.as_ref());
            if truncated {
                writer.set_truncated();
            }
            writer.finish(rcode, opt.as_ref());
        };
        match checked {
            Err(_) => {
                answer_only(out, Rcode::FormErr, false);
                Answered { rcode: Rcode::FormErr, ..refused }
            }
            Ok(Err(refusal)) => {
                answer_only(out, Rcode::NotAuth, false);
                refusal.sign(out, base, now);
                Answered { rcode: Rcode::NotAuth, ..refused }
            }
            Ok(Ok((mut exchange, stripped))) => {
                let answered = self.responder.respond_once(asking, &stripped, (asker, &mut true), out);
                let Some(mut answered) = answered else { return refused };
                if out.len() == base {
                    return answered;
                }
                let octets = out.len() - base + exchange.key().record_octets();
                if octets > self.responder.limit_of(&query, asker.transport) {
                    out.truncate(base);
                    let rcode =
                        if asker.transport == Transport::Udp { Rcode::NoError } else { Rcode::ServFail };
                    answer_only(out, rcode, asker.transport == Transport::Udp);
                    answered = Answered { rcode, truncated: asker.transport == Transport::Udp, ..answered };
                }
                exchange.sign(out, base, now);
                answered
            }
        }
    }

    /// The keys of the peers of the zone that is asked about. Anybody can make up a signature: nothing is compiled for that.
    fn keys_for(&self, query: &Query) -> Access {
        let access = || -> Result<Access, proxima_ledger::ReadError> {
            let snapshot = self.replica.snapshot()?;
            match peers::zone_around(&snapshot, &query.name)? {
                Some(zone) => peers::of_outgoing(&snapshot, &zone),
                None => Ok(Access::default()),
            }
        };
        // Without a replica that can be read no key is known.
        access().unwrap_or_default()
    }
}
