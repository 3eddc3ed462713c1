//! Where nouns lie in the ledger, and their ids.

use proptest::prelude::*;
use proxima_model::{Account, Entity, Key, Kind, Record, RecordId, Zone, ZoneId, ZoneIndex, ZoneName};

#[test]
fn keys_lie_under_their_kind_and_zone() {
    let (zone, record) = (ZoneId::from_bytes([0xab; 16]), RecordId::from_bytes([1; 16]));
    let key = Record::key_of(&(zone, record));
    assert_eq!(key.as_str(), format!("record/{zone}/{record}"));
    assert!(key.as_str().starts_with(&Key::prefix(Kind::Record, &[&zone])));
    assert_eq!(key.kind(), Some(Kind::Record));
    assert_eq!(key.first_part::<ZoneId>(), Some(zone));
    assert_eq!(Zone::key_of(&zone).first_part::<ZoneId>(), Some(zone));
    assert_eq!(ZoneIndex::key_of(&ZoneName::parse("example.com").unwrap()).as_str(), "zone_name/example.com");
}

#[test]
fn kinds_have_prefixes_of_their_own_and_secrets_are_marked() {
    let prefixes: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.prefix()).collect();
    assert_eq!(prefixes.len(), Kind::ALL.len());
    let secret: Vec<_> = Kind::ALL.into_iter().filter(|kind| kind.secret()).collect();
    assert_eq!(
        secret,
        [
            Kind::Token,
            Kind::Certificate,
            Kind::Authority,
            Kind::AcmeAccount,
            Kind::TicketKeys,
            Kind::Dnssec,
            Kind::Tsig,
            Kind::WorkerSecrets
        ]
    );
    assert!(!Account::KIND.secret());
}

#[test]
fn keys_of_unknown_kinds_are_none() {
    assert!(Key::parse("script/x").is_none() && Key::parse("").is_none() && Key::parse("zone/x").is_some());
}

proptest! {
    #[test]
    fn ids_are_written_as_32_digits_and_read_back(octets in any::<[u8; 16]>()) {
        let id = ZoneId::from_bytes(octets);
        let text = id.to_string();
        prop_assert_eq!(text.len(), 32);
        prop_assert_eq!(text.parse::<ZoneId>().unwrap(), id);
        prop_assert_eq!(text.to_uppercase().parse::<ZoneId>().unwrap(), id);
    }

    #[test]
    fn what_is_no_id_is_refused(text in "\\PC{0,40}|[0-9a-f]{0,31}|[0-9a-f]{33,40}") {
        prop_assume!(!(text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit())));
        prop_assert!(text.parse::<ZoneId>().is_err());
    }
}
