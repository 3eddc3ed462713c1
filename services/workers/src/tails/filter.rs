//! Whether an event passes a filter: pure, but for the share of them that is drawn.

use proxima_pipeline::TailFilter;
use serde_json::Value;

/// The field in which a Worker is told whom its request comes from.
const CLIENT_IP: &str = "cf-connecting-ip";

/// Whether it does. An event without what is asked for does not: a cron trigger has no method.
pub(super) fn passes(filter: &TailFilter, event: &Value) -> bool {
    match filter {
        TailFilter::SamplingRate(rate) => rand::random_bool(rate.clamp(0.0, 1.0)),
        TailFilter::Outcome(outcomes) => is_one_of(&event["outcome"], outcomes),
        TailFilter::Method(methods) => {
            let method = event["event"]["request"]["method"].as_str();
            method.is_some_and(|method| methods.iter().any(|wanted| wanted.eq_ignore_ascii_case(method)))
        }
        TailFilter::Header { key, query } => {
            let value = field(event, &key.to_ascii_lowercase());
            value.is_some_and(|value| query.as_deref().is_none_or(|query| value.contains(query)))
        }
        TailFilter::ClientIp(addresses) => {
            field(event, CLIENT_IP).is_some_and(|address| addresses.iter().any(|wanted| wanted == address))
        }
        TailFilter::Query(text) => {
            let logs = event["logs"].as_array().into_iter().flatten();
            logs.filter_map(|log| log["message"].as_array()).flatten().any(|said| contains(said, text))
        }
        TailFilter::ScriptVersion(version) => event["scriptVersion"]["id"] == **version,
    }
}

fn is_one_of(value: &Value, wanted: &[String]) -> bool {
    value.as_str().is_some_and(|value| wanted.iter().any(|wanted| wanted == value))
}

/// A field of the request, whose name is in lower case, as the engine writes it.
fn field<'a>(event: &'a Value, name: &str) -> Option<&'a str> {
    event["event"]["request"]["headers"][name].as_str()
}

fn contains(said: &Value, text: &str) -> bool {
    match said {
        Value::String(said) => said.contains(text),
        other => other.to_string().contains(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_passes_what_it_is_like_and_nothing_else() {
        let request = json!({
            "outcome": "exception",
            "scriptVersion": { "id": "one" },
            "logs": [{ "message": ["a needle", { "in": ["hay"] }] }, { "message": [17] }],
            "event": { "request": {
                "method": "POST",
                "headers": { "x-colour": "dark red", "authorization": "REDACTED", "cf-connecting-ip": "192.0.2.1" },
            } },
        });
        let cron = json!({ "outcome": "ok", "logs": [], "event": { "cron": "* * * * *" } });
        for (filter, passes_request, passes_cron) in [
            (json!({ "sampling_rate": 1.0 }), true, true),
            (json!({ "sampling_rate": 0.0 }), false, false),
            (json!({ "outcome": ["ok", "exception"] }), true, true),
            (json!({ "outcome": ["exceededCpu"] }), false, false),
            (json!({ "method": ["GET", "post"] }), true, false),
            (json!({ "method": ["GET"] }), false, false),
            (json!({ "header": { "key": "X-Colour" } }), true, false),
            (json!({ "header": { "key": "x-colour", "query": "red" } }), true, false),
            (json!({ "header": { "key": "x-colour", "query": "blue" } }), false, false),
            (json!({ "header": { "key": "authorization" } }), true, false),
            (json!({ "header": { "key": "x-none" } }), false, false),
            (json!({ "client_ip": ["192.0.2.2", "192.0.2.1"] }), true, false),
            (json!({ "client_ip": ["192.0.2.2"] }), false, false),
            (json!({ "query": "needle" }), true, false),
            (json!({ "query": "\"hay\"" }), true, false),
            (json!({ "query": "17" }), true, false),
            (json!({ "query": "thread" }), false, false),
            (json!({ "scriptVersion": "one" }), true, false),
            (json!({ "scriptVersion": "two" }), false, false),
        ] {
            let parsed: TailFilter = serde_json::from_value(filter.clone()).unwrap();
            assert_eq!(passes(&parsed, &request), passes_request, "{filter} of a request");
            assert_eq!(passes(&parsed, &cron), passes_cron, "{filter} of a cron trigger");
        }
    }

    #[test]
    fn a_share_of_events_passes() {
        let passed = (0..10_000).filter(|_| passes(&TailFilter::SamplingRate(0.3), &Value::Null)).count();
        // Nine standard deviations on either side.
        assert!((2_588..=3_412).contains(&passed), "{passed} of 10,000");
    }
}
