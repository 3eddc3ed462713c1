//! What to do with a packet, on either side of forwarding. Pure: time is handed in, packets are only looked at.
//!
//! | | out of the TUN device | from a peer |
//! |---|---|---|
//! | **forwarder** | a stray: to the home that has it, or else to the first that may | not the peer's: to the next home; after the last, into our kernel, which resets it |
//! | **home** | not ours: back to the forwarder that it came from | a stray of ours: into our kernel; of another prefix: back |

use std::time::Instant;

use ipnet::IpNet;

use super::{
    flows::Flows,
    segment::{Flow, Segment, is_tcp},
};

/// A connection between two servers: higher ones are younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes to a peer.
    Send(LinkId),
    /// It goes into our kernel.
    Inject,
    /// It is of no use: a loss.
    Drop,
    /// It is no stray, and no loss: what IPv6 says on every interface.
    Ignore,
}

/// Which side a tap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Strays arrive here.
    Forwarder,
    /// The connections are here.
    Home,
}

/// One side, with the peers on the other.
#[derive(Debug)]
pub(crate) struct Side {
    part: Part,
    /// In the order in which they came, each with the prefixes that it is about.
    links: Vec<(LinkId, Vec<IpNet>)>,
    flows: Flows<Known>,
}

/// What is known of a flow.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// At a forwarder: the home that it was last sent to. At a home: the forwarder that it last came from.
    link: LinkId,
    /// Whether its client has ended it: what comes still are the last words.
    ended: bool,
}

impl Side {
    pub(crate) fn new(part: Part, now: Instant) -> Self {
        Self { part, links: Vec::new(), flows: Flows::new(now) }
    }

    /// A peer has come.
    pub(crate) fn join(&mut self, link: LinkId, prefixes: Vec<IpNet>) {
        self.links.push((link, prefixes));
    }

    /// A peer has gone, and with it what was known of its flows.
    pub(crate) fn leave(&mut self, link: LinkId) {
        self.links.retain(|(other, _)| *other != link);
        self.flows.retain(|known| known.link != link);
    }

    /// The prefixes that any peer is about.
    pub(crate) fn prefixes(&self) -> Vec<IpNet> {
        let mut all: Vec<IpNet> = self.links.iter().flat_map(|(_, prefixes)| prefixes).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Connections that segments were forwarded of lately, and that their clients have not ended.
    pub(crate) fn active(&mut self, now: Instant) -> usize {
        self.flows.count(now, |known| !known.ended)
    }

    /// What to do with a packet that the kernel sent out of the TUN device, without padding.
    pub(crate) fn sent_by_kernel(&mut self, packet: &[u8], now: Instant) -> Verdict {
        let Some(segment) = Segment::of(packet) else {
            return if is_tcp(packet) { Verdict::Drop } else { Verdict::Ignore };
        };
        let known = self.flows.get(&segment.flow, now).map(|known| known.link);
        let to = match self.part {
            Part::Forwarder => known.or_else(|| self.first_after(None, &segment.flow)),
            Part::Home => known,
        };
        let Some(to) = to else {
            // A stray that came before a home left, and is read after: the kernel is to answer it.
            return if self.part == Part::Forwarder { Verdict::Inject } else { Verdict::Drop };
        };
        self.remember(segment, to, now);
        Verdict::Send(to)
    }

    /// What to do with a packet that a peer sent. Only what is about that peer's prefixes gets into our kernel, and nothing
    /// that opens a connection: the program passes those, so no peer has one to send, and what guards the uplinks would not
    /// see it.
    pub(crate) fn sent_by_peer(&mut self, packet: &[u8], from: LinkId, now: Instant) -> Verdict {
        let Some(segment) = Segment::of(packet).filter(|segment| !segment.opens) else {
            return Verdict::Drop;
        };
        let is_its =
            |(link, prefixes): &(LinkId, Vec<IpNet>)| *link == from && covers(prefixes, &segment.flow);
        if !self.links.iter().any(is_its) {
            // Else its client would wait in vain: the forwarder has others to ask, or resets it.
            let is_there = self.links.iter().any(|(link, _)| *link == from);
            return if self.part == Part::Home && is_there { Verdict::Send(from) } else { Verdict::Drop };
        }
        if self.part == Part::Home {
            self.remember(segment, from, now);
            return Verdict::Inject;
        }
        // Asked already, because of a segment before this one? Then this one goes there too.
        let known = self.flows.get(&segment.flow, now).map(|known| known.link);
        let moved_on = known.filter(|home| *home > from);
        match moved_on.or_else(|| self.first_after(Some(from), &segment.flow)) {
            Some(next) => {
                self.remember(segment, next, now);
                Verdict::Send(next)
            }
            None => {
                self.flows.remove(&segment.flow);
                Verdict::Inject
            }
        }
    }

    /// The first home after that one which may have a flow.
    fn first_after(&self, after: Option<LinkId>, flow: &Flow) -> Option<LinkId> {
        let later = self.links.iter().filter(|(link, _)| after.is_none_or(|after| *link > after));
        later.filter(|(_, prefixes)| covers(prefixes, flow)).map(|(link, _)| *link).min()
    }

    fn remember(&mut self, segment: Segment, link: LinkId, now: Instant) {
        let ended = segment.ends || self.flows.get(&segment.flow, now).is_some_and(|known| known.ended);
        self.flows.put(segment.flow, Known { link, ended }, now);
    }
}

fn covers(prefixes: &[IpNet], flow: &Flow) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(&flow.destination.ip()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::segment::tests::packet, *};

