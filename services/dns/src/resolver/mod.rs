//! The role that resolves: for those who may ask, and at addresses of its own.
//!
//! ```text
//!  question ─▶ may the client ask, or has it a token? ─▶ within its rate? ─▶ a policy? ─no─▶ known? ─yes─▶ answered at once
//!               │ no                                      │ no                │ yes           │ no
//!               ▼                                         ▼                   ▼               ▼
//!              REFUSED, 403                              REFUSED with a      what it says    a place to wait? ─yes─▶ core/resolver
//!                                                        token; over UDP     (policies.rs)    │ no
//!                                                        nothing, or TC,                      ▼
//!                                                        or BADCOOKIE                        what has expired, or SERVFAIL
//! ```
//!
//! What resolves is `proxima_resolver`; what is said here is who may ask it and how much of it. Where a client is, which
//! decides what policy it has, tells `locations.rs`.
//!
//! Invariants:
//! * **Off unless it is given addresses or names, and for nobody but this host unless networks are allowed** or locations have
//!   tokens. Everybody is allowed only by a network of length 0, which is warned of, and gives each network over UDP a rate.
//! * **Questions wait, threads do not.** One that has to be resolved holds a place, of which all clients, each, and each token
//!   have so many, and none of it holds up what is known. When half of all are taken, or half of a client's, who asks over UDP
//!   without a good cookie is asked to come with one, or over TCP: what others forge takes no more than that.
//! * **A resolver's trouble is its own.** Name servers that do not answer change nothing of this server's health: what has
//!   authority is announced at the same addresses by the same server, and clients get what has expired, or SERVFAIL, and ask
//!   the next resolver. A socket that breaks ends the node, as any of its sockets does.
//! * **Whoever shows that it receives at its address is not limited for what others forge:** over streams, and over UDP with a
//!   cookie of a server of this network (RFC 7873), which are those of who has authority (`cookies.rs`).
//!
//! What is not known is asked of the name's home among the servers of this PoP, before name servers are (`neighbours.rs`): it
//! learns the question and nothing of who asks, and all that is decided here stays here.
//!
//! Zones that are served here are resolved as all others, from the root down, and asked at the network's addresses, which are
//! this server's own: no packet leaves it. So clients here are told what clients elsewhere are, the zone's signatures are
//! checked, and a zone that is here but not delegated to us is not believed.

mod config;
pub(crate) mod json;
mod lists;
mod local;
mod locations;
mod metrics;
pub(crate) mod names;
mod neighbours;
mod policies;
mod safe_search;
mod upkeep;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use proxima_chassis::{Clock, NodeContext, Places};
use proxima_model::TicketKeys;
use proxima_pipeline::Neighbours;
use proxima_resolver::{Aliases, Metrics, Query, Read, Refusal, Resolver, Settings, Upstream, Written};

pub use config::ResolverConfig;
pub use locations::LocationConfig;
use locations::{Location, Locations};
use metrics::RecursiveMetrics;
use neighbours::{AnsweringHome, NeighbourMetrics};
pub use policies::{Blocked, PolicyConfig, Reason};
use policies::{Decision, Policies, Policy};

use crate::{
    DnsError,
    answerer::{Answerer, Found, Listening, Reply, Waiting},
    asker::{Asker, Shown, Transport},
    config::DnsConfig,
    cookies::{self, Cookies},
    edns::Cookie,
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
    locations: Locations,
    cookies: Arc<Cookies>,
    /// Places for questions that wait.
    pending: Arc<Places>,
    /// Those of each token, wherever it is shown.
    pending_by_token: Arc<Places<u16>>,
    neighbours: OnceLock<Arc<dyn Neighbours>>,
    /// Answers theirs.
    home: Arc<AnsweringHome>,
}

/// Who asks, and what there is room for.
#[derive(Clone, Copy)]
struct Asking<'a> {
    asker: Asker,
    location: Option<&'a Location>,
    /// Whether its cookie is one that it had from here.
    has_good_cookie: bool,
    octets_max: usize,
}

