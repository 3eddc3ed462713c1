//! Addresses of names outside: what an alias that is flattened, at an apex or beside other records, leads to when it leads out
//! of the zones here ([decision 9](../../../docs/decisions/0009-flattening.md)).
//!
//! ```text
//!  question ─▶ flatten (respond/flatten.rs) ─▶ Flattening::look ── known and fresh ─────────────▶ the answer, at once
//!                                                  │ not                                             ▲
//!                                                  ▼                                                 │ once more
//!                                              one resolution for all who ask ─▶ Reply::Later ─ at most 1.8 s
//!                                                  │    (core/resolver, of its own)                  │ in vain
//!                                                  ▼                                                 ▼
//!                               Table (table.rs): kept, resolved again              what there was before, for a day;
//!                               before it ends while somebody asks                  then SERVFAIL, with why
//! ```
//!
//! Each server resolves for itself, and only what is asked for here: of a million zones few are. What is asked for is kept
//! fresh ahead, so that only the first question waits, and no question costs a resolution. The answering path reads
//! a table; it never resolves. Where a question has to wait it waits as those of the resolving role do, holding a place and
//! nobody up.
//!
//! Invariants:
//! * **A name has one resolution at a time**, however many ask for it, and for however many zones.
//! * **What is known is served while the resolver fails**: for [`STALE_MS`](target::STALE_MS), with a TTL of half a minute and
//!   the extended error 3 (stale answer). A denial is no failure: a target that has no addresses has none from then on.
//! * **An account's aliases are its own trouble.** Each has so many targets, so many resolutions at a time with the others in
//!   turn, and so many answers that wait; what is slow leaves its place to others; who has most targets gives, when there is no
//!   more room.
//! * **Loops end.** A target that leads back here is asked of this very server, waits for itself, and fails in time.
//! * Addresses of names outside are answered and nothing else: the edge asks for origins by itself, and refuses private
//!   addresses by its own rules, wherever a name leads.
//!
//! The servers of a PoP resolve from the same place, and sort what they find: they answer alike as far as the target's
//! servers do. Signed zones sign these answers as all others.
//!
//! What a server knows of a target it tells to who asks it on its own host: `dig -b 127.0.0.1 @ADDRESS CH TXT TARGET.outside.server`
//! (`explain.rs`). Its log says when a target does not resolve any more, and when it does again.
//!
//! Limits: targets of all and of one account (`config.rs`), resolutions at a time ([`RESOLUTIONS_MAX`],
//! [`SLOW_MAX`], and of one account: `table.rs`), answers that wait ([`WAITING_MAX`], [`WAITING_PER_CLIENT_MAX`],
//! [`WAITING_PER_ACCOUNT_MAX`]), and for how long ([`WAIT`]); addresses of a target ([`ADDRESSES_MAX`]).

mod asking;
mod config;
mod explain;
mod metrics;
mod table;
mod target;

use std::{net::IpAddr, pin::pin, sync::Arc, time::Duration};

use proxima_chassis::{Clock, NodeContext, Place, Places, Shutdown};
use proxima_model::AccountId;
use proxima_resolver::{Metrics, Query, Read, Resolver, Settings, Upstream, ZONE_ASKED_MAX};
use proxima_transfer::message;
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};
use tracing::{debug, info, warn};

pub use asking::Outside;
pub(crate) use asking::{Asking, Awaited, Patience, Seen, Sought, look};
pub use config::FlatteningConfig;
use metrics::FlatteningMetrics;
use table::Table;
pub(crate) use target::Found;
use target::{Ended, Look, Outcome, RESOLVED_WITHIN_MS, Target};

use crate::{
    DnsError,
    config::DnsConfig,
    name::Name,
    root::Root,
    service::NAME,
    wire::{MESSAGE_OCTETS_MAX, class, flag, rtype},
};

