//! What an attacker asks first must not decide what others get afterwards (cache poisoning, CPDoS), and what a visitor
//! gets must not be there for an attacker (cache deception).
//!
//! The origin says in each answer everything that a careless program might build a page from, and lets caches store it.

use std::{io::Write as _, time::Instant};

use flate2::{Compression, write::GzEncoder};

use super::{
    answers_in, ask, before, open, read_all, read_octets,
    readings::Request,
    recorder::{Recorder, ok},
};
use crate::dev::{DEADLINE, Dev};

/// A word that only attackers say.
const EVIL: &str = "evil";

/// Name, the attacker's request (`^` is the path that the victim will ask for, `~` that path without its slash), and
/// why it is dangerous.
const ATTACKS: &[(&str, &str, &str)] = &[
    ("X-Forwarded-Host", "GET ^ HTTP/1.1\r\nx-forwarded-host: evil.example", "links are built from it"),
    ("X_Forwarded_Host", "GET ^ HTTP/1.1\r\nx_forwarded_host: evil.example", "CGI reads it as the same"),
    ("X-Forwarded_Host", "GET ^ HTTP/1.1\r\nx-forwarded_host: evil.example", "the same, half of it"),
    ("X-Host", "GET ^ HTTP/1.1\r\nx-host: evil.example", "links are built from it"),
    ("X-Original-Host", "GET ^ HTTP/1.1\r\nx-original-host: evil.example", "links are built from it"),
    ("X-Forwarded-Server", "GET ^ HTTP/1.1\r\nx-forwarded-server: evil.example", "links are built from it"),
    ("Forwarded", "GET ^ HTTP/1.1\r\nforwarded: host=evil.example", "links are built from it"),
    ("X-Forwarded-Scheme", "GET ^ HTTP/1.1\r\nx-forwarded-scheme: evil", "a redirect to itself is stored"),
    ("X-Forwarded-Port", "GET ^ HTTP/1.1\r\nx-forwarded-port: evil", "a redirect to a closed port"),
    ("X-Forwarded-Prefix", "GET ^ HTTP/1.1\r\nx-forwarded-prefix: /evil", "links are built from it"),
    ("X-Original-URL", "GET ^ HTTP/1.1\r\nx-original-url: /evil", "another page than the key says"),
    ("X-Rewrite-URL", "GET ^ HTTP/1.1\r\nx-rewrite-url: /evil", "another page than the key says"),
    (
        "X-HTTP-Host-Override",
        "GET ^ HTTP/1.1\r\nx-http-host-override: evil.example",
        "links are built from it",
    ),
    ("X-Original-URI", "GET ^ HTTP/1.1\r\nx-original-uri: /evil", "another page than the key says"),
    ("X-Forwarded-URI", "GET ^ HTTP/1.1\r\nx-forwarded-uri: /evil", "another page than the key says"),
    ("X-Forwarded-Path", "GET ^ HTTP/1.1\r\nx-forwarded-path: /evil", "another page than the key says"),
    ("X-Forwarded-SSL", "GET ^ HTTP/1.1\r\nx-forwarded-ssl: evil", "a redirect to itself is stored"),
    ("Front-End-Https", "GET ^ HTTP/1.1\r\nfront-end-https: evil", "a redirect to itself is stored"),
    ("Front_End_Https", "GET ^ HTTP/1.1\r\nfront_end_https: evil", "CGI reads it as the same"),
    ("X-HTTP-Method-Override", "GET ^ HTTP/1.1\r\nx-http-method-override: evil", "HMO: the error is stored"),
    ("X-HTTP-Method", "GET ^ HTTP/1.1\r\nx-http-method: evil", "HMO: the error is stored"),
    ("X-Method-Override", "GET ^ HTTP/1.1\r\nx-method-override: evil", "HMO: the error is stored"),
    ("X-Forwarded-Proto", "GET ^ HTTP/1.1\r\nx-forwarded-proto: evil", "a redirect to itself is stored"),
    ("X_Forwarded_Proto", "GET ^ HTTP/1.1\r\nx_forwarded_proto: evil", "CGI reads it as the same"),
    ("CF-Visitor", "GET ^ HTTP/1.1\r\ncf-visitor: evil", "only the edge may say it"),
    ("CF_Connecting_IP", "GET ^ HTTP/1.1\r\ncf_connecting_ip: evil", "CGI reads it as the edge's"),
    ("a fat GET", "GET ^ HTTP/1.1\r\ncontent-length: 6\r\n\r\na=evil", "the body decides, the key does not"),
    (
        "a fat GET in chunks",
        "GET ^ HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n6\r\na=evil\r\n0\r\n",
        "the same",
    ),
    (
        "another method",
        "POST ^ HTTP/1.1\r\ncontent-length: 6\r\n\r\na=evil",
        "the answer is that of a GET for some",
    ),
    ("an unknown method", "EVIL ^ HTTP/1.1", "answered as GET by some"),
    ("a range of nothing", "GET ^ HTTP/1.1\r\nrange: bytes=evil", "an error is stored"),
    ("a condition", "GET ^ HTTP/1.1\r\nif-none-match: \"evil\"", "a 304 without content is stored"),
    ("an expectation", "GET ^ HTTP/1.1\r\nexpect: evil", "a 417 is stored"),
    ("a large field", "GET ^ HTTP/1.1\r\nx-large: evil*", "HHO: the origin's refusal is stored"),
    ("a meta character", "GET ^ HTTP/1.1\r\nx-meta: evil\x07", "HMC: the origin's refusal is stored"),
    ("Accept", "GET ^ HTTP/1.1\r\naccept: evil/evil", "a 406 is stored"),
    ("an upgrade", "GET ^ HTTP/1.1\r\nconnection: upgrade\r\nupgrade: evil", "a 426 is stored"),
    ("Host made hop-by-hop", "GET ^ HTTP/1.1\r\nconnection: host, x-evil", "an error is stored"),
    ("a doubled slash", "GET /^?evil HTTP/1.1", "another path"),
    ("a dot segment", "GET /evil/..^ HTTP/1.1", "the same path for some"),
    ("an encoded dot segment", "GET /evil/%2e%2e^ HTTP/1.1", "the same path for some"),
    ("an encoded slash", "GET /evil%2f..^ HTTP/1.1", "the same path for some"),
    ("an encoded backslash", "GET /evil%5c..^ HTTP/1.1", "the same path for some"),
    ("a single dot", "GET /.^?evil HTTP/1.1", "the same path for some"),
    ("encoded NUL", "GET ^%00evil HTTP/1.1", "the path ends there for some"),
    ("encoded hash", "GET ^%23evil HTTP/1.1", "the path ends there for some"),
    ("encoded question mark", "GET ^%3fevil HTTP/1.1", "the path ends there for some"),
    ("a path parameter", "GET ^;evil HTTP/1.1", "left out by some"),
    ("a cloaked parameter", "GET ^?utm=1;a=evil HTTP/1.1", "two parameters for some"),
    ("an encoded letter", "GET /%61ttack~?evil HTTP/1.1", "the same path for some"),
    ("a query of nothing", "GET ^?evil HTTP/1.1", "left out of the key by some"),
    ("upper case", "GET /EVIL^ HTTP/1.1", "the same for some"),
    ("an absolute target", "GET http://www.example.com^?evil HTTP/1.1", "the key of another"),
];

