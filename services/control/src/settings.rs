//! `zones/:zone_id/settings`: those that exist.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_model::{Setting, Timestamp, Zone, excerpt};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{
        self, Api,
        body::JsonBody,
        envelope::{Answer, time},
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    zones,
};

fn show(setting: Setting, zone: &Zone, now: Timestamp) -> Value {
    let mut shown = json!({
        "id": setting.id(),
        "value": setting.value(&zone.settings),
        "editable": true,
        "modified_on": time(zone.modified_at),
    });
    if setting == Setting::DevelopmentMode {
        let on = zone.settings.in_development(now);
        shown["value"] = if on { "on".into() } else { "off".into() };
        shown["time_remaining"] =
            if on { zone.settings.development_mode_seconds(now).into() } else { 0.into() };
    }
    shown
}

fn known(id: &str) -> Result<Setting, ApiError> {
    Setting::by_id(id).ok_or_else(|| {
        let names: Vec<_> = Setting::ALL.iter().map(|setting| setting.id()).collect();
        ApiError::new(
            Code::SettingUnknown,
            format!("{} is not a setting that exists here; there are {}", excerpt(id), names.join(", ")),
        )
    })
}

/// `GET settings`.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Answer, ApiError> {
    let now = api.now();
    api.read(move |snapshot| {
        let zone = api::zone(snapshot, zone.id)?;
        let all = Setting::ALL.iter().map(|setting| show(*setting, &zone, now)).collect();
        Ok(Answer::new(Value::Array(all)).at(snapshot.seq()))
    })
    .await
}

/// `GET settings/:setting_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let setting = known(&id)?;
    let now = api.now();
    api.read(move |snapshot| {
        let zone = api::zone(snapshot, zone.id)?;
        Ok(Answer::new(show(setting, &zone, now)).at(snapshot.seq()))
    })
    .await
}

/// A setting's new value.
#[derive(Debug, Deserialize)]
pub(crate) struct ValueBody {
    value: Value,
}

/// `PATCH settings/:setting_id`.
pub(crate) async fn patch(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    Path((_, id)): Path<(String, String)>,
    JsonBody(body): JsonBody<ValueBody>,
) -> Result<Answer, ApiError> {
    let setting = known(&id)?;
    api.change(&author, move |draft| {
        let zone = set(draft, &zone, &[(setting, body.value.clone())])?;
        Ok(show(setting, &zone, draft.now))
    })
    .await
}

/// Several settings' new values.
#[derive(Debug, Deserialize)]
pub(crate) struct ItemsBody {
    items: Vec<ItemBody>,
}

#[derive(Debug, Deserialize)]
struct ItemBody {
    id: String,
    value: Value,
}

/// `PATCH settings`: all of them or none.
pub(crate) async fn patch_many(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<ItemsBody>,
) -> Result<Answer, ApiError> {
    let items = body.items.iter().enumerate().map(|(index, item)| {
        let setting = known(&item.id).map_err(|refusal| refusal.at(format!("/items/{index}/id")))?;
        Ok((setting, item.value.clone()))
    });
    let items = items.collect::<Result<Vec<_>, ApiError>>()?;
    api.change(&author, move |draft| {
        let zone = set(draft, &zone, &items)?;
        let now = draft.now;
        Ok(items.iter().map(|(setting, _)| show(*setting, &zone, now)).collect())
    })
    .await
}

fn set(draft: &mut Draft<'_>, zone: &Zone, items: &[(Setting, Value)]) -> Result<Zone, ApiError> {
    let mut zone = draft.zone(zone.id)?;
    if draft.is_repeat {
        return Ok(zone);
    }
    let former = zone.settings.clone();
    for (setting, value) in items {
        setting.set(&mut zone.settings, value).map_err(|invalid| {
            let refusal = ApiError::invalid(Code::SettingInvalid, &invalid);
            let message = format!("{}: {}", setting.id(), refusal);
            ApiError::new(Code::SettingInvalid, message).at("/value")
        })?;
    }
    if items.iter().any(|(setting, _)| *setting == Setting::DevelopmentMode) {
        // Judged by what was in force: switched on again, it lasts anew.
        let on = std::mem::replace(&mut zone.settings.development_mode, former.development_mode);
        zone.settings.set_development_mode(on, draft.now);
    }
    if zone.settings != former {
        zones::touch(&mut zone, draft.now);
        draft.put(&zone);
    }
    Ok(zone)
}
