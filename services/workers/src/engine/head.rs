//! The head of a request to the engine, written once: what is sent again is the same octets.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use proxima_http1::{ConnectionField, Framing, write_request_end, write_request_start};
use proxima_pipeline::{Fault, is_hop_by_hop, put_line};
use serde_json::Value;

use super::invocation::Invoked;
use crate::facts::{FIELD, Facts};

const FACTS: HeaderName = HeaderName::from_static(FIELD);
/// Octets that are added to a head beside the facts: how the body is framed, and what becomes of the connection.
const END_OCTETS: usize = 64;
/// Octets of a head of usual length.
const HEAD_OCTETS: usize = 1_024;

/// A request for a Worker, but for its body.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) method: Method,
    /// Its line, with an absolute URL that a Worker sees, and its fields.
    start: Bytes,
    connection: ConnectionField,
    /// What it is told beside it.
    pub(super) facts: Facts,
    /// How long the head of the answer may take.
    pub(super) within: Duration,
    /// What of a version it invokes, if it does.
    pub(super) invoked: Option<Invoked>,
}

impl Head {
    /// That of a request for this URL. It is no CONNECT, which has none.
    pub(crate) fn new(
        method: Method,
        url: &str,
        headers: &HeaderMap,
        facts: Facts,
        within: Duration,
        invoked: Option<Invoked>,
    ) -> Result<Self, Fault> {
        // What is meant for another connection, or said anew.
        let goes_on =
            |name: &HeaderName| !is_hop_by_hop(name.as_str()) && ![header::EXPECT, FACTS].contains(name);
        let fields = headers.iter().filter(|(name, _)| goes_on(name));
        let mut start = BytesMut::with_capacity(HEAD_OCTETS);
        write_request_start(&method, url, fields, &mut start)
            .map_err(|_| Fault::BadRequest("its URL is none that a Worker could be given"))?;
        let (start, connection) = (start.freeze(), ConnectionField::Absent);
        Ok(Self { method, start, connection, facts, within, invoked })
    }

    /// The same, which asks to switch to this protocol.
    pub(crate) fn switching(mut self, protocol: HeaderValue) -> Self {
        self.connection = ConnectionField::Upgrade(protocol);
        self
    }

    /// That of what the node itself asks of the dispatcher. Its method is not one that may be sent again.
    pub(crate) fn of_node(
        url: &'static str,
        run: &Value,
        within: Duration,
        invoked: Option<Invoked>,
    ) -> Result<Self, Fault> {
        Self::new(Method::POST, url, &HeaderMap::new(), Facts::of_node(run), within, invoked)
    }

    /// As it is sent, with these facts, before a body that is framed so.
    pub(super) fn octets(&self, facts: &HeaderValue, framing: Framing) -> BytesMut {
        let room = self.start.len() + FIELD.len() + facts.len() + END_OCTETS;
        let mut octets = BytesMut::with_capacity(room);
        octets.extend_from_slice(&self.start);
        put_line(&mut octets, &FACTS, facts.as_bytes());
        write_request_end(framing, &self.connection, &mut octets);
        octets
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_belongs_to_another_connection_is_left_out_and_facts_are_told_once() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "a.example"),
            ("content-length", "7"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("cf-proxima-facts", "{\"forged\":1}"),
            ("upgrade", "h2c"),
            ("x-own", "a"),
            ("x-own", "b"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let url = "https://a.example:8443/%20?q";
        let head =
            |method, url| Head::new(method, url, &headers, Facts::of_node(&json!({})), Duration::ZERO, None);
        let facts = HeaderValue::from_static("{}");
        let written = |head: &Head, framing| {
            String::from_utf8(head.octets(&facts, framing).to_vec()).expect("it is text")
        };
        let put = head(Method::PUT, url).expect("it can be written");
        let start = "https://a.example:8443/%20?q HTTP/1.1\r\nhost: a.example\r\nx-own: a\r\nx-own: b\r\ncf-proxima-facts: {}\r\n";
        assert_eq!(written(&put, Framing::Length(3)), format!("PUT {start}content-length: 3\r\n\r\n"));
        assert_eq!(
            written(&put.clone(), Framing::Chunked),
            format!("PUT {start}transfer-encoding: chunked\r\n\r\n")
        );
        let get = head(Method::GET, url).expect("it can be written");
        assert_eq!(written(&get, Framing::None), format!("GET {start}\r\n"));
        let switching = get.switching(HeaderValue::from_static("websocket"));
        let end = "connection: upgrade\r\nupgrade: websocket\r\n\r\n";
        assert_eq!(written(&switching, Framing::None), format!("GET {start}{end}"));
        for (method, url) in
            [(Method::GET, "https://a.example/\u{e9}"), (Method::GET, "https://a/ b"), (Method::CONNECT, url)]
        {
            assert!(head(method, url).is_err(), "{url}");
        }
    }
}
