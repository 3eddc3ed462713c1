//! Every type of record: its presentation form, its octets and what it refuses, from a table; and any text whatsoever.

use proptest::prelude::*;
use proxima_model::{OtherType, RecordData, RecordType, limits};

const TABLE: &str = include_str!("record_types.txt");

/// The lines of the table that begin with a word, with their type and their three parts.
fn rows(kind: &str) -> Vec<(RecordType, [&'static str; 3])> {
    let (mut record_type, mut rows) = (RecordType::A, Vec::new());
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("type ") {
            record_type = RecordType::by_name(name).unwrap();
        } else if let Some(row) = line.trim_start().strip_prefix(kind) {
            let parts: Vec<&str> = row.strip_prefix(' ').expect("a blank").split(" => ").collect();
            rows.push((record_type, parts.try_into().expect(line)));
        }
    }
    rows
}

fn other(data: &RecordData) -> Option<&[u8]> {
    match data {
        RecordData::Other(rdata) => Some(rdata.octets()),
        _ => None,
    }
}

#[test]
fn the_table_has_every_type_and_what_is_right_and_wrong_of_it() {
    for kind in ["good", "bad"] {
        let rows = rows(kind);
        let is_there = |wanted: RecordType| rows.iter().any(|(record_type, _)| *record_type == wanted);
        // What nobody makes any more but is read is built as others are.
        let old = ["KX", "MB", "MG", "MINFO", "MR", "PX", "RT"];
        for record_type in RecordType::all().filter(|known| !old.contains(&&*known.name())) {
            assert!(is_there(record_type), "{kind} {record_type}");
        }
    }
}

