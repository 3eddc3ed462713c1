//! Zones come from servers of other brands, and from one that means no good.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    dev::{DEADLINE, Dev},
    process::free_for_both,
    transfers::{KEY, Other, SECRET, free_at_loopback, id, of_account, ok, peers},
};

pub(crate) const ZONE: &str = "example.org";

/// A zone file of this serial, whose timers let it expire soon.
fn file(serial: u32, more: &str) -> String {
    format!(
        "$ORIGIN {ZONE}.\n$TTL 7\n@ SOA ns.elsewhere.test. mail.elsewhere.test. {serial} 10 5 15 60\n\
         @ NS ns.elsewhere.test.\n@ MX 10 mail\nwww A 192.0.2.1\n*.wild TXT \"any\" \"thing\"\nold CNAME www\n\
         sub NS ns.sub\nns.sub A 192.0.2.53\nodd TYPE65280 \\# 3 abcdef\nalias DNAME example.net.\nb\\032b TXT \"x\"\n{more}"
    )
}

/// Makes the zone here, from these primaries; the path of its configuration.
pub(crate) fn secondary(dev: &Dev, primaries: &[String]) -> String {
    let made = ok(dev, "POST", "/zones", json!({ "name": ZONE, "type": "secondary" }));
    assert_eq!(made["type"], "secondary");
    let path = format!("/zones/{}/secondary_dns/incoming", id(&made));
    let body = json!({ "name": format!("{ZONE}."), "peers": primaries, "auto_refresh_seconds": 86_400 });
    ok(dev, "POST", &path, body);
    path
}

fn until(dev: &Dev, question: &[&str], wanted: &str) -> String {
    let begun = Instant::now();
    loop {
        let told = dev.dig(question);
        if told.contains(wanted) {
            return told;
        }
        assert!(begun.elapsed() < DEADLINE, "{question:?} has no {wanted}: {told}");
    }
}

/// Waits until the API shows this.
pub(crate) fn shows(dev: &Dev, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let (_, answer) = dev.api("GET", path, None, None);
        if wanted(&answer["result"]) {
            return answer["result"].clone();
        }
        assert!(begun.elapsed() < DEADLINE, "{answer}");
    }
}

#[test]
fn a_zone_comes_from_knot_follows_its_changes_and_expires_when_it_has_gone() {
    let dev = Dev::start();
    let at = free_for_both();
    let zones = tempfile::tempdir().unwrap();
    let zone_file = zones.path().join("zone");
    std::fs::write(&zone_file, file(5, "")).unwrap();
    let knot = Other::primary_knot(at, &dev, ZONE, &zone_file);
    let primaries = peers(&dev, &[at]);
    let body = json!({ "name": "knot", "ip": at.ip(), "port": at.port(), "ixfr_enable": true,
        "tsig_id": tsig_of(&dev) });
    ok(&dev, "PUT", &format!("{}/{}", of_account(&dev, "peers"), primaries[0]), body);
    let path = secondary(&dev, &primaries);
    until(&dev, &["www.example.org", "A"], "192.0.2.1");
    for (question, wanted) in [
        (["example.org", "SOA"], "ns.elsewhere.test. mail.elsewhere.test. 5 10 5 15 60"),
        (["example.org", "NS"], "ns.elsewhere.test."),
        (["www.example.org", "A"], "\t7\tIN\tA\t192.0.2.1"),
        (["x.wild.example.org", "TXT"], "\"any\" \"thing\""),
        (["old.example.org", "A"], "CNAME\twww.example.org."),
        (["host.sub.example.org", "A"], "AUTHORITY: 1"),
        (["odd.example.org", "TYPE65280"], "ABCDEF"),
        (["alias.example.org", "DNAME"], "DNAME\texample.net."),
        (["a.alias.example.org", "A"], "CNAME\ta.example.net."),
        (["b\\032b.example.org", "TXT"], "status: NXDOMAIN"),
    ] {
        assert!(dev.dig(&question).contains(wanted), "{question:?}: {}", dev.dig(&question));
    }
    let shown = shows(&dev, &path, |shown| shown["soa_serial"] == 5);
    assert_eq!(
        (&shown["left_out"], &shown["failure"], &shown["expired"]),
        (&json!(1), &json!(null), &json!(false))
    );

    // Its records can be read here, and changed at the primary only.
    let records = format!("/zones/{}/dns_records", dev.zone(ZONE));
    let (_, listed) = dev.api("GET", &format!("{records}?name=www.{ZONE}"), None, None);
    assert_eq!(
        (&listed["result"][0]["content"], &listed["result"][0]["ttl"]),
        (&json!("192.0.2.1"), &json!(7))
    );
    let one = format!("{records}/{}", id(&listed["result"][0]));
    let (code, _) = dev.api("DELETE", &one, None, None);
    assert_eq!(code, "400");
    let body = json!({ "type": "A", "name": "new", "content": "192.0.2.2" });
    assert_eq!(dev.api("POST", &records, Some(&body), None).0, "400");

    // Told by the primary; by differences, since it has them.
    std::fs::write(&zone_file, file(6, "new A 192.0.2.6\n").replace("old CNAME www\n", "")).unwrap();
    knot.reload();
    until(&dev, &["new.example.org", "A"], "192.0.2.6");
    assert!(dev.dig(&["old.example.org", "A"]).contains("status: NXDOMAIN"));
    shows(&dev, &path, |shown| shown["soa_serial"] == 6);
    drop(knot);
    let told = until(&dev, &["www.example.org", "A"], "status: SERVFAIL");
    assert!(told.contains("EDE: 24"), "{told}");
    let shown = shows(&dev, &path, |shown| shown["expired"] == true);
    assert!(shown["failure"]["message"].as_str().unwrap().contains("connecting"), "{shown}");
}

