//! Records of every type, from the API to clients that people know, and through zone files and back.

use std::process::Command;

use serde_json::{Value, json};

use crate::{dev::Dev, process::output};

/// What the model's table has first of each type: the type, the content that is given, and its octets.
fn table() -> Vec<(&'static str, &'static str, &'static str)> {
    let (mut kind, mut rows) = ("", Vec::<(&str, &str, &str)>::new());
    for line in include_str!("../../core/model/tests/nouns/record_types.txt").lines() {
        kind = line.strip_prefix("type ").unwrap_or(kind);
        let Some(row) = line.strip_prefix("  good ") else { continue };
        let [given, _, octets] = row.split(" => ").collect::<Vec<_>>().try_into().unwrap();
        if rows.last().is_none_or(|(last, ..)| *last != kind) {
            rows.push((kind, given, octets));
        }
    }
    rows
}

/// Where a record of a type can stand beside none of the others.
fn name_for(kind: &str) -> String {
    match kind {
        "DNSKEY" | "CDS" | "CDNSKEY" => "@".to_owned(),
        "NS" => "ds".to_owned(),
        _ => kind.to_lowercase(),
    }
}

/// Everything that the records of a zone say.
fn records(dev: &Dev, zone: &str) -> Vec<Value> {
    let path = format!("/zones/{}/dns_records?per_page=5000&order=name", dev.zone(zone));
    let (_, mut answer) = dev.api("GET", &path, None, None);
    let records = answer["result"].as_array_mut().unwrap();
    for record in &mut *records {
        for field in ["id", "zone_id", "created_on", "modified_on"] {
            record.as_object_mut().unwrap().remove(field);
        }
    }
    std::mem::take(records)
}

#[test]
fn a_record_of_every_type_is_made_by_the_api_read_by_dig_and_kdig_and_comes_back_from_a_zone_file() {
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    let path = format!("/zones/{}/dns_records", dev.zone("example.com"));
    let rows = table();
    // A name is delegated before it is said how it is signed.
    let (servers, others): (Vec<_>, Vec<_>) = rows.iter().copied().partition(|(kind, ..)| *kind == "NS");
    for (kind, given, octets) in servers.into_iter().chain(others) {
        let name = name_for(kind);
        let body = json!({ "type": kind, "name": name, "content": given });
        let (status, answer) = dev.api("POST", &path, Some(&body), None);
        assert_eq!(status, "200", "{kind}: {answer}");
        let fields = ["type", "name", "content", "data", "priority"];
        let shown: serde_json::Map<String, Value> = fields
            .iter()
            .filter_map(|field| Some(((*field).to_owned(), answer["result"].get(*field)?.clone())))
            .collect();
        let id = answer["result"]["id"].as_str().unwrap();
        let (status, again) = dev.api("PUT", &format!("{path}/{id}"), Some(&Value::Object(shown)), None);
        assert_eq!(
            (status.as_str(), &again["result"]["content"]),
            ("200", &answer["result"]["content"]),
            "{kind}: {again}"
        );

        if kind == "NS" {
            continue;
        }
        let owner = if name == "@" { "example.com".to_owned() } else { format!("{name}.example.com") };
        let told = dev.dig(&["+short", "+unknownformat", &owner, kind]);
        assert_eq!(octets_of(&told), octets, "{kind} {told}");
        let (ip, port) = (dev.dns().ip().to_string(), dev.dns().port().to_string());
        let mut kdig = Command::new("kdig");
        let (_, told) =
            output(kdig.arg(format!("@{ip}")).args(["-p", &port, "+short", "+generic", &owner, kind]));
        assert_eq!(octets_of(&told), octets, "{kind} {told}");
    }

    dev.proxima(&["dns", "add", "example.com", "A", "shop", "192.0.2.2", "--proxied"]);

    let before = records(&dev, "example.com");
    assert_eq!(before.len(), rows.len() + 1);
    let file = dev.data().join("zone");
    std::fs::write(&file, dev.proxima(&["dns", "export", "example.com"])).unwrap();
    for (name, kind) in
        [("ds", "DS"), ("shop", "A"), ("@", "DNSKEY"), ("loc", "LOC"), ("type65280", "TYPE65280")]
    {
        dev.proxima(&["dns", "remove", "example.com", name, "--type", kind]);
    }
    assert_eq!(dev.proxima(&["dns", "import", "example.com", file.to_str().unwrap()]), "imported 5\n");
    assert_eq!(records(&dev, "example.com"), before);
}

/// The octets of `\\# LENGTH DIGITS…`.
fn octets_of(generic: &str) -> String {
    let mut words = generic.split_ascii_whitespace();
    assert_eq!(words.next(), Some("\\#"), "{generic}");
    let length: usize = words.next().unwrap().parse().unwrap();
    let digits: String = words.collect();
    assert_eq!(digits.len(), length * 2, "{generic}");
    digits.to_lowercase()
}
