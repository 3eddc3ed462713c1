//! The zones of benchmarks that fill a log by themselves: what an account with a small website has.

use anyhow::Result;
use proxima_ledger::{Change, Replica};
use proxima_model::{
    AccountId, DnsName, Record, RecordData, RecordId, RecordType, Timestamp, Ttl, Zone, ZoneId, ZoneIndex,
    ZoneName, ZoneSettings, ZoneStatus,
};

/// A day in 2026; the same in every run.
const MADE_AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);
/// Nobody's in particular.
const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);

/// The name of a zone by its number.
pub(crate) fn name(number: u64) -> String {
    format!("zone-{number:08}.example")
}

/// A name that is asked for in the zone of that number.
pub(super) fn host(number: u64) -> String {
    format!("www.{}", name(number))
}

/// What makes the zone of that number: itself, its name, and four records, of which two are proxied.
pub(super) fn changes(replica: &Replica, number: u64) -> Result<Vec<Change>> {
    let zone = zone(number, ACCOUNT)?;
    let name = zone.name.as_str();
    let www = format!("www.{name}");
    let mail = format!("10 mail.{name}");
    let records = [
        (name, RecordType::A, "192.0.2.1"),
        (&www, RecordType::Cname, name),
        (name, RecordType::Mx, &mail),
        (name, RecordType::Txt, "v=spf1 mx -all"),
    ];
    let records = (0..).zip(records).map(|(number, (name, record_type, content))| {
        let record = record(&zone, number, name, (record_type, content))?;
        Ok(Record { proxied: record_type.can_be_proxied(), ..record })
    });
    changes_of(replica, &zone, records)
}

/// What makes a zone with these records.
pub(crate) fn changes_of(
    replica: &Replica,
    zone: &Zone,
    records: impl IntoIterator<Item = Result<Record>>,
) -> Result<Vec<Change>> {
    let index = ZoneIndex { name: zone.name.clone(), zone: zone.id };
    let mut changes = vec![replica.put(zone), replica.put(&index)];
    for record in records {
        changes.push(replica.put(&record?));
    }
    Ok(changes)
}

/// The zone of that number, active, of this account.
pub(crate) fn zone(number: u64, account: AccountId) -> Result<Zone> {
    let servers = ["ns1.proxima.example", "ns2.proxima.example"];
    Ok(Zone {
        id: ZoneId::from_bytes(rising(number, number)),
        account,
        name: ZoneName::parse(&name(number))?,
        status: ZoneStatus::Active,
        paused: false,
        name_servers: servers.into_iter().map(DnsName::parse).collect::<Result<_, _>>()?,
        settings: ZoneSettings::default(),
        serial: 1,
        created_at: MADE_AT,
        modified_at: MADE_AT,
        activated_at: Some(MADE_AT),
    })
}

/// The record of that number in a zone, not proxied.
pub(crate) fn record(
    zone: &Zone,
    number: u64,
    name: &str,
    (record_type, content): (RecordType, &str),
) -> Result<Record> {
    Ok(Record {
        id: RecordId::from_bytes(rising(0, number)),
        zone: zone.id,
        name: DnsName::parse(name)?,
        data: RecordData::parse(record_type, content)?,
        ttl: Ttl::Auto,
        proxied: false,
        flatten: false,
        comment: None,
        tags: Vec::new(),
        created_at: MADE_AT,
        modified_at: MADE_AT,
    })
}

/// Sixteen octets that are the same in every run. They rise with the number, so that zones come in the order of their
/// keys, as in the snapshot that a new server takes; lookups go all over them all the same.
fn rising(number: u64, low: u64) -> [u8; 16] {
    let high = number * (u64::MAX / super::ZONES_MAX);
    (u128::from(high) << 64 | u128::from(mix(low))).to_be_bytes()
}

/// SplitMix64's finalizer, a bijection.
pub(crate) const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
