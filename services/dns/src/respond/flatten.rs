//! Aliases that are answered as the addresses that they lead to: where RFC 1034, 3.6.2 forbids a CNAME record, at an apex and
//! beside other records.
//!
//! What lies in the zones here is looked up at once; where an alias leads out of them, what is known of its target
//! (`flattening/mod.rs`) is answered.

use std::sync::Arc;

use super::{ALIASES_MAX, Answer, Failure, Step, Zones};
use crate::{
    flattening::Seen,
    message::Section,
    name::{self, Name},
    rrset::{self, RrSet, Set},
    wire::{ExtendedError, Rcode, rtype},
    zone::{Found, Kind, Node, ZoneTree},
};

/// How long others may remember what may have changed and cannot be looked up, in seconds (RFC 8767, 4).
const STALE_TTL: u32 = 30;

impl<Z: Zones> Answer<'_, Z> {
    /// Answers an address question with the addresses of the name that the alias leads to. They are authoritative
    /// here, so only zones that are active, or the alias's own, may give them.
    pub(super) fn flatten(
        &mut self,
        zone: &Arc<ZoneTree>,
        name: &Name,
        flattened: Node<'_>,
        alias: Set<'_>,
    ) -> Result<Step, Failure> {
        let qtype = self.query.qtype;
        let mut ttl = alias.ttl;
        let mut target = Name::of_encoded(alias.target());
        for _ in 0..ALIASES_MAX {
            let Some((there, _)) = self.zones_of_target(zone, &target)? else {
                return self.flatten_outside(zone, (name, flattened), &target, ttl);
            };
            let node = match there.find(&target) {
                Found::Node(node) | Found::Wildcard { node, .. } => node,
                Found::Nothing { .. } => return self.negative(zone, name.wire(), Found::Node(flattened)),
                Found::Cut { .. } | Found::Redirected { .. } => {
                    return self.flatten_outside(zone, (name, flattened), &target, ttl);
                }
            };
            let set = match node.kind(&there) {
                Kind::Proxied => self.responder.addresses(qtype),
                Kind::Plain => node.set(qtype),
                Kind::Alias(next) | Kind::Flattened(next) => {
                    ttl = ttl.min(next.ttl);
                    target = Name::of_encoded(next.target());
                    continue;
                }
            };
            let Some(set) = set else {
                return self.negative(zone, name.wire(), Found::Node(flattened));
            };
            self.set(zone, Section::Answer, name.wire(), set, ttl.min(set.ttl))?;
            return Ok(Step::Done(Rcode::NoError));
        }
        Err(Failure::because(Rcode::ServFail, ExtendedError::ENDLESS))
    }

    /// Answers with the addresses of a target outside. Signatures are made as for a set with the alias's TTL, so that they
    /// are new ones only where the addresses are.
    fn flatten_outside(
        &mut self,
        zone: &Arc<ZoneTree>,
        (name, flattened): (&Name, Node<'_>),
        target: &Name,
        ttl: u32,
    ) -> Result<Step, Failure> {
        let failed = |why| Err(Failure::because(Rcode::ServFail, why));
        let qtype = self.query.qtype;
        let (found, left) = match self.zones.outside(zone.account(), target.wire(), qtype).0 {
            Seen::Fresh(found, left) => (found, left),
            Seen::Stale(found) => {
                self.writer.extended = Some(ExtendedError::STALE);
                (found, STALE_TTL)
            }
            Seen::Sought => return failed(ExtendedError::SOUGHT),
            Seen::Failed => return failed(ExtendedError::UNRESOLVED),
            Seen::Off => return failed(ExtendedError::OUTSIDE),
        };
        let Some(set) = RrSet::of(qtype, ttl, &found.addresses) else {
            self.denied_for = ttl.min(left);
            return self.negative(zone, name.wire(), Found::Node(flattened));
        };
        self.set(zone, Section::Answer, name.wire(), set.view(), ttl.min(left))?;
        Ok(Step::Done(Rcode::NoError))
    }

    /// Tells in words what is known of a name outside, `NAME.outside.server`, to who asks on this very host: whose aliases
    /// lead where is for nobody else. `None` for other questions.
    pub(super) fn about_outside(&mut self) -> Option<Rcode> {
        const SUFFIX: &[u8] = b"\x07outside\x06server\x00";
        let asked = self.query.name.wire();
        let labels = asked.strip_suffix(SUFFIX).filter(|labels| !labels.is_empty())?;
        let is_here = self.asker.address.to_canonical().is_loopback();
        if !is_here || !name::is_within(asked, SUFFIX) || self.query.qtype != rtype::TXT {
            return None;
        }
        let texts = self.zones.explain_outside(&[labels, &[0]].concat());
        self.writer.set_authoritative(true);
        for text in texts {
            let text: Vec<u8> = text.bytes().take(usize::from(u8::MAX)).collect();
            let data: Vec<u8> = rrset::character_string(&text).collect();
            self.writer.chaos_text(asked, &data);
        }
        Some(Rcode::NoError)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proxima_chassis::SystemClock;
    use proxima_ledger::ReadError;
    use proxima_model::{
        AccountId, Record, RecordData, RecordId, RecordType, Timestamp, Ttl, Zone, ZoneId, ZoneName,
        ZoneSettings, ZoneStatus,
    };
    use proxima_transfer::message::answers;

    use super::*;
    use crate::{
        Asker, Responder, Transport,
        flattening::{Found as Outcome, Outside},
    };

    /// One zone, with an alias at its apex that lives for 200 seconds, and what is known of where that leads.
    struct One(Arc<ZoneTree>, fn() -> Seen);

    impl Zones for One {
        fn find(&self, name: &str) -> Result<Option<Arc<ZoneTree>>, ReadError> {
            Ok(name.ends_with("example.com").then(|| self.0.clone()))
        }

        fn beneath(&self, _: &str) -> Option<Vec<String>> {
            Some(Vec::new())
        }

        fn is_active(&self, zone: &str) -> Result<Option<bool>, ReadError> {
            Ok((zone == "example.com").then(|| self.0.is_active()))
        }

        fn outside(&self, account: AccountId, name: &[u8], rtype: u16) -> Outside {
            assert_eq!(
                (account, name),
                (AccountId::from_bytes([2; 16]), &b"\x01x\x07example\x03net\x00"[..])
            );
            assert!(matches!(rtype, rtype::A | rtype::AAAA));
            Outside((self.1)())
        }
    }

    fn one(seen: fn() -> Seen) -> One {
        let epoch = Timestamp::default();
        let zone = Zone {
            id: ZoneId::from_bytes([1; 16]),
            account: AccountId::from_bytes([2; 16]),
            name: ZoneName::parse("example.com").unwrap(),
            status: ZoneStatus::Active,
            paused: false,
            name_servers: Vec::new(),
            settings: ZoneSettings::default(),
            serial: 1,
            created_at: epoch,
            modified_at: epoch,
            activated_at: None,
        };
        let record = Record {
            id: RecordId::from_bytes([3; 16]),
            zone: zone.id,
            name: zone.name.record_name("@").unwrap(),
            data: RecordData::parse(RecordType::by_name("CNAME").unwrap(), "X.example.net").unwrap(),
            ttl: Ttl::try_from(200).unwrap(),
            proxied: false,
            flatten: false,
            comment: None,
            tags: Vec::new(),
            created_at: epoch,
            modified_at: epoch,
        };
        let Ok(tree) = ZoneTree::compile(&zone, [Ok::<_, Infallible>(record)]);
        One(Arc::new(tree), seen)
    }

    #[test]
    fn an_alias_that_leads_outside_is_answered_by_what_is_known_there() {
        /// What is known; how it is answered, with which TTLs, and why.
        type Case = (fn() -> Seen, Rcode, &'static [u32], Option<u16>);
        let responder = Responder::new(&[], true, "test", 1_232, Arc::new(SystemClock));
        let cases: [Case; 9] = [
            (
                || Seen::Fresh(Outcome::of(&[[192, 0, 2, 1], [192, 0, 2, 2]], 0), 60),
                Rcode::NoError,
                &[60, 60],
                None,
            ),
            (|| Seen::Fresh(Outcome::of(&[[192, 0, 2, 1]], 0), 900), Rcode::NoError, &[200], None),
            (|| Seen::Fresh(Outcome::of(&[], 0), 900), Rcode::NoError, &[], None),
            (|| Seen::Fresh(Outcome::of(&[], 0), 40), Rcode::NoError, &[], None),
            (|| Seen::Stale(Outcome::of(&[[192, 0, 2, 1]], 0)), Rcode::NoError, &[30], Some(3)),
            (|| Seen::Stale(Outcome::of(&[], 0)), Rcode::NoError, &[], Some(3)),
            (|| Seen::Sought, Rcode::ServFail, &[], Some(14)),
            (|| Seen::Failed, Rcode::ServFail, &[], Some(22)),
            (|| Seen::Off, Rcode::ServFail, &[], Some(21)),
        ];
        for (seen, rcode, ttls, why) in cases {
            let mut question = proxima_transfer::message::question(7, 0, b"\x07example\x03com\x00", rtype::A);
            question[11] = 1;
            question.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
            let asker = Asker::new([192, 0, 2, 200].into(), Transport::Udp);
            let mut out = Vec::new();
            let said = responder.respond(&one(seen), &question, asker, &mut out).unwrap();
            let found: Vec<u32> = answers(&out).unwrap().iter().map(|record| record.ttl).collect();
            assert_eq!((said.rcode, &found[..]), (rcode, ttls), "{:?}", seen());
            // That there are none is remembered for no longer than it is known, nor than the alias is.
            let denied_for = match seen() {
                Seen::Fresh(found, left) if found.addresses.is_empty() => Some(left.min(200)),
                Seen::Stale(found) if found.addresses.is_empty() => Some(STALE_TTL),
                _ => ttls.iter().min().copied(),
            };
            assert_eq!(said.ttl, denied_for, "{:?}", seen());
            // The option: its code, 15, its length, and the extended error.
            let told = out.windows(6).rev().find(|option| option[..3] == [0, 15, 0]);
            assert_eq!(told.map(|option| u16::from(option[5])), why, "{:?}", seen());
        }
    }
}
