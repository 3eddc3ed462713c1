//! A transfer out of here: opened if its asker is the zone's peer, then made message by message.

use std::{collections::VecDeque, io, mem, sync::Arc};

use proxima_chassis::Place;
use proxima_model::ZoneId;
use proxima_transfer::{Exchange, stream::is_newer, tsig};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    task::spawn_blocking,
    time::{Instant, timeout_at},
};
use tracing::info;

use super::{
    MESSAGE_OCTETS, TRANSFER_WITHIN,
    content::{self, Content},
    journal, peers,
};
use crate::{
    asker::{Asker, Transport},
    edns::{Edns, Opt},
    flattening::{self, Asking, Sought},
    message::{Section, Writer, put_length, write_header_only},
    query::{Malformed, Query},
    respond::Zones,
    rrset::RrSet,
    server::Server,
    tcp::WRITE_WITHIN,
    wire::{ExtendedError, LENGTH_OCTETS, MESSAGE_OCTETS_MAX, Rcode, class, rtype},
    zone::ZoneTree,
};

/// Answers a question for a transfer on a stream.
///
/// # Errors
/// The client has gone, or takes too long.
pub(crate) async fn serve(
    stream: &mut (impl AsyncWrite + Unpin),
    server: &Arc<Server>,
    request: &[u8],
    asker: Asker,
) -> io::Result<()> {
    let deadline = Instant::now() + TRANSFER_WITHIN;
    // The zone is read and compared with what it was: of a large one that takes a while.
    let opening = {
        let (server, request) = (server.clone(), request.to_vec());
        spawn_blocking(move || {
            let mut out = Vec::new();
            let opened = open(&server, &request, asker, &mut out);
            let sought = match &opened {
                Ok(outgoing) => content::sought(&outgoing.content.zone, &server),
                Err(_) => Vec::new(),
            };
            (opened, out, sought)
        })
    };
    let (opened, mut out, sought) = opening.await.map_err(io::Error::other)?;
    let known = async {
        for sought in &sought {
            sought.wait().await;
        }
    };
    timeout_at(deadline.min(Instant::now() + flattening::WAIT), known).await.ok();
    // What cannot be resolved goes without addresses. What is not known yet must not: the peer would keep that.
    let is_ready = sought.iter().all(Sought::has_ended);
    let opened = opened.and_then(|outgoing| match is_ready {
        true => Ok(outgoing),
        false => Err(outgoing.refuse_for_now(server, request, asker, &mut out)),
    });
    let mut outgoing = match opened {
        Ok(outgoing) => Some(outgoing),
        Err(rcode) => {
            server.metrics.transferred(rcode);
            None
        }
    };
    loop {
        let mut more = false;
        if let Some(mut writing) = outgoing.take() {
            let (server, mut message) = (server.clone(), mem::take(&mut out));
            // Aliases may lead to large zones that are not compiled.
            let written = spawn_blocking(move || {
                let more = writing.write(&server, &mut message);
                (writing, message, more)
            });
            let (written, message, is_more) = written.await.map_err(io::Error::other)?;
            (outgoing, out, more) = (Some(written), message, is_more);
        }
        if !out.is_empty() {
            let until = deadline.min(Instant::now() + WRITE_WITHIN);
            timeout_at(until, async {
                stream.write_all(&out).await?;
                stream.flush().await
            })
            .await??;
            out.clear();
        }
        if !more {
            break;
        }
    }
    if let Some(outgoing) = outgoing {
        server.metrics.transferred(Rcode::NoError);
        info!(zone = %outgoing.name, to = %asker.address, records = outgoing.records, "transferred a zone");
    }
    Ok(())
}

/// Takes a place for a transfer; if there is to be none, what is answered instead lies framed in `out`.
fn open(server: &Server, request: &[u8], asker: Asker, out: &mut Vec<u8>) -> Result<Outgoing, Rcode> {
    out.extend_from_slice(&[0; LENGTH_OCTETS]);
    let refused = match Query::parse(request) {
        Ok(query) => match admit(server, server, request, &query, asker) {
            Ok(admitted) => {
                out.clear();
                return Ok(Outgoing::new(server, admitted, request, &query, asker));
            }
            Err(refused) => {
                refused.write(server, request, &query, asker, out);
                refused.rcode
            }
        },
        Err(Malformed::Ignore) => {
            out.clear();
            return Err(Rcode::FormErr);
        }
        Err(Malformed::Answer { id, flags, rcode }) => {
            write_header_only(out, id, flags, rcode);
            rcode
        }
    };
    put_length(out);
    Err(refused)
}