/// The id of the key that [`peers`] made.
fn tsig_of(dev: &Dev) -> String {
    let (_, answer) = dev.api("GET", &of_account(dev, "tsigs"), None, None);
    id(&answer["result"][0])
}

#[test]
fn a_zone_comes_from_nsd_and_bind_by_the_right_key_and_by_no_other() {
    let dev = Dev::start();
    let at = [free_for_both(), free_at_loopback()];
    let zones = tempfile::tempdir().unwrap();
    let zone_file = zones.path().join("zone");
    // As many as take several messages, and more than one append.
    let many: String =
        (0..6_000).map(|number| format!("host-{number} A 192.0.2.{}\n", number % 250)).collect();
    std::fs::write(&zone_file, file(5, &many)).unwrap();
    let nsd = Other::nsd(
        at[0],
        &format!(
            "zone:\n  name: {ZONE}\n  zonefile: {}\n  provide-xfr: 127.0.0.0/8 {KEY}\n",
            zone_file.display()
        ),
    );
    let bind = Other::bind(
        at[1],
        &format!(
            "zone {ZONE} {{ type primary; file \"{}\"; allow-transfer {{ key {KEY}; }}; }};\n",
            zone_file.display()
        ),
    );
    for other in [&nsd, &bind] {
        other.until(&[ZONE, "SOA"], "elsewhere");
    }
    let primaries = peers(&dev, &at);
    for primary in &primaries {
        let path = secondary(&dev, std::slice::from_ref(primary));
        until(&dev, &["host-5999.example.org", "A"], "192.0.2.249");
        let shown = shows(&dev, &path, |shown| shown["soa_serial"] == 5);
        assert_eq!(shown["left_out"], 1);
        let (code, _) = dev.api("DELETE", &format!("/zones/{}", dev.zone(ZONE)), None, None);
        assert_eq!(code, "200");
    }
    let key = json!({ "name": KEY, "algo": "hmac-sha256.", "secret": format!("AAAA{}", &SECRET[4..]) });
    ok(&dev, "PUT", &format!("{}/{}", of_account(&dev, "tsigs"), tsig_of(&dev)), key);
    let path = secondary(&dev, &primaries);
    let shown = shows(&dev, &path, |shown| shown["failure"] != json!(null));
    assert!(shown["failure"]["message"].as_str().unwrap().contains("BadSig"), "{shown}");
    let told = dev.dig(&["www.example.org", "A"]);
    assert!(told.contains("status: SERVFAIL") && told.contains("EDE: 24"), "{told}");
}

/// What a primary of the test's own does when it is asked for the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Right,
    CutOff,
    Garbage,
    Endless,
    OtherSerial,
    Outside,
    /// Thousands of records of one name.
    Crowded,
    Refused,
}

fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> =
        labels.flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat()).collect();
    wire.push(0);
    wire
}

fn record(owner: &str, rtype: u16, data: &[u8]) -> Vec<u8> {
    let numbers = [rtype, 1, 0, 60, u16::try_from(data.len()).unwrap()].map(u16::to_be_bytes).concat();
    [name(owner), numbers, data.to_vec()].concat()
}

fn soa(serial: u32) -> Vec<u8> {
    let numbers = [serial, 3_600, 600, 86_400, 60].map(u32::to_be_bytes).concat();
    record(ZONE, 6, &[name("ns.elsewhere.test"), name("mail.elsewhere.test"), numbers].concat())
}

/// A message with these records in answer to a question.
fn answer(question: &[u8], rcode: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(records.len()).unwrap().to_be_bytes();
    let end = 12 + name(ZONE).len() + 4;
    let mut message = [&question[..2], &[0x84, rcode, 0, 1], &count, &[0; 4], &question[12..end]].concat();
    message.extend(records.concat());
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
}

