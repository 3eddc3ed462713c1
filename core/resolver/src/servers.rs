//! What is known of name servers: how fast they answer, and which are left alone for a while.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use quick_cache::sync::Cache;

use crate::name::Name;

/// Addresses, and addresses with a zone, that are remembered.
const REMEMBERED_MAX: usize = 50_000;
/// What is taken for the round trip to a server that was never asked: so that it is asked sometimes.
const UNKNOWN_MS: u32 = 80;
/// Bounds of how long an answer is waited for: a busy server needs a while, and a client does not wait long.
const TIMEOUT_MS: (u32, u32) = (250, 1_500);
/// What is waited for a server that was never asked.
const FIRST_TIMEOUT_MS: u32 = 600;
/// Silences in a row after which a server is left alone.
const SILENCES_MAX: u8 = 3;
/// For how long, in milliseconds; it is asked nevertheless if there is no other.
const LEFT_ALONE_MS: u64 = 30_000;
/// For how long a server that does not know a zone, or refuses, or speaks of it without authority, comes last for that zone.
const LAME_MS: u64 = 60_000;

/// For how long a server that does not know EDNS is asked without it, before that is tried again: as unbound does.
const WITHOUT_EDNS_MS: u64 = 900_000;

/// What is to be expected of a server for a zone, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Good,
    /// It says what it heard of others: better than to wait for who is silent.
    Hearsay,
    LeftAlone,
    Lame,
}

#[derive(Clone, Copy, Default)]
struct State {
    rtt_ms: Option<u32>,
    silences: u8,
    left_alone_until: u64,
}

pub(crate) struct Servers {
    states: Cache<IpAddr, State>,
    /// Servers that disappoint in a zone: how, and until when that counts.
    standings: Cache<(IpAddr, Name), (Standing, u64)>,
    /// Servers that do not know EDNS: until when that counts.
    without_edns: Cache<IpAddr, u64>,
    /// How many ask each zone just now.
    asking: Mutex<HashMap<Name, usize>>,
}

/// One who asks a zone, until it is dropped.
pub(crate) struct Asking<'a> {
    servers: &'a Servers,
    zone: Name,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut asking = self.servers.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = asking.get_mut(&self.zone) {
            *count -= 1;
            if *count == 0 {
                asking.remove(&self.zone);
            }
        }
    }
}

impl Servers {
    pub(crate) fn new() -> Self {
        Self {
            states: Cache::new(REMEMBERED_MAX),
            standings: Cache::new(REMEMBERED_MAX),
            without_edns: Cache::new(REMEMBERED_MAX),
            asking: Mutex::default(),
        }
    }

