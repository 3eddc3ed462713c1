//! Hits that are answered at a glance, through all stages of the real program: no client can tell.

use crate::{
    HOST,
    dev::Dev,
    origin::{Origin, TEXT},
    with_site,
};

/// A protocol, as curl knows it, in clear and by TLS; and with what, to the same effect, a request has to be taken apart: it is
/// meant for the connection alone.
struct Spoken {
    clear: &'static str,
    tls: &'static str,
    long_way: &'static [&'static str],
}

const HTTP1: Spoken = Spoken { clear: "--http1.1", tls: "--http1.1", long_way: &["-H", "keep-alive: 1"] };
const HTTP2: Spoken =
    Spoken { clear: "--http2-prior-knowledge", tls: "--http2", long_way: &["-H", "te: trailers"] };

impl Spoken {
    fn by(&self, url: &str) -> &'static str {
        if url.starts_with("https") { self.tls } else { self.clear }
    }
}

/// The lines of a hit's head, in order of their texts and without those that differ from hit to hit; and its content. Which way
/// it went shows in the order in which they came: what lies ready comes before the age, and by the long way the length is last.
fn hit(dev: &Dev, spoken: &Spoken, url: &str, more: &[&str]) -> (Vec<String>, String) {
    let answer = dev.curl(&[&["-sSi", spoken.by(url), url], more].concat());
    let (head, content) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    assert!(head.contains("cf-cache-status: HIT"), "{head}");
    assert!(head.contains("\r\nage: ") && head.contains("\r\ncf-ray: "), "{head}");
    let at = |line: &str| head.find(line).unwrap_or_else(|| panic!("{line:?} is not in {head}"));
    let was_short = at("\r\ncontent-length: ") < at("\r\nage: ");
    assert_eq!(was_short, !more.ends_with(spoken.long_way), "{more:?}: {head}");
    let lines = head.lines().filter(|line| !line.starts_with("age: ") && !line.starts_with("cf-ray: "));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.sort();
    (lines, content.to_owned())
}

#[test]
fn a_hit_is_the_same_by_the_short_way_and_by_the_long_one() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let hsts = r#"{"strict_transport_security": {"enabled": true, "max_age": 600, "nosniff": true}}"#;
    let requests: &[&[&str]] = &[
        &[],
        &["-A", "a browser", "-e", "https://example.org/", "-b", "a=b", "-H", "accept-language: de"],
        &["--compressed", "-H", "accept-encoding: gzip"],
        &["--compressed", "-H", "accept-encoding: br;q=0.5, zstd;q=0.1"],
        &["-H", "accept-encoding: identity"],
    ];
    for changed in [None, Some(("security_header", hsts)), Some(("http3", "off"))] {
        if let Some((setting, value)) = changed {
            dev.proxima(&["zones", "set", "example.com", setting, value]);
        }
        let secure = dev.https_url(HOST, "/text");
        match changed {
            None => {}
            Some(("http3", _)) => while dev.curl(&["-sSi", "--http1.1", &secure]).contains("alt-svc: ") {},
            Some(_) => drop(dev.curl_until(&["-sSi", &secure], "strict-transport-security: max-age=600")),
        }
        for url in [dev.http_url(HOST, "/text"), secure.clone()] {
            dev.curl(&["-sS", &url]);
            for request in requests {
                // A form is encoded for the first who wants it; and what is hit first is offered to the disk.
                dev.curl(&[&["-sS", "--http1.1", &url], *request].concat());
                for spoken in [&HTTP1, &HTTP2] {
                    let long = hit(&dev, spoken, &url, &[request, spoken.long_way].concat());
                    let short = hit(&dev, spoken, &url, request);
                    assert_eq!(short.0, long.0, "{changed:?} {request:?}");
                    assert!(long.1 == TEXT.repeat(1_000) && short.1 == long.1, "{changed:?} {request:?}");
                }
            }
            let secured = hit(&dev, &HTTP1, &url, &[])
                .0
                .iter()
                .any(|line| line.starts_with("strict-transport-security"));
            assert_eq!(secured, changed.is_some() && url.starts_with("https"));
        }
    }
    assert_eq!(origin.requests("/text"), 2, "in clear and by TLS");
}

#[test]
fn what_changes_for_a_zone_changes_its_hits_at_once() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let url = dev.http_url(HOST, "/page");
    for _ in 0..2 {
        dev.curl(&["-sS", &url]);
    }
    hit(&dev, &HTTP1, &url, &[]);
    hit(&dev, &HTTP2, &url, &[]);
    dev.set("example.com", "development_mode", "on");
    dev.curl_until(&["-sSi", &url], "cf-cache-status: BYPASS");
    dev.set("example.com", "development_mode", "off");
    dev.curl_until(&["-sSi", &url], "cf-cache-status: HIT");
    dev.set("example.com", "always_use_https", "on");
    dev.curl_until(&["-sSi", &url], " 301 ");
    dev.set("example.com", "always_use_https", "off");
    dev.curl_until(&["-sSi", &url], "cf-cache-status: HIT");
    let (code, answer) = dev.api("DELETE", &format!("/zones/{}", dev.zone("example.com")), None, None);
    assert_eq!(code, "200", "{answer}");
    dev.curl_until(&["-sSi", &url], " 530 ");
}
