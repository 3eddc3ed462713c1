//! What is known of a target, in words: for who looks into why an alias is answered as it is.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Flattening, now, target::State};
use crate::wire::rtype;

/// Addresses that are told; of more it is told how many there are.
const TOLD_MAX: usize = 3;

impl Flattening {
    /// A sentence for each type of address that is known of a name, on the wire and in lower case.
    pub(crate) fn explain(&self, name: &[u8]) -> Vec<String> {
        let time = now(&*self.clock);
        let explained = [rtype::A, rtype::AAAA].into_iter().filter_map(|rtype| {
            let (asked_at, state) = self.table.known(name, rtype)?;
            Some(explain(rtype, &state, asked_at, time))
        });
        let explained: Vec<String> = explained.collect();
        if explained.is_empty() { vec!["nobody has asked for it here lately".to_owned()] } else { explained }
    }
}

fn explain(rtype: u16, state: &State, asked_at: u64, now: u64) -> String {
    let mut text = if rtype == rtype::A { "A: ".to_owned() } else { "AAAA: ".to_owned() };
    match &state.found {
        None => text.push_str("never resolved"),
        Some(found) => {
            text.push_str(&listed(&found.addresses));
            let seconds = found.until.abs_diff(now) / 1_000;
            text.push_str(&match now < found.until {
                true => format!(", for {seconds} s"),
                false => format!(", until {seconds} s ago"),
            });
        }
    }
    if state.failures > 0 {
        let again = state.not_before.saturating_sub(now) / 1_000;
        text.push_str(&format!("; failed {} times, tried again in {again} s", state.failures));
    }
    if state.is_resolving(now) {
        text.push_str("; being resolved");
    }
    text.push_str(&format!("; asked for {} s ago", now.saturating_sub(asked_at) / 1_000));
    text
}

fn listed(addresses: &[Box<[u8]>]) -> String {
    if addresses.is_empty() {
        return "no addresses".to_owned();
    }
    let told = addresses.iter().take(TOLD_MAX).map(|address| match address.len() {
        4 => address
            .first_chunk()
            .map_or_else(String::new, |octets: &[u8; 4]| Ipv4Addr::from(*octets).to_string()),
        _ => address
            .first_chunk()
            .map_or_else(String::new, |octets: &[u8; 16]| Ipv6Addr::from(*octets).to_string()),
    });
    let mut text = told.collect::<Vec<_>>().join(" ");
    if let Some(more @ 1..) = addresses.len().checked_sub(TOLD_MAX) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::target::UnderWay;
    use super::{super::Found, *};

    #[test]
    fn what_is_known_is_told_in_a_sentence_that_fits_a_string() {
        let now = 1_000_000;
        let fresh = State { found: Some(Found::of(&[[192, 0, 2, 1]], now + 60_000)), ..State::default() };
        let failing = State {
            found: Some(Found::of(&[[192, 0, 2, 1]; 9], now - 90_000)),
            failures: 3,
            not_before: now + 20_000,
            ..State::default()
        };
        let nothing = State { found: Some(Found::of(&[], now + 1_000)), ..State::default() };
        let new = State { under_way: Some(UnderWay::Since(now)), ..State::default() };
        for (state, expected) in [
            (fresh, "A: 192.0.2.1, for 60 s; asked for 2 s ago"),
            (
                failing,
                "A: 192.0.2.1 192.0.2.1 192.0.2.1 and 6 more, until 90 s ago; failed 3 times, tried again in 20 s; \
                 asked for 2 s ago",
            ),
            (nothing, "A: no addresses, for 1 s; asked for 2 s ago"),
            (new, "A: never resolved; being resolved; asked for 2 s ago"),
        ] {
            assert_eq!(explain(rtype::A, &state, now - 2_000, now), expected);
        }
        let long = vec![vec![0xfd; 16].into_boxed_slice(); 200];
        assert!(listed(&long).len() + 110 < 255, "{}", listed(&long));
    }
}
