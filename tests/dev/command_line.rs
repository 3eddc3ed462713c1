//! What a site's owner does on the command line alone.

use std::net::TcpListener;

use super::{Dev, HOST, Origin};

#[test]
fn a_site_with_an_origin_at_any_port_is_set_up_on_the_command_line_alone() {
    let origin = Origin::start();
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com", "--account", "Proxima"]);
    dev.proxima(&["dns", "add", "example.com", "A", "www", "127.0.0.1", "--proxied"]);
    let port = origin.port().to_string();
    let told = dev.proxima(&["zones", "origin", "example.com", "--port", &port]);
    assert!(told.contains(&format!("port {port}")), "{told}");
    dev.curl_until(&["-sSi", &dev.http_url(HOST, "/page")], "the page /page");
    // The origin speaks no TLS.
    let set = dev.proxima(&["zones", "set", "example.com", "ssl", "flexible"]);
    assert!(set.contains("ssl") && set.contains("flexible"), "{set}");
    dev.curl_until(&["-sSi", &dev.https_url(HOST, "/secure")], "the page /secure");
    let hsts = r#"{"strict_transport_security": {"enabled": true, "max_age": 300}}"#;
    dev.proxima(&["zones", "set", "example.com", "security_header", hsts]);
    dev.curl_until(&["-sSi", &dev.https_url(HOST, "/secure")], "strict-transport-security: max-age=300");
    let settings = dev.proxima(&["zones", "set", "example.com"]);
    assert!(settings.contains("flexible") && settings.contains("min_tls_version"), "{settings}");
}

#[test]
fn an_origin_for_one_host_overrides_the_zones_until_it_is_removed() {
    let origin = Origin::start();
    let dev = Dev::start();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    dev.proxima(&["zones", "add", "example.com"]);
    dev.proxima(&["dns", "add", "example.com", "A", "www", "192.0.2.1", "--proxied"]);
    dev.proxima(&["zones", "origin", "example.com", "--for", HOST, "--port", &closed]);
    let port = origin.port().to_string();
    dev.proxima(&["zones", "origin", "example.com", "--host", "127.0.0.1", "--port", &port]);
    dev.curl_until(&["-sSi", &dev.http_url(HOST, "/page")], "HTTP/1.1 521");
    dev.proxima(&["zones", "origin", "example.com", "--for", HOST, "--remove"]);
    dev.curl_until(&["-sSi", &dev.http_url(HOST, "/page")], "the page /page");
    let gone = dev.proxima_fails(&["zones", "origin", "example.com", "--for", HOST, "--remove"]);
    assert!(gone.contains("has no origin rule"), "{gone}");
}

#[test]
fn origins_that_several_people_set_at_once_are_all_there() {
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    let hosts: Vec<String> = (0..5).map(|number| format!("host-{number}.example.com")).collect();
    let under_way: Vec<_> = hosts
        .iter()
        .map(|host| dev.begin(&["zones", "origin", "example.com", "--for", host, "--port", "8080"]))
        .collect();
    for command in under_way {
        let ended = command.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    let path = format!("/zones/{}/rulesets/phases/http_request_origin/entrypoint", dev.zone("example.com"));
    let (_, answer) = dev.api("GET", &path, None, None);
    let rules = answer["result"]["rules"].to_string();
    for host in hosts {
        assert!(rules.contains(&host), "the rule for {host} is lost: {rules}");
    }
}

#[test]
fn a_record_is_changed_in_place_and_removed_by_its_type() {
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    let set = |content: &str| dev.proxima(&["dns", "set", "example.com", "A", "www", content]);
    let id = set("192.0.2.1");
    assert_eq!(set("192.0.2.2"), id, "the record stays the same one");
    dev.proxima(&["dns", "add", "example.com", "TXT", "www", "\"text\""]);
    let refused = dev.proxima_fails(&["dns", "remove", "example.com", "www"]);
    assert!(refused.contains("(A, TXT)") && refused.contains("--type"), "{refused}");
    dev.proxima(&["dns", "remove", "example.com", "www", "--type", "txt"]);
    let listed = dev.proxima(&["dns", "list", "example.com"]);
    assert!(listed.contains("192.0.2.2") && !listed.contains("192.0.2.1 "), "{listed}");
    assert!(!listed.contains("TXT"), "{listed}");
}

#[test]
fn mistakes_on_the_command_line_are_told_with_what_to_give() {
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    for (command, told) in [
        (&["zones", "set", "example.com", "sll", "off"][..], "there are"),
        (&["zones", "set", "example.com", "ssl", "nonsense"], "ssl"),
        (&["zones", "set", "example.com", "ssl"], "VALUE"),
        (&["zones", "origin", "example.com"], "--host"),
        (&["zones", "origin", "example.com", "--port", "80", "--for", "www.example.org"], "not in the zone"),
        (&["zones", "add", "example.org", "--account", "Nobody's"], "Proxima"),
        (&["explain", "http://example.com/", "-H", "foo"], "give `Name: value`"),
        (&["explain", "http://example.com/", "--account", "Nobody's"], "Proxima"),
    ] {
        let text = dev.proxima_fails(command);
        assert!(text.contains(told), "{command:?} should say {told:?}: {text}");
    }
}

#[test]
fn the_roots_keys_that_a_node_follows_are_shown_without_the_node() {
    let dev = Dev::start();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display().to_string();
    let show = |more: &[&str]| dev.proxima(&[&["root-keys", "--data-dir", &place], more].concat());
    assert!(show(&[]).contains("nothing is followed"), "{}", show(&[]));
    let file = folder.path().join("root-anchors");
    let kept = include_str!("../../fuzz/seeds/root_anchors/followed");
    std::fs::write(&file, kept).unwrap();
    let told = show(&[]);
    let rows: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows[0].concat().contains("2027-01-15T08:00:00"), "{told}");
    assert_eq!(rows[2][..4], ["20326", "8", "valid", "yes"], "{told}");
    assert!(rows[2][4].starts_with("2023-11-14T22:13:20") && rows[2][5] == "-", "{told}");
    assert_eq!(rows[3][..4], ["38696", "8", "pending", "no"], "{told}");
    assert!(
        rows[3][4].starts_with("2027-01-03T18:13:20") && rows[3][5].starts_with("2027-02-02T18:13:20"),
        "{told}"
    );
    let json: serde_json::Value = serde_json::from_str(&show(&["--json"])).unwrap();
    assert_eq!((&json["keys"][1]["key_tag"], &json["keys"][1]["trusted"]), (&38_696.into(), &false.into()));
    assert!(json["keys"][1]["held_until"].as_str().unwrap().starts_with("2027-02-02"), "{json}");
    // What is damaged is not believed, and left as it is.
    std::fs::write(&file, &kept[..kept.len() - 9]).unwrap();
    let refused = dev.proxima_fails(&["root-keys", "--data-dir", &place]);
    assert!(refused.contains("damaged") && refused.contains(&place), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), kept[..kept.len() - 9]);
    let both = dev.proxima_fails(&["root-keys", "--data-dir", &place, "--config", "x.toml"]);
    assert!(both.contains("cannot be used with"), "{both}");
}
