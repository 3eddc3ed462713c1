//! What a Worker is told about a request beside the request: `request.cf`, and for the dispatcher what is to be run.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use proxima_model::{AccountId, BucketName, Jurisdiction, QueueName, WorkerName, WorkerVersionId};
use proxima_pipeline::{Exchange, Fault, Protocol};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Value, json};

use crate::{
    caching::Caching,
    engine::Apart,
    version::{Variant, VersionKey},
};

/// The field in which facts go between the node and the engine; the engine makes `request.cf` of it. A client's field of
/// this name does not come so far.
pub(crate) const FIELD: &str = "cf-proxima-facts";

/// What is told beside a request.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// What a Worker sees as `request.cf`: a JSON object.
    cf: HeaderValue,
    run: Run,
}

/// What the dispatcher is to do; no Worker sees it.
#[derive(Clone, Debug)]
enum Run {
    /// To have the version answer.
    Answer(Variant),
    /// What the node itself asks, as JSON.
    Asked(Arc<str>),
}

impl Facts {
    /// Those of what the node itself asks of the dispatcher.
    pub(crate) fn of_node(run: &Value) -> Self {
        // JSON leaves U+007F as it is, and no field's value has it.
        let run = run.to_string().replace('\u{7f}', "\\u007f");
        Self { cf: HeaderValue::from_static("{}"), run: Run::Asked(run.into()) }
    }

    /// Whether a process in which the version runs alone can be asked, without a dispatcher: with that is its tail,
    /// and its code as it is for those who are called by others.
    pub(crate) const fn may_run_alone(&self) -> bool {
        matches!(self.run, Run::Answer(Variant { is_looked_at: false, row: 0 }))
    }

    /// As a process has them in which the version runs alone.
    pub(crate) fn alone(&self) -> HeaderValue {
        self.cf.clone()
    }

    /// As the dispatcher has them, which is to run a version.
    pub(crate) fn dispatched(&self, key: &VersionKey) -> Result<HeaderValue, Fault> {
        let run = match &self.run {
            Run::Answer(variant) => json!({ "code": key.variant(*variant) }).to_string().into(),
            Run::Asked(run) => Arc::clone(run),
        };
        let members = self.cf.as_bytes().strip_prefix(b"{").unwrap_or(b"}");
        let comma: &[u8] = if members == b"}" { b"" } else { b"," };
        let value = [b"{\"proxima\":", run.as_bytes(), comma, members].concat();
        HeaderValue::try_from(value).map_err(|_| NO_VALUE)
    }
}

const NO_VALUE: Fault = Fault::Internal("a fact is no field's value");

/// `request.cf`, as far as a server knows.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cf<'a> {
    colo: &'a str,
    http_protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_version: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_accept_encoding: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_client_auth: Option<ClientAuth<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientAuth<'a> {
    cert_presented: &'static str,
    cert_verified: &'static str,
    #[serde(rename = "certFingerprintSHA256")]
    cert_fingerprint_sha256: &'a str,
}

/// The facts of a request that a version is to answer.
pub(crate) fn facts(exchange: &Exchange, variant: Variant) -> Result<Facts, Fault> {
    let tls = exchange.client.tls.as_deref();
    let accepted = exchange.request.headers.get(http::header::ACCEPT_ENCODING);
    let cf = Cf {
        colo: exchange.ray.pop().as_str(),
        http_protocol: match exchange.client.protocol {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
            Protocol::Http3 => "HTTP/3",
        },
        tls_version: tls.map(|tls| tls.version),
        client_accept_encoding: accepted.and_then(|value| value.to_str().ok()).unwrap_or_default(),
        tls_client_auth: tls.map(|tls| ClientAuth {
            cert_presented: if tls.client_certificate.is_some() { "1" } else { "0" },
            cert_verified: match (&tls.client_certificate, exchange.client_verified) {
                (None, _) => "NONE",
                (Some(_), true) => "SUCCESS",
                (Some(_), false) => "FAILED",
            },
            cert_fingerprint_sha256: tls.client_certificate.as_ref().map_or("", |shown| shown.fingerprint()),
        }),
    };
    let cf = serde_json::to_string(&cf).ok().and_then(|cf| HeaderValue::try_from(cf).ok());
    Ok(Facts { cf: cf.ok_or(NO_VALUE)?, run: Run::Answer(variant) })
}