/// Names that are resolved at a time: each has sockets and memory.
const RESOLUTIONS_MAX: usize = 128;
/// How long one may keep its place among them: nobody waits for its answer any more then.
const QUICK: Duration = WAIT;
/// Those that take longer and go on beside them. Beyond them, what is slow has failed: quick ones do not wait behind it.
const SLOW_MAX: usize = 512;
/// Answers that wait, of all clients, and of one: an IPv4 address or an IPv6 /64. Resolvers of many are one client.
const WAITING_MAX: usize = 4_096;
const WAITING_PER_CLIENT_MAX: usize = 256;
/// Those that wait for one account's targets, whatever addresses they say that they come from.
const WAITING_PER_ACCOUNT_MAX: usize = 512;
/// Addresses of one target that are answered: more than services have, and fewer than make the table large.
const ADDRESSES_MAX: usize = 32;
/// Memory of the resolver behind it: for zones and their keys mostly, since the table keeps what was found.
const CACHE_OCTETS: u64 = 16 << 20;
/// For how long that there are no addresses is kept, in seconds, where the target's zone does not say (RFC 2308, 5).
const NOTHING_TTL: u32 = 60;
/// How long nothing is looked at when nothing is due.
const REST: Duration = Duration::from_secs(60);

/// How long an answer waits.
pub(crate) const WAIT: Duration = Duration::from_millis(table::WAIT_MS);

type AnyUpstream = Arc<dyn Upstream>;

/// What resolves names outside, and what it has found.
pub(crate) struct Flattening {
    table: Table,
    resolver: Arc<Resolver<AnyUpstream>>,
    quick: Semaphore,
    slow: Semaphore,
    waiting: Arc<Places>,
    /// Answers that wait, by whose targets they wait for.
    waiting_for: Arc<Places<AccountId>>,
    metrics: FlatteningMetrics,
    clock: Arc<dyn Clock>,
    /// Something may be due sooner than was known.
    wake: Notify,
}

impl Flattening {
    /// Makes it as `[dns.flattening]` says.
    pub(crate) fn new(node: &NodeContext, dns: &DnsConfig, root: &Root, upstream: AnyUpstream) -> Arc<Self> {
        let config = &dns.flattening;
        let clock = node.clock.clone();
        let millis = clock.clone();
        let settings = Settings {
            hints: root.hints.clone(),
            anchors: root.anchors.clone(),
            allow_private_servers: dns.resolver.allow_private_name_servers,
            cache_octets: CACHE_OCTETS,
            zone_asked_max: ZONE_ASKED_MAX,
            clock: Arc::new(move || now(&*millis)),
            // What has expired is kept here.
            stale_after: Duration::ZERO,
            stale_for: Duration::ZERO,
        };
        let metrics = node.metrics.register(&format!("{NAME}_flattening"), FlatteningMetrics::register);
        let core = node.metrics.register(&format!("{NAME}_flattening_resolver"), Metrics::register);
        Arc::new(Self {
            table: Table::new(config.targets_max, config.targets_per_account_max),
            resolver: Resolver::new(upstream, settings, core),
            quick: Semaphore::new(RESOLUTIONS_MAX),
            slow: Semaphore::new(SLOW_MAX),
            waiting: Places::new(WAITING_MAX, WAITING_PER_CLIENT_MAX),
            waiting_for: Places::new(WAITING_MAX, WAITING_PER_ACCOUNT_MAX),
            metrics,
            clock,
            wake: Notify::new(),
        })
    }

    /// What is known of a name's addresses, for a zone of this account; has it resolved if nothing is. Must be called within a
    /// runtime. Who has waited already gets what there is.
    fn look(self: &Arc<Self>, account: AccountId, name: &[u8], rtype: u16, has_waited: bool) -> Look {
        let (mut look, to_resolve) = self.table.look(account, (name, rtype), now(&*self.clock));
        if let Some(target) = to_resolve {
            self.metrics.targets.set(self.table.count());
            self.resolve(target);
        }
        if has_waited && let Look::Sought { before: Some(before), .. } = look {
            look = Look::Stale(before);
        }
        look
    }

    /// What resolves.
    pub(crate) fn resolver(&self) -> &Arc<Resolver<AnyUpstream>> {
        &self.resolver
    }

    /// Places for an answer that waits, its client's and the account's; none, if there are too many.
    pub(crate) fn take_places(
        &self,
        client: IpAddr,
        account: AccountId,
    ) -> Option<(Place, Place<AccountId>)> {
        let Some(place) = self.waiting.take(client) else {
            self.metrics.busy.inc();
            return None;
        };
        Some((place, self.take_place_of(account)?))
    }

