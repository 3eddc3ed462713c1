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
fn texts_are_unescaped_and_keep_their_strings() {
    assert_eq!(
        read(r#"t TXT "a\"b" plain\;text "\195\164""#),
        [r#"t.example.com 1 TXT "a\"b" "plain;text" "ä""#]
    );
    assert_eq!(read(r#"t TXT v=spf1 -all"#), [r#"t.example.com 1 TXT "v=spf1" "-all""#]);
    assert_eq!(read(r#"t TXT "\255" """#), [r#"t.example.com 1 TXT "\255" """#]);
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

/// What the model's table has of every type.
fn table() -> Vec<RecordData> {
    let (mut kind, mut records) = (RecordType::A, Vec::new());
    for line in include_str!("../../../../core/model/tests/nouns/record_types.txt").lines() {
        if let Some(name) = line.strip_prefix("type ") {
            kind = RecordType::by_name(name).unwrap();
        } else if let Some((given, _)) = line.strip_prefix("  good ").and_then(|row| row.split_once(" => ")) {
            records.push(RecordData::parse(kind, given).unwrap());
        }
    }
    records
}

#[test]
fn data_of_every_type_is_read_as_it_is_written_everywhere_else() {
    let (mut kind, mut lines, mut expected) = ("", String::new(), Vec::new());
    for line in include_str!("../../../../core/model/tests/nouns/record_types.txt").lines() {
        kind = line.strip_prefix("type ").unwrap_or(kind);
        let Some((given, rest)) = line.strip_prefix("  good ").and_then(|row| row.split_once(" => ")) else {
            continue;
        };
        let form = rest.split(" => ").next().filter(|form| !form.is_empty()).unwrap_or(given);
        lines.push_str(&format!("$ORIGIN .\nx.example.com {kind} {given}\n"));
        expected.push(format!("x.example.com 1 {kind} {form}"));
        let octets = rest.rsplit(" => ").next().unwrap();
        lines.push_str(&format!("x.example.com {kind} \\# {} ( {octets} )\n", octets.len() / 2));
        expected.push(format!("x.example.com 1 {kind} {form}"));
    }
    assert_eq!(read(&lines), expected);
}

#[test]
fn names_within_data_are_relative_to_the_origin_and_words_that_touch_stay_together() {
    let text = "\
p PTR host\n\
n NAPTR 1 2 \"S\" \"x\" \"\" _sip._udp\n\
h HTTPS 1 @ ( alpn=\"h3,h2\" ; said in two lines\n\
              port=\"8443\" key667=\"a b\" )\n\
s SVCB 0 pool.example.net.\n\
u URI 1 2 \"https://a.example/;x\"\n\
k OPENPGPKEY ( AAAA\n AAAA )\n\
t TYPE16 \\# 2 0161\n\
e TXT \\# 2 0161\n";
    let expected = [
        "p.example.com 1 PTR host.example.com",
        "n.example.com 1 NAPTR 1 2 \"S\" \"x\" \"\" _sip._udp.example.com.",
        "h.example.com 1 HTTPS 1 example.com. alpn=\"h3,h2\" port=8443 key667=\"a b\"",
        "s.example.com 1 SVCB 0 pool.example.net.",
        "u.example.com 1 URI 1 2 \"https://a.example/;x\"",
        "k.example.com 1 OPENPGPKEY AAAAAAAA",
        "t.example.com 1 TXT \"a\"",
        "e.example.com 1 TXT \"a\"",
    ];
    assert_eq!(read(text), expected);
}

#[test]
fn what_a_signed_zones_file_has_because_it_is_signed_is_passed_over_and_said() {
    let text = "a A 192.0.2.1\na RRSIG A 13 3 300 2 1 1 example.com. AAAA\na NSEC b A RRSIG NSEC\n@ NSEC3PARAM 1 0 0 -\n@ CDS 0 0 0 00\n";
    let file = parse(&zone_name(), text.as_bytes()).unwrap();
    assert_eq!(file.records.len(), 1);
    assert_eq!(file.notes.iter().map(|note| note.line).collect::<Vec<_>>(), [2, 3, 4, 5]);
}

#[test]
fn keys_are_passed_over_in_a_file_that_they_signed_and_taken_from_others() {
    let asked = "@ CDNSKEY 257 3 13 AAAA\n@ CDS 7 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";
    assert_eq!(parse(&zone_name(), asked.as_bytes()).unwrap().records.len(), 2);
    let signed = format!("{asked}a RRSIG A 13 3 300 2 1 1 example.com. AAAA\n");
    let file = parse(&zone_name(), signed.as_bytes()).unwrap();
    assert_eq!((file.records.len(), file.notes.len()), (0, 3));
    let keys = "@ DNSKEY 257 3 13 AAAA\n@ 600 TYPE48 \\# 5 0100030d00\n";
    let file = parse(&zone_name(), keys.as_bytes()).unwrap();
    assert_eq!((file.records.len(), file.notes.len()), (2, 0));
    let signature = "a rrsig A 13 3 300 2 1 1 example.com. AAAA\n";
    for text in [format!("{keys}{signature}"), format!("{signature}{keys}")] {
        let file = parse(&zone_name(), format!("{text}a A 192.0.2.1\n").as_bytes()).unwrap();
        assert_eq!(file.records.len(), 1, "{text}");
        assert_eq!(file.notes.iter().map(|note| note.line).collect::<Vec<_>>(), [1, 2, 3], "{text}");
        let of_keys = file.notes.iter().filter(|note| note.text.starts_with("DNSKEY")).count();
        assert_eq!(of_keys, 2, "{:?}", file.notes);
    }
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
        proptest::collection::vec(any::<char>(), 0..400).prop_map(|letters| {
            RecordData::Txt(TxtData::try_from(letters.into_iter().collect::<String>()).unwrap())
        }),
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..=255), 1..9).prop_map(
            |strings| {
                let octets = strings
                    .iter()
                    .flat_map(|string| [&[u8::try_from(string.len()).unwrap()][..], string].concat());
                RecordData::Txt(TxtData::of_octets(&octets.collect::<Vec<_>>()).unwrap())
            }
        ),
        host().prop_map(|host| RecordData::Ns { host }),
        (any::<[u16; 3]>(), host()).prop_map(|([priority, weight, port], target)| RecordData::Srv {
            priority,
            weight,
            port,
            target
        }),
        (any::<u8>(), "[a-z]{1,15}", "[ -~]{0,60}")
            .prop_map(|(flags, tag, value)| RecordData::caa(flags, &tag, &value).unwrap()),
        proptest::sample::select(table()),
        proptest::collection::vec(any::<u8>(), 0..60).prop_map(|octets| {
            let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            let content = format!("\\# {} {digits}", octets.len());
            RecordData::parse(RecordType::by_name("TYPE65280").unwrap(), &content).unwrap()
        }),
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
        let flatten = proxied && data.record_type() == RecordType::Cname;
        Record {
            id: RecordId::from_bytes([3; 16]),
            zone: zone().id,
            name,
            data,
            ttl: Ttl::try_from(ttl).unwrap(),
            proxied: proxied && can_be_proxied,
            flatten,
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
    proxied: (bool, bool),
    comment: &Option<String>,
    tags: &[String],
) -> String {
    format!("{name:?} {data:?} {ttl:?} {proxied:?} {comment:?} {tags:?}")
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same_records(records in proptest::collection::vec(record(), 0..20)) {
        let text = write(&zone(), &records);
        let file = parse(&zone_name(), text.as_bytes());
        prop_assert!(file.is_ok(), "{file:?}\n{text}");
        let mut read: Vec<String> = file.unwrap().records.iter().map(|record| {
            essence(&record.name, &record.data, record.ttl, (record.proxied.unwrap_or(false), record.flatten), &record.comment, &record.tags)
        }).collect();
        let mut written: Vec<String> = records.iter()
            .filter(|record| !(record.data.record_type() == RecordType::Ns && record.name == zone_name().apex()))
            .map(|record| essence(&record.name, &record.data, record.ttl, (record.proxied, record.flatten), &record.comment, &record.tags))
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
        text in "((\\$TTL|\\$ORIGIN|@|[a-z.]{0,8}|\"[^\"]{0,9}\"?|\\(|\\)|;|\\\\|IN|[0-9]{1,12}[smhdw]?|A|TXT|MX|SRV|CAA|SOA|NS|HTTPS|LOC|NAPTR|TYPE9|alpn=|N|\\\\#|192\\.0\\.2\\.1)[ \\t\\n]){0,60}"
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
