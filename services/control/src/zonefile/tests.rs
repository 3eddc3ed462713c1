//! Any text is read or refused; what is written is read as the same.

use proptest::prelude::*;
use proxima_model::{
    AccountId, DnsName, Record, RecordData, RecordId, RecordType, Timestamp, Ttl, TxtData, Zone, ZoneId,
    ZoneName, ZoneSettings, ZoneStatus,
};

use super::{LineNote, parse, write};

fn zone_name() -> ZoneName {
    ZoneName::parse("example.com").unwrap()
}

fn zone() -> Zone {
    let epoch = Timestamp::from_millis(0);
    Zone {
        id: ZoneId::from_bytes([1; 16]),
        account: AccountId::from_bytes([2; 16]),
        name: zone_name(),
        status: ZoneStatus::Active,
        paused: false,
        name_servers: vec![DnsName::parse("ns1.proxima.example").unwrap()],
        settings: ZoneSettings::default(),
        serial: 7,
        created_at: epoch,
        modified_at: epoch,
        activated_at: None,
    }
}

/// Name, type and content of each record.
fn read(text: &str) -> Vec<String> {
    let file = parse(&zone_name(), text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"));
    file.records
        .iter()
        .map(|record| {
            let ttl = u32::from(record.ttl);
            format!("{} {ttl} {} {}", record.name, record.data.record_type(), record.data.content())
        })
        .collect()
}

fn refused(text: &str) -> Vec<LineNote> {
    parse(&zone_name(), text.as_bytes()).unwrap_err()
}

#[test]
fn owners_origins_and_times_to_live_carry_over() {
    let text = "\
$TTL 2h\n\
www A 192.0.2.1\n\
\t60 IN AAAA 2001:db8::1\n\
$ORIGIN sub.example.com.\n\
@ IN 1d A 192.0.2.2\n\
host.example.com. MX 5 mail\n\
$ORIGIN deeper\n\
x CNAME @\n";
    let expected = [
        "www.example.com 7200 A 192.0.2.1",
        "www.example.com 60 AAAA 2001:db8::1",
        "sub.example.com 86400 A 192.0.2.2",
        "host.example.com 7200 MX 5 mail.sub.example.com",
        "x.deeper.sub.example.com 7200 CNAME deeper.sub.example.com",
    ];
    assert_eq!(read(text), expected);
}

#[test]
fn without_a_default_the_last_time_to_live_counts_and_before_it_the_automatic_one() {
    assert_eq!(
        read("a A 192.0.2.1\nb 600 A 192.0.2.1\nc A 192.0.2.1\n"),
        ["a.example.com 1 A 192.0.2.1", "b.example.com 600 A 192.0.2.1", "c.example.com 600 A 192.0.2.1"]
    );
}

#[test]
fn the_zones_own_soa_and_name_servers_are_passed_over_and_said() {
    let file =
        parse(&zone_name(), b"@ SOA ns host (1 2 3 4 5)\n@ NS ns.old.example.\nsub NS ns.sub\n").unwrap();
    assert_eq!(file.records.len(), 1);
    assert_eq!(file.notes.iter().map(|note| note.line).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_time_to_live_beyond_what_is_offered_is_cut_and_said() {
    let file = parse(&zone_name(), b"a 604800 A 192.0.2.1\nb 5 A 192.0.2.1\n").unwrap();
    assert_eq!(file.records.iter().map(|record| u32::from(record.ttl)).collect::<Vec<_>>(), [86_400, 30]);
    assert_eq!(file.notes.len(), 2);
}

#[test]
fn texts_are_joined_and_unescaped() {
    assert_eq!(read(r#"t TXT "a\"b" plain\;text "\195\164""#), [r#"t.example.com 1 TXT "a\"bplain;textä""#]);
}

#[test]
fn every_bad_line_is_named_with_its_number() {
    let text = "\
ok A 192.0.2.1\n\
a A\n\
b A 192.0.2.1 extra\n\
c CH A 192.0.2.1\n\
d 99999999999 A 192.0.2.1\n\
e\n\
$TTL\n\
$NOPE x\n\
$GENERATE 1-9 a$ A 192.0.2.$\n\
f MX ten mail\n\
\"g\" A 192.0.2.1\n\
a..b A 192.0.2.1\n\
other.net. A 192.0.2.1\n\
h TLSA 1 2 3 4\n";
    let lines: Vec<usize> = refused(text).iter().map(|problem| problem.line).collect();
    assert_eq!(lines, (2..=14).collect::<Vec<_>>());
}

#[test]
fn a_line_that_begins_with_a_blank_needs_a_name_before_it() {
    assert_eq!(refused("  A 192.0.2.1\n")[0].line, 1);
    // After a bad name it would be anybody's guess whose record it is.
    assert_eq!(refused("a..b A 192.0.2.1\n  A 192.0.2.2\n").len(), 2);
}

#[test]
fn lines_that_are_not_utf8_are_named() {
    let problems = parse(&zone_name(), b"a A 192.0.2.1\nb TXT \"\xff\"\nc A 192.0.2.1\n").unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2]);
}

fn name() -> impl Strategy<Value = DnsName> {
    "[a-z0-9_]{1,10}(\\.[a-z0-9]{1,10}){0,2}".prop_map(|text| zone_name().record_name(&text).unwrap())
}

fn host() -> impl Strategy<Value = DnsName> {
    "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}".prop_map(|text| DnsName::parse(&text).unwrap())
}

fn data() -> impl Strategy<Value = RecordData> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| RecordData::A { address: octets.into() }),
        any::<[u8; 16]>().prop_map(|octets| RecordData::Aaaa { address: octets.into() }),
        host().prop_map(|target| RecordData::Cname { target }),
        (any::<u16>(), host()).prop_map(|(priority, exchange)| RecordData::Mx { priority, exchange }),
        any::<u16>().prop_map(|priority| RecordData::Mx { priority, exchange: DnsName::parse(".").unwrap() }),
        proptest::collection::vec(any::<char>(), 0..400).prop_map(|letters| RecordData::Txt {
            text: TxtData::try_from(letters.into_iter().collect::<String>()).unwrap()
        }),
        host().prop_map(|host| RecordData::Ns { host }),
        (any::<[u16; 3]>(), host()).prop_map(|([priority, weight, port], target)| RecordData::Srv {
            priority,
            weight,
            port,
            target
        }),
        (any::<u8>(), "[a-z]{1,15}", "[ -~]{0,60}")
            .prop_map(|(flags, tag, value)| RecordData::caa(flags, &tag, &value).unwrap()),
    ]
}

