//! Priming: which servers the root has by now (RFC 9609, which RFC 8109 became). The hints are only where resolution begins:
//! a file of years ago, of whose servers some are dead, or have moved.
//!
//! ```text
//!  Resolver::tend ─ due? ─▶ `. NS` of two servers, or three, of those that are known, each in a connection
//!                                │
//!                                ▼
//!                     names: signed by the root's keys; addresses: believed one by one
//!                                │
//!                                ▼
//!  Core::root ◀── RootServers: those, until their TTL ends; else the hints, and again in a minute
//! ```
//!
//! Names of the root's servers are signed, their addresses are not: `root-servers.net` is an unsigned zone, so that who forges
//! an answer to this question would be asked all others for a day (RFC 9609, 6). Therefore an address is believed only if
//! * the hints have it, too: the operator says so; or
//! * two servers at different addresses of one family say so, each in a connection, where nobody forges from afar: neither a
//!   guess nor one server that was taken over, by its IPv4 and its IPv6 address, moves the root; or
//! * it was looked up, and is signed.
//!
//! Nobody waits for priming, and it costs no client's question anything. What it finds never leaves less than there was: an
//! address of the hints goes only when the root's signed set names its server no more. When none of the servers that it found
//! answers, the hints count again, at once.
//!
//! Limits: [`WITNESSES`], [`LOOKED_UP_MAX`], those of one question (`iterate.rs`), the servers of a zone (`reply.rs`).

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    exchange::Exchanged,
    hints,
    iterate::{Core, Failure, Security, Work},
    keys::{self, ede},
    message::{Question, rtype},
    name::Name,
    reply::{NameServer, Reply, Said},
    rrset::TTL_MAX,
    upstream::{Transport, Upstream},
    zones::{Trust, Zone},
};

/// Servers that must say the same of an address that the hints do not have.
const WITNESSES: usize = 2;
/// Names without an address that are looked up.
const LOOKED_UP_MAX: usize = 4;
/// After so many seconds it is tried again, when it did not work.
const RETRY_SECONDS: u64 = 60;
/// The share of the TTL that is left when it is done anew: a tenth, as for what clients ask for.
const LEFT: u64 = 10;

/// The servers that the root has, as far as that was found out.
#[derive(Default)]
pub(crate) struct RootServers(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// None: the hints count.
    servers: Vec<NameServer>,
    /// Until when, in seconds.
    expires: u64,
    /// When it is to be found out anew.
    due: u64,
}

impl RootServers {
    /// What was found, and has not expired.
    pub(crate) fn get(&self, now: u64) -> Option<Vec<NameServer>> {
        let known = self.known();
        (known.expires > now && !known.servers.is_empty()).then(|| known.servers.clone())
    }

    /// Seconds until it is to be found out anew.
    pub(crate) fn due_in(&self, now: u64) -> u64 {
        let wait = self.known().due.saturating_sub(now);
        // A clock that went back is not waited for.
        if wait > u64::from(TTL_MAX) { 0 } else { wait }
    }

    /// None of them answers: the hints count again. Whether there were any.
    pub(crate) fn forget(&self) -> bool {
        let mut known = self.known();
        (known.expires, known.due) = (0, 0);
        !std::mem::take(&mut known.servers).is_empty()
    }

    fn set(&self, servers: Vec<NameServer>, now: u64, ttl: u32) {
        let ttl = u64::from(ttl);
        let due = now + (ttl - ttl / LEFT).max(RETRY_SECONDS);
        *self.known() = Known { servers, expires: now + ttl, due };
    }

