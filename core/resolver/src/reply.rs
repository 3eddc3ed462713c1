//! What a name server's message says about the question, and nothing else: what lies outside of its zone is dropped.

use std::net::IpAddr;

use crate::{
    hints::address,
    message::{self, Message, flag, rcode, rtype},
    name::Name,
    rrset::{RrSet, sets},
};

/// Name servers of one zone that are taken.
const SERVERS_MAX: usize = 16;
/// Addresses of one of them.
const ADDRESSES_MAX: usize = 8;

/// A name server of a zone, and the addresses that came with it.
pub(crate) type NameServer = (Name, Vec<IpAddr>);

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The set that was asked for.
    Answer,
    /// Another name has it: by a CNAME, or a DNAME above.
    Alias(Name),
    /// A DNAME above it would make it longer than a name can be (RFC 6672, 2.2).
    TooLong,
    /// There is no such name.
    NoName,
    /// The name has no such set.
    NoData,
    /// The servers of a zone below know.
    Referral(Name),
}

/// A message, understood.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) said: Said,
    /// The set that answers, or the alias; of a DNAME also the CNAME made from it, if it can be made.
    pub(crate) answer: Vec<RrSet>,
    pub(crate) authority: Vec<RrSet>,
    pub(crate) servers: Vec<NameServer>,
    /// Whether it was said without authority of a zone that the server should have: what it heard of others (RFC 2181, 5.4.1).
    /// Referrals are nobody's authority.
    pub(crate) is_hearsay: bool,
    /// Who said so, if that is known.
    pub(crate) from: Option<IpAddr>,
}

impl Reply {
    /// What follows from what is known.
    pub(crate) fn known(said: Said, answer: Vec<RrSet>, authority: Vec<RrSet>) -> Self {
        Self { said, answer, authority, servers: Vec::new(), is_hearsay: false, from: None }
    }

    /// What a server of `zone` said about a question; `None` if it says nothing that counts.
    pub(crate) fn of(zone: &Name, name: &Name, rtype: u16, message: Message) -> Option<Self> {
        let (code, is_hearsay) = (message.rcode(), !message.has(flag::AA));
        if !matches!(code, rcode::NOERROR | rcode::NXDOMAIN | rcode::YXDOMAIN) {
            return None;
        }
        let within = |records: Vec<message::Record>| -> Vec<message::Record> {
            records.into_iter().filter(|record| record.owner.is_within(zone)).collect()
        };
        let (answer, authority) = (sets(within(message.answer)), sets(within(message.authority)));
        let glue = within(message.additional);
        let find = |owner: &Name, rtype| {
            answer.iter().find(|set| set.owner == *owner && set.rtype == rtype).cloned()
        };
        if let Some(set) = find(name, rtype) {
            let servers = name_servers(&set, &glue);
            let answer = vec![set];
            return Some(Self { said: Said::Answer, answer, authority, servers, is_hearsay, from: None });
        }
        let alias = |said, answer| {
            let (authority, servers) = (authority.clone(), Vec::new());
            Some(Self { said, answer, authority, servers, is_hearsay, from: None })
        };
        let dname = answer.iter().find(|set| set.rtype == rtype::DNAME && name.is_below(&set.owner));
        if let Some(dname) = dname {
            // Whether it is too long is for us to find out, whatever the code says.
            let Some(target) = name.moved(&dname.owner, &Name::from_wire(dname.data.first()?)?) else {
                return alias(Said::TooLong, vec![dname.clone()]);
            };
            let cname = RrSet {
                owner: name.clone(),
                rtype: rtype::CNAME,
                ttl: dname.ttl,
                data: vec![target.wire().into()],
                signatures: Vec::new(),
            };
            return alias(Said::Alias(target), vec![dname.clone(), cname]);
        }
        if let Some(cname) = find(name, rtype::CNAME) {
            let target = Name::from_wire(cname.data.first()?)?;
            return alias(Said::Alias(target), vec![cname]);
        }
        // It is for nothing else than for what a DNAME, here or behind an alias, cannot move.
        if code == rcode::YXDOMAIN {
            return None;
        }
        let has_soa = authority.iter().any(|set| set.rtype == rtype::SOA);
        let below = authority
            .iter()
            .find(|set| set.rtype == rtype::NS && set.owner.is_below(zone) && name.is_within(&set.owner));
        if let Some(set) = below.filter(|_| !has_soa && code == rcode::NOERROR) {
            let servers = name_servers(set, &glue);
            let said = Said::Referral(set.owner.clone());
            let answer = Vec::new();
            return Some(Self { said, answer, authority, servers, is_hearsay: false, from: None });
        }
        // A server that has neither authority nor a zone to name does not know.
        if is_hearsay && !has_soa {
            return None;
        }
        let said = if code == rcode::NXDOMAIN { Said::NoName } else { Said::NoData };
        let (answer, servers) = (Vec::new(), Vec::new());
        Some(Self { said, answer, authority, servers, is_hearsay, from: None })
    }
}

/// The servers that an NS set names. Addresses are taken only of names within the zone whose server said so.
fn name_servers(set: &RrSet, glue: &[message::Record]) -> Vec<NameServer> {
    if set.rtype != rtype::NS {
        return Vec::new();
    }
    let names = set.data.iter().filter_map(|data| Name::from_wire(data)).take(SERVERS_MAX);
    names
        .map(|name| {
            let its = glue.iter().filter(|record| record.owner == name);
            let addresses = its.filter_map(|record| address(record.rtype, &record.data)).take(ADDRESSES_MAX);
            let addresses = addresses.collect();
            (name, addresses)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Record;

    #[test]
    fn what_a_dname_cannot_move_is_too_long_whatever_the_code_says() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let labels = |count: usize| vec!["a".repeat(49); count].join(".");
        let record = |owner: &str, rtype, target: &str| Record {
            owner: name(owner),
            rtype,
            ttl: 60,
            data: name(target).wire().into(),
        };
        // With the label before it 255 octets, and one more.
        let (fits, overflows) = (labels(4) + ".bcd", labels(4) + ".bcde");
        let asked = name(&(labels(1) + ".old.test"));
        for (code, rtype, target, expected) in [
            (rcode::NOERROR, rtype::DNAME, &fits, Some(false)),
            (rcode::NOERROR, rtype::DNAME, &overflows, Some(true)),
            (rcode::YXDOMAIN, rtype::DNAME, &fits, Some(false)),
            (rcode::YXDOMAIN, rtype::DNAME, &overflows, Some(true)),
            (rcode::YXDOMAIN, rtype::NS, &fits, None),
            (rcode::REFUSED, rtype::DNAME, &overflows, None),
        ] {
            let flags = flag::QR | flag::AA | u16::from(code);
            let answer = vec![record("old.test", rtype, target)];
            let message = Message { flags, answer, authority: Vec::new(), additional: Vec::new() };
            let reply = Reply::of(&name("test"), &asked, rtype::A, message);
            let found = reply.map(|reply| {
                assert_eq!(reply.answer[0].rtype, rtype::DNAME);
                (reply.said == Said::TooLong, reply.answer.len())
            });
            let expected = expected.map(|is_too_long| (is_too_long, if is_too_long { 1 } else { 2 }));
            assert_eq!(found, expected, "{code} {rtype} {target}");
        }
    }
}
