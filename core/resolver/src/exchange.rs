//! The name servers of a zone, asked one after the other until one says something that counts.
//!
//! ```text
//!  ask ── best first (servers.rs) ──▶ ask_one ── UDP, or TCP after TC or a mismatch ──▶ Reply::of (reply.rs)
//!   ▲                                                                                      │
//!   ├── with authority, or a referral: that is what was said ◀─────────────────────────────┤
//!   └── hearsay: kept, and the next one asked; said if nobody has better ◀─────────────────┘
//! ```
//!
//! **Hearsay** is what a server says without AA of a zone that was delegated to it: it has lost the zone, or never had it, and
//! tells from a cache what it heard of others (RFC 1034, 4.3.1; RFC 2181, 5.4.1 ranks it below what has authority). All other
//! servers of the zone are asked first. If none has authority, the first hearsay is taken, as unbound takes that of servers
//! which are lame by recursing: refusing it would end names that work everywhere else, and who forges AA needs no hearsay. It
//! is bound by what binds all answers: from the asked address, to the asked question, of the zone alone, and of a signed zone
//! nothing that is not signed. Unlike unbound nobody is asked to recurse for us (RD stays clear).
//!
//! For a minute such a server comes behind those with authority, and before those that are silent or lame: what it says is then
//! taken at once, unless there are servers whose addresses are still to be looked up, so that a zone without authority costs
//! one question for a name, and not one for each of its servers. It is kept for a minute at the most, too: who has authority
//! may be back by then, and an older answer with it is not replaced by it for longer.
//!
//! **EDNS.** A server that says that it cannot read a question (FORMERR, NOTIMP) is asked again without an OPT record (RFC 6891,
//! 7), and if that helps, it is asked so for a while. Never for a zone that is signed, or whose keys are being fetched: without
//! DO nothing would come that can be validated, and who forges such a code would make the zone fail. An answer without an OPT
//! record is taken as it is. A server that is silent to EDNS is silent: since the flag day of 2019 resolvers do not ask these a
//! second time.

use std::{collections::HashSet, net::IpAddr, time::Duration};

use tokio::time::{Instant, timeout};

use crate::{
    hints,
    iterate::{Core, Failure, Security, Work},
    keys::ede,
    message::{self, Message, Question, flag, rtype},
    name::Name,
    reply::Reply,
    upstream::{Transport, Upstream},
    zones::{Trust, Zone},
};

/// Servers' names that are looked up for one question to one zone (NXNSAttack).
const SERVERS_LOOKED_UP_MAX: usize = 4;
/// Attempts to ask one zone.
const ATTEMPTS_MAX: usize = 8;

impl<U: Upstream> Core<U> {
    /// Asks the servers of a zone, one after the other, until one says something that counts.
    pub(crate) async fn ask(
        &self,
        zone: &Zone,
        name: &Name,
        rtype: u16,
        work: &Work,
        depth: u8,
    ) -> Result<Reply, Failure> {
        let asking = self.servers.asking(&zone.name, self.settings.zone_asked_max);
        let _asking = asking.ok_or(Failure(ede::OTHER))?;
        let mut addresses: Vec<IpAddr> = zone.servers.iter().flat_map(|(_, its)| its.clone()).collect();
        let mut without = zone.servers.iter().filter(|(server, its)| {
            // The address of a server within its own zone comes with the referral, or not at all.
            its.is_empty() && !server.is_within(&zone.name)
        });
        let (mut tried, mut attempts, mut looked_up) = (HashSet::new(), 0, 0);
        let mut hearsay = None;
        // Whether the network was reached, as far as anybody was asked.
        let mut why = ede::NO_AUTHORITY;
        loop {
            addresses.retain(|address| self.may_ask(*address) && tried.insert(*address));
            self.servers.order(&mut addresses, &zone.name, (self.settings.clock)(), rand::random);
            for address in std::mem::take(&mut addresses) {
                if attempts >= ATTEMPTS_MAX {
                    break;
                }
                let now = (self.settings.clock)();
                let is_known = self.servers.is_hearsay(address, &zone.name, now);
                let has_others = looked_up < SERVERS_LOOKED_UP_MAX && without.clone().next().is_some();
                match self.ask_one(address, zone, name, rtype, work).await {
                    Ok(Asked::Said(reply)) if reply.is_hearsay && (!is_known || has_others) => {
                        hearsay.get_or_insert(reply);
                        attempts += 1;
                    }
                    Ok(Asked::Said(reply)) => return Ok(reply),
                    Err(failure) => return hearsay.ok_or(failure),
                    Ok(Asked::Unreachable) if attempts == 0 => why = ede::NETWORK,
                    Ok(Asked::Unreachable) => {}
                    Ok(Asked::Useless) => (attempts, why) = (attempts + 1, ede::NO_AUTHORITY),
                }
            }
            let Some((server, _)) = without.next() else { break };
            if looked_up >= SERVERS_LOOKED_UP_MAX || attempts >= ATTEMPTS_MAX {
                break;
            }
            looked_up += 1;
            for family in [rtype::A, rtype::AAAA] {
                let Ok(found) = self.lookup(server, family, work, depth + 1).await else { continue };
                if matches!(found.security, Security::Bogus(_)) {
                    continue;
                }
                let data = found.answer.iter().flat_map(|set| &set.data);
                addresses.extend(data.filter_map(|data| hints::address(family, data)));
                if !addresses.is_empty() {
                    break;
                }
            }
        }
        if let Some(reply) = hearsay {
            tracing::debug!(zone = %zone.name, %name, rtype, "no name server of the zone has authority");
            return Ok(reply);
        }
        tracing::debug!(zone = %zone.name, %name, rtype, attempts, "no name server of the zone has answered");
        if zone.name.is_root() && self.root_servers.forget() {
            self.zones.remove(&zone.name);
        }
        Err(Failure(why))
    }