    /// It did not work; what there is stays.
    fn put_off(&self, now: u64) {
        self.known().due = now + RETRY_SECONDS;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<U: Upstream> Core<U> {
    /// Finds out which servers the root has; how many addresses they have.
    ///
    /// # Errors
    /// It cannot be found out, or nothing of it is believed.
    pub(crate) async fn prime(&self, work: &Work) -> Result<usize, Failure> {
        let primed = self.find_root_servers(work).await;
        match &primed {
            Ok(_) => self.metrics.primed.inc(),
            Err(_) => {
                self.root_servers.put_off(self.seconds());
                self.metrics.unprimed.inc()
            }
        };
        primed
    }

    async fn find_root_servers(&self, work: &Work) -> Result<usize, Failure> {
        let root = self.nearest(&Name::root(), rtype::NS, work).await?;
        if let Trust::Bogus(why) = root.trust {
            return Err(Failure(why));
        }
        let heard = self.witnesses(&root, work).await;
        let mut servers = believed(&heard, &self.settings.hints);
        let without = servers.iter_mut().filter(|(_, addresses)| addresses.is_empty());
        for (server, addresses) in without.take(LOOKED_UP_MAX) {
            for family in [rtype::A, rtype::AAAA] {
                let Ok(found) = self.lookup(server, family, work, 1).await else { continue };
                let is_signed = found.security == Security::Secure;
                let data = found.answer.iter().filter(|_| is_signed).flat_map(|set| &set.data);
                addresses.extend(data.filter_map(|data| hints::address(family, data)));
            }
        }
        for (_, addresses) in &mut servers {
            addresses.retain(|address| self.may_ask(*address));
        }
        servers.retain(|(_, addresses)| !addresses.is_empty());
        let ttls = heard.iter().flat_map(|(_, reply)| reply.answer.iter().map(|set| set.ttl));
        let ttl = ttls.min().filter(|_| !servers.is_empty()).ok_or(Failure(ede::NO_AUTHORITY))?;
        let count = servers.iter().map(|(_, addresses)| addresses.len()).sum();
        self.root_servers.set(servers.clone(), self.seconds(), ttl.min(TTL_MAX));
        // With the keys that it has.
        let (name, trust) = (root.name.clone(), root.trust.clone());
        let zone = Zone { name, servers, trust, since: root.since, expires: root.expires };
        self.zones.insert(Name::root(), Arc::new(zone));
        Ok(count)
    }

    /// What two of the root's servers say its servers are, and at which address; with a third, where the first two may be one.
    async fn witnesses(&self, root: &Zone, work: &Work) -> Vec<(IpAddr, Reply)> {
        let known = root.servers.iter().flat_map(|(_, addresses)| addresses).chain(&self.settings.hints);
        // An IPv4 address that is written as one of IPv6 is the same server's.
        let known = known.map(IpAddr::to_canonical);
        let mut addresses: Vec<IpAddr> = known.filter(|address| self.may_ask(*address)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        self.servers.order(&mut addresses, &root.name, (self.settings.clock)(), rand::random);
        let mut heard: Vec<(IpAddr, Reply)> = Vec::new();
        for address in addresses {
            match self.witness(address, root, work).await {
                Ok(Some(reply)) => heard.push((address, reply)),
                Ok(None) => {}
                // There is no time left.
                Err(_) => break,
            }
            if are_enough(heard.iter().map(|(address, _)| *address)) {
                break;
            }
        }
        heard
    }

    async fn witness(&self, address: IpAddr, root: &Zone, work: &Work) -> Result<Option<Reply>, Failure> {
        let question = Question::new(&root.name, rtype::NS);
        let exchanged = self.exchange(address, question, Transport::Tcp, work).await?;
        // Silence in a connection says little of datagrams.
        let Exchanged::Message(message) = exchanged else { return Ok(None) };
        let reply = Reply::of(&root.name, &root.name, rtype::NS, message);
        // It comes with authority, or not from a server of the root (RFC 9609, 4.1).
        let reply = reply.filter(|reply| reply.said == Said::Answer && !reply.is_hearsay);
        let is_true = |mut reply: Reply| {
            if let (Trust::Secure(keys), Some(set)) = (&root.trust, reply.answer.first_mut()) {
                keys::verify(set, &root.name, keys, self.seconds_of_signatures(), work).ok()?;
            }
            Some(reply)
        };
        let believed = reply.and_then(is_true);
        work.found_out()?;
        if believed.is_none() {
            self.doubt(Some(address), &root.name);
        }
        Ok(believed)
    }
}

/// The servers that were named, each with those of its addresses that can be believed.
fn believed(heard: &[(IpAddr, Reply)], hints: &[IpAddr]) -> Vec<NameServer> {
    let Some((_, first)) = heard.first() else { return Vec::new() };
    let addresses_of = |reply: &'_ Reply, name: &Name| -> Vec<IpAddr> {
        let its = reply.servers.iter().filter(|(server, _)| server == name);
        its.flat_map(|(_, addresses)| addresses.clone()).collect()
    };
    let of = |name: &Name| {
        let said: Vec<(IpAddr, Vec<IpAddr>)> =
            heard.iter().map(|(by, reply)| (*by, addresses_of(reply, name))).collect();
        let mut addresses: Vec<IpAddr> = said.iter().flat_map(|(_, its)| its).copied().collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.retain(|address| {
            let by = said.iter().filter(|(_, its)| its.contains(address)).map(|(by, _)| *by);
            hints.contains(address) || are_enough(by)
        });
        (name.clone(), addresses)
    };
    first.servers.iter().map(|(name, _)| of(name)).collect()
}

/// Whether those at these addresses are at least two servers: a server has one address of each family.
fn are_enough(witnesses: impl Iterator<Item = IpAddr>) -> bool {
    let (of_ipv4, of_ipv6): (Vec<IpAddr>, Vec<IpAddr>) = witnesses.partition(IpAddr::is_ipv4);
    of_ipv4.len().max(of_ipv6.len()) >= WITNESSES
}
