//! Invocations of which the engine says nothing, since its process was ended or the Worker never began: so that who looks is told of
//! them too.

use std::time::Duration;

use proxima_model::Timestamp;
use proxima_pipeline::{CronTrigger, Exceeded, Fault, Request};
use serde_json::{Map, Value, json};

use super::{event, looks::Looks};
use crate::version::VersionKey;

/// In the place of what is not shown, as the engine writes it.
const REDACTED: &str = "REDACTED";

/// When an invocation began, how long it went on, and what it had of a processor meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) began: Timestamp,
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
}

impl Looks {
    /// Tells who looks that an invocation failed, if only the node knows.
    pub(crate) fn tell_lost(
        &self,
        key: &VersionKey,
        fault: &Fault,
        times: Times,
        what: impl FnOnce() -> Value,
    ) {
        self.tell_lost_of("stateless", key, fault, times, what);
    }

    /// The same, of a Durable Object.
    pub(crate) fn tell_lost_object(
        &self,
        key: &VersionKey,
        fault: &Fault,
        times: Times,
        what: impl FnOnce() -> Value,
    ) {
        self.tell_lost_of("durableObject", key, fault, times, what);
    }

    fn tell_lost_of(
        &self,
        model: &'static str,
        key: &VersionKey,
        fault: &Fault,
        Times { began, took, cpu }: Times,
        what: impl FnOnce() -> Value,
    ) {
        let Some(why) = why(fault) else { return };
        if !self.is_looked_at(key.account, &key.worker) {
            return;
        }
        let mut event = event::empty(outcome(fault), what(), began);
        event["executionModel"] = model.into();
        let at = began.as_millis();
        event["exceptions"] = json!([{ "name": "Error", "message": why, "timestamp": at }]);
        let took = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        let now = Timestamp::from_millis(began.as_millis().saturating_add(took));
        event::complete(&mut event, key, now, cpu);
        self.tell(key.account, &key.worker, event);
    }
}

/// How an invocation ended that gave no answer, in v4's words.
pub(crate) const fn outcome(fault: &Fault) -> &'static str {
    match fault {
        Fault::WorkerExceeded(exceeded) | Fault::WorkerLockedOut { last: exceeded, .. } => match exceeded {
            Exceeded::Cpu => "exceededCpu",
            Exceeded::Memory => "exceededMemory",
            Exceeded::Process => "exception",
        },
        Fault::WorkerThrew | Fault::WorkerBroken(_) | Fault::WorkerLoop => "exception",
        _ => "unknown",
    }
}

/// Why; `None` of what the engine tells itself, or what is nobody's who owns the Worker.
fn why(fault: &Fault) -> Option<String> {
    let exceeded = |exceeded: &Exceeded| match exceeded {
        Exceeded::Cpu => "Worker exceeded CPU time limit.",
        Exceeded::Memory => "Worker exceeded memory limit.",
        Exceeded::Process => "Worker ended the process that ran it.",
    };
    Some(match fault {
        Fault::WorkerExceeded(what) => exceeded(what).to_owned(),
        Fault::WorkerLockedOut { last, seconds } => {
            format!("{} It did so again and again, and is not run for {seconds} s.", exceeded(last))
        }
        Fault::WorkerLost => {
            "The process that ran it was ended. Which of the Workers in it was to blame is not known."
                .to_owned()
        }
        Fault::WorkersUnavailable(why) => format!("Workers cannot be run here: {why}."),
        Fault::WorkerBroken(why) => (*why).to_owned(),
        _ => return None,
    })
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
    fn an_owner_is_told_why_a_worker_was_ended_or_is_not_run() {
        for (fault, ended, told) in [
            (Fault::WorkerExceeded(Exceeded::Cpu), "exceededCpu", "Worker exceeded CPU time limit."),
            (Fault::WorkerExceeded(Exceeded::Memory), "exceededMemory", "Worker exceeded memory limit."),
            (Fault::WorkerExceeded(Exceeded::Process), "exception", "ended the process"),
            (
                Fault::WorkerLockedOut { last: Exceeded::Memory, seconds: 7 },
                "exceededMemory",
                "not run for 7 s",
            ),
            (Fault::WorkerLost, "unknown", "is not known"),
            (Fault::WorkersUnavailable("its engine does not start"), "unknown", "its engine does not start."),
            (Fault::WorkerBroken("it does not start"), "exception", "it does not start"),
        ] {
            let (found, said) = (outcome(&fault), why(&fault).unwrap());
            assert!(found == ended && said.contains(told), "{fault:?}: {found}: {said}");
        }
        assert_eq!(why(&Fault::WorkerThrew), None, "the engine tells it");
    }

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
