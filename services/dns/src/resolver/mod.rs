//! The role that resolves: for those who may ask, and at addresses of its own.
//!
//! ```text
//!  question ─▶ may the client ask? ─▶ over UDP: within its rate? ─▶ a policy? ─no─▶ known? ─yes─▶ answered at once
//!               │ no                    │ no                         │ yes           │ no
//!               ▼                       ▼                            ▼               ▼
//!              REFUSED, 403            nothing, or TC               what it says    a place to wait? ─yes─▶ core/resolver
//!                                                                   (policies.rs)    │ no
//!                                                                                    ▼
//!                                                                                   what has expired, or SERVFAIL
//! ```
//!
//! What resolves is `proxima_resolver`; what is said here is who may ask it and how much of it.
//!
//! Invariants:
//! * **Off unless it is given addresses or names, and for nobody but this host unless networks are allowed.** Everybody is
//!   allowed only by a network of length 0, which is warned of, and gives each network over UDP a rate.
//! * **Questions wait, threads do not.** One that has to be resolved holds a place, of which all clients and each have so
//!   many, and none of it holds up what is known.
//! * **A resolver's trouble is its own.** Name servers that do not answer change nothing of this server's health: what has
//!   authority is announced at the same addresses by the same server, and clients get what has expired, or SERVFAIL, and ask
//!   the next resolver. A socket that breaks ends the node, as any of its sockets does.
//!
//! Zones that are served here are resolved as all others, from the root down, and asked at the network's addresses, which are
//! this server's own: no packet leaves it. So clients here are told what clients elsewhere are, the zone's signatures are
//! checked, and a zone that is here but not delegated to us is not believed.
//!
//! Cookies (RFC 7873) are neither given nor wanted.

mod config;
pub(crate) mod json;
mod metrics;
pub(crate) mod names;
mod policies;
mod safe_search;

use std::{sync::Arc, time::Duration};

use proxima_chassis::{Clock, NodeContext, Shutdown};
use proxima_resolver::{Metrics, Name, Query, Read, Refusal, Resolver, Settings, Upstream, Written};
use tracing::{info, warn};

pub use config::ResolverConfig;
use metrics::RecursiveMetrics;
pub use policies::{Blocked, PolicyConfig};
use policies::{Decision, Policies, TTL as POLICY_TTL, WATCH_INTERVAL};

use crate::{
    DnsError,
    answerer::{Answerer, Found, Listening, Reply, Waiting},
    asker::{Asker, Transport},
    config::DnsConfig,
    places::Places,
    rate::{Kind, Limited, RateLimit},
    respond::Answered,
    root::Root,
    service::NAME,
    wire::{MESSAGE_OCTETS_MAX, Rcode},
};

/// How long a client waits for an answer that is known and has expired (RFC 8767, 5).
const STALE_AFTER: Duration = Duration::from_millis(1_800);
/// For how long what has expired is kept for that: one to three days (RFC 8767, 5).
const STALE_FOR: Duration = Duration::from_secs(86_400);
/// Refusals in a second to one network over UDP, whose clients may have been forged.
const REFUSALS_RATE: u32 = 200;
/// Each so many-th answer beyond a rate asks to come again by TCP.
const SLIP: u8 = 2;

/// Who carries questions to name servers.
type AnyUpstream = Arc<dyn Upstream>;

/// The role that resolves.
pub(crate) struct Recursive {
    config: ResolverConfig,
    resolver: Arc<Resolver<AnyUpstream>>,
    listening: Listening,
    metrics: Arc<RecursiveMetrics>,
    clock: Arc<dyn Clock>,
    answers: Option<RateLimit>,
    refusals: RateLimit,
    policies: Arc<Policies>,
    /// Places for questions that wait.
    pending: Arc<Places>,
}

/// What there is room for.
#[derive(Clone, Copy)]
struct Room {
    transport: Transport,
    octets_max: usize,
}

