//! `zones/:zone_id/dns_settings`: how DNS answers for a zone, as v4 shows it.
//!
//! One of these settings is a choice here, `flatten_all_cnames`, which `cname_flattening` among the zone's settings says too.
//! All others are shown as they are: a change to what they are already is taken, and any other refused.

use std::sync::Arc;

use axum::{Extension, extract::State};
use proxima_model::{CnameFlattening, SecondaryZone, Zone, limits as model_limits};
use serde_json::{Map, Value, json};

use crate::{
    api::{self, Api, body::JsonBody, envelope::Answer, write::Author},
    error::{ApiError, Code},
    zones,
};

const FLATTEN_ALL: &str = "flatten_all_cnames";

/// What is shown; without `soa` of a zone that has its primary's.
fn show(zone: &Zone, is_secondary: bool) -> Value {
    let mut shown = json!({
        FLATTEN_ALL: zone.settings.cname_flattening == CnameFlattening::FlattenAll,
        "foundation_dns": false,
        "internal_dns": {},
        "multi_provider": false,
        "nameservers": {"type": "cloudflare.standard"},
        "ns_ttl": model_limits::APEX_NS_TTL_SECONDS,
        "secondary_overrides": false,
        "zone_mode": "standard",
    });
    if !is_secondary {
        let [refresh, retry, expire] = model_limits::SOA_TIMERS_SECONDS;
        shown["soa"] = json!({
            "mname": zone.name_servers.first().map_or(zone.name.as_str(), |server| server.as_str()),
            "rname": format!("hostmaster.{}", zone.name),
            "refresh": refresh,
            "retry": retry,
            "expire": expire,
            "min_ttl": model_limits::NEGATIVE_TTL_SECONDS,
            "ttl": model_limits::SOA_TTL_SECONDS,
        });
    }
    shown
}

/// What of a change is a choice: whether all aliases are to be flattened.
///
/// # Errors
/// Something else would change, or what is given is none of these settings.
fn chosen(body: &Map<String, Value>, zone: &Zone, is_secondary: bool) -> Result<Option<bool>, ApiError> {
    let shown = show(zone, is_secondary);
    let mut flatten_all = None;
    for (field, given) in body {
        match (field.as_str(), given) {
            (FLATTEN_ALL, Value::Bool(all)) => flatten_all = Some(*all),
            (FLATTEN_ALL, _) => {
                let message = format!("{FLATTEN_ALL}: give true or false");
                return Err(ApiError::new(Code::FieldInvalid, message).at(format!("/{FLATTEN_ALL}")));
            }
            _ => is_so(field, given, shown.get(field))?,
        }
    }
    Ok(flatten_all)
}

/// Whether what is given of a field is what it is already; of an object, all that is given.
fn is_so(path: &str, given: &Value, known: Option<&Value>) -> Result<(), ApiError> {
    let at = |refusal: ApiError| refusal.at(format!("/{}", path.replace('.', "/")));
    let Some(known) = known else {
        return Err(at(ApiError::new(Code::NotOffered, format!("{path}: not offered; leave it out"))));
    };
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => given
            .iter()
            .try_for_each(|(field, given)| is_so(&format!("{path}.{field}"), given, known.get(field))),
        // What is assigned by us.
        (Value::Null, _) => Ok(()),
        (Value::Number(given), Value::Number(known)) if given.as_f64() == known.as_f64() => Ok(()),
        _ if given == known => Ok(()),
        _ => Err(at(ApiError::new(
            Code::NotOffered,
            format!("{path}: it is {known} here, and cannot be changed"),
        ))),
    }
}

/// `GET dns_settings`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let zone = api::zone(snapshot, zone.id)?;
        let is_secondary = snapshot.get::<SecondaryZone>(&zone.id)?.is_some();
        Ok(Answer::new(show(&zone, is_secondary)).at(snapshot.seq()))
    })
    .await
}

/// `PATCH dns_settings`.
pub(crate) async fn patch(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let mut zone = draft.zone(zone.id)?;
        let is_secondary = draft.read::<SecondaryZone>(&zone.id)?.is_some();
        if draft.is_repeat {
            return Ok(show(&zone, is_secondary));
        }
        let wanted = chosen(&body, &zone, is_secondary)?
            .map(|all| if all { CnameFlattening::FlattenAll } else { CnameFlattening::FlattenAtRoot });
        if let Some(wanted) = wanted.filter(|wanted| *wanted != zone.settings.cname_flattening) {
            zone.settings.cname_flattening = wanted;
            zones::touch(&mut zone, draft.now);
            draft.put(&zone);
        }
        Ok(show(&zone, is_secondary))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::zone;

    #[test]
    fn what_is_shown_can_be_sent_back_and_changes_nothing() {
        for is_secondary in [false, true] {
            let shown = show(&zone(), is_secondary);
            assert_eq!(chosen(shown.as_object().unwrap(), &zone(), is_secondary).unwrap(), Some(false));
        }
    }

    #[test]
    fn what_is_no_choice_here_is_refused_where_it_would_change() {
        let refused = |body: Value| {
            let refusal = chosen(body.as_object().unwrap(), &zone(), false).unwrap_err();
            (refusal.code(), refusal.problems[0].pointer.clone().unwrap_or_default())
        };
        for (body, code, pointer) in [
            (json!({"flatten_all_cnames": "yes"}), Code::FieldInvalid, "/flatten_all_cnames"),
            (json!({"foundation_dns": true}), Code::NotOffered, "/foundation_dns"),
            (json!({"ns_ttl": 300}), Code::NotOffered, "/ns_ttl"),
            (json!({"soa": {"ttl": 1800, "expire": 1}}), Code::NotOffered, "/soa/expire"),
            (json!({"nameservers": {"type": "custom.zone"}}), Code::NotOffered, "/nameservers/type"),
            (
                json!({"internal_dns": {"reference_zone_id": "x"}}),
                Code::NotOffered,
                "/internal_dns/reference_zone_id",
            ),
            (json!({"nothing": 1}), Code::NotOffered, "/nothing"),
        ] {
            assert_eq!(refused(body.clone()), (code, pointer.to_owned()), "{body}");
        }
        let same = json!({"flatten_all_cnames": true, "ns_ttl": 86400.0, "soa": {"mname": null}});
        assert_eq!(chosen(same.as_object().unwrap(), &zone(), false).unwrap(), Some(true));
    }
}
