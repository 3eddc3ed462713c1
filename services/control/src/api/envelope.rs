//! Answers: `{success, errors, messages, result, result_info}`, as every v4 answer is wrapped.

use axum::{
    Json,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use proxima_ledger::Seq;
use proxima_model::Timestamp;
use serde_json::{Value, json};

use crate::api::condition;

/// The header that tells which state an answer shows, for `?wait=SEQ` elsewhere.
pub(crate) const SEQ_HEADER: &str = "proxima-seq";

/// Where in a list an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageInfo {
    pub(crate) page: usize,
    pub(crate) per_page: usize,
    pub(crate) count: usize,
    pub(crate) total_count: usize,
}

/// A request that was served.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    result: Value,
    info: Option<PageInfo>,
    cursor: Option<(usize, String)>,
    messages: Vec<Value>,
    seq: Option<Seq>,
    tag: Option<Seq>,
}

impl Answer {
    /// With this result.
    pub(crate) const fn new(result: Value) -> Self {
        Self { result, info: None, cursor: None, messages: Vec::new(), seq: None, tag: None }
    }

    /// A page of a list.
    pub(crate) fn page((items, info): (Vec<Value>, PageInfo)) -> Self {
        Self { info: Some(info), ..Self::new(Value::Array(items)) }
    }

    /// That is a page of a list within the result.
    pub(crate) const fn info(mut self, info: PageInfo) -> Self {
        self.info = Some(info);
        self
    }

    /// That is a part of a list: how much of it, and what leads to the next one; empty at its end.
    pub(crate) fn cursor(mut self, count: usize, cursor: Option<String>) -> Self {
        self.cursor = Some((count, cursor.unwrap_or_default()));
        self
    }

    /// That shows this state.
    pub(crate) fn at(mut self, seq: Seq) -> Self {
        self.seq = Some(seq);
        self
    }

    /// That shows one noun, which this entry put: for changes on the condition that it is still that one.
    pub(crate) fn tagged(mut self, revision: Seq) -> Self {
        self.tag = Some(revision);
        self
    }

    /// With something that its reader should know.
    pub(crate) fn message(mut self, message: impl Into<String>) -> Self {
        self.messages.push(json!({ "code": 10000, "message": message.into() }));
        self
    }

    /// With several such.
    pub(crate) fn messages(self, messages: impl IntoIterator<Item = impl Into<String>>) -> Self {
        messages.into_iter().fold(self, Self::message)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut body =
            json!({ "success": true, "errors": [], "messages": self.messages, "result": self.result });
        if let Some(info) = self.info {
            body["result_info"] = json!({
                "page": info.page,
                "per_page": info.per_page,
                "count": info.count,
                "total_count": info.total_count,
                "total_pages": info.total_count.div_ceil(info.per_page.max(1)),
            });
        }
        if let Some((count, cursor)) = self.cursor {
            // Of lists of keys clients look for the one, of lists of Durable Objects for the other.
            let cursors = json!({ "after": cursor });
            body["result_info"] = json!({ "count": count, "cursor": cursor, "cursors": cursors });
        }
        let mut response = Json(body).into_response();
        if let Some(seq) = self.seq {
            response.headers_mut().insert(SEQ_HEADER, HeaderValue::from(seq.0));
        }
        if let Some(tag) = self.tag.and_then(|revision| condition::tag(revision).parse().ok()) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// A point in time as the API writes it.
pub(crate) fn time(at: Timestamp) -> Value {
    Value::String(at.to_string())
}

/// A point in time that may not be.
pub(crate) fn time_or_null(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, time)
}
