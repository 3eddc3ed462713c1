//! An event, as v4 has it: what the engine says of an invocation, with what only the node knows, and cut to its bound.

use std::time::Duration;

use proxima_model::Timestamp;
use serde_json::{Value, json};

use crate::version::VersionKey;

/// Octets of one event: the engine ends a log at 256 KiB, which JSON makes somewhat more of.
pub(crate) const OCTETS_MAX: usize = 512 << 10;

/// An event with nothing in it yet, as invocations are told that the engine says nothing of.
pub(super) fn empty(outcome: &str, event: Value, at: Timestamp) -> Value {
    json!({
        "wallTime": 0,
        "cpuTime": 0,
        "truncated": false,
        "executionModel": "stateless",
        "outcome": outcome,
        "diagnosticsChannelEvents": [],
        "exceptions": [],
        "logs": [],
        "eventTimestamp": at.as_millis(),
        "event": event,
    })
}

/// The exception by which a module of ours says that an invocation threw whose request passed it (`pass_through.js`).
const PASSED: &str = "proxima:passed";

/// By what the engine's event of an invocation is known: what it says of a request, or of a cron trigger. `None` of others.
pub(crate) fn name(what: &Value) -> Option<String> {
    let ray = what["request"]["headers"]["cf-ray"].as_str();
    let trigger = || Some(format!("{} {}", what["scheduledTime"].as_i64()?, what["cron"].as_str()?));
    ray.map(str::to_owned).or_else(trigger)
}

/// Says whose event it is, which the engine does not know; and in milliseconds how long it took, which the engine does not tell, from
/// its beginning until this, and what it has had of a processor.
pub(super) fn complete(event: &mut Value, key: &VersionKey, now: Timestamp, cpu: Duration) {
    event["scriptName"] = key.worker.as_str().into();
    event["scriptVersion"] = json!({ "id": key.version.to_string() });
    let is_unknown = |time: &Value| time.as_f64().is_none_or(|told| told == 0.0);
    if is_unknown(&event["wallTime"])
        && let Some(began) = event["eventTimestamp"].as_i64()
    {
        event["wallTime"] = now.as_millis().saturating_sub(began).max(0).into();
    }
    if is_unknown(&event["cpuTime"]) {
        event["cpuTime"] = u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX).into();
    }
    if let Some(exceptions) = event["exceptions"].as_array_mut() {
        let told = exceptions.len();
        exceptions.retain(|exception| exception["message"] != PASSED);
        if exceptions.len() < told {
            event["outcome"] = "exception".into();
        }
    }
}

/// As it goes over the wire. One that is too long loses its last logs, then its exceptions and what is told of its request, and says
/// so.
pub(super) fn write(mut event: Value) -> String {
    let mut text = event.to_string();
    if text.len() <= OCTETS_MAX {
        return text;
    }
    event["truncated"] = true.into();
    let mut over = text.len() - OCTETS_MAX;
    if let Some(logs) = event["logs"].as_array_mut() {
        while over > 0
            && let Some(log) = logs.pop()
        {
            // With the comma before it.
            over = over.saturating_sub(log.to_string().len() + 1);
        }
    }
    text = event.to_string();
    for rest in ["exceptions", "diagnosticsChannelEvents", "event"] {
        if text.len() <= OCTETS_MAX {
            break;
        }
        event[rest] = if rest == "event" { Value::Null } else { json!([]) };
        text = event.to_string();
    }
    text
}

#[cfg(test)]
mod tests {
    use proxima_model::{AccountId, WorkerName, WorkerVersionId};

    use super::*;

    const BEGAN: Timestamp = Timestamp::from_millis(1_000);

    #[test]
    fn an_event_of_a_worker_whose_request_passed_it_says_that_it_threw() {
        let key = VersionKey::nobodys(AccountId::from_bytes([1; 16]));
        let mut event = empty("ok", Value::Null, BEGAN);
        event["exceptions"] = json!([{ "message": "boom" }, { "message": PASSED }]);
        complete(&mut event, &key, BEGAN, Duration::ZERO);
        assert_eq!(
            (&event["outcome"], &event["exceptions"]),
            (&json!("exception"), &json!([{ "message": "boom" }]))
        );
        event["outcome"] = "ok".into();
        complete(&mut event, &key, BEGAN, Duration::ZERO);
        assert_eq!(event["outcome"], "ok", "what is thrown in waitUntil is not the answer's");
    }

    #[test]
    fn an_event_says_which_worker_it_is_of_and_how_long_it_took() {
        let key = VersionKey {
            account: AccountId::from_bytes([1; 16]),
            worker: WorkerName::parse("app").unwrap(),
            version: WorkerVersionId::from_random([2; 16]),
        };
        let mut event = empty("ok", Value::Null, BEGAN);
        complete(&mut event, &key, Timestamp::from_millis(1_250), Duration::from_micros(42_900));
        assert_eq!(event["scriptName"], "app");
        assert_eq!(event["scriptVersion"]["id"], key.version.to_string());
        assert_eq!((&event["wallTime"], &event["cpuTime"]), (&250.into(), &42.into()));
        // A clock was set back, and what is told stays.
        let mut event = empty("ok", Value::Null, BEGAN);
        complete(&mut event, &key, Timestamp::from_millis(900), Duration::ZERO);
        assert_eq!(event["wallTime"], 0);
        event["wallTime"] = 7.into();
        complete(&mut event, &key, Timestamp::from_millis(2_000), Duration::ZERO);
        assert_eq!(event["wallTime"], 7);
    }

    #[test]
    fn an_event_is_known_by_the_ray_of_its_request_or_by_its_trigger() {
        let name = |what: Value| name(&what);
        let request =
            json!({ "request": { "url": "https://a.example/", "headers": { "cf-ray": "0f-FRA" } } });
        assert_eq!(name(request), Some("0f-FRA".to_owned()));
        assert_eq!(name(json!({ "request": { "url": "https://a.example/", "headers": {} } })), None);
        let trigger = json!({ "cron": "* * * * *", "scheduledTime": 60_000 });
        assert_eq!(name(trigger), Some("60000 * * * * *".to_owned()));
        assert_eq!((name(json!({ "queue": "q", "batchSize": 1 })), name(Value::Null)), (None, None));
    }

    #[test]
    fn what_is_too_long_loses_its_last_logs_and_says_so() {
        let log = |number: usize| json!({ "message": [number, "x".repeat(1 << 10)] });
        let of = |count: usize| {
            let mut event = empty("ok", Value::Null, BEGAN);
            event["logs"] = (0..count).map(log).collect();
            event
        };
        let whole = of(400);
        assert_eq!(write(whole.clone()), whole.to_string());
        let cut = write(of(1_000));
        assert!((OCTETS_MAX - (2 << 10)..=OCTETS_MAX).contains(&cut.len()), "{}", cut.len());
        let cut: Value = serde_json::from_str(&cut).unwrap();
        assert_eq!(cut["truncated"], true);
        assert_eq!(cut["logs"][3], log(3));
        let mut large = of(3);
        large["event"] = "x".repeat(OCTETS_MAX).into();
        large["exceptions"] = json!([{ "message": "boom" }]);
        let cut: Value = serde_json::from_str(&write(large)).unwrap();
        assert_eq!(
            (&cut["event"], &cut["truncated"], &cut["outcome"]),
            (&Value::Null, &true.into(), &"ok".into())
        );
    }
}