    const ACK: u8 = 0x10;
    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);
    const C: LinkId = LinkId(3);

    fn forwarder(homes: &[LinkId]) -> Side {
        let mut side = Side::new(Part::Forwarder, Instant::now());
        homes.iter().for_each(|home| side.join(*home, vec!["198.18.0.0/24".parse().unwrap()]));
        side
    }

    fn stray(client: u16) -> Vec<u8> {
        packet(&format!("192.0.2.1:{client}"), "198.18.0.1:443", ACK)
    }

    #[test]
    fn a_stray_is_asked_of_every_home_in_turn_and_then_given_to_our_kernel() {
        let now = Instant::now();
        let mut side = forwarder(&[A, B, C]);
        let packet = stray(1);
        assert_eq!(side.sent_by_kernel(&packet, now), Verdict::Send(A));
        assert_eq!(side.sent_by_peer(&packet, A, now), Verdict::Send(B));
        assert_eq!(
            side.sent_by_kernel(&packet, now),
            Verdict::Send(B),
            "it is remembered where it is by now"
        );
        assert_eq!(side.sent_by_peer(&packet, A, now), Verdict::Send(B), "a second one that A returns");
        assert_eq!(side.sent_by_peer(&packet, B, now), Verdict::Send(C));
        assert_eq!(side.sent_by_peer(&packet, C, now), Verdict::Inject);
        assert_eq!(side.active(now), 0);
    }

    #[test]
    fn the_home_that_has_a_flow_is_asked_at_once_until_it_leaves() {
        let now = Instant::now();
        let mut side = forwarder(&[A, B]);
        side.sent_by_kernel(&stray(1), now);
        side.sent_by_peer(&stray(1), A, now);
        assert_eq!(side.sent_by_kernel(&stray(1), now), Verdict::Send(B));
        assert_eq!(side.sent_by_kernel(&stray(2), now), Verdict::Send(A));
        side.leave(B);
        assert_eq!(side.sent_by_kernel(&stray(1), now), Verdict::Send(A));
        side.leave(A);
        assert_eq!(side.sent_by_kernel(&stray(1), now), Verdict::Inject);
        assert!(side.prefixes().is_empty());
    }

    #[test]
    fn a_connection_that_its_client_ends_is_no_longer_active() {
        let now = Instant::now();
        let mut side = forwarder(&[A]);
        assert_eq!(side.sent_by_kernel(&stray(1), now), Verdict::Send(A));
        assert_eq!(side.active(now), 1);
        let fin = packet("192.0.2.1:1", "198.18.0.1:443", ACK | 1);
        assert_eq!(side.sent_by_kernel(&fin, now), Verdict::Send(A));
        assert_eq!(side.active(now), 0);
        assert_eq!(side.sent_by_kernel(&stray(1), now), Verdict::Send(A), "its last words find the way");
        assert_eq!(side.active(now), 0);
    }

    #[test]
    fn a_home_returns_what_is_not_its_own_to_where_it_came_from() {
        let now = Instant::now();
        let mut side = Side::new(Part::Home, now);
        [A, B].into_iter().for_each(|link| side.join(link, vec!["198.18.0.0/24".parse().unwrap()]));
        assert_eq!(side.sent_by_peer(&stray(1), B, now), Verdict::Inject);
        assert_eq!(side.sent_by_kernel(&stray(1), now), Verdict::Send(B));
        assert_eq!(side.sent_by_kernel(&stray(2), now), Verdict::Drop, "nobody sent it");
    }

    #[test]
    fn what_the_kernel_sends_and_cannot_be_forwarded_is_a_loss_only_if_it_is_tcp() {
        let now = Instant::now();
        let mut side = forwarder(&[A]);
        let cut = &stray(1)[..39];
        assert_eq!(side.sent_by_kernel(cut, now), Verdict::Drop);
        let mut solicitation = packet("[fe80::1]:1", "[ff02::2]:1", 0);
        solicitation[6] = 58;
        assert_eq!(side.sent_by_kernel(&solicitation, now), Verdict::Ignore);
    }

    #[test]
    fn nothing_but_segments_for_a_peers_own_prefixes_gets_into_our_kernel() {
        let now = Instant::now();
        let mut home = Side::new(Part::Home, now);
        home.join(A, vec!["198.18.0.0/24".parse().unwrap()]);
        let elsewhere = packet("192.0.2.1:1", "198.18.1.1:443", ACK);
        let mut udp = stray(1);
        udp[9] = 17;
        for bad in [udp, b"E".to_vec()] {
            assert_eq!(home.sent_by_peer(&bad, A, now), Verdict::Drop);
        }
        let mut forwarder = forwarder(&[A]);
        for other in [elsewhere, packet("[2001:db8::1]:1", "[fd00::1]:443", ACK)] {
            assert_eq!(home.sent_by_peer(&other, A, now), Verdict::Send(A), "that it is not ours");
            assert_eq!(home.sent_by_peer(&other, B, now), Verdict::Drop, "a peer that is not there");
            assert_eq!(forwarder.sent_by_peer(&other, A, now), Verdict::Drop, "A was never asked for it");
        }
        assert_eq!(home.sent_by_peer(&stray(1), B, now), Verdict::Drop, "a peer that is not there");
    }

    #[test]
    fn no_peer_opens_a_connection_whatever_else_its_segment_says() {
        let now = Instant::now();
        let mut home = Side::new(Part::Home, now);
        home.join(A, vec!["198.18.0.0/24".parse().unwrap()]);
        let mut forwarder = forwarder(&[A]);
        for flags in [0x02, 0x02 | ACK, 0x02 | 0x01, 0x02 | 0x04, 0xff] {
            let opening = packet("192.0.2.1:1", "198.18.0.1:443", flags);
            assert_eq!(home.sent_by_peer(&opening, A, now), Verdict::Drop, "{flags:x}");
            assert_eq!(forwarder.sent_by_peer(&opening, A, now), Verdict::Drop, "{flags:x}");
        }
        assert_eq!(home.active(now) + forwarder.active(now), 0, "nor is it remembered");
    }

    proptest! {
        /// However answers and departures interleave: a packet that every home returns comes to our kernel in the end,
        /// and no home is asked twice for it.
        #[test]
        fn no_packet_goes_round(homes in 0..6_u64, leaving in proptest::collection::vec(0..6_u64, 0..6)) {
            let now = Instant::now();
            let mut side = forwarder(&(0..homes).map(LinkId).collect::<Vec<_>>());
            let mut verdict = side.sent_by_kernel(&stray(1), now);
            let mut asked = Vec::new();
            let mut leaving = leaving.into_iter();
            while let Verdict::Send(home) = verdict {
                prop_assert!(!asked.contains(&home));
                asked.push(home);
                if let Some(leaves) = leaving.next().filter(|leaves| *leaves != home.0) {
                    side.leave(LinkId(leaves));
                }
                verdict = side.sent_by_peer(&stray(1), home, now);
            }
            prop_assert_eq!(verdict, Verdict::Inject);
        }
    }
}