impl Asking<'_> {
    /// Whether it has shown that it receives at its address, so that nobody else pays for what it is answered.
    fn is_shown(&self) -> bool {
        self.has_good_cookie || self.asker.transport != Transport::Udp
    }
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
        let policies = Arc::new(config.policies(&node.config)?);
        let ((metrics, listeners), neighbours) =
            node.metrics.register(&format!("{NAME}_resolver"), |registry| {
                (RecursiveMetrics::register(registry), NeighbourMetrics::register(registry))
            });
        let clock = node.clock.clone();
        let settings = Settings {
            hints: root.hints.clone(),
            anchors: root.anchors.clone(),
            allow_private_servers: config.allow_private_name_servers,
            cache_octets: config.cache_bytes_max,
            zone_asked_max: config.zone_asked_max(),
            clock: Arc::new(move || clock.now().as_millis().max(0).unsigned_abs()),
            stale_after: STALE_AFTER,
            stale_for: STALE_FOR,
        };
        let core = node.metrics.register("resolver", Metrics::register);
        let locations = Locations::new(&config.locations, &config.policy_names(), &metrics);
        let resolver = Resolver::new(upstream, settings, core);
        Ok(Self {
            home: Arc::new(AnsweringHome::new(resolver.clone(), config.neighbours_max(), neighbours)),
            neighbours: OnceLock::new(),
            resolver,
            listening: Listening::new(dns, listeners),
            metrics: Arc::new(metrics),
            clock: node.clock.clone(),
            answers: config.rate().map(|rate| RateLimit::new(rate, SLIP, &[])),
            refusals: RateLimit::new(REFUSALS_RATE, 0, &[]),
            policies,
            locations,
            cookies: Arc::new(Cookies::new()),
            pending: Places::new(config.pending_max, config.pending_per_client_max),
            pending_by_token: Places::new(config.pending_max, config.pending_per_client_max),
            config,
        })
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

    /// Cookies are made and checked with secrets derived from these keys, which all servers of the network have. Puts them in
    /// force when called.
    pub(crate) fn prepare_cookies(&self, keys: &TicketKeys) -> impl FnOnce() + Send + 'static {
        let (cookies, prepared) = (self.cookies.clone(), Cookies::prepare(keys));
        move || cookies.swap(prepared)
    }

    /// What of its transport and its cookie a question's answer depends on, and who asks it.
    fn asking(&self, query: Query, asker: Asker) -> (Query, Asking<'_>) {
        let mut query = if asker.transport.is_encrypted() { query.encrypted() } else { query };
        let mut has_good_cookie = false;
        if let Some((client, server)) = query.cookie() {
            let now = cookies::seconds(self.clock.now());
            let judged = self.cookies.judge(&Cookie { client, server }, asker.address, now);
            has_good_cookie = judged.is_good;
            query = query.with_cookie(judged.answer);
        }
        if matches!(asker.transport, Transport::Tcp | Transport::Tls) {
            let tenths = self.listening.idle.as_millis() / 100;
            query = query.with_keepalive(u16::try_from(tenths).unwrap_or(u16::MAX));
        }
        let octets_max = match asker.transport {
            Transport::Udp => query.udp_octets_max(),
            _ => MESSAGE_OCTETS_MAX,
        };
        (query, Asking { asker, location: self.locations.of(asker), has_good_cookie, octets_max })
    }

    /// Whether a refusal is one too many.
    fn limit_refusal(&self, asker: Asker, is_shown: bool) -> Option<Limited> {
        let limit = || self.refusals.limit(asker.address, Kind::Other, self.clock.now().as_millis());
        if is_shown { None } else { limit() }
    }

    fn count_refusal(&self, why: Refusal, asker: Asker, location: Option<&Location>) {
        self.metrics.refused(why, asker.shown);
        location.iter().for_each(|location| location.metrics.refused());
    }

    /// What may not be resolved is answered so.
    fn refusal(&self, query: &Query, asker: Asker) -> Option<Refusal> {
        if !self.admits(asker) {
            return Some(Refusal::NotAllowed);
        }
        if !query.wants_recursion() {
            return Some(Refusal::NoRecursion);
        }
        match asker.shown {
            Shown::Token(token) if !self.locations.take(token, self.clock.now().as_millis()) => {
                Some(Refusal::TooMany)
            }
            _ => None,
        }
    }

    /// Answers what is no question that can be resolved.
    fn answer_malformed(&self, answer: &[u8], asker: Asker, out: &mut Vec<u8>) -> Answered {
        let limited = self.limit_refusal(asker, asker.transport != Transport::Udp);
        if limited.is_none() {
            out.extend_from_slice(answer);
        }
        let code = answer.get(3).map_or(0, |octet| octet & 0b1111);
        // The one code that does not stand in the header alone (RFC 6891, 6.1.3).
        let rcode = if code == 0 { Rcode::BadVers } else { rcode_of(code) };
        Answered { rcode, qtype: None, zone: None, truncated: false, signatures: 0, ttl: None, limited }
    }

    /// Gives a cookie to who asks for nothing else (RFC 7873, 5.4): it says nothing of what is resolved, and for whom.
    fn greet(&self, query: &Query, asking: Asking<'_>, out: &mut Vec<u8>) -> Answered {
        let limited = self.limit_refusal(asking.asker, asking.is_shown());
        let begin = out.len();
        let written = query.greet(asking.has_good_cookie, out);
        if limited.is_some() {
            out.truncate(begin);
        }
        Answered { limited, qtype: None, ..answered(query, written) }
    }

    /// Answers what is not resolved: who may not ask, or asks too much.
    fn turn_away(&self, query: &Query, asking: Asking<'_>, out: &mut Vec<u8>) -> Option<Answered> {
        let is_shown = asking.is_shown();
        let Asking { asker, location, octets_max, .. } = asking;
        if let Some(why) = self.refusal(query, asker) {
            let limited = self.limit_refusal(asker, is_shown);
            let begin = out.len();
            let written = query.refuse(why, octets_max, out);
            if limited.is_some() {
                out.truncate(begin);
            }
            self.count_refusal(why, asker, location);
            return Some(Answered { limited, ..answered(query, written) });
        }
        let limit = self.answers.as_ref().filter(|_| !is_shown)?;
        let name = query.name();
        let kind = Kind::Name(name.wire());
        let limited = limit.limit(asker.address, kind, self.clock.now().as_millis())?;
        let written = match limited {
            Limited::Slipped => query.ask_again(out),
            Limited::Dropped => {
                Written { rcode: 0, is_truncated: false, ttl: None, ede: None, is_blocked: false }
            }
        };
        Some(Answered { limited: Some(limited), ..answered(query, written) })
    }

    /// The policy of who asks, if there is one.
    fn policy(&self, asker: Asker, location: Option<&Location>) -> Option<&Arc<Policy>> {
        let named = location.and_then(|location| location.policy);
        named.map_or_else(|| self.policies.of_network(asker.address), |index| self.policies.get(index))
    }

    /// Answers what is asked in earnest: by a policy, from what is known, or later.
    fn resolve(&self, query: Query, asking: Asking<'_>, out: &mut Vec<u8>) -> Reply<Waiting> {
        // A hit without a policy costs no name.
        let (query, decision) = match self.policy(asking.asker, asking.location) {
            Some(policy) => ruled(query, policy),
            None => (query, None),
        };
        self.metrics.decided(decision.as_ref());
        let is_decided = decision.is_some();
        let (written, aliases) = match decision {
            Some(Decision::Blocked(decided) | Decision::Local(decided)) => {
                (Some(query.answer_with(&decided, asking.octets_max, out)), None)
            }
            Some(Decision::Alias { aliases, .. }) => (None, Some(aliases)),
            None => (self.resolver.answer_now(&query, asking.octets_max, out), None),
        };
        let Some(written) = written else { return self.answer_later(query, aliases, asking, out) };
        let location = asking.location.map(|location| &*location.metrics);
        Reply::Now(self.metrics.told(asking.asker.transport, location, (&query, written), is_decided))
    }

    /// Waits for the answer, which may be that for another name.
    fn answer_later(
        &self,
        query: Query,
        aliases: Option<Aliases>,
        asking: Asking<'_>,
        out: &mut Vec<u8>,
    ) -> Reply<Waiting> {
        let is_shown = asking.is_shown();
        let Asking { asker: Asker { address, transport, shown }, location, octets_max, .. } = asking;
        if !is_shown && self.pending.are_scarce(address) {
            // Others may be asking in its name, and would leave it, or everybody, no place.
            self.metrics.scarce.inc();
            let written = query.ask_again(out);
            let location = location.map(|location| &*location.metrics);
            return Reply::Now(self.metrics.told(transport, location, (&query, written), aliases.is_some()));
        }
        let (metrics, location) = (self.metrics.clone(), location.map(|location| location.metrics.clone()));
        let is_decided = aliases.is_some();
        let by_token = match shown {
            Shown::Token(token) => self.pending_by_token.take_for(token).map(Some),
            Shown::Nothing | Shown::UnknownToken => Some(None),
        };
        let (Some(by_token), Some(place)) = (by_token, self.pending.take(address)) else {
            metrics.busy.inc();
            // Not even what has expired, where there is something else in its place.
            let written = match aliases {
                None => self.resolver.decline(&query, octets_max, out),
                Some(_) => query.fail(octets_max, out),
            };
            return Reply::Now(metrics.told(transport, location.as_deref(), (&query, written), is_decided));
        };
        let resolver = self.resolver.clone();
        let waiting = metrics.wait();
        Reply::Later(Box::pin(async move {
            let begun = tokio::time::Instant::now();
            let mut octets = Vec::new();
            let written = match &aliases {
                None => resolver.answer(&query, octets_max, &mut octets).await,
                Some(aliases) => resolver.answer_through(&query, aliases, octets_max, &mut octets).await,
            };
            metrics.seconds.observe(begun.elapsed().as_secs_f64());
            let answered = metrics.told(transport, location.as_deref(), (&query, written), is_decided);
            drop(by_token);
            Found { octets, answered, place, waiting: Some(waiting) }
        }))
    }
}