/// What the dispatcher says of a request that comes from a Worker, whatever it asks for. It is read once, where it is looked whether it
/// may be asked for ([`crate::answering`]), and handed on among the request's extensions.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Said {
    /// In whose name it is asked for.
    pub(crate) account: AccountId,
    /// By which version.
    #[serde(default, deserialize_with = "version")]
    pub(crate) code: Option<VersionKey>,
    /// Whose assets are asked before its code, where that is bound to this one.
    #[serde(default, deserialize_with = "version")]
    pub(crate) assets: Option<VersionKey>,
    /// How much each invocation of that may ask for.
    pub(crate) subrequests: Option<u32>,
    /// Where the node counts for it.
    pub(crate) alone: Option<Apart>,
    /// Of which namespace, of keys and values or of Durable Objects.
    pub(crate) namespace: Option<String>,
    /// Of which bucket.
    pub(crate) bucket: Option<BucketName>,
    pub(crate) jurisdiction: Option<Jurisdiction>,
    /// Of which queue.
    pub(crate) queue: Option<QueueName>,
    /// Of whose invocations something is said.
    pub(crate) worker: Option<WorkerName>,
    pub(crate) version: Option<WorkerVersionId>,
    /// How what is fetched is to be kept.
    pub(crate) caching: Option<Caching>,
    /// In which place of a row of Workers that have called each other that is ([`Variant::row`]).
    #[serde(default)]
    pub(crate) row: u8,
    /// Whether it is a request that passes a Worker which has thrown.
    #[serde(default)]
    pub(crate) passes: bool,
}

impl Said {
    /// The engine puts its own in the place of what a Worker writes there; whatever is not plainly so is none.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        #[derive(Deserialize)]
        struct Facts {
            proxima: Said,
        }
        let mut given = headers.get_all(FIELD).iter();
        let (only, None) = (given.next()?, given.next()) else { return None };
        Some(serde_json::from_slice::<Facts>(only.as_bytes()).ok()?.proxima)
    }

    /// What was said of a request that may be answered.
    pub(crate) fn take<B>(request: &mut Request<B>) -> Option<Self> {
        request.extensions_mut().remove()
    }
}

fn version<'de, D: Deserializer<'de>>(given: D) -> Result<Option<VersionKey>, D::Error> {
    let code = Option::<String>::deserialize(given)?;
    let read = |code: String| VersionKey::parse(&code).ok_or_else(|| D::Error::custom("it names no code"));
    code.map(read).transpose()
}

/// Reads JSON that a field has percent-encoded: fields are ASCII.
pub(crate) fn decoded<T: DeserializeOwned>(value: &HeaderValue) -> Option<T> {
    serde_json::from_str(&percent_decode(value.as_bytes()).decode_utf8().ok()?).ok()
}

/// Writes what [`decoded`] reads.
pub(crate) fn encoded(value: &impl Serialize) -> Option<HeaderValue> {
    let text = serde_json::to_string(value).ok()?;
    HeaderValue::try_from(utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string()).ok()
}

#[cfg(test)]
mod tests {
    use proxima_model::AccountId;

    use super::*;

    #[test]
    fn whatever_letters_a_name_has_it_can_be_told() {
        let name = "a\u{7f}\u{0}\nzürich";
        let facts = Facts::of_node(&json!({ "name": name }));
        let key = VersionKey::nobodys(AccountId::from_bytes([1; 16]));
        let field = facts.dispatched(&key).expect("a field's value");
        let told: Value = serde_json::from_slice(field.as_bytes()).expect("JSON");
        assert_eq!(told["proxima"]["name"], name);
    }
}
