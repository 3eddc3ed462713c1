//! Places for connections, by whatever they come.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// Places for connections: a bound for all clients, and one for each.
pub(crate) struct Places {
    all_max: usize,
    client_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    clients: HashMap<IpAddr, usize>,
}

/// A place that is free again when this is dropped.
pub(crate) struct Place {
    client: IpAddr,
    places: Arc<Places>,
}

impl Places {
    pub(crate) fn new(all_max: usize, client_max: usize) -> Arc<Self> {
        Arc::new(Self { all_max, client_max, taken: Mutex::default() })
    }

    pub(crate) fn take(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let client = subscriber(client);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = taken.clients.get(&client).copied().unwrap_or(0);
        if taken.all >= self.all_max || of_client >= self.client_max {
            return None;
        }
        taken.all += 1;
        taken.clients.insert(client, of_client + 1);
        Some(Place { client, places: self.clone() })
    }

    /// Whether half of the places are taken, of all or of this client: who asks for one then has to show first that it
    /// receives at its address, where that can be asked.
    pub(crate) fn are_scarce(&self, client: IpAddr) -> bool {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = taken.clients.get(&subscriber(client)).copied().unwrap_or(0);
        taken.all >= self.all_max.div_ceil(2) || of_client >= self.client_max.div_ceil(2)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        match taken.clients.get_mut(&self.client) {
            Some(count @ 2..) => *count -= 1,
            _ => {
                taken.clients.remove(&self.client);
            }
        }
    }
}

/// What one client has for itself: an IPv4 address, or an IPv6 network of 64 bits.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let bits = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(bits).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_places_and_leaves_the_others_theirs() {
        let places = Places::new(3, 2);
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let kept = [places.take(one), places.take(one)];
        assert!(kept.iter().all(Option::is_some));
        assert!(places.take(one).is_none());
        assert!(places.are_scarce(one));
        let others = places.take(other);
        assert!(others.is_some());
        assert!(places.take("192.0.2.3".parse().unwrap()).is_none(), "all places are taken");
        drop(kept);
        assert!(places.take(one).is_some());
        drop(others);
        assert!(places.taken.lock().unwrap().clients.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let of = |text: &str| subscriber(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