/// Answers a question for differences in a datagram with the SOA record alone: who is not up to date comes again over TCP
/// (RFC 1995, 2). Nothing lies in `out` if it is not to be answered so.
pub(super) fn in_a_datagram(
    server: &Server,
    asking: &Asking<'_>,
    (request, asker): (&[u8], Asker),
    out: &mut Vec<u8>,
) -> Rcode {
    let Ok(query) = Query::parse(request) else { return Rcode::FormErr };
    match admit(server, asking, request, &query, asker) {
        Err(refused) => {
            refused.write(server, request, &query, asker, out);
            refused.rcode
        }
        Ok(Admitted { tree, exchange, .. }) => {
            let opt = query.edns.map(|asked| server.responder.opt(asked, None, asker.transport));
            let mut writer = Writer::new(out, &request[..query.question_end], MESSAGE_OCTETS, opt.as_ref());
            writer.set_authoritative(true);
            writer.some_of(Section::Answer, tree.apex(), tree.soa(), 0);
            writer.finish(Rcode::NoError, opt.as_ref());
            if let Some(mut exchange) = exchange {
                exchange.sign(out, 0, server.responder.seconds());
            }
            Rcode::NoError
        }
    }
}

/// Why nothing is transferred.
struct Refused {
    rcode: Rcode,
    why: Option<ExtendedError>,
    /// What its signature is answered with.
    signature: Signature,
}

enum Signature {
    None,
    Good(Box<Exchange>),
    Bad(Box<tsig::Refusal>),
}

impl Refused {
    fn write(&self, server: &Server, request: &[u8], query: &Query, asker: Asker, out: &mut Vec<u8>) {
        let base = out.len();
        let opt = query.edns.map(|asked| server.responder.opt(asked, None, asker.transport));
        let mut writer = Writer::new(out, &request[..query.question_end], MESSAGE_OCTETS, opt.as_ref());
        writer.extended = self.why;
        writer.finish(self.rcode, opt.as_ref());
        let now = server.responder.seconds();
        match &self.signature {
            Signature::None => {}
            Signature::Good(exchange) => exchange.clone().sign(out, base, now),
            Signature::Bad(refusal) => refusal.clone().sign(out, base, now),
        }
    }
}

/// Who may have a zone, and has a place for it.
struct Admitted {
    id: ZoneId,
    name: String,
    tree: Arc<ZoneTree>,
    exchange: Option<Exchange>,
    place: Place,
}

/// Admits who may have a zone that `zones` has.
fn admit(
    server: &Server,
    zones: &impl Zones,
    request: &[u8],
    query: &Query,
    asker: Asker,
) -> Result<Admitted, Refused> {
    let refuse = |rcode, why| Refused { rcode, why, signature: Signature::None };
    let unreadable = |_| refuse(Rcode::ServFail, Some(ExtendedError::NOT_READY));
    let signature = tsig::find(request).map_err(|_| refuse(Rcode::FormErr, None))?;
    let snapshot = server.replica.snapshot().map_err(unreadable)?;
    let zone = peers::zone_named(&snapshot, &query.name).map_err(unreadable)?;
    let access = zone.as_ref().map(|zone| peers::of_outgoing(&snapshot, zone)).transpose();
    let access = access.map_err(unreadable)?.unwrap_or_default();
    drop(snapshot);
    let exchange = match signature {
        None => None,
        Some(signature) => {
            let checked = Exchange::check(request, &signature, &access.keys, server.responder.seconds());
            match checked.map_err(|_| refuse(Rcode::FormErr, None))? {
                Ok(exchange) => Some(exchange),
                Err(refusal) => {
                    let signature = Signature::Bad(refusal);
                    return Err(Refused { rcode: Rcode::NotAuth, why: None, signature });
                }
            }
        }
    };
    let refuse = |rcode, why| Refused {
        rcode,
        why,
        signature: exchange.clone().map_or(Signature::None, |exchange| Signature::Good(Box::new(exchange))),
    };
    let Some(zone) = zone else { return Err(refuse(Rcode::NotAuth, Some(ExtendedError::NOT_AUTHORITATIVE))) };
    if query.qclass != class::IN {
        return Err(refuse(Rcode::Refused, Some(ExtendedError::CLASS)));
    }
    if !access.allows(asker.address, exchange.as_ref().map(Exchange::key)) {
        return Err(refuse(Rcode::Refused, Some(ExtendedError::NO_PEER)));
    }
    if query.qtype == rtype::IXFR && query.serial.is_none() {
        return Err(refuse(Rcode::FormErr, None));
    }
    let place = server.transfers.take(asker.address);
    let place = place.ok_or_else(|| refuse(Rcode::ServFail, Some(ExtendedError::TRANSFERS)))?;
    let found = zones.find(zone.name.as_str());
    let tree = found.map_err(|_| refuse(Rcode::ServFail, Some(ExtendedError::NOT_READY)))?;
    let tree = tree.filter(|tree| tree.id == zone.id);
    let tree = tree.ok_or_else(|| refuse(Rcode::NotAuth, Some(ExtendedError::NOT_AUTHORITATIVE)))?;
    if !tree.is_served() {
        return Err(refuse(Rcode::ServFail, Some(ExtendedError::EXPIRED)));
    }
    Ok(Admitted { id: zone.id, name: zone.name.to_string(), tree, exchange, place })
}