    async fn ask_one(
        &self,
        address: IpAddr,
        zone: &Zone,
        name: &Name,
        rtype: u16,
        work: &Work,
    ) -> Result<Asked, Failure> {
        let now = (self.settings.clock)();
        let question = Question::new(name, rtype);
        let may_be_plain = matches!(zone.trust, Trust::Insecure(_));
        let is_plain = may_be_plain && self.servers.has_no_edns(address, now);
        let said = self.converse(address, if is_plain { question.plain() } else { question }, work).await?;
        let is_in_doubt = matches!(said, Exchanged::Unread) && !is_plain;
        let message = match said {
            Exchanged::Unread if is_in_doubt && may_be_plain => {
                self.converse(address, question.plain(), work).await?
            }
            // That may be a guess, too.
            Exchanged::Unread if is_in_doubt => {
                self.exchange(address, question, Transport::Tcp, work).await?
            }
            said => said,
        };
        Ok(match message {
            Exchanged::Message(message) => match Reply::of(&zone.name, name, rtype, message) {
                Some(reply) => {
                    if is_in_doubt && may_be_plain {
                        self.servers.without_edns(address, now);
                    }
                    if reply.is_hearsay {
                        self.servers.hearsay(address, &zone.name, now);
                        self.metrics.hearsay.inc();
                    }
                    Asked::Said(Reply { from: Some(address), ..reply })
                }
                None => {
                    self.servers.lame(address, &zone.name, now);
                    self.metrics.lame.inc();
                    Asked::Useless
                }
            },
            Exchanged::Unread => {
                self.servers.lame(address, &zone.name, now);
                self.metrics.lame.inc();
                Asked::Useless
            }
            Exchanged::Mismatch => {
                self.servers.lame(address, &zone.name, now);
                Asked::Useless
            }
            Exchanged::Silence => {
                self.servers.silent(address, now);
                Asked::Useless
            }
            Exchanged::Unreachable => {
                self.servers.silent(address, now);
                Asked::Unreachable
            }
        })
    }

    /// Asks by UDP, and by TCP if that is not enough.
    async fn converse(
        &self,
        address: IpAddr,
        question: Question<'_>,
        work: &Work,
    ) -> Result<Exchanged, Failure> {
        match self.exchange(address, question, Transport::Udp, work).await? {
            Exchanged::Message(message) if message.has(flag::TC) => {
                self.exchange(address, question, Transport::Tcp, work).await
            }
            // Somebody guesses, or the server does not keep the case of letters: in a connection nobody guesses.
            Exchanged::Mismatch => self.exchange(address, question, Transport::Tcp, work).await,
            other => Ok(other),
        }
    }

    pub(crate) async fn exchange(
        &self,
        address: IpAddr,
        question: Question<'_>,
        transport: Transport,
        work: &Work,
    ) -> Result<Exchanged, Failure> {
        let left = work.take_query()?;
        let query = question.write(rand::random(), rand::random);
        let mut patience = self.servers.timeout(address);
        match transport {
            Transport::Udp => self.metrics.udp.inc(),
            Transport::Tcp => {
                // Two round trips and a longer answer.
                patience = patience.saturating_mul(3).max(Duration::from_secs(1));
                self.metrics.tcp.inc()
            }
        };
        let begun = Instant::now();
        let answer = self.upstream.exchange(address, &query, transport);
        let response = match timeout(patience.min(left), answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if is_unreachable(&error) => return Ok(Exchanged::Unreachable),
            Ok(Err(_)) | Err(_) => {
                self.metrics.silent.inc();
                return Ok(Exchanged::Silence);
            }
        };
        if message::is_unread(&query, &response) {
            return Ok(Exchanged::Unread);
        }
        let parsed = Message::parse(&response).filter(|_| message::answers(&query, &response));
        let Some(message) = parsed else {
            self.metrics.mismatched.inc();
            return Ok(Exchanged::Mismatch);
        };
        self.servers.answered(address, begun.elapsed());
        self.metrics.seconds.observe(begun.elapsed().as_secs_f64());
        Ok(Exchanged::Message(message))
    }
}

enum Asked {
    Said(Reply),
    Useless,
    Unreachable,
}

pub(crate) enum Exchanged {
    Message(Message),
    Mismatch,
    /// The server says that it cannot read the question.
    Unread,
    Silence,
    Unreachable,
}

/// Whether this host has no way there, as one without IPv6 has to IPv6.
fn is_unreachable(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), AddrNotAvailable | HostUnreachable | NetworkUnreachable)
}