#[test]
fn data_is_read_written_in_one_form_and_is_the_octets_that_others_make_of_it() {
    for (record_type, [given, form, octets]) in rows("good") {
        let data = RecordData::parse(record_type, given).unwrap_or_else(|error| panic!("{given}: {error}"));
        let form = if form.is_empty() { given } else { form };
        assert_eq!((data.record_type(), data.content().as_str()), (record_type, form));
        assert_eq!(RecordData::parse(record_type, form).unwrap(), data);
        let octets_of_data = other(&data).map(hex);
        assert!(octets_of_data.is_none_or(|of_data| of_data == octets), "{record_type} {given}");
        let generic = format!("\\# {} {octets}", octets.len() / 2);
        assert_eq!(
            RecordData::parse_generic(record_type, &generic).unwrap(),
            data,
            "{record_type} {generic}"
        );
        let json = serde_json::to_string(&data).unwrap();
        assert_eq!(serde_json::from_str::<RecordData>(&json).unwrap(), data);
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn data_that_a_type_does_not_have_is_refused_where_it_is_wrong_and_with_what_to_give() {
    for (record_type, [given, field, words]) in rows("bad") {
        let refusal = RecordData::parse(record_type, given).expect_err(&format!("{record_type} {given}"));
        assert_eq!(refusal.field, field, "{record_type} {given:?}: {refusal}");
        assert!(refusal.problem.contains(words), "{record_type} {given:?}: {refusal}");
        assert!(!refusal.remedy.is_empty() && refusal.problem.len() < 300);
    }
}

#[test]
fn types_that_servers_make_or_that_no_record_has_are_refused_by_name_and_by_number() {
    for (name, words) in [
        ("SOA", "made by the servers"),
        ("RRSIG", "made by the servers"),
        ("nsec", "made by the servers"),
        ("NSEC3", "made by the servers"),
        ("NSEC3PARAM", "made by the servers"),
        ("TYPE6", "SOA is made"),
        ("type46", "RRSIG is made"),
        ("ANY", "of questions or messages"),
        ("TYPE0", "of questions or messages"),
        ("TYPE200", "of questions or messages"),
        ("TYPE65535", "of questions or messages"),
        ("TYPE65536", "not a record type"),
        ("TYPE", "not a record type"),
        ("TYPE+1", "not a record type"),
        ("TYPÉ1", "not a record type"),
        ("WKS", "not a record type"),
    ] {
        let refusal = RecordType::by_name(name).expect_err(name);
        assert!(refusal.field == "type" && refusal.problem.contains(words), "{name}: {refusal}");
    }
    assert_eq!(RecordType::by_name("TYPE1").unwrap(), RecordType::A);
    assert_eq!(RecordType::by_name("type52").unwrap(), RecordType::Other(OtherType::TLSA));
    assert_eq!(RecordType::by_name("TYPE65280").unwrap().name(), "TYPE65280");
}

#[test]
fn data_is_bounded() {
    let unknown = RecordType::by_name("TYPE65280").unwrap();
    let of = |length: usize| RecordData::parse(unknown, &format!("\\# {length} {}", "00".repeat(length)));
    assert_eq!(other(&of(limits::RDATA_OCTETS_MAX).unwrap()).unwrap().len(), limits::RDATA_OCTETS_MAX);
    of(limits::RDATA_OCTETS_MAX + 1).unwrap_err();
    let key = RecordType::Other(OtherType::OPENPGPKEY);
    RecordData::parse(key, &"AAAA".repeat(limits::RDATA_OCTETS_MAX / 3)).unwrap();
    RecordData::parse(key, &"AAAA".repeat(limits::RDATA_OCTETS_MAX / 3 + 1)).unwrap_err();
    RecordData::parse(key, &"A".repeat(limits::RDATA_OCTETS_MAX * 5)).unwrap_err();
    let (tlsa, long) = (RecordType::Other(OtherType::TLSA), "x".repeat(limits::RDATA_OCTETS_MAX));
    assert!(RecordData::parse(tlsa, &long).unwrap_err().problem.len() < 200);
}

#[test]
fn records_of_logs_that_were_written_before_are_read_and_damaged_ones_are_refused_or_shown() {
    let read = |json: &str| serde_json::from_str::<RecordData>(json);
    let former = read(r#"{"type":"MX","priority":10,"exchange":"mail.example.net"}"#).unwrap();
    assert_eq!(former.content(), "10 mail.example.net");
    let kept = read(r#"{"type":"OTHER","code":12,"rdata":"0161016200"}"#).unwrap();
    assert_eq!((kept.record_type().name(), kept.content().as_str()), ("PTR".into(), "a.b"));
    for damaged in ["01610162", "", "ff", "0161c000"] {
        let data = read(&format!(r#"{{"type":"OTHER","code":12,"rdata":"{damaged}"}}"#)).unwrap();
        assert!(data.content().starts_with("\\# "), "{}", data.content());
    }
}

#[test]
fn any_type_and_any_octets_are_read_from_the_log_and_known_for_what_is_not_offered_here() {
    let long = "ff".repeat(limits::RDATA_OCTETS_MAX);
    for code in 0..=u16::MAX {
        let json = format!(r#"{{"type":"OTHER","code":{code},"rdata":"00ff"}}"#);
        let data = serde_json::from_str::<RecordData>(&json).unwrap();
        assert_eq!((data.record_type().code(), other(&data)), (code, Some(&[0, 0xff][..])));
        assert_eq!(serde_json::to_string(&data).unwrap(), json);
        let is_offered = matches!(RecordType::by_code(code), Ok(RecordType::Other(_)));
        assert_eq!(data.is_offered(), is_offered, "{code}");
    }
    for code in RecordType::all().map(RecordType::code).chain([0, 6, 46, 255, 65_280]) {
        for octets in ["", "00", "0161", "0161c000", "ffff", long.as_str()] {
            let json = format!(r#"{{"type":"OTHER","code":{code},"rdata":"{octets}"}}"#);
            let data = serde_json::from_str::<RecordData>(&json).unwrap();
            assert!(!data.content().is_empty() || octets.is_empty(), "{code} {octets:.9}");
            let RecordData::Other(rdata) = &data else { panic!("{code}") };
            assert!(rdata.fields().is_none_or(|fields| fields.len() >= rdata.unshown().len()));
        }
    }
    let longer = format!(r#"{{"type":"OTHER","code":12,"rdata":"{long}00"}}"#);
    serde_json::from_str::<RecordData>(&longer).unwrap_err();
    assert!(RecordData::parse(RecordType::A, "192.0.2.1").unwrap().is_offered());
}

#[test]
fn texts_that_are_not_utf8_are_known() {
    let unshown = |kind: &str, content: &str| {
        let data = RecordData::parse(RecordType::by_name(kind).unwrap(), content).unwrap();
        let RecordData::Other(rdata) = data else { panic!("{kind}") };
        rdata.unshown().into_iter().map(|field| field.name).collect::<Vec<_>>()
    };
    assert_eq!(unshown("HINFO", r#""a\255" "ä""#), ["data.cpu"]);
    assert_eq!(unshown("NAPTR", r#"1 2 "u" "x\195" "!a!\195\164!" ."#), ["data.service"]);
    // 200 octets: the length before a text is none of it.
    assert_eq!(unshown("HINFO", &format!("{} b", "a".repeat(200))), [""; 0]);
    assert_eq!(unshown("TYPE65280", "\\# 1 ff"), [""; 0]);
}

/// Types, and texts that look like data of one of them, or like nothing.
fn anything() -> impl Strategy<Value = (RecordType, String)> {
    let types: Vec<RecordType> = RecordType::all().chain(RecordType::by_name("TYPE65280")).collect();
    let rows: Vec<&str> = rows("good").iter().chain(&rows("bad")).map(|(_, [given, ..])| *given).collect();
    let word = prop_oneof![
        Just("."),
        Just("\\#"),
        Just("\""),
        Just("\\"),
        Just("=\","),
        Just("alpn="),
        Just("mandatory=alpn"),
        Just("N"),
        Just("0"),
        Just("65535"),
        Just("key7="),
    ];
    let text = prop_oneof![
        "\\PC{0,60}",
        "([0-9]{1,5} ){0,5}[0-9a-f]{0,64}",
        "[0-9]{1,3} [a-z.]{0,12}( [a-z0-9-]{1,9}=?\"?[a-z0-9,.:\\\\]{0,9}\"?){0,4}",
        "\\\\# [0-9]{1,2} [0-9a-f ]{0,40}",
        "[0-9]{1,2}( [0-9.]{1,6}){0,3} [NS] [0-9. ]{1,9} [EW]( -?[0-9.]{1,9}m?){0,5}",
        proptest::collection::vec(word, 0..8).prop_map(|words| words.join(" ")),
        (proptest::sample::select(rows), any::<prop::sample::Index>(), any::<char>()).prop_map(
            |(row, at, letter)| {
                let mut letters: Vec<char> = row.chars().collect();
                if !letters.is_empty() {
                    let at = at.index(letters.len());
                    letters[at] = letter;
                }
                letters.into_iter().collect()
            }
        ),
    ];
    (proptest::sample::select(types), text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_text_is_data_that_is_written_and_read_as_the_same_or_refused((record_type, text) in anything()) {
        match RecordData::parse(record_type, &text) {
            Ok(data) => {
                prop_assert_eq!(RecordData::parse(record_type, &data.content()).unwrap(), data.clone());
                let json = serde_json::to_value(&data).unwrap();
                prop_assert_eq!(serde_json::from_value::<RecordData>(json).unwrap(), data.clone());
                if let Some(octets) = other(&data) {
                    let generic = format!("\\# {} {}", octets.len(), hex(octets));
                    prop_assert_eq!(RecordData::parse(record_type, &generic).unwrap(), data);
                }
            }
            Err(refusal) => prop_assert!(!refusal.remedy.is_empty() && refusal.problem.len() < 1_200),
        }
    }

    #[test]
    fn any_octets_are_data_of_a_type_or_refused(
        record_type in proptest::sample::select(RecordType::all().collect::<Vec<_>>()),
        octets in proptest::collection::vec(prop_oneof![any::<u8>(), 0..4_u8], 0..40),
    ) {
        let generic = format!("\\# {} {}", octets.len(), hex(&octets));
        if let Ok(data) = RecordData::parse_generic(record_type, &generic) {
            prop_assert_eq!(RecordData::parse(record_type, &data.content()).unwrap(), data);
        }
    }
}
