//! Records: content in and out, and what may stand beside what.

use proptest::prelude::*;
use proxima_model::{
    Record, RecordData, RecordId, RecordType, Timestamp, Ttl, TxtData, ZoneId, ZoneName, conflict, limits,
};

fn zone() -> ZoneName {
    ZoneName::parse("example.com").unwrap()
}

fn record(id: u8, name: &str, record_type: RecordType, content: &str, proxied: bool) -> Record {
    Record {
        id: RecordId::from_bytes([id; 16]),
        zone: ZoneId::from_bytes([1; 16]),
        name: zone().record_name(name).unwrap(),
        data: RecordData::parse(record_type, content).unwrap(),
        ttl: Ttl::Auto,
        proxied,
        flatten: false,
        comment: None,
        tags: Vec::new(),
        created_at: Timestamp::from_millis(0),
        modified_at: Timestamp::from_millis(0),
    }
}

#[test]
fn content_is_parsed_and_written_in_one_form() {
    use RecordType::{A, Aaaa, Caa, Cname, Mx, Ns, Srv, Txt};
    for (record_type, given, form) in [
        (A, "192.0.2.1", "192.0.2.1"),
        (A, "  192.0.2.1 ", "192.0.2.1"),
        (Aaaa, "2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        (Aaaa, "::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        (Cname, "Target.Example.NET.", "target.example.net"),
        (Cname, "_acme.example.net", "_acme.example.net"),
        (Ns, "ns1.example.net", "ns1.example.net"),
        (Mx, "10 mail.example.net.", "10 mail.example.net"),
        (Mx, "0 .", "0 ."),
        (Srv, "1 2 5060 sip.example.net", "1 2 5060 sip.example.net"),
        (Srv, "0 0 0 .", "0 0 0 ."),
        (Caa, "0 issue \"ca.example\"", "0 issue \"ca.example\""),
        (Caa, "128 ISSUE ca.example; policy=ev", "128 issue \"ca.example; policy=ev\""),
        (Caa, "0 issue \";\"", "0 issue \";\""),
        (Caa, "0 iodef \"mailto:a@example.net\"", "0 iodef \"mailto:a@example.net\""),
        (Txt, "plain text", "\"plain text\""),
        (Txt, "\"one\" \"two\"", "\"one\" \"two\""),
        (Txt, "\"\" \"\\255\"\"\"", "\"\" \"\\255\" \"\""),
        (Txt, "\"a \\\"b\\\" \\\\ \\065\"", "\"a \\\"b\\\" \\\\ A\""),
        (Txt, "\"\\195\\164\"", "\"ä\""),
        (Txt, "tab\there", "\"tab\\009here\""),
        (Txt, "", "\"\""),
    ] {
        let data = RecordData::parse(record_type, given).unwrap_or_else(|error| panic!("{given}: {error}"));
        assert_eq!(data.content(), form, "{record_type} {given}");
        assert_eq!(data.record_type(), record_type);
    }
}

#[test]
fn content_that_a_type_does_not_have_is_refused_with_what_to_give() {
    use RecordType::{A, Aaaa, Caa, Cname, Mx, Ns, Srv, Txt};
    let long = "x".repeat(limits::TXT_OCTETS_MAX + 1);
    for (record_type, given) in [
        (A, ""),
        (A, "192.0.2"),
        (A, "192.0.2.256"),
        (A, "192.0.2.01"),
        (A, "::1"),
        (A, "192.0.2.1 192.0.2.2"),
        (Aaaa, "192.0.2.1"),
        (Aaaa, "2001:db8::1::2"),
        (Aaaa, "fe80::1%eth0"),
        (Cname, ""),
        (Cname, "a b"),
        (Cname, "."),
        (Cname, "*.example.net"),
        (Cname, "a..b"),
        (Ns, "."),
        (Ns, "192.0.2.1 x"),
        (Mx, "mail.example.net"),
        (Mx, "x mail.example.net"),
        (Mx, "65536 mail.example.net"),
        (Mx, "-1 a.example"),
        (Mx, "1 *.a"),
        (Srv, "1 2 sip.example.net"),
        (Srv, "1 2 70000 sip.example.net"),
        (Srv, "1 2 3 a..b"),
        (Caa, "0 issue"),
        (Caa, "256 issue x"),
        (Caa, "0 is-sue x"),
        (Caa, "0 issue \"open"),
        (Caa, "0 issue ä"),
        (Txt, "\"open"),
        (Txt, "\"a\" b"),
        (Txt, "\"\\25\""),
        (Txt, "\"\\256\""),
        (Txt, &long),
    ] {
        let refusal = RecordData::parse(record_type, given).expect_err(&format!("{record_type} {given:.40}"));
        assert!(!refusal.remedy.is_empty() && refusal.problem.len() < 500);
    }
}

#[test]
fn every_type_is_found_by_its_name_and_no_other() {
    for record_type in RecordType::all() {
        assert_eq!(RecordType::by_name(&record_type.name().to_lowercase()).unwrap(), record_type);
    }
    for other in ["", "ANY", "SOA", "A ", "AA"] {
        RecordType::by_name(other).expect_err(other);
    }
}

#[test]
fn a_text_is_cut_into_strings_of_255_octets_only_on_the_wire() {
    let strings = |length: usize| {
        let text = TxtData::try_from("x".repeat(length)).unwrap();
        text.strings().map(<[u8]>::len).collect::<Vec<_>>()
    };
    assert_eq!(strings(0), [0]);
    assert_eq!(strings(255), [255]);
    assert_eq!(strings(256), [255, 1]);
    assert_eq!(strings(limits::TXT_OCTETS_MAX).iter().sum::<usize>(), limits::TXT_OCTETS_MAX);
    // A string may end within a character; what is written is still read as the same text.
    let text = format!("{}ä", "x".repeat(254));
    let data = RecordData::Txt(TxtData::try_from(text).unwrap());
    assert_eq!(RecordData::parse(RecordType::Txt, &data.content()).unwrap(), data);
}

#[test]
fn a_text_keeps_its_strings_in_the_log_and_is_whole_for_a_version_that_knows_of_none() {
    let kept = |content: &str| {
        let data = RecordData::parse(RecordType::Txt, content).unwrap();
        let json = serde_json::to_value(&data).unwrap();
        assert_eq!(serde_json::from_value::<RecordData>(json.clone()).unwrap(), data);
        json
    };
    // What the log has had of texts so far reads and is written as it was.
    assert_eq!(kept("a b"), serde_json::json!({"type": "TXT", "text": "a b"}));
    assert_eq!(kept(&"x".repeat(300))["wire"], serde_json::Value::Null);
    assert_eq!(kept("\"a\" \"b\""), serde_json::json!({"type": "TXT", "text": "ab", "wire": "01610162"}));
    assert_eq!(kept("\"\\255\""), serde_json::json!({"type": "TXT", "text": "\u{fffd}", "wire": "01ff"}));
    let long = kept(&format!("\"{}\"", "\\255".repeat(limits::TXT_OCTETS_MAX)));
    TxtData::try_from(long["text"].as_str().unwrap().to_owned()).expect("as long as texts always could be");
    for wire in ["", "0", "0261", "zz"] {
        let json = serde_json::json!({"type": "TXT", "text": "a", "wire": wire});
        serde_json::from_value::<RecordData>(json).expect_err(wire);
    }
    let most = [1, b'a'].repeat(limits::TXT_OCTETS_MAX);
    assert_eq!(TxtData::of_octets(&most).unwrap().octets().len(), limits::TXT_WIRE_OCTETS_MAX);
    TxtData::of_octets(&[&most[..], &[0]].concat()).expect_err("one string more");
}

#[test]
fn what_may_stand_beside_what() {
    use RecordType::{A, Aaaa, Cname, Mx, Txt};
    let clash = |ours: (&str, RecordType, &str, bool), theirs: (&str, RecordType, &str, bool)| {
        let ours = record(1, ours.0, ours.1, ours.2, ours.3);
        let theirs = record(2, theirs.0, theirs.1, theirs.2, theirs.3);
        let (one, other) = (conflict(&ours, &theirs, &zone()), conflict(&theirs, &ours, &zone()));
        assert_eq!(one.is_some(), other.is_some(), "a clash is one from both sides");
        one.is_some()
    };
    let a = ("www", A, "192.0.2.1", false);
    assert!(!clash(a, ("www", A, "192.0.2.2", false)), "two addresses");
    assert!(!clash(a, ("www", Aaaa, "2001:db8::1", false)), "an address of each kind");
    assert!(!clash(a, ("other", A, "192.0.2.1", false)), "another name");
    assert!(clash(a, ("www", A, "192.0.2.1", true)), "the same twice, proxied or not");
    assert!(clash(a, ("www", Cname, "x.example.net", false)), "an alias beside an address");
    assert!(clash(a, ("www", Cname, "x.example.net", true)), "a flattened alias beside an address");
    let alias = ("www", Cname, "x.example.net", false);
    assert!(clash(alias, ("www", Cname, "y.example.net", false)), "two aliases");
    assert!(clash(alias, ("www", Txt, "text", false)), "an alias beside anything (RFC 1034, 3.6.2)");
    assert!(!clash(("www", Cname, "x.example.net", true), ("www", Txt, "text", false)), "a flattened one");
    assert!(
        !clash(("@", Cname, "x.example.net", false), ("@", Mx, "1 mail.example.net", false)),
        "one at the apex"
    );
    assert!(
        clash(("@", Cname, "x.example.net", false), ("@", A, "192.0.2.1", false)),
        "but not beside an address"
    );
}

#[test]
fn a_record_does_not_clash_with_itself() {
    let former = record(1, "www", RecordType::A, "192.0.2.1", false);
    let next =
        Record { data: RecordData::parse(RecordType::Cname, "x.example.net").unwrap(), ..former.clone() };
    assert_eq!(conflict(&next, &former, &zone()), None);
}

#[test]
fn a_record_by_itself_is_checked() {
    let good = record(1, "www", RecordType::A, "192.0.2.1", true);
    good.check(&zone()).unwrap();
    let other_zone = ZoneName::parse("example.net").unwrap();
    assert_eq!(good.check(&other_zone).unwrap_err().field, "name");
    let proxied_text = record(1, "www", RecordType::Txt, "x", true);
    assert_eq!(proxied_text.check(&zone()).unwrap_err().field, "proxied");
    for (name, is_host) in
        [("_a.b", true), ("*.b", true), ("0/25", false), ("1.0/25", false), ("*.0/25", false)]
    {
        let record = record(1, name, RecordType::A, "192.0.2.1", true);
        assert_eq!(
            record.check(&zone()).err().map(|error| error.field),
            (!is_host).then_some("proxied"),
            "{name}"
        );
        assert!(Record { proxied: false, ..record }.check(&zone()).is_ok(), "{name}");
    }
    let itself = record(1, "www", RecordType::Cname, "www.example.com", false);
    assert_eq!(itself.check(&zone()).unwrap_err().field, "content");
    let place = |name: &str, kind: &str, content: &str| {
        record(1, name, RecordType::by_name(kind).unwrap(), content, false).check(&zone())
    };
    let (ds, key) = (format!("1 13 2 {}", "0a".repeat(32)), "257 3 13 AAAA");
    place("sub", "DS", &ds).unwrap();
    for elsewhere in ["@", "*.sub"] {
        assert_eq!(place(elsewhere, "DS", &ds).unwrap_err().field, "name");
    }
    place("sub", "NS", "ns.example.net").unwrap();
    for wildcard in ["*", "*.sub"] {
        assert_eq!(place(wildcard, "NS", "ns.example.net").unwrap_err().field, "name");
    }
    place("@", "DNSKEY", key).unwrap();
    assert_eq!(place("sub", "DNSKEY", key).unwrap_err().field, "name");
    let long = Record { comment: Some("ä".repeat(limits::TEXT_CHARS_MAX + 1)), ..good.clone() };
    assert_eq!(long.check(&zone()).unwrap_err().field, "comment");
    Record { comment: Some("ä".repeat(limits::TEXT_CHARS_MAX)), ..good.clone() }.check(&zone()).unwrap();
    Record { tags: vec![String::new(); limits::RECORD_TAGS_MAX + 1], ..good }.check(&zone()).unwrap_err();
}

proptest! {
    #[test]
    fn content_that_is_parsed_is_written_and_parsed_as_the_same(
        record_type in proptest::sample::select(RecordType::all().collect::<Vec<_>>()),
        content in "\\PC{0,60}|[0-9. ]{0,20}|[0-9a-f:]{0,20}|[0-9]{1,5} [a-z.]{1,20}|\"[^\"]{0,20}\"|[0-9] (issue|iodef) [ -~]{0,20}",
    ) {
        if let Ok(data) = RecordData::parse(record_type, &content) {
            prop_assert_eq!(RecordData::parse(record_type, &data.content()).unwrap(), data.clone());
            let json = serde_json::to_value(&data).unwrap();
            prop_assert_eq!(serde_json::from_value::<RecordData>(json).unwrap(), data);
        }
    }

    #[test]
    fn any_text_comes_back_from_a_txt_record(text in proptest::collection::vec(any::<char>(), 0..600)) {
        let text: String = text.into_iter().collect();
        if let Ok(text) = TxtData::try_from(text) {
            let data = RecordData::Txt(text);
            prop_assert_eq!(RecordData::parse(RecordType::Txt, &data.content()).unwrap(), data);
        }
    }
}