/// A transfer under way.
struct Outgoing {
    name: String,
    content: Content,
    /// Record sets that are still to be written, with their owner.
    pending: VecDeque<(Arc<[u8]>, RrSet)>,
    /// Records of the first of them that were written.
    written: usize,
    /// Whether the SOA record that ends it is among them.
    ends: bool,
    question: Vec<u8>,
    exchange: Option<Exchange>,
    /// What the question had of EDNS, until it is answered: by the first message (RFC 5936, 2.2.5).
    edns: Option<Edns>,
    transport: Transport,
    records: usize,
    _place: Place,
}

impl Outgoing {
    /// Has its asker come again, since not all of it is known yet.
    fn refuse_for_now(self, server: &Server, request: &[u8], asker: Asker, out: &mut Vec<u8>) -> Rcode {
        let rcode = Rcode::ServFail;
        if let Ok(query) = Query::parse(request) {
            let signature =
                self.exchange.map_or(Signature::None, |exchange| Signature::Good(Box::new(exchange)));
            out.extend_from_slice(&[0; LENGTH_OCTETS]);
            let refused = Refused { rcode, why: Some(ExtendedError::SOUGHT), signature };
            refused.write(server, request, &query, asker, out);
            put_length(out);
        }
        rcode
    }

    fn new(server: &Server, admitted: Admitted, request: &[u8], query: &Query, asker: Asker) -> Self {
        let Admitted { id, name, tree, exchange, place } = admitted;
        let apex: Arc<[u8]> = tree.apex().into();
        let mut pending = VecDeque::from([(apex.clone(), tree.soa().detached())]);
        // A server that is up to date is told so by the SOA record alone (RFC 1995, 2). There is no other way to go back
        // than forward, around the clock (RFC 1982).
        let mut ends = query.serial.is_some_and(|serial| !is_newer(tree.serial(), serial));
        let former = query.serial.filter(|_| !ends).and_then(|serial| server.journal.at(id, serial));
        if let Some(former) = former
            && let Some((gone, come)) = journal::differences(&former, &tree, &server.responder, server)
        {
            // RFC 1995, 4: what goes stands behind the former SOA record, what comes behind the new one.
            pending.push_back((apex.clone(), former.soa().detached()));
            pending.extend(gone);
            pending.push_back((apex.clone(), tree.soa().detached()));
            pending.extend(come);
            pending.push_back((apex, tree.soa().detached()));
            ends = true;
        }
        // Who does not take all of it asks for everything.
        server.journal.remember(id, &tree, |known| {
            let differences = journal::differences(known, &tree, &server.responder, server);
            differences.is_some_and(|(gone, come)| gone.is_empty() && come.is_empty())
        });
        Self {
            name,
            content: Content::new(tree),
            pending,
            written: 0,
            ends,
            question: request[..query.question_end].to_vec(),
            exchange,
            edns: query.edns,
            transport: asker.transport,
            records: 0,
            _place: place,
        }
    }

    /// Writes the next message, framed, to `out`, which is empty; whether there is another one.
    fn write(&mut self, server: &Server, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(&[0; LENGTH_OCTETS]);
        let reserved = self.exchange.as_ref().map_or(0, |exchange| exchange.key().record_octets());
        let opt = self.edns.take().map(|asked| server.responder.opt(asked, None, self.transport));
        let mut writer = Writer::new(out, &self.question, MESSAGE_OCTETS - reserved, opt.as_ref());
        writer.set_authoritative(true);
        let mut has_some = false;
        let more = loop {
            let Some((owner, set)) = self.pending.front() else {
                if self.ends {
                    break false;
                }
                match self.content.next(&server.responder, server) {
                    Some((owner, sets)) => {
                        let owner: Arc<[u8]> = owner.into();
                        self.pending.extend(sets.into_iter().map(|set| (owner.clone(), set)));
                    }
                    None => {
                        let zone = &self.content.zone;
                        self.pending.push_back((zone.apex().into(), zone.soa().detached()));
                        self.ends = true;
                    }
                }
                continue;
            };
            let written = writer.some_of(Section::Answer, owner, set.view(), self.written);
            self.written += written;
            self.records += written;
            has_some |= written > 0;
            if self.written == set.records().count() {
                self.written = 0;
                self.pending.pop_front();
            } else if has_some {
                break true;
            } else {
                // The model bounds a record's data far below what a message may have.
                writer.set_limit(MESSAGE_OCTETS_MAX - reserved - opt.as_ref().map_or(0, Opt::octets));
            }
        };
        writer.finish(Rcode::NoError, opt.as_ref());
        if let Some(exchange) = &mut self.exchange {
            exchange.sign(out, LENGTH_OCTETS, server.responder.seconds());
        }
        put_length(out);
        more
    }
}