prop_compose! {
    fn record()(
        name in name(),
        data in data(),
        ttl in prop_oneof![Just(1_u32), 30_u32..=86_400],
        proxied in any::<bool>(),
        comment in proptest::option::of("\\PC{1,40}|[\\x00-\\x20;\\\\\"]{1,10}"),
        tags in proptest::collection::vec("\\PC{1,20}", 0..3),
    ) -> Record {
        let can_be_proxied = data.record_type().can_be_proxied();
        Record {
            id: RecordId::from_bytes([3; 16]),
            zone: zone().id,
            name,
            data,
            ttl: Ttl::try_from(ttl).unwrap(),
            proxied: proxied && can_be_proxied,
            comment,
            tags,
            created_at: Timestamp::from_millis(0),
            modified_at: Timestamp::from_millis(0),
        }
    }
}

/// What says the same of a record, however it came here.
fn essence(
    name: &DnsName,
    data: &RecordData,
    ttl: Ttl,
    proxied: bool,
    comment: &Option<String>,
    tags: &[String],
) -> String {
    format!("{name:?} {data:?} {ttl:?} {proxied} {comment:?} {tags:?}")
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same_records(records in proptest::collection::vec(record(), 0..20)) {
        let text = write(&zone(), &records);
        let file = parse(&zone_name(), text.as_bytes());
        prop_assert!(file.is_ok(), "{file:?}\n{text}");
        let mut read: Vec<String> = file.unwrap().records.iter().map(|record| {
            essence(&record.name, &record.data, record.ttl, record.proxied.unwrap_or(false), &record.comment, &record.tags)
        }).collect();
        let mut written: Vec<String> = records.iter()
            .filter(|record| !(record.data.record_type() == RecordType::Ns && record.name == zone_name().apex()))
            .map(|record| essence(&record.name, &record.data, record.ttl, record.proxied, &record.comment, &record.tags))
            .collect();
        read.sort();
        written.sort();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&zone_name(), &octets);
    }

    #[test]
    fn texts_that_look_like_zone_files_are_read_or_refused(
        text in "((\\$TTL|\\$ORIGIN|@|[a-z.]{0,8}|\"[^\"]{0,9}\"?|\\(|\\)|;|\\\\|IN|[0-9]{1,12}[smhdw]?|A|TXT|MX|SRV|CAA|SOA|NS|192\\.0\\.2\\.1)[ \\t\\n]){0,60}"
    ) {
        match parse(&zone_name(), text.as_bytes()) {
            Ok(file) => prop_assert!(file.records.iter().all(|record| record.name.is_within(&zone_name()))),
            Err(problems) => {
                let lines = text.lines().count();
                prop_assert!(!problems.is_empty() && problems.iter().all(|problem| (1..=lines).contains(&problem.line)));
                prop_assert!(problems.is_sorted());
            }
        }
    }
}
