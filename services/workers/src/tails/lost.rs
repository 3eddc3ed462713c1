//! Invocations of which the engine says nothing, since its process was ended or the Worker never began: so that who looks is told of
//! them too.

use std::time::Duration;

use proxima_model::Timestamp;
use proxima_pipeline::{CronTrigger, Fault, Request};
use serde_json::{Map, Value, json};

use super::{event, looks::Looks};
use crate::version::VersionKey;

/// In the place of what is not shown, as the engine writes it.
const REDACTED: &str = "REDACTED";

impl Looks {
    /// Tells who looks that an invocation failed, if only the node knows.
    pub(crate) fn tell_lost(
        &self,
        key: &VersionKey,
        fault: &Fault,
        (began, took): (Timestamp, Duration),
        what: impl FnOnce() -> Value,
    ) {
        let (outcome, exception) = match fault {
            Fault::WorkerExceeded => ("exceededCpu", None),
            Fault::WorkerLost => ("unknown", None),
            Fault::WorkerBroken(why) => ("exception", Some(why)),
            _ => return,
        };
        if !self.is_looked_at(key.account, &key.worker) {
            return;
        }
        let mut event = event::empty(outcome, what(), began);
        if let Some(why) = exception {
            let at = began.as_millis();
            event["exceptions"] = json!([{ "name": "Error", "message": why, "timestamp": at }]);
        }
        let took = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        let now = Timestamp::from_millis(began.as_millis().saturating_add(took));
        event::complete(&mut event, key, now);
        self.tell(key.account, &key.worker, event);
    }
}

/// A request as events show it. Of its URL no query: what in it is a secret, the engine would have known.
pub(crate) fn request(request: &Request) -> Value {
    let mut fields = Map::new();
    for (name, value) in &request.headers {
        let shown = if is_secret(name.as_str()) {
            REDACTED.into()
        } else {
            String::from_utf8_lossy(value.as_bytes())
        };
        match fields.get_mut(name.as_str()) {
            Some(Value::String(former)) => former.extend([", ", &shown]),
            _ => drop(fields.insert(name.as_str().to_owned(), shown.into())),
        }
    }
    let url = request.url();
    let url = match url.split_once('?') {
        Some((path, _)) => format!("{path}?{REDACTED}"),
        None => url,
    };
    json!({ "request": { "url": url, "method": request.method.as_str(), "headers": fields } })
}

/// A cron trigger as events show it.
pub(crate) fn trigger(trigger: CronTrigger<'_>) -> Value {
    json!({ "cron": trigger.cron, "scheduledTime": trigger.at.as_millis() })
}

/// Whether a field is one whose value v4 does not show.
fn is_secret(name: &str) -> bool {
    matches!(name, "cookie" | "set-cookie")
        || ["auth", "jwt", "key", "secret", "token"].iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, Method};
    use proxima_pipeline::Scheme;

    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_not_shown() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("x-api-key", "k"),
            ("cf-access-jwt-assertion", "j"),
            ("x-csrf-token", "t"),
            ("accept", "text/html"),
            ("accept", "*/*"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let shown = request(&Request {
            method: Method::GET,
            scheme: Scheme::Https,
            host: "www.example.com".into(),
            port: None,
            target: "/a?password=b".parse().unwrap(),
            headers,
            upgrade: None,
        });
        let expected = json!({ "request": {
            "url": "https://www.example.com/a?REDACTED",
            "method": "GET",
            "headers": {
                "authorization": REDACTED, "cookie": REDACTED, "x-api-key": REDACTED,
                "cf-access-jwt-assertion": REDACTED, "x-csrf-token": REDACTED, "accept": "text/html, */*",
            },
        } });
        assert_eq!(shown, expected);
    }
}
