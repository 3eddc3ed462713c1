//! The zones of the benchmark: what an account with a small website has.

use anyhow::Result;
use proxima_ledger::{Change, Replica};
use proxima_model::{
    AccountId, DnsName, Record, RecordData, RecordId, RecordType, Timestamp, Ttl, Zone, ZoneId, ZoneIndex,
    ZoneName, ZoneSettings, ZoneStatus,
};

/// A day in 2026; the same in every run.
const MADE_AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// The name of a zone by its number.
pub(super) fn name(number: u64) -> String {
    format!("zone-{number:08}.example")
}

/// A name that is asked for in the zone of that number.
pub(super) fn host(number: u64) -> String {
    format!("www.{}", name(number))
}

/// What makes the zone of that number: itself, its name, and four records, of which two are proxied.
pub(super) fn changes(replica: &Replica, number: u64) -> Result<Vec<Change>> {
    let zone = zone(number)?;
    let name = zone.name.as_str();
    let records = [
        record(&zone, 0, name, RecordType::A, "192.0.2.1")?,
        record(&zone, 1, &format!("www.{name}"), RecordType::Cname, name)?,
        record(&zone, 2, name, RecordType::Mx, &format!("10 mail.{name}"))?,
        record(&zone, 3, name, RecordType::Txt, "v=spf1 mx -all")?,
    ];
    let index = ZoneIndex { name: zone.name.clone(), zone: zone.id };
    let mut changes = vec![replica.put(&zone), replica.put(&index)];
    changes.extend(records.iter().map(|record| replica.put(record)));
    Ok(changes)
}

fn zone(number: u64) -> Result<Zone> {
    let servers = ["ns1.proxima.example", "ns2.proxima.example"];
    Ok(Zone {
        id: ZoneId::from_bytes(rising(number, number)),
        account: AccountId::from_bytes([1; 16]),
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

fn record(zone: &Zone, number: u64, name: &str, record_type: RecordType, content: &str) -> Result<Record> {
    Ok(Record {
        id: RecordId::from_bytes(rising(0, number)),
        zone: zone.id,
        name: DnsName::parse(name)?,
        data: RecordData::parse(record_type, content)?,
        ttl: Ttl::Auto,
        proxied: record_type.can_be_proxied(),
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
pub(super) const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
