//! A line of the request log. Fields have the names and meanings of Cloudflare's dataset `http_requests`, where it has
//! them, so that what reads those reads these.
//!
//! No cookie and no credential is ever in it, and queries only where the operator wants them.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{HeaderMap, HeaderName, HeaderValue, REFERER, USER_AGENT};
use proxima_model::{PopCode, Timestamp};
use proxima_pipeline::{CACHE_STATUSES, Ended, Exchange, OriginSeen, Protocol, WorkerSeen};
use serde::Serialize;

/// Octets of a value that a client chose; what is beyond is cut off. Long enough for nearly every URL and user agent,
/// and short enough that the queue's lines have a bound.
pub(super) const VALUE_BYTES_MAX: usize = 2_048;
/// What proxies write for a client that left before there was an answer.
const CLIENT_GONE: u16 = 499;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line<'a> {
    #[serde(rename = "RayID")]
    ray_id: String,
    edge_start_timestamp: Moment,
    edge_end_timestamp: Moment,
    edge_colo_code: &'a PopCode,
    zone_name: &'a str,
    #[serde(rename = "ClientIP")]
    client_ip: IpAddr,
    client_src_port: u16,
    #[serde(rename = "ClientSSLProtocol")]
    client_ssl_protocol: &'static str,
    client_request_protocol: &'static str,
    client_request_scheme: &'static str,
    client_request_method: Cow<'a, str>,
    client_request_host: Cow<'a, str>,
    #[serde(rename = "ClientRequestURI")]
    client_request_uri: Cow<'a, str>,
    client_request_referer: Cow<'a, str>,
    client_request_user_agent: Cow<'a, str>,
    client_request_bytes: u64,
    edge_response_status: u16,
    edge_response_bytes: u64,
    edge_response_content_type: Cow<'a, str>,
    edge_time_to_first_byte_ms: u64,
    cache_cache_status: &'static str,
    cache_response_status: u16,
    #[serde(rename = "OriginIP")]
    origin_ip: Option<IpAddr>,
    origin_response_status: u16,
    origin_response_duration_ms: u64,
    #[serde(rename = "WorkerCPUTime")]
    worker_cpu_time: u64,
    worker_status: &'static str,
    worker_wall_time_us: u64,
    sample_interval: u64,
}

/// A time, as RFC 3339 writes it.
struct Moment(Timestamp);

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// What of an exchange a line is made of.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) ended: &'a Ended,
    pub(super) content_type: Option<&'a HeaderValue>,
    pub(super) sample_interval: u64,
    /// Whether queries may be told.
    pub(super) query: bool,
}

/// The line, with its end; none if it cannot be made, which no value that can come here makes it.
pub(super) fn line(about: About<'_>) -> Option<Vec<u8>> {
    let About { exchange, ended, content_type, sample_interval, query } = about;
    let Exchange { client, request, site, .. } = exchange;
    let origin = exchange.extensions.get::<OriginSeen>();
    let worker = exchange.extensions.get::<WorkerSeen>();
    let us = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let started = exchange.received_at.as_millis();
    let took = i64::try_from(exchange.received.elapsed().as_millis()).unwrap_or_default();
    let target = request.target.as_str();
    let path = if query { target } else { request.target.path() };
    let (status, first_byte) =
        ended.answered.map_or((CLIENT_GONE, 0), |(status, after)| (status.as_u16(), ms(after)));
    let cache = CACHE_STATUSES.get(ended.cache).copied().filter(|status| *status != "none");
    let line = Line {
        ray_id: exchange.ray.digits(),
        edge_start_timestamp: Moment(exchange.received_at),
        edge_end_timestamp: Moment(Timestamp::from_millis(started.saturating_add(took))),
        edge_colo_code: exchange.ray.pop(),
        zone_name: site.as_ref().map_or("", |site| site.zone.name.as_str()),
        client_ip: client.address.ip().to_canonical(),
        client_src_port: client.address.port(),
        client_ssl_protocol: client.tls.as_ref().map_or("none", |tls| tls.version),
        client_request_protocol: protocol(client.protocol),
        client_request_scheme: request.scheme.name(),
        client_request_method: cut(request.method.as_str().as_bytes()),
        client_request_host: cut(request.host.as_bytes()),
        client_request_uri: cut(path.as_bytes()),
        client_request_referer: referer(&request.headers, query),
        client_request_user_agent: field(&request.headers, &USER_AGENT),
        client_request_bytes: ended.request_bytes,
        edge_response_status: status,
        edge_response_bytes: ended.response_bytes,
        edge_response_content_type: content_type.map_or(Cow::Borrowed(""), |value| cut(value.as_bytes())),
        edge_time_to_first_byte_ms: first_byte,
        cache_cache_status: cache.unwrap_or("unknown"),
        cache_response_status: if cache.is_some() { status } else { 0 },
        origin_ip: origin.and_then(|seen| seen.address),
        origin_response_status: origin.and_then(|seen| seen.status).map_or(0, |status| status.as_u16()),
        origin_response_duration_ms: origin.map_or(0, |seen| ms(seen.took)),
        worker_cpu_time: worker.map_or(0, |seen| us(seen.took.cpu())),
        worker_status: worker.map_or("unknown", |seen| seen.outcome),
        worker_wall_time_us: worker.map_or(0, |seen| us(seen.took.wall())),
        sample_interval,
    };
    let mut octets = serde_json::to_vec(&line).ok()?;
    octets.push(b'\n');
    Some(octets)
}

const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http10 => "HTTP/1.0",
        Protocol::Http11 => "HTTP/1.1",
        Protocol::Http2 => "HTTP/2",
        Protocol::Http3 => "HTTP/3",
    }
}

fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Cow<'a, str> {
    headers.get(name).map_or(Cow::Borrowed(""), |value| cut(value.as_bytes()))
}

/// A referrer has a query, too, and it may be that of another page of ours.
fn referer(headers: &HeaderMap, query: bool) -> Cow<'_, str> {
    let Some(value) = headers.get(REFERER) else { return Cow::Borrowed("") };
    let octets = value.as_bytes();
    let end = octets.iter().position(|octet| !query && matches!(octet, b'?' | b'#'));
    cut(&octets[..end.unwrap_or(octets.len())])
}

/// The beginning of a value; what is no UTF-8 in it is replaced.
fn cut(octets: &[u8]) -> Cow<'_, str> {
    if octets.len() <= VALUE_BYTES_MAX {
        return String::from_utf8_lossy(octets);
    }
    // Not within a character, which would look like damage.
    let end = (VALUE_BYTES_MAX - 3..=VALUE_BYTES_MAX).rev().find(|&end| octets[end] & 0xc0 != 0x80);
    String::from_utf8_lossy(&octets[..end.unwrap_or(VALUE_BYTES_MAX)])
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