impl Recursive {
    /// Makes it as `[dns.resolver]` says.
    ///
    /// # Errors
    /// A list of a policy cannot be used.
    pub(crate) fn new(
        node: &NodeContext,
        dns: &DnsConfig,
        root: &Root,
        upstream: AnyUpstream,
    ) -> Result<Self, DnsError> {
        let config = dns.resolver.clone();
        let policies = Arc::new(Policies::new(&config.policies, &node.config)?);
        let (metrics, listeners) =
            node.metrics.register(&format!("{NAME}_resolver"), RecursiveMetrics::register);
        let clock = node.clock.clone();
        let settings = Settings {
            hints: root.hints.clone(),
            anchors: root.anchors.clone(),
            allow_private_servers: config.allow_private_name_servers,
            cache_octets: config.cache_bytes_max,
            clock: Arc::new(move || clock.now().as_millis().max(0).unsigned_abs()),
            stale_after: STALE_AFTER,
            stale_for: STALE_FOR,
        };
        let core = node.metrics.register("resolver", Metrics::register);
        Ok(Self {
            resolver: Resolver::new(upstream, settings, core),
            listening: Listening::new(dns, listeners),
            metrics: Arc::new(metrics),
            clock: node.clock.clone(),
            answers: config.rate().map(|rate| RateLimit::new(rate, SLIP, &[])),
            refusals: RateLimit::new(REFUSALS_RATE, 0, &[]),
            policies,
            pending: Places::new(config.pending_max, config.pending_per_client_max),
            config,
        })
    }

    /// Says in the log for whom it resolves.
    pub(crate) fn announce(&self) {
        let allowed: Vec<String> = self.config.allow.iter().map(ToString::to_string).collect();
        let names: Vec<String> = self.config.names.iter().map(ToString::to_string).collect();
        info!(?allowed, ?names, https = self.config.https, "resolving names for who is allowed");
        self.policies.announce();
        if self.config.is_open() {
            let rate = self.config.rate().unwrap_or(0);
            warn!(
                rate_limit_per_second = rate,
                "this is an open resolver: everybody may ask it, also for others whose addresses are forged"
            );
        }
    }

    /// Reads lists of the policies again when they have changed, until the server drains.
    pub(crate) async fn watch(self: Arc<Self>, shutdown: Shutdown) -> Result<(), DnsError> {
        let policies = &self.policies;
        while policies.has_lists() {
            tokio::select! {
                () = tokio::time::sleep(WATCH_INTERVAL) => {
                    let policies = policies.clone();
                    tokio::task::spawn_blocking(move || policies.refresh()).await.ok();
                }
                () = shutdown.draining() => return Ok(()),
            }
        }
        Ok(())
    }

    /// What resolves.
    pub(crate) fn resolver(&self) -> &Arc<Resolver<AnyUpstream>> {
        &self.resolver
    }