/// Other spellings of the host, in the attacker's request.
const HOSTS: &[(&str, &str)] = &[
    ("www.example.com:1337", "the port gets into links"),
    ("www.example.com:0", "no port"),
    ("www.example.com:", "an empty port"),
    ("www.example.com:80:evil", "two ports"),
    ("www.example.com.", "the name of the root's zone"),
    ("www.example.com@evil.example", "whose host?"),
    ("evil@www.example.com", "whose host?"),
    ("www.example.com/evil", "a path"),
    ("www.example.com evil", "two words"),
    ("www.example.com,evil.example", "a list"),
    ("www.example.com\tevil", "white space"),
    ("evil.example", "another site"),
    ("[::1]", "an address"),
    ("", "none"),
];

/// Everything that was asked, with a validator, for everybody and for an hour.
fn reflecting(request: &Request) -> Vec<u8> {
    let fields: Vec<String> = request.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let body = String::from_utf8_lossy(&request.body);
    let page = format!("{} {} {} {body}", request.method, request.target, fields.join(" "));
    // As servers answer what they do not take: errors without a lifetime, stored by many caches all the same.
    let refused = request.fields.iter().find_map(|(name, value)| match name.as_str() {
        "x-large" if value.len() > 8_000 => Some("400 Bad Request"),
        "accept" if value.contains(EVIL) => Some("406 Not Acceptable"),
        "upgrade" => Some("426 Upgrade Required"),
        _ => None,
    });
    if let Some(status) = refused {
        return format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\n{EVIL}").into_bytes();
    }
    ok("cache-control: public, max-age=3600\r\netag: \"1\"\r\n", &page)
}

