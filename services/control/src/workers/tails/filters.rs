//! The filters of a tail, as they come from outside: checked, before they are asked for every event.

use std::net::IpAddr;

use proxima_pipeline::{TAIL_FILTERS_OCTETS_MAX, TailFilter};
use serde::Deserialize;

use crate::{
    api::body,
    error::{ApiError, Code},
};

/// In the place of an address: whoever asks.
const SELF: &str = "self";

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TailBody {
    filters: Vec<TailFilter>,
}

/// Those of a body, which may be none at all; whoever asks has this address.
pub(super) fn parse(octets: &[u8], peer: IpAddr) -> Result<Vec<TailFilter>, ApiError> {
    if octets.is_empty() {
        return Ok(Vec::new());
    }
    let TailBody { mut filters } = body::parse(octets)?;
    for (number, filter) in filters.iter_mut().enumerate() {
        check(filter, peer)
            .map_err(|problem| ApiError::new(Code::FieldInvalid, problem).at(format!("/filters/{number}")))?;
    }
    let written = serde_json::to_vec(&filters).unwrap_or_default().len();
    if written > TAIL_FILTERS_OCTETS_MAX {
        let problem = format!("filters: they are {written} octets; give at most {TAIL_FILTERS_OCTETS_MAX}");
        return Err(ApiError::new(Code::FieldInvalid, problem).at("/filters"));
    }
    Ok(filters)
}

fn check(filter: &mut TailFilter, peer: IpAddr) -> Result<(), String> {
    match filter {
        TailFilter::SamplingRate(rate) if !(*rate > 0.0 && *rate <= 1.0) => {
            Err("sampling_rate: give more than 0 and at most 1".to_owned())
        }
        TailFilter::Header { key, .. } if key.is_empty() => Err("header: give its key".to_owned()),
        TailFilter::ClientIp(addresses) => {
            for address in addresses {
                let parsed = if address == SELF { Ok(peer) } else { address.parse::<IpAddr>() };
                // As Workers are told it.
                let parsed = parsed.map_err(|_| format!("client_ip: {address:.50} is no address"))?;
                *address = parsed.to_canonical().to_string();
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(body: &str) -> Result<Vec<TailFilter>, ApiError> {
        parse(body.as_bytes(), "::ffff:192.0.2.7".parse().unwrap())
    }

    #[test]
    fn filters_that_could_not_work_are_refused_by_their_place() {
        for (filter, told) in [
            (json!({ "sampling_rate": 0 }), "more than 0"),
            (json!({ "sampling_rate": 1.1 }), "at most 1"),
            (json!({ "header": { "key": "" } }), "give its key"),
            (json!({ "client_ip": ["192.0.2.1", "nobody"] }), "nobody is no address"),
            (json!({ "colour": "red" }), "unknown variant `colour`"),
        ] {
            let body = json!({ "filters": [{ "method": ["GET"] }, filter] }).to_string();
            let refused = parsed(&body).unwrap_err();
            assert!(refused.to_string().contains(told), "{refused}");
            assert!(refused.problems[0].pointer.as_deref().unwrap().starts_with("/filters/1"), "{refused:?}");
        }
        assert!(parsed("{\"filter\": []}").is_err(), "a field that does not exist");
        let at_the_bound = TAIL_FILTERS_OCTETS_MAX - "[{\"query\":\"\"}]".len();
        let long = |octets: usize| json!({ "filters": [{ "query": "x".repeat(octets) }] }).to_string();
        assert!(parsed(&long(at_the_bound)).is_ok());
        assert!(parsed(&long(at_the_bound + 1)).is_err());
    }

    #[test]
    fn addresses_are_those_that_workers_are_told_and_self_is_who_asks() {
        assert_eq!(parsed("").unwrap(), []);
        assert_eq!(parsed("{}").unwrap(), []);
        let body = json!({ "filters": [{ "client_ip": ["self", "2001:DB8::0001"] }] }).to_string();
        let expected = TailFilter::ClientIp(vec!["192.0.2.7".to_owned(), "2001:db8::1".to_owned()]);
        assert_eq!(parsed(&body).unwrap(), [expected]);
    }
}