impl Answerer for Recursive {
    type Later = Waiting;

    fn answer(self: &Arc<Self>, message: &[u8], asker: Asker, out: &mut Vec<u8>) -> Reply<Waiting> {
        let count = |answered| self.metrics.messages.count(asker.transport, answered);
        let (query, asks) = match Query::read(message) {
            Read::Query(query) => (query, true),
            Read::Bare(query) => (query, false),
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
        let (query, asking) = self.asking(query, asker);
        if !asks {
            let answered = self.greet(&query, asking, out);
            count(Some(answered));
            return Reply::Now(answered);
        }
        match self.turn_away(&query, asking, out) {
            Some(answered) => {
                count(Some(answered));
                Reply::Now(answered)
            }
            None => self.resolve(query, asking, out),
        }
    }

    fn listening(&self) -> &Listening {
        &self.listening
    }

    fn admits(&self, asker: Asker) -> bool {
        match asker.shown {
            Shown::Nothing => self.config.admits(asker.address),
            Shown::Token(_) => true,
            Shown::UnknownToken => false,
        }
    }

    fn turned_away(&self, asker: Asker) {
        self.count_refusal(Refusal::NotAllowed, asker, self.locations.of(asker));
    }

    fn shown_by(&self, server_name: Option<&str>) -> Shown {
        let name = server_name.unwrap_or_default().to_ascii_lowercase();
        self.locations.shown_by_name(&name, |name| self.config.names.iter().any(|own| own.as_str() == name))
    }

    fn shown_in_url(&self, token: &str) -> Option<Shown> {
        self.locations.has_tokens().then(|| self.locations.shown(token))
    }

    fn may_be_token(&self, label: &str) -> bool {
        self.locations.may_be_token(label)
    }

    fn explain(&self, message: &[u8], asker: Asker) -> Option<String> {
        let location = self.locations.of(asker);
        let at =
            location.map_or_else(|| "no location".to_owned(), |found| format!("location {}", found.name));
        let Read::Query(query) = Query::read(message) else { return Some(format!("{at}: no question")) };
        let home = || match self.neighbours.get().zip(self.resolver.home(&query)) {
            Some((neighbours, home)) => format!(", by its home {} unless known", neighbours.name(home)),
            None => String::new(),
        };
        let Some(policy) = self.policy(asker, location) else {
            return Some(format!("{at}, no policy{}", home()));
        };
        let decision = policy.decide(&query.name(), query.rtype());
        let decision = match &decision {
            Some(decision) => decision.name().to_owned(),
            None => format!("resolved{}", home()),
        };
        Some(format!("{at}, policy {}: {decision}", policy.name))
    }
}

/// What a policy says of a question, which knows from then on what aliases may not lead to.
fn ruled(query: Query, policy: &Arc<Policy>) -> (Query, Option<Decision>) {
    let name = query.name();
    let decision = policy.decide(&name, query.rtype());
    let led_to = match &decision {
        Some(Decision::Alias { aliases, .. }) => aliases.targets.last(),
        _ => None,
    };
    let query = if policy.guards(led_to.unwrap_or(&name)) { query.guarded(policy.clone()) } else { query };
    (query, decision)
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