fn is_served(answer: &str, path: &str) -> bool {
    answer.starts_with("HTTP/1.1 200") && answers_in(answer) == 1 && answer.contains(&format!("GET {path} "))
}

/// Visitors, one after the other, until one is answered from the cache.
fn visitors_get_their_own(dev: &Dev, path: &str, seen: &str) {
    let begun = Instant::now();
    loop {
        let answer = ask(dev, "GET", path, "");
        assert!(is_served(&answer, path) && !answer.contains(EVIL), "{seen}: {answer}");
        if answer.contains("cf-cache-status: HIT") {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{seen}: nothing is stored: {answer}");
    }
}

#[test]
fn nobody_gets_what_an_attacker_asked_for() {
    let origin = Recorder::start(reflecting);
    let mut dev = before(&origin);
    let large = "x".repeat(20_000);
    for (number, (name, request, why)) in ATTACKS.iter().enumerate() {
        let path = format!("/attack-{number}");
        let request = request.replace('^', &path).replace('~', &format!("-{number}")).replace('*', &large);
        let (head, rest) = request.split_once("\r\n").unwrap_or((&request, ""));
        let attack = format!("{head}\r\nhost: www.example.com\r\nconnection: close\r\n{rest}\r\n\r\n");
        // Twice: what is stored is there for the second.
        for _ in 0..2 {
            read_all(&mut open(&dev, attack.as_bytes()));
        }
        visitors_get_their_own(&dev, &path, &format!("{name} ({why})"));
    }
    for request in origin.requests_after(&mut dev) {
        for field in
            ["x-forwarded-proto", "cf-visitor", "cf-connecting-ip", "x_forwarded_proto", "cf_connecting_ip"]
        {
            let said = request.field(field).unwrap_or_default();
            assert!(!said.contains(EVIL), "{field} is for the edge to say: {request:?}");
        }
    }
}

#[test]
fn other_spellings_of_a_host_poison_nothing() {
    let origin = Recorder::start(reflecting);
    let dev = before(&origin);
    for (number, (host, why)) in HOSTS.iter().enumerate() {
        let path = format!("/host-{number}");
        let attack = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        read_all(&mut open(&dev, attack.as_bytes()));
        for _ in 0..2 {
            let answer = ask(&dev, "GET", &path, "");
            assert!(is_served(&answer, &path), "{host} ({why}): {answer}");
            assert!(answer.contains(" host=www.example.com "), "{host} ({why}): {answer}");
        }
    }
}

#[test]
fn what_is_private_is_not_stored_however_its_path_looks() {
    let origin = Recorder::start(|request| {
        let cookie = request.field("cookie").unwrap_or("nobody");
        let private = format!("the account of {cookie}");
        match request.target.as_str() {
            "/cookie.css" => ok("set-cookie: session=1\r\ncache-control: public, max-age=60\r\n", &private),
            // The origin says nothing: a name that looks static is not enough for what sets cookies.
            "/unsaid.css" => ok("set-cookie: session=1\r\n", &private),
            "/vary.css" => ok("vary: *\r\ncache-control: max-age=60\r\n", &private),
            "/vary-cookie.css" => ok("vary: cookie\r\ncache-control: max-age=60\r\n", &private),
            target if target.starts_with("/private") => {
                ok("cache-control: private, max-age=60\r\n", &private)
            }
            _ => ok("cache-control: no-store\r\n", &private),
        }
    });
    let dev = before(&origin);
    let paths = [
        "/cookie.css",
        "/unsaid.css",
        "/vary.css",
        "/vary-cookie.css",
        "/private/x.css",
        "/private;x.css",
        "/private%00x.css",
        "/private%0ax.css",
        "/private%23x.css",
        "/private%3fx.css",
        "/private/..%2fx.css",
        "/private?x.css",
        "/account/x.css",
        "/account;.css",
        "/static/..%2faccount",
    ];
    for path in paths {
        for _ in 0..2 {
            let own = ask(&dev, "GET", path, "cookie: alice\r\n");
            assert!(own.ends_with("the account of alice"), "{path}: {own}");
        }
        let other = ask(&dev, "GET", path, "");
        assert!(other.ends_with("the account of nobody"), "{path}: {other}");
    }
}

#[test]
fn what_is_authorized_is_for_who_is() {
    let origin = Recorder::start(|request| {
        let who = request.field("authorization").unwrap_or("nobody");
        ok("cache-control: max-age=3600\r\n", &format!("the account of {who}"))
    });
    let dev = before(&origin);
    let own = ask(&dev, "GET", "/account", "authorization: Bearer alice\r\n");
    assert!(own.ends_with("the account of Bearer alice"), "{own}");
    let other = ask(&dev, "GET", "/account", "");
    assert!(other.ends_with("the account of nobody"), "{other}");
}

#[test]
fn a_part_or_an_error_is_not_stored_for_the_whole() {
    let origin = Recorder::start(|request| {
        match request.field("range") {
        // Parts that lie about themselves.
        Some(_) if request.target == "/liar" => {
            b"HTTP/1.1 206 Partial Content\r\ncache-control: max-age=60\r\ncontent-range: bytes 0-3/9\r\n\
              content-length: 4\r\n\r\nevil"
                .to_vec()
        }
        Some(_) => b"HTTP/1.1 416 Range Not Satisfiable\r\ncache-control: max-age=60\r\ncontent-length: 4\r\n\r\nevil"
            .to_vec(),
        None => ok("cache-control: max-age=60\r\n", "the whole"),
    }
    });
    let dev = before(&origin);
    for path in ["/liar", "/refuses"] {
        for range in ["bytes=0-3", "bytes=-4", "bytes=0-0,2-2,4-4", "bytes=99999999-"] {
            ask(&dev, "GET", path, &format!("range: {range}\r\n"));
            let whole = ask(&dev, "GET", path, "");
            assert!(
                whole.starts_with("HTTP/1.1 200") && whole.ends_with("the whole"),
                "{path} {range}: {whole}"
            );
        }
    }
}

#[test]
fn hundreds_of_ranges_make_no_origin_build_hundreds_of_parts() {
    let origin = Recorder::start(|request| match request.field("range") {
        Some(_) => b"HTTP/1.1 206 Partial Content\r\ncontent-type: multipart/byteranges; boundary=b\r\n\
            cache-control: max-age=60\r\ncontent-length: 5\r\n\r\nparts"
            .to_vec(),
        None => ok("cache-control: max-age=60\r\n", "the whole"),
    });
    let mut dev = before(&origin);
    let overlapping = vec!["0-"; 500].join(",");
    // Past the cache, from the origin by way of the cache, and from the cache.
    for fields in ["x-host: a\r\n", "", ""] {
        let answer = ask(&dev, "GET", "/ranges", &format!("{fields}range: bytes={overlapping}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("the whole"), "{answer}");
    }
    let few = ask(&dev, "GET", "/ranges", "x-host: a\r\nrange: bytes=0-0,2-2\r\n");
    assert!(few.ends_with("parts"), "{few}");
    let asked = origin.requests_after(&mut dev);
    let ranges: Vec<_> = asked.iter().filter_map(|request| request.field("range")).collect();
    assert_eq!(ranges, ["bytes=0-0,2-2"]);
}

#[test]
fn a_bomb_that_an_origin_sends_is_passed_on_as_it_is() {
    // Nothing but zeros, and a thousand times as large when it is unpacked.
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![0; 64 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 128 << 10);
    let sent = bomb.clone();
    let origin = Recorder::start(move |_| {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-encoding: gzip\r\ncache-control: max-age=60\r\n\
             content-length: {}\r\n\r\n",
            sent.len()
        );
        [head.into_bytes(), sent.clone()].concat()
    });
    let dev = before(&origin);
    for accepted in ["accept-encoding: gzip\r\n", "accept-encoding: br\r\n", ""] {
        for _ in 0..2 {
            let request =
                format!("GET /bomb HTTP/1.1\r\nhost: www.example.com\r\nconnection: close\r\n{accepted}\r\n");
            let answer = read_octets(&mut open(&dev, request.as_bytes()));
            assert!(answer.ends_with(&bomb), "{accepted}: {} octets", answer.len());
        }
    }
}