    /// The account's, for an answer that has a place among those that wait; none, if there are too many.
    pub(crate) fn take_place_of(&self, account: AccountId) -> Option<Place<AccountId>> {
        let place = self.waiting_for.take_for(account);
        if place.is_none() {
            self.metrics.busy.inc();
        }
        place
    }

    /// Resolves a target in a task, and then those that wait for their turn behind it.
    fn resolve(self: &Arc<Self>, first: Arc<Target>) {
        let turn = Turn { flattening: self.clone(), account: Some(first.account) };
        tokio::spawn(async move {
            let (this, account) = (turn.flattening.clone(), first.account);
            let mut next = Some(first);
            while let Some(target) = next {
                this.resolve_one(&target).await;
                next = this.table.next_queued(account, now(&*this.clock));
            }
            turn.end();
        });
    }

    async fn resolve_one(&self, target: &Arc<Target>) {
        // It is never closed.
        let Ok(place) = self.quick.acquire().await else { return };
        self.table.started(target, now(&*self.clock));
        let mut asking = pin!(self.ask(target));
        let mut outcome = timeout(QUICK, &mut asking).await;
        drop(place);
        if outcome.is_err()
            && let Ok(_slow) = self.slow.try_acquire()
        {
            outcome = timeout(Duration::from_millis(RESOLVED_WITHIN_MS / 2), asking).await;
        }
        let outcome = outcome.unwrap_or(Outcome::Failed);
        self.metrics.resolved(&outcome);
        let failed = matches!(outcome, Outcome::Failed);
        let ended = self.table.ended(target, outcome, now(&*self.clock));
        report(target, ended, failed);
        self.wake.notify_one();
    }

    /// Asks the resolver.
    async fn ask(&self, target: &Target) -> Outcome {
        let question = message::question(0, flag::RD, &target.name, target.rtype);
        let Read::Query(query) = Query::read(&question) else { return Outcome::Failed };
        let mut answer = Vec::new();
        // When to ask again is for the table to say: what the resolver has kept, be it a failure, is what it has had.
        let written = match target.was_resolved() {
            true => self.resolver.answer_anew(&query, MESSAGE_OCTETS_MAX, &mut answer).await,
            false => self.resolver.answer(&query, MESSAGE_OCTETS_MAX, &mut answer).await,
        };
        found(&answer, target.rtype, written.rcode, written.ttl)
    }

    /// Keeps what is asked for fresh, and forgets what is not, until the server drains.
    pub(crate) async fn keep(self: Arc<Self>, shutdown: Shutdown) -> Result<(), DnsError> {
        loop {
            let time = now(&*self.clock);
            self.table.take_due(time).into_iter().for_each(|target| self.resolve(target));
            self.metrics.targets.set(self.table.count());
            let next = self.table.next_due().map(|at| Duration::from_millis(at.saturating_sub(time).max(10)));
            tokio::select! {
                () = shutdown.draining() => return Ok(()),
                () = self.wake.notified() => {}
                () = tokio::time::sleep(next.map_or(REST, |next| next.min(REST))) => {}
            }
        }
    }
}

/// An account's turn to resolve something, which it gives back also if its task ends otherwise than it should.
struct Turn {
    flattening: Arc<Flattening>,
    /// None, once it is over.
    account: Option<AccountId>,
}

impl Turn {
    /// It was given back with the last look for something that waits.
    fn end(mut self) {
        self.account = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(account) = self.account {
            self.flattening.table.give_back(account);
        }
    }
}

/// Says in the log what an operator is asked about: that a target does not resolve any more, or does again.
fn report(target: &Target, ended: Ended, failed: bool) {
    let mut buffer = [0; crate::name::NAME_OCTETS_MAX];
    let name = Name::of_encoded(&target.name);
    let (name, rtype) = (name.text(&mut buffer), if target.rtype == rtype::A { "A" } else { "AAAA" });
    let account = target.account;
    match ended {
        Ended::Failing { has_former: true } => {
            warn!(%name, rtype, %account, "an alias leads outside to what does not resolve: what was found before is served");
        }
        Ended::Failing { has_former: false } => {
            info!(%name, rtype, %account, "an alias leads outside to what does not resolve");
        }
        Ended::Recovered => info!(%name, rtype, %account, "an alias leads outside to what resolves again"),
        Ended::Unremarkable => {
            debug!(%name, rtype, %account, failed, "an alias's target outside was resolved")
        }
    }
}

