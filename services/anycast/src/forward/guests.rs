//! Peers that are connected to this server, counted: so that none keeps the others out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::limits::PEER_LINKS_MAX;

/// How many connections each peer has here.
#[derive(Debug)]
pub(super) struct Guests {
    most: usize,
    held: Mutex<HashMap<Arc<str>, usize>>,
}

/// Room for one connection of a peer; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Arc<Guests>,
    name: Arc<str>,
}

impl Guests {
    /// With room for so many connections.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: Mutex::default() })
    }

    /// Room for one more connection of this peer, if there is any.
    pub(super) fn admit(self: &Arc<Self>, name: &Arc<str>) -> Option<Guest> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let its = held.get(name).copied().unwrap_or_default();
        if its >= PEER_LINKS_MAX || held.values().sum::<usize>() >= self.most {
            return None;
        }
        held.insert(Arc::clone(name), its + 1);
        Some(Guest { guests: Arc::clone(self), name: Arc::clone(name) })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut held = self.guests.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(its) = held.get_mut(&self.name) {
            *its -= 1;
            if *its == 0 {
                held.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_peer_keeps_others_out_and_there_is_room_again_when_connections_end() {
        let (greedy, other): (Arc<str>, Arc<str>) = ("greedy".into(), "other".into());
        let guests = Guests::new(PEER_LINKS_MAX + 1);
        let mut held: Vec<Guest> = std::iter::from_fn(|| guests.admit(&greedy)).collect();
        assert_eq!(held.len(), PEER_LINKS_MAX);
        let others = guests.admit(&other);
        assert!(others.is_some());
        assert!(guests.admit(&other).is_none(), "all room is taken");
        held.pop();
        assert!(guests.admit(&other).is_some());
        drop((held, others));
        assert!(guests.held.lock().unwrap().is_empty());
    }
}
