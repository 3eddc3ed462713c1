//! Encodes answers on their way to clients that want it.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use proxima_compression::{Coding, Compressor, NAME, fields, wanted};
use proxima_pipeline::{Exchange, Glance, Response, Sight, Stage};

/// On the way back: the content coding that the client likes best (RFC 9110, 12.5.3), for answers that can be encoded and
/// that no stage behind has settled. The cache settles those that it has whole, from forms that it keeps; what comes
/// from an origin is encoded as it passes.
pub struct Compression {
    compressor: Arc<Compressor>,
}

impl Compression {
    /// Within the bounds of this node's compressor.
    pub const fn new(compressor: Arc<Compressor>) -> Self {
        Self { compressor }
    }

    /// Whether this answer may be encoded, and is worth it.
    fn is_open(exchange: &Exchange, response: &Response) -> bool {
        if response.coding_settled || response.status != StatusCode::OK {
            return false;
        }
        let length = match exchange.request.method {
            Method::GET => response.body.length(),
            Method::HEAD => response.headers.get(header::CONTENT_LENGTH).and_then(number),
            _ => return false,
        };
        fields::is_compressible(&response.headers, length)
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

impl Stage for Compression {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on_response(&self, exchange: &mut Exchange) {
        let Some(mut response) = exchange.response.take() else { return };
        let request = &exchange.request;
        if response.status == StatusCode::NOT_MODIFIED {
            fields::not_modified(&request.headers, &mut response.headers);
        } else if Self::is_open(exchange, &response) {
            fields::vary(&mut response.headers);
            if let Some(coding) = wanted(exchange) {
                self.encode(exchange, &mut response, coding);
            }
        }
        exchange.response = Some(response);
    }

    /// Whoever has an answer ready has settled its coding.
    fn glance(&self, _glance: &mut Glance<'_>) -> Sight {
        Sight::Pass
    }
}

impl Compression {
    fn encode(&self, exchange: &mut Exchange, response: &mut Response, coding: Coding) {
        if exchange.request.method == Method::GET {
            match self.compressor.stream(std::mem::take(&mut response.body), coding) {
                Ok(body) => response.body = body,
                Err(body) => {
                    response.body = body;
                    return exchange.trace.note(NAME, || "not encoded: too much is being encoded");
                }
            }
        }
        exchange.trace.note(NAME, || format!("{}: on its way", coding.name()));
        fields::encode(&mut response.headers, coding, None);
    }
}
