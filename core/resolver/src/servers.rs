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
/// For how long a server that does not know a zone, or refuses, is not asked for that zone.
const LAME_MS: u64 = 60_000;

#[derive(Clone, Copy, Default)]
struct State {
    rtt_ms: Option<u32>,
    silences: u8,
    left_alone_until: u64,
}

pub(crate) struct Servers {
    states: Cache<IpAddr, State>,
    lame: Cache<(IpAddr, Name), u64>,
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
            lame: Cache::new(REMEMBERED_MAX),
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

    /// Puts the servers of a zone into the order in which to ask them: by round trip, shaken by up to a quarter so that
    /// like ones share; those to be left alone last.
    pub(crate) fn order(
        &self,
        addresses: &mut [IpAddr],
        zone: &Name,
        now_ms: u64,
        mut chance: impl FnMut() -> u32,
    ) {
        addresses.sort_by_cached_key(|address| {
            let state = self.states.get(address).unwrap_or_default();
            let is_lame = self.lame.get(&(*address, zone.clone())).is_some_and(|until| until > now_ms);
            let rtt = state.rtt_ms.unwrap_or(UNKNOWN_MS);
            (is_lame, state.left_alone_until > now_ms, rtt + chance() % (rtt / 4 + 8))
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

    pub(crate) fn lame(&self, address: IpAddr, zone: &Name, now_ms: u64) {
        self.lame.insert((address, zone.clone()), now_ms + LAME_MS);
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
        let [fast, slow, silent, lame] = [1, 2, 3, 4].map(|last| IpAddr::from([192, 0, 2, last]));
        servers.answered(fast, Duration::from_millis(5));
        servers.answered(slow, Duration::from_millis(200));
        for _ in 0..SILENCES_MAX {
            servers.silent(silent, 0);
        }
        let zone = Name::root();
        servers.lame(lame, &zone, 0);
        let mut order = [lame, silent, slow, fast];
        servers.order(&mut order, &zone, 1, || 0);
        assert_eq!(order, [fast, slow, silent, lame]);
        assert_eq!(servers.timeout(fast), Duration::from_millis(250));
        assert_eq!(servers.timeout(silent), Duration::from_millis(1_500));
        servers.order(&mut order, &zone, LAME_MS + 1, || 0);
        assert_eq!(order[3], slow, "after a while both are tried again");
    }
}