/// What an answer of the resolver says about a target.
fn found(answer: &[u8], rtype: u16, rcode: u8, ttl: Option<u32>) -> Outcome {
    const NOERROR: u8 = 0;
    const NXDOMAIN: u8 = 3;
    let (NOERROR | NXDOMAIN, Ok(records)) = (rcode, message::answers(answer)) else { return Outcome::Failed };
    let least = records.iter().map(|record| record.ttl).min();
    let wanted = if rtype == rtype::A { 4 } else { 16 };
    let is_address = |record: &message::Read| {
        record.rtype == rtype && record.class == class::IN && record.data.len() == wanted
    };
    let mut addresses: Vec<Box<[u8]>> =
        records.into_iter().filter(is_address).map(|record| record.data.into()).collect();
    // However they were rotated, all servers say the same.
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    match (addresses.is_empty(), least) {
        (false, Some(ttl)) => Outcome::Found { addresses, ttl },
        _ => Outcome::Found { addresses: Vec::new(), ttl: ttl.unwrap_or(NOTHING_TTL) },
    }
}

/// Now, in milliseconds.
fn now(clock: &dyn Clock) -> u64 {
    clock.now().as_millis().max(0).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with these records: owner's first letter, type, TTL, data.
    fn answer(records: &[(u8, u16, u32, &[u8])]) -> Vec<u8> {
        let mut message = message::question(0, flag::RD, b"\x01a\x00", rtype::A);
        message[7] = u8::try_from(records.len()).unwrap();
        for (owner, rtype, ttl, data) in records {
            message.extend_from_slice(&[1, *owner, 0]);
            message.extend([*rtype, class::IN].into_iter().flat_map(u16::to_be_bytes));
            message.extend_from_slice(&ttl.to_be_bytes());
            message.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend_from_slice(data);
        }
        message
    }

    #[test]
    fn a_target_has_the_addresses_at_the_end_of_its_aliases_sorted_and_for_as_long_as_all_of_them() {
        let octets = answer(&[
            (b'a', rtype::CNAME, 60, b"\x01b\x00"),
            (b'b', rtype::A, 300, &[192, 0, 2, 9]),
            (b'b', rtype::A, 300, &[192, 0, 2, 1]),
            (b'b', rtype::A, 300, &[192, 0, 2, 9]),
        ]);
        let Outcome::Found { addresses, ttl } = found(&octets, rtype::A, 0, Some(60)) else { panic!() };
        let expected: Vec<Box<[u8]>> = [[192, 0, 2, 1], [192, 0, 2, 9]].map(|data| data.into()).into();
        assert_eq!((addresses, ttl), (expected, 60));
    }

    #[test]
    fn that_there_is_nothing_is_found_and_what_does_not_resolve_is_not() {
        let alias = answer(&[(b'a', rtype::CNAME, 60, b"\x01b\x00")]);
        for (octets, rcode, ttl, expected) in [
            (answer(&[]), 3, Some(30), Some(30)),
            (answer(&[]), 0, Some(30), Some(30)),
            (alias.clone(), 3, Some(7), Some(7)),
            (alias, 0, None, Some(NOTHING_TTL)),
            (answer(&[(b'a', rtype::A, 60, &[1, 2, 3])]), 0, Some(60), Some(60)),
            (answer(&[(b'a', rtype::A, 60, &[192, 0, 2, 1])]), 2, Some(60), None),
            (vec![0; 5], 0, None, None),
        ] {
            match (found(&octets, rtype::A, rcode, ttl), expected) {
                (Outcome::Found { addresses, ttl }, Some(expected)) => {
                    assert!(addresses.is_empty() && ttl == expected, "{addresses:?} {ttl}");
                }
                (Outcome::Failed, None) => {}
                (other, expected) => panic!("{other:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn no_more_addresses_are_kept_than_may_be() {
        let data: Vec<[u8; 4]> = (0..=u8::MAX).take(200).map(|last| [192, 0, 2, last]).collect();
        let records: Vec<_> = data.iter().map(|data| (b'a', rtype::A, 60, &data[..])).collect();
        let Outcome::Found { addresses, .. } = found(&answer(&records), rtype::A, 0, None) else { panic!() };
        assert_eq!(addresses.len(), ADDRESSES_MAX);
    }
}