    /// Which hosts of the edge it answers at.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let names = self.config.names.iter().filter(|_| self.config.https);
        names.map(ToString::to_string).collect()
    }

    /// Whether a refusal is one too many.
    fn limit_refusal(&self, asker: Asker) -> Option<Limited> {
        let is_udp = asker.transport == Transport::Udp;
        is_udp.then(|| self.refusals.limit(asker.address, Kind::Other, self.clock.now().as_millis()))?
    }

    /// What may not be resolved is answered so.
    fn refusal(&self, query: &Query, asker: Asker) -> Option<Refusal> {
        if !self.admits(asker) {
            return Some(Refusal::NotAllowed);
        }
        (!query.wants_recursion()).then_some(Refusal::NoRecursion)
    }

    /// Answers what is no question that can be resolved.
    fn answer_malformed(&self, answer: &[u8], asker: Asker, out: &mut Vec<u8>) -> Answered {
        let limited = self.limit_refusal(asker);
        if limited.is_none() {
            out.extend_from_slice(answer);
        }
        let code = answer.get(3).map_or(0, |octet| octet & 0b1111);
        // The one code that does not stand in the header alone (RFC 6891, 6.1.3).
        let rcode = if code == 0 { Rcode::BadVers } else { rcode_of(code) };
        Answered { rcode, qtype: None, zone: None, truncated: false, signatures: 0, ttl: None, limited }
    }

    /// Answers what is not resolved: who may not ask, or asks too much.
    fn turn_away(&self, query: &Query, asker: Asker, room: Room, out: &mut Vec<u8>) -> Option<Answered> {
        if let Some(why) = self.refusal(query, asker) {
            let limited = self.limit_refusal(asker);
            let begin = out.len();
            let written = query.refuse(why, room.octets_max, out);
            if limited.is_some() {
                out.truncate(begin);
            }
            self.metrics.refused(why);
            return Some(Answered { limited, ..answered(query, written) });
        }
        let limit = self.answers.as_ref().filter(|_| asker.transport == Transport::Udp)?;
        let name = query.name();
        let kind = Kind::Name(name.wire());
        let limited = limit.limit(asker.address, kind, self.clock.now().as_millis())?;
        let written = match limited {
            Limited::Slipped => query.ask_for_tcp(out),
            Limited::Dropped => Written { rcode: 0, is_truncated: false, ttl: None, ede: None },
        };
        Some(Answered { limited: Some(limited), ..answered(query, written) })
    }

    /// Answers what is asked in earnest: by a policy, from what is known, or later.
    fn resolve(&self, query: Query, asker: Asker, room: Room, out: &mut Vec<u8>) -> Reply<Waiting> {
        // A hit without a policy costs no name.
        let decide = || self.policies.decide(asker.address, &query.name(), query.rtype());
        let decision = if self.policies.is_empty() { None } else { decide() };
        self.metrics.decided(decision.as_ref());
        let (written, alias) = match decision {
            Some(Decision::Blocked(decided) | Decision::Local(decided)) => {
                (Some(query.answer_with(&decided, room.octets_max, out)), None)
            }
            Some(Decision::Alias { target, .. }) => (None, Some(target)),
            None => (self.resolver.answer_now(&query, room.octets_max, out), None),
        };
        let Some(written) = written else { return self.answer_later(query, alias, (asker, room), out) };
        let answered = answered(&query, written);
        self.metrics.messages.count(room.transport, Some(answered));
        Reply::Now(answered)
    }

    /// Waits for the answer, which may be that for another name.
    fn answer_later(
        &self,
        query: Query,
        alias: Option<Name>,
        (asker, room): (Asker, Room),
        out: &mut Vec<u8>,
    ) -> Reply<Waiting> {
        let Some(place) = self.pending.take(asker.address) else {
            self.metrics.busy.inc();
            // Not even what has expired, where there is something else in its place.
            let written = match alias {
                None => self.resolver.decline(&query, room.octets_max, out),
                Some(_) => query.fail(room.octets_max, out),
            };
            let answered = answered(&query, written);
            self.metrics.messages.count(room.transport, Some(answered));
            return Reply::Now(answered);
        };
        let (resolver, metrics) = (self.resolver.clone(), self.metrics.clone());
        let waiting = metrics.wait();
        Reply::Later(Box::pin(async move {
            let begun = tokio::time::Instant::now();
            let mut octets = Vec::new();
            let written = match alias {
                None => resolver.answer(&query, room.octets_max, &mut octets).await,
                Some(alias) => {
                    let alias = (&alias, POLICY_TTL);
                    resolver.answer_through(&query, alias, room.octets_max, &mut octets).await
                }
            };
            let answered = answered(&query, written);
            metrics.seconds.observe(begun.elapsed().as_secs_f64());
            metrics.messages.count(room.transport, Some(answered));
            drop(waiting);
            Found { octets, answered, place }
        }))
    }
}

impl Answerer for Recursive {
    type Later = Waiting;

    fn answer(self: &Arc<Self>, message: &[u8], asker: Asker, out: &mut Vec<u8>) -> Reply<Waiting> {
        let count = |answered| self.metrics.messages.count(asker.transport, answered);
        let query = match Query::read(message) {
            Read::Query(query) => query,
            Read::Refused(answer) => {
                let answered = self.answer_malformed(&answer, asker, out);
                count(Some(answered));
                return Reply::Now(answered);
            }
            Read::Ignored => {
                count(None);
                return Reply::None;
            }
        };
        // Where connections have a time of their own, that of TCP must not be asked for (RFC 9250, 5.5.2).
        if asker.transport == Transport::Quic && query.has_keepalive() {
            count(None);
            return Reply::None;
        }
        let query = if asker.transport.is_encrypted() { query.encrypted() } else { query };
        let octets_max = match asker.transport {
            Transport::Udp => query.udp_octets_max(),
            _ => MESSAGE_OCTETS_MAX,
        };
        let room = Room { transport: asker.transport, octets_max };
        match self.turn_away(&query, asker, room, out) {
            Some(answered) => {
                count(Some(answered));
                Reply::Now(answered)
            }
            None => self.resolve(query, asker, room, out),
        }
    }

    fn listening(&self) -> &Listening {
        &self.listening
    }

    fn admits(&self, asker: Asker) -> bool {
        self.config.admits(asker.address)
    }
}

fn answered(query: &Query, written: Written) -> Answered {
    Answered {
        rcode: rcode_of(written.rcode),
        qtype: Some(query.rtype()),
        zone: None,
        truncated: written.is_truncated,
        signatures: 0,
        ttl: written.ttl,
        limited: None,
    }
}

/// The code of a header; those that the resolver never says are failures.
fn rcode_of(code: u8) -> Rcode {
    let known = Rcode::ALL.into_iter().find(|rcode| rcode.code() == u16::from(code));
    known.unwrap_or(Rcode::ServFail)
}
