//! Places for connections, by whatever they come, and for what waits: so many in all, and so many for each.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// Places: a bound for all, and one for each who takes them, a client unless said otherwise.
pub struct Places<K: Copy + Eq + Hash = IpAddr> {
    all_max: usize,
    each_max: usize,
    taken: Mutex<Taken<K>>,
}

struct Taken<K> {
    all: usize,
    each: HashMap<K, usize>,
}

/// A place that is free again when this is dropped.
pub struct Place<K: Copy + Eq + Hash = IpAddr> {
    whose: K,
    places: Arc<Places<K>>,
}

impl<K: Copy + Eq + Hash> Places<K> {
    /// So many in all, and so many for each.
    pub fn new(all_max: usize, each_max: usize) -> Arc<Self> {
        Arc::new(Self { all_max, each_max, taken: Mutex::new(Taken { all: 0, each: HashMap::new() }) })
    }

    /// A place for one of them, if there is one left for it.
    pub fn take_for(self: &Arc<Self>, whose: K) -> Option<Place<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_each = taken.each.get(&whose).copied().unwrap_or(0);
        if taken.all >= self.all_max || of_each >= self.each_max {
            return None;
        }
        taken.all += 1;
        taken.each.insert(whose, of_each + 1);
        Some(Place { whose, places: self.clone() })
    }
}

impl Places {
    /// A place for a client, by its address: those of one IPv6 network of 64 bits are one client.
    pub fn take(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        self.take_for(subscriber(client))
    }

    /// Whether half of the places are taken, of all or of this client: who asks for one then has to show first that it
    /// receives at its address, where that can be asked.
    pub fn are_scarce(&self, client: IpAddr) -> bool {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = taken.each.get(&subscriber(client)).copied().unwrap_or(0);
        taken.all >= self.all_max.div_ceil(2) || of_client >= self.each_max.div_ceil(2)
    }
}

impl<K: Copy + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        match taken.each.get_mut(&self.whose) {
            Some(count @ 2..) => *count -= 1,
            _ => {
                taken.each.remove(&self.whose);
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
        assert!(places.taken.lock().unwrap().each.is_empty());
    }

    #[test]
    fn an_account_has_its_places_and_no_more() {
        let places = Places::new(usize::MAX, 3);
        let mut taken: Vec<_> = (0..3).map(|_| places.take_for("one").expect("a place")).collect();
        assert!(places.take_for("one").is_none());
        assert!(places.take_for("another").is_some());
        taken.pop();
        assert!(places.take_for("one").is_some());
        drop(taken);
        assert!(places.taken.lock().expect("unpoisoned").each.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let of = |text: &str| subscriber(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