    /// A place among those who ask a zone; `None` if so many do.
    pub(crate) fn asking(&self, zone: &Name, max: usize) -> Option<Asking<'_>> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asking.entry(zone.clone()).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Asking { servers: self, zone: zone.clone() })
    }

    /// Puts the servers of a zone into the order in which to ask them: by what is to be expected of them, and by round trip,
    /// shaken by up to a quarter so that like ones share.
    pub(crate) fn order(
        &self,
        addresses: &mut [IpAddr],
        zone: &Name,
        now_ms: u64,
        mut chance: impl FnMut() -> u32,
    ) {
        addresses.sort_by_cached_key(|address| {
            let state = self.states.get(address).unwrap_or_default();
            let silent = if state.left_alone_until > now_ms { Standing::LeftAlone } else { Standing::Good };
            let rtt = state.rtt_ms.unwrap_or(UNKNOWN_MS);
            (self.standing(*address, zone, now_ms).max(silent), rtt + chance() % (rtt / 4 + 8))
        });
    }

    /// How long to wait for an answer.
    pub(crate) fn timeout(&self, address: IpAddr) -> Duration {
        let state = self.states.get(&address).unwrap_or_default();
        let usual = state.rtt_ms.map_or(FIRST_TIMEOUT_MS, |rtt| rtt.saturating_mul(3));
        let millis = (usual << state.silences.min(SILENCES_MAX)).clamp(TIMEOUT_MS.0, TIMEOUT_MS.1);
        Duration::from_millis(millis.into())
    }

    pub(crate) fn answered(&self, address: IpAddr, after: Duration) {
        let millis = u32::try_from(after.as_millis()).unwrap_or(u32::MAX).min(TIMEOUT_MS.1);
        let former = self.states.get(&address).and_then(|state| state.rtt_ms).unwrap_or(millis);
        let rtt_ms = Some((former * 7 + millis) / 8);
        self.states.insert(address, State { rtt_ms, ..State::default() });
    }

    pub(crate) fn silent(&self, address: IpAddr, now_ms: u64) {
        let mut state = self.states.get(&address).unwrap_or_default();
        state.silences = state.silences.saturating_add(1);
        if state.silences >= SILENCES_MAX {
            state.left_alone_until = now_ms + LEFT_ALONE_MS;
        }
        self.states.insert(address, state);
    }

    /// It does not know the zone, or says of it what cannot be used.
    pub(crate) fn lame(&self, address: IpAddr, zone: &Name, now_ms: u64) {
        self.standings.insert((address, zone.clone()), (Standing::Lame, now_ms + LAME_MS));
    }

    /// It speaks of the zone without authority.
    pub(crate) fn hearsay(&self, address: IpAddr, zone: &Name, now_ms: u64) {
        self.standings.insert((address, zone.clone()), (Standing::Hearsay, now_ms + LAME_MS));
    }

    /// Whether it is known to speak of the zone without authority.
    pub(crate) fn is_hearsay(&self, address: IpAddr, zone: &Name, now_ms: u64) -> bool {
        self.standing(address, zone, now_ms) == Standing::Hearsay
    }

    /// It answers questions without EDNS, and cannot read others.
    pub(crate) fn without_edns(&self, address: IpAddr, now_ms: u64) {
        self.without_edns.insert(address, now_ms + WITHOUT_EDNS_MS);
    }

    /// Whether it is known not to know EDNS.
    pub(crate) fn has_no_edns(&self, address: IpAddr, now_ms: u64) -> bool {
        self.without_edns.get(&address).is_some_and(|until| until > now_ms)
    }

    fn standing(&self, address: IpAddr, zone: &Name, now_ms: u64) -> Standing {
        let lame = self.standings.get(&(address, zone.clone()));
        lame.filter(|(_, until)| *until > now_ms).map_or(Standing::Good, |(standing, _)| standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_ask_a_zone_at_once_and_no_more() {
        let (servers, zone) = (Servers::new(), Name::root());
        let first = servers.asking(&zone, 2).unwrap();
        let _second = servers.asking(&zone, 2).unwrap();
        assert!(servers.asking(&zone, 2).is_none());
        assert!(servers.asking(&"org".parse().unwrap(), 2).is_some(), "another zone has places of its own");
        drop(first);
        assert!(servers.asking(&zone, 2).is_some());
    }

    #[test]
    fn fast_servers_come_first_and_silent_and_lame_ones_last() {
        let servers = Servers::new();
        let [fast, slow, hearsay, silent, lame] = [1, 2, 3, 4, 5].map(|last| IpAddr::from([192, 0, 2, last]));
        servers.answered(fast, Duration::from_millis(5));
        servers.answered(slow, Duration::from_millis(200));
        for _ in 0..SILENCES_MAX {
            servers.silent(silent, 0);
        }
        let zone = Name::root();
        servers.lame(lame, &zone, 0);
        servers.answered(hearsay, Duration::from_millis(1));
        servers.hearsay(hearsay, &zone, 0);
        let mut order = [lame, silent, hearsay, slow, fast];
        servers.order(&mut order, &zone, 1, || 0);
        assert_eq!(order, [fast, slow, hearsay, silent, lame]);
        assert_eq!(servers.timeout(fast), Duration::from_millis(250));
        assert_eq!(servers.timeout(silent), Duration::from_millis(1_500));
        servers.order(&mut order, &zone, LAME_MS + 1, || 0);
        assert_eq!(order[4], slow, "after a while both are tried again");
    }
}
