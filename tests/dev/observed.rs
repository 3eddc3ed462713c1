//! What a server tells of its traffic: metrics by zone, and the request log, which is exactly what was asked.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    HOST,
    dev::{DEADLINE, Dev},
    http3::ask,
    origin::Origin,
    process::output,
    set_up_site,
    upgrade::send,
};

/// Waits until the log has so many lines.
fn lines(path: &Path, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        // The last one may still be written.
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let all = whole.lines().map(|line| serde_json::from_str(line).expect("a line is whole"));
        let lines: Vec<Value> = all.collect();
        if lines.len() >= count {
            assert_eq!(lines.len(), count, "{text}");
            return lines;
        }
        assert!(begun.elapsed() < DEADLINE, "not {count} lines: {text}");
        std::thread::yield_now();
    }
}

/// A sample of the metrics.
pub(crate) fn metric(dev: &Dev, series: &str) -> Option<f64> {
    let (_, text) = output(Command::new("curl").args(["-sS", &format!("http://{}/metrics", dev.admin())]));
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map(|value| value.trim().parse().unwrap())
}

/// Waits until a sample of the metrics is as wanted; one that was never counted is 0.
pub(crate) fn until_metric(dev: &Dev, series: &str, wanted: impl Fn(f64) -> bool) {
    until_metric_within(dev, DEADLINE, series, wanted);
}

/// The same, for what may take longer than others do.
pub(crate) fn until_metric_within(dev: &Dev, within: Duration, series: &str, wanted: impl Fn(f64) -> bool) {
    let begun = Instant::now();
    loop {
        let value = metric(dev, series).unwrap_or_default();
        if wanted(value) {
            return;
        }
        assert!(begun.elapsed() < within, "{series} stays at {value}: {}", dev.log());
    }
}

#[test]
fn metrics_and_the_request_log_tell_what_was_asked() {
    let origin = Origin::start();
    let dev = Dev::start_logging();
    set_up_site(&dev, &origin);
    let first = dev.curl(&["-sSi", "--http1.1", &dev.https_url(HOST, "/page?key=1")]);
    assert!(first.contains("cf-cache-status: MISS"), "{first}");
    let hit = dev.curl(&["-sSi", "--http2", &dev.https_url(HOST, "/page?key=1")]);
    assert!(hit.contains("cf-cache-status: HIT"), "{hit}");
    ask(&dev, &[], &["/by3"]);
    dev.curl(&["-sS", "-H", "transfer-encoding: chunked", "-d", "an upload", &dev.http_url(HOST, "/echo")]);
    dev.curl(&["-sS", &dev.http_url("www.example.org", "/")]);

    let log = lines(&dev.request_log(), 5);
    let told: Vec<_> = log
        .iter()
        .map(|line| {
            ["ClientRequestURI", "ClientRequestProtocol", "CacheCacheStatus", "ZoneName"]
                .map(|field| line[field].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            ["/page?key=1", "HTTP/1.1", "miss", "example.com"],
            ["/page?key=1", "HTTP/2", "hit", "example.com"],
            ["/by3", "HTTP/3", "miss", "example.com"],
            ["/echo", "HTTP/1.1", "dynamic", "example.com"],
            ["/", "HTTP/1.1", "unknown", ""],
        ]
    );
    let ray = log[0]["RayID"].as_str().unwrap();
    assert!(first.contains(&format!("cf-ray: {ray}-DEV")), "{ray} is not in {first}");
    assert_eq!(log[0]["EdgeResponseBytes"], first.len(), "{}", log[0]);
    let origins = |index: usize| (&log[index]["OriginIP"], &log[index]["OriginResponseStatus"]);
    assert_eq!(origins(0), (&"127.0.0.1".into(), &200.into()), "{}", log[0]);
    assert_eq!(origins(1), (&Value::Null, &0.into()), "{}", log[1]);
    assert_eq!(log[4]["EdgeResponseStatus"], 530);
    assert!(log[3]["ClientRequestBytes"].as_u64() > log[0]["ClientRequestBytes"].as_u64());

    let of = |name: &str, more: &str| {
        metric(&dev, &format!("proxima_edge_zone_{name}_total{{zone=\"example.com\",pop=\"DEV\"{more}}}"))
    };
    assert_eq!(of("requests", ",status=\"2xx\""), Some(4.0));
    assert_eq!(of("requests", ",status=\"5xx\""), None);
    assert_eq!(of("cache", ",status=\"hit\""), Some(1.0));
    assert_eq!(of("cache", ",status=\"miss\""), Some(2.0));
    assert_eq!(of("origin_requests", ""), Some(3.0));
    let sent: u64 = log[..4].iter().map(|line| line["EdgeResponseBytes"].as_u64().unwrap()).sum();
    assert_eq!(of("response_bytes", ""), Some(sent as f64));
    assert!(sent > (first.len() + hit.len()) as u64);
    let table = dev.proxima(&["zones", "traffic", "example.com"]);
    let row = |name: &str| {
        let row = table.lines().find_map(|line| line.strip_prefix(name));
        row.unwrap_or_else(|| panic!("{name} is not in {table}")).trim().to_owned()
    };
    assert!(table.contains("example.com at dev (DEV)"), "{table}");
    assert_eq!((row("requests"), row("octets out")), ("4".to_owned(), sent.to_string()));
    assert_eq!((row("cache hit"), row("origin asked")), ("1".to_owned(), "3".to_owned()));
    let unknown = "proxima_edge_zone_requests_total{zone=\"none\",pop=\"DEV\",status=\"5xx\"}";
    assert_eq!(metric(&dev, unknown), Some(1.0));
    assert_eq!(metric(&dev, "proxima_edge_request_log_lines_total{result=\"written\"}"), Some(5.0));
}

#[test]
fn the_request_log_is_rotated_and_outlives_a_graceful_restart_without_a_line_lost() {
    let origin = Origin::start();
    let mut dev = Dev::start_logging();
    set_up_site(&dev, &origin);
    let log = dev.request_log();
    let moved = |number: u32| log.with_extension(number.to_string());
    let ask = |dev: &Dev| drop(dev.curl(&["-sS", &dev.http_url(HOST, "/page")]));
    ask(&dev);
    lines(&log, 1);
    // Moved away, and nobody says so.
    fs::rename(&log, moved(1)).unwrap();
    ask(&dev);
    lines(&log, 1);
    lines(&moved(1), 1);
    // With the signal that other servers want.
    fs::rename(&log, moved(2)).unwrap();
    send(dev.pid(), Signal::SIGHUP);
    ask(&dev);
    lines(&log, 1);

    ask(&dev);
    dev.restart_gracefully();
    // What the former process had when it ended is there, and the next one goes on in the same file.
    lines(&log, 2);
    ask(&dev);
    lines(&log, 3);
    lines(&moved(2), 1);
}