fn serve(stream: &mut TcpStream, way: Way, serial: u32) -> std::io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut question)?;
        let asked = question[12 + name(ZONE).len() + 1];
        let host = |owner: &str| record(owner, 1, &[192, 0, 2, u8::try_from(serial).unwrap()]);
        let www = format!("www.{ZONE}");
        if asked == 6 {
            stream.write_all(&answer(&question, 0, &[soa(serial)]))?;
            continue;
        }
        let whole = match way {
            Way::Right => [soa(serial), host(&www), soa(serial)],
            Way::CutOff => {
                stream.write_all(&answer(&question, 0, &[soa(serial), host(&www)]))?;
                return Ok(());
            }
            Way::Garbage => {
                // Counts that are not so, and a name that leads to itself.
                let message =
                    [&question[..2], &[0x84, 0], &[255; 8], &[192, 12, 192, 12, 0, 0, 0, 0]].concat();
                return stream.write_all(&[&[0, 20][..], &message].concat());
            }
            Way::Endless => {
                let many: Vec<_> = (0..500).map(|_| host(&www)).collect();
                stream.write_all(&answer(&question, 0, &[soa(serial)]))?;
                loop {
                    stream.write_all(&answer(&question, 0, &many))?;
                }
            }
            Way::Crowded => {
                stream.write_all(&answer(&question, 0, &[soa(serial)]))?;
                let addresses =
                    (0..5_000_u32).map(|number| record(&www, 1, &(10 << 24 | number).to_be_bytes()));
                for some in addresses.collect::<Vec<_>>().chunks(1_000) {
                    stream.write_all(&answer(&question, 0, some))?;
                }
                stream.write_all(&answer(&question, 0, &[soa(serial)]))?;
                continue;
            }
            Way::OtherSerial => [soa(serial), host(&www), soa(serial + 1)],
            Way::Outside => [soa(serial), host("www.example.net"), soa(serial)],
            Way::Refused => {
                stream.write_all(&answer(&question, 5, &[]))?;
                continue;
            }
        };
        stream.write_all(&answer(&question, 0, &whole))?;
    }
}

/// A primary that does as it is told; where it is, and what to tell it.
fn primary() -> (SocketAddr, Arc<Mutex<(Way, u32)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, told) = (listener.local_addr().unwrap(), Arc::new(Mutex::new((Way::Refused, 1))));
    let does = told.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (way, serial) = *does.lock().unwrap();
            std::thread::spawn(move || stream.and_then(|mut stream| serve(&mut stream, way, serial)).ok());
        }
    });
    (address, told)
}

#[test]
fn a_primary_that_means_no_good_changes_nothing() {
    let dev = Dev::start();
    let (at, told) = primary();
    let body = json!({ "name": "bad", "ip": at.ip(), "port": at.port() });
    let peer = id(&ok(&dev, "POST", &of_account(&dev, "peers"), body));
    let path = secondary(&dev, &[peer]);
    let force = path.replace("incoming", "force_axfr");
    shows(&dev, &path, |shown| shown["failure"]["message"] == "the primary answers REFUSED");
    *told.lock().unwrap() = (Way::Right, 1);
    ok(&dev, "POST", &force, json!({}));
    until(&dev, &["www.example.org", "A"], "192.0.2.1");
    for (serial, way, why) in [
        (2, Way::CutOff, "breaks off"),
        (3, Way::Garbage, "cannot be read"),
        (4, Way::OtherSerial, "serial 5"),
        (6, Way::Outside, "not of this zone"),
        (7, Way::Crowded, "www.example.org has more than 4096 records"),
        (8, Way::Refused, "REFUSED"),
        (9, Way::Endless, "too large"),
    ] {
        *told.lock().unwrap() = (way, serial);
        ok(&dev, "POST", &force, json!({}));
        let says =
            |shown: &Value| shown["failure"]["message"].as_str().is_some_and(|told| told.contains(why));
        shows(&dev, &path, says);
        let answer = dev.dig(&["www.example.org", "A"]);
        assert!(
            answer.contains("192.0.2.1") && !dev.dig(&["www.example.net", "A"]).contains("NOERROR"),
            "{way:?}: {answer}"
        );
        assert!(dev.dig(&[ZONE, "SOA"]).contains("mail.elsewhere.test. 1 3600"), "{way:?}");
    }
    *told.lock().unwrap() = (Way::Right, 10);
    ok(&dev, "POST", &force, json!({}));
    until(&dev, &["www.example.org", "A"], "192.0.2.10");
    shows(&dev, &path, |shown| shown["failure"] == json!(null));
    // Nobody else may say that it has changed.
    let socket = std::net::UdpSocket::bind("127.0.0.2:0").unwrap();
    let numbers = [7_u16, 4 << 11 | 1 << 10, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    for (zone, expected) in [(ZONE, 5), ("example.net", 9)] {
        let notify = [numbers.clone(), name(zone), vec![0, 6, 0, 1]].concat();
        socket.send_to(&notify, dev.dns()).unwrap();
        let mut buffer = [0; 512];
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.recv(&mut buffer).unwrap();
        assert_eq!((buffer[2], buffer[3]), (0xa4, expected), "{zone}");
    }
}
