//! Zone files in and out.

use reqwest::{Method, multipart::Form};
use serde_json::{Value, json};

use crate::harness::Node;

async fn import(node: &Node, zone: &str, form: Form) -> (u16, Value) {
    let request = node.request(Method::POST, &format!("/zones/{zone}/dns_records/import"));
    let response = request.bearer_auth(&node.token).multipart(form).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn export(node: &Node, zone: &str) -> String {
    let request = node.request(Method::GET, &format!("/zones/{zone}/dns_records/export"));
    request.bearer_auth(&node.token).send().await.unwrap().text().await.unwrap()
}

fn file(text: &str) -> Form {
    Form::new().part("file", reqwest::multipart::Part::text(text.to_owned()).file_name("zone.txt"))
}

const FILE: &str = r#"
$ORIGIN example.com.
$TTL 1h
@       IN SOA ns1.old.example. host.old.example. ( 2024010101 ; serial
                7200 3600 1209600 3600 )
        IN NS  ns1.old.example.
@    300   A   192.0.2.1
www        A   192.0.2.1
        AAAA 2001:db8::1
blog IN 60 CNAME www
@       MX 10 mail
mail    A 192.0.2.25
@       TXT "v=spf1 mx" " -all"
long    TXT ( "first part; "
              "second \"part\"" )
_sip._tcp SRV 1 2 5060 sip.other.example.
sub     NS ns1.sub
ns1.sub A 192.0.2.53
@       CAA 0 issue "ca.example"
*.wild  A 192.0.2.7
sub     DS 2371 13 2 ( 0123456789abcdef0123456789abcdef
                       0123456789abcdef0123456789abcdef )
@       DNSKEY 256 3 13 AAAA
4.3     PTR host
_443._tcp TLSA 3 0 0 aa
@       HTTPS 1 . alpn="h3,h2"
_8443._foo SVCB 1 server port=8443
@       LOC 51 30 12.748 N 0 7 39.611 W 0m
n       NAPTR 1 2 "u" "E2U+sip" "!^.*$!sip:a@example.com!" .
_http._tcp URI 10 1 "https://www.example.com/"
k       OPENPGPKEY AAAA
s       SSHFP 1 1 0123456789abcdef0123456789abcdef01234567
c       CERT PKIX 0 0 AAAA
m       SMIMEA 3 0 0 aa
o       TYPE65280 \# 3 abcdef
"#;

#[tokio::test]
async fn a_zone_file_is_imported_exported_and_imported_again_to_the_same_records() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let (status, envelope) = import(&node, &zone, file(FILE)).await;
    assert_eq!(status, 200, "{envelope}");
    assert_eq!(envelope["result"], json!({"recs_added": 27, "total_records_parsed": 27}));
    let (_, envelope) = import(&node, &zone, file(FILE)).await;
    assert_eq!(
        envelope["result"],
        json!({"recs_added": 0, "total_records_parsed": 27}),
        "what is there is not added"
    );
    let odd = json!({"type": "A", "name": "odd", "content": "192.0.2.8", "proxied": true, "comment": "a;\n\"b\" cf_tags=x", "tags": ["k:v w"]});
    node.ok("POST", &format!("/zones/{zone}/dns_records"), Some(odd)).await;

    let exported = export(&node, &zone).await;
    let before = shown(&node, &zone).await;
    assert_eq!(before.len(), 28);
    node.ok("DELETE", &format!("/zones/{zone}"), None).await;
    let zone = node.zone("example.com").await;
    let (status, envelope) = import(&node, &zone, file(&exported)).await;
    assert_eq!(status, 200, "{envelope}\n{exported}");
    assert_eq!(shown(&node, &zone).await, before);
}

/// Everything that a record says, without what differs between two that say the same.
async fn shown(node: &Node, zone: &str) -> Vec<Value> {
    let records = node.ok("GET", &format!("/zones/{zone}/dns_records?per_page=5000&order=name"), None).await;
    let mut records = records.as_array().unwrap().clone();
    for record in &mut records {
        for field in ["id", "zone_id", "created_on", "modified_on"] {
            record.as_object_mut().unwrap().remove(field);
        }
    }
    records
}

#[tokio::test]
async fn every_bad_line_is_named_and_nothing_is_imported_by_halves() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let bad = "good A 192.0.2.1\nbad1 A 192.0.2.256\nbad2 WKS x\nbad3 CNAME a b\n$INCLUDE other\nbad5.example.net. A 192.0.2.1\nopen TXT \"x\ngood CNAME other\n";
    let (status, envelope) = import(&node, &zone, file(bad)).await;
    assert_eq!(status, 400);
    let messages: Vec<_> = envelope["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["message"].as_str().unwrap())
        .collect();
    for (index, line) in [2, 3, 4, 5, 6, 7].iter().enumerate() {
        assert!(messages[index].starts_with(&format!("line {line}: ")), "{messages:#?}");
    }
    let (status, envelope) = import(&node, &zone, file("good A 192.0.2.1\ngood CNAME other\n")).await;
    assert_eq!(status, 400, "a clash within the file");
    assert!(envelope["errors"][0]["message"].as_str().unwrap().starts_with("line 2: "), "{envelope}");
    let ds = format!("a A 192.0.2.1\nsub DS 1 13 2 {}\n", "0a".repeat(32));
    let (status, envelope) = import(&node, &zone, file(&ds)).await;
    assert_eq!(status, 400, "how a zone is signed that does not begin");
    assert!(envelope["errors"][0]["message"].as_str().unwrap().starts_with("line 2: "), "{envelope}");
    assert_eq!(node.ok("GET", &format!("/zones/{zone}/dns_records"), None).await, json!([]));
}

#[tokio::test]
async fn proxied_is_taken_for_what_can_be_proxied() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let form = file("@ 600 A 192.0.2.1\n@ TXT text\n").text("proxied", "true");
    assert_eq!(import(&node, &zone, form).await.0, 200);
    let records = shown(&node, &zone).await;
    let of = |record_type: &str| records.iter().find(|record| record["type"] == record_type).unwrap();
    assert_eq!((&of("A")["proxied"], &of("A")["ttl"]), (&json!(true), &json!(1)));
    assert_eq!(of("TXT")["proxied"], false);
    let form = file("0/25 600 AAAA 2001:db8::1\n").text("proxied", "true");
    assert_eq!(import(&node, &zone, form).await.0, 200);
    let records = shown(&node, &zone).await;
    let block = records.iter().find(|record| record["type"] == "AAAA").unwrap();
    assert_eq!((&block["proxied"], &block["ttl"]), (&json!(false), &json!(600)), "no host is called so");
}

#[tokio::test]
async fn a_file_of_some_megabytes_is_taken() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let large = format!("{}@ A 192.0.2.1\n", "; comment\n".repeat(300_000));
    let (status, envelope) = import(&node, &zone, file(&large)).await;
    assert_eq!((status, &envelope["result"]["recs_added"]), (200, &json!(1)), "{envelope}");
}

#[tokio::test]
async fn what_is_no_upload_is_refused() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    assert_eq!(import(&node, &zone, Form::new().text("other", "x")).await.0, 400);
    assert_eq!(import(&node, &zone, file("x").text("proxied", "maybe")).await.0, 400);
    let path = format!("/zones/{zone}/dns_records/import");
    assert_eq!(node.refused("POST", &path, Some(json!({}))).await, (415, 6007));
    let long = "; long\n".repeat(3 << 20);
    let (status, envelope) = import(&node, &zone, file(&long)).await;
    assert_eq!((status, &envelope["errors"][0]["code"]), (413, &json!(7002)), "{envelope}");
}
