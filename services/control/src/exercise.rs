//! Reads octets as what clients of the API send: what fuzz targets call. Nothing here may panic but by what it asserts.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use proxima_model::{
    AccountId, Phase, RecordId, RuleId, Timestamp, Zone, ZoneId, ZoneName, ZoneSettings, ZoneStatus, limits,
};
use serde::de::DeserializeOwned;

use crate::{
    api::{
        body,
        condition::{self, Condition},
        page::Query,
    },
    certificates, client_auth, dns_analytics, dnssec, purge,
    records::{
        self, BatchBody,
        body::{RecordBody, show},
    },
    rulesets, settings,
    token::TokenText,
    tokens, trace, transfers, workers, zones,
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// An octet that says as what, then what a client sends.
pub fn exercise(octets: &[u8]) {
    let Some((&which, octets)) = octets.split_first() else { return };
    let text = str::from_utf8(octets).unwrap_or_default();
    match which % 8 {
        0 => query(text),
        1 => conditions(octets),
        2 => {
            if let Ok(token) = TokenText::parse(text) {
                assert!(TokenText::parse(&token.reveal()).is_ok_and(|again| again.hash() == token.hash()));
            }
        }
        3 | 4 => record(octets),
        5 => rule(octets),
        6 => {
            // Of a chain and a key, both from the same text: most that is wrong with either is found so.
            certificates::check(text, text, &zone(), NOW).ok();
            client_auth::check("a name", text, NOW).ok();
        }
        _ => bodies(octets),
    }
}

fn zone() -> Zone {
    Zone {
        id: ZoneId::from_bytes([1; 16]),
        account: AccountId::from_bytes([2; 16]),
        name: ZoneName::parse("example.com").expect("it is one"),
        status: ZoneStatus::Active,
        paused: false,
        name_servers: Vec::new(),
        settings: ZoneSettings::default(),
        serial: 1,
        created_at: NOW,
        modified_at: NOW,
        activated_at: None,
    }
}

/// What JSON says.
pub(crate) fn parsed<T: DeserializeOwned>(octets: &[u8]) -> Option<T> {
    body::parse(octets).ok()
}

fn query(text: &str) {
    let Ok(query) = Query::parse(Some(text)) else { return };
    query.flag("a").ok();
    query.match_all().ok();
    query.descending().ok();
    query.wait().ok();
    let Ok(page) = query.page(20, 100) else { return };
    for total in [0, 1, 100, usize::MAX] {
        let (window, info) = page.window(total);
        assert!(window.start <= window.end && window.end <= total && window.len() <= 100);
        assert_eq!(window.len(), info.count);
    }
}

/// A line of `If-Match`, one of `If-None-Match`; an empty one is none.
fn conditions(octets: &[u8]) {
    let mut headers = HeaderMap::new();
    for (name, line) in
        [header::IF_MATCH, header::IF_NONE_MATCH].into_iter().zip(octets.split(|octet| *octet == b'\n'))
    {
        if let Some(line) = HeaderValue::from_bytes(line).ok().filter(|line| !line.is_empty()) {
            headers.append(name, line);
        }
    }
    match Condition::read(&headers) {
        Ok(Condition::None) => assert!(headers.is_empty()),
        Ok(condition @ Condition::OneOf(_)) => {
            let Condition::OneOf(revisions) = &condition else { return };
            assert!((1..=condition::TAGS_MAX).contains(&revisions.len()));
            assert!(condition.check(None).is_err() && condition.check(revisions.first().copied()).is_ok());
        }
        Ok(condition) => {
            assert_ne!(condition.check(None).is_ok(), condition.check(Some(proxima_ledger::Seq(1))).is_ok())
        }
        Err(_) => assert!(!headers.is_empty()),
    }
}

fn record(octets: &[u8]) {
    let zone = zone();
    let Some(given) = parsed::<RecordBody>(octets) else { return };
    let id = RecordId::from_bytes([3; 16]);
    let Ok(made) = given.create(&zone, id, NOW) else { return };
    assert!(made.name.is_within(&zone.name) && made.data.is_offered());
    // What is shown is what may be put.
    let shown = show(&made, &zone.name).to_string();
    let again: RecordBody = parsed(shown.as_bytes()).expect("it was written by us");
    let again = again.put(&zone, &made, NOW).expect("it was made once");
    assert_eq!((&again.name, &again.data, again.ttl), (&made.name, &made.data, made.ttl));
    assert_eq!((again.proxied, &again.comment, &again.tags), (made.proxied, &made.comment, &made.tags));
    assert!(given.patch(&zone, &made, NOW).is_ok_and(|patched| patched.data == made.data));
}

fn rule(octets: &[u8]) {
    let Some(given) = parsed::<rulesets::RuleBody>(octets) else { return };
    for phase in Phase::ALL {
        let Ok(made) = given.rule(phase, RuleId::from_bytes([4; 16]), None, NOW) else { continue };
        assert!(made.description.chars().count() <= limits::TEXT_CHARS_MAX);
        assert!(given.rule(phase, made.id, Some(&made), NOW).is_ok_and(|again| again == made));
    }
}

fn bodies(octets: &[u8]) {
    if let Some(body) = parsed::<purge::PurgeBody>(octets) {
        purge::what(&body, &zone()).ok();
    }
    if let Some(body) = parsed::<dnssec::PatchBody>(octets) {
        dnssec::Wish::parse(&body).ok();
    }
    if let Some(body) = parsed::<tokens::PolicyBody>(octets)
        && let Ok(policies) = tokens::parse_policy(&body)
    {
        assert!(policies.iter().all(|policy| !policy.permissions.is_empty()));
    }
    workers::exercise(octets, NOW);
    parsed::<BatchBody>(octets);
    parsed::<rulesets::RulesetBody>(octets);
    parsed::<settings::ItemsBody>(octets);
    parsed::<tokens::TokenBody>(octets);
    parsed::<trace::TraceBody>(octets);
    parsed::<zones::CreateBody>(octets);
}

/// Ends each part of the forms that are made here.
const BOUNDARY: &str = "fuzz-boundary";

/// A content type on the first line, then an upload. Then the same octets as the file of a form and as a file alone, which
/// come out of it as they went in.
pub fn exercise_import(octets: &[u8]) {
    let end = octets.iter().position(|octet| *octet == b'\n').unwrap_or(octets.len());
    let (content_type, body) = octets.split_at(end);
    received(content_type, body.get(1..).unwrap_or_default().to_vec());
    let alone = received(b"text/plain; charset=utf-8", octets.to_vec());
    assert!(alone.is_some_and(|(file, proxied)| file == octets && proxied.is_none()));
    let end = format!("\r\n--{BOUNDARY}");
    if octets.windows(end.len()).any(|some| some == end.as_bytes()) {
        return;
    }
    let proxied = octets.len().is_multiple_of(2);
    let before = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"proxied\"\r\n\r\n{proxied}{end}\r\n\
         Content-Disposition: form-data; name=\"other\"\r\n\r\nnothing{end}\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"zone\"\r\nContent-Type: text/plain\r\n\r\n"
    );
    let form = [before.as_bytes(), octets, end.as_bytes(), b"--\r\n"].concat();
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let (file, said) = received(content_type.as_bytes(), form).expect("the form is well made");
    assert!(file == octets && said == Some(proxied));
}

fn received(content_type: &[u8], body: Vec<u8>) -> Option<(Bytes, Option<bool>)> {
    let mut request = Request::new(Body::from(body));
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_bytes(content_type).ok()?);
    let received = records::receive(request).now_or_never().expect("octets in memory are there");
    received.ok().map(|upload| (upload.file, upload.proxied))
}

/// What clients say of transfers, and what a zone's primary sends.
pub fn exercise_transfers(octets: &[u8]) {
    transfers::exercise(octets);
}

/// The filters of a report of queries.
pub fn exercise_filters(octets: &[u8]) {
    if let Ok(text) = str::from_utf8(octets) {
        dns_analytics::exercise(text);
    }
}
