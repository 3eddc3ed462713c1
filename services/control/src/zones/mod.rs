//! `zones`: making, finding, changing and deleting them.

mod delete;
mod list;

use std::{collections::BTreeMap, sync::Arc};

use axum::{Extension, extract::State};
use proxima_ledger::{ReadError, Snapshot};
use proxima_model::{
    Account, AccountId, Entity as _, Permission, SecondaryZone, Timestamp, Zone, ZoneId, ZoneIndex, ZoneName,
    ZoneSettings, ZoneStatus, excerpt,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{
        Api,
        access::{Caller, On},
        body::JsonBody,
        envelope::{Answer, time, time_or_null},
        write::{Author, Draft},
    },
    config::Activation,
    error::{ApiError, Code},
    limits,
};

pub(crate) use delete::{delete, remove_orphans};
pub(crate) use list::list;

/// What a zone is made of.
#[derive(Debug, Deserialize)]
pub(crate) struct CreateBody {
    name: String,
    #[serde(default)]
    account: Option<AccountBody>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct AccountBody {
    #[serde(default)]
    id: Option<String>,
}

/// `POST zones`.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    author: Author,
    JsonBody(body): JsonBody<CreateBody>,
) -> Result<Answer, ApiError> {
    let is_secondary = body.kind.as_deref() == Some("secondary");
    if let Some(kind) = body.kind.as_deref().filter(|kind| *kind != "full" && !is_secondary) {
        return Err(ApiError::new(
            Code::NotOffered,
            format!("type: zones of type {} are not offered; give \"full\" or \"secondary\"", excerpt(kind)),
        )
        .at("/type"));
    }
    let name =
        ZoneName::parse(&body.name).map_err(|invalid| ApiError::invalid(Code::ZoneNameInvalid, &invalid))?;
    let shared = api.clone();
    let written = api
        .write(&author, move |draft| {
            let id = ZoneId::from_bytes(draft.id());
            if draft.is_repeat {
                let zone = draft.made::<Zone>(&id)?;
                return Ok((shown(draft.snapshot, &zone, draft.now)?, None));
            }
            let given = body.account.as_ref().and_then(|account| account.id.as_deref());
            let account = owner(draft.snapshot, &caller, given)?;
            let displaced = take_name(draft, &name, account)?;
            let zone = new_zone(&shared, draft, id, account, name.clone());
            draft.put(&zone);
            draft.put(&ZoneIndex { name: zone.name.clone(), zone: id });
            if is_secondary {
                draft.put(&SecondaryZone::new(id));
            }
            let account = account_name(draft.snapshot, account)?;
            Ok((show(&zone, is_secondary, &account, draft.now), displaced))
        })
        .await?;
    let (shown, displaced) = written.answer;
    if let Some(displaced) = displaced {
        delete::remove_rest(&api, displaced);
    }
    Ok(Answer::new(shown).at(written.seq))
}

fn new_zone(api: &Api, draft: &Draft<'_>, id: ZoneId, account: AccountId, name: ZoneName) -> Zone {
    let active = api.activation == Activation::Trust;
    Zone {
        id,
        account,
        name,
        status: if active { ZoneStatus::Active } else { ZoneStatus::Pending },
        paused: false,
        name_servers: api.network.name_servers.clone(),
        settings: ZoneSettings::default(),
        serial: first_serial(draft.now.as_seconds()),
        created_at: draft.now,
        modified_at: draft.now,
        activated_at: active.then_some(draft.now),
    }
}

/// The serial of a new zone: the time, so that a zone made anew under its former name goes on and not back
/// (RFC 1982 orders serials around the clock, so the wrap in 2106 does no harm).
fn first_serial(seconds: i64) -> u32 {
    u32::try_from(seconds.rem_euclid(1 << 32)).unwrap_or(1)
}

/// Raises the serial, as every change of what DNS answers does.
pub(crate) fn touch(zone: &mut Zone, now: Timestamp) {
    zone.serial = zone.serial.wrapping_add(1);
    zone.modified_at = now;
}

/// The account of a new zone: the one given, or the only one in which the caller may make zones.
fn owner(snapshot: &Snapshot, caller: &Caller, given: Option<&str>) -> Result<AccountId, ApiError> {
    let unknown = |message: String| ApiError::new(Code::AccountInvalid, message).at("/account/id");
    let may = |id| caller.may(Permission::ZoneEdit, On::Account(id));
    if let Some(given) = given {
        let invalid = || unknown(format!("account.id: {} is not an account of this token", excerpt(given)));
        let id: AccountId = given.parse().map_err(|_| invalid())?;
        let account = snapshot.get::<Account>(&id)?.filter(|account| may(account.id));
        return account.map(|account| account.id).ok_or_else(invalid);
    }
    let mut only = None;
    for account in snapshot.scan::<Account>(&[]) {
        let account = account?;
        if may(account.id) && only.replace(account.id).is_some() {
            return Err(unknown("account.id: the token has several accounts; say in which".to_owned()));
        }
    }
    only.ok_or_else(|| unknown("account.id: the token may make zones in no account".to_owned()))
}

/// A name can be had once; and nobody can take a part of somebody else's zone, whose traffic would then be theirs.
///
/// Only an active zone has shown that its name is its account's. A pending one claims nothing of what lies beneath it,
/// and keeps its own name from other accounts for a week; then it is deleted for whoever asks next. Returns a zone that
/// went so and of which something is left to remove.
///
/// Everything looked at is a precondition: of two creations at the same time, the second is decided anew.
fn take_name(draft: &mut Draft<'_>, name: &ZoneName, account: AccountId) -> Result<Option<ZoneId>, ApiError> {
    let mut displaced = None;
    if let Some(index) = draft.read::<ZoneIndex>(name)? {
        let zone = draft.zone(index.zone)?;
        let held_until = zone.created_at.plus_seconds(limits::PENDING_NAME_HELD_SECONDS);
        if zone.account == account || zone.status == ZoneStatus::Active || draft.now < held_until {
            return Err(ApiError::new(Code::ZoneExists, format!("{name} already exists")).at("/name"));
        }
        displaced = delete::remove(draft, &zone)?.then_some(zone.id);
    }
    for above in names_above(name) {
        let Some(index) = draft.read::<ZoneIndex>(&above)? else { continue };
        let zone = draft.zone(index.zone)?;
        if zone.status != ZoneStatus::Active {
            continue;
        }
        if zone.account != account {
            let message = format!("{name} lies within a zone that already exists; add its names there");
            return Err(ApiError::new(Code::ZoneExists, message).at("/name"));
        }
        // The account has shown that this part of the tree is its own.
        break;
    }
    Ok(displaced)
}

/// The names above a name that a zone can have, the closest first.
fn names_above(name: &ZoneName) -> impl Iterator<Item = ZoneName> {
    let above = name.as_str().match_indices('.').map(|(dot, _)| &name.as_str()[dot + 1..]);
    above.filter_map(|text| ZoneName::parse(text).ok())
}

/// `GET zones/:zone_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Answer, ApiError> {
    let now = api.now();
    api.read(move |snapshot| {
        let zone = crate::api::zone(snapshot, zone.id)?;
        Ok(Answer::new(shown(snapshot, &zone, now)?).at(snapshot.seq()))
    })
    .await
}

/// What may be changed of a zone.
#[derive(Debug, Deserialize)]
pub(crate) struct PatchBody {
    #[serde(default)]
    paused: Option<bool>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    plan: Option<Value>,
    #[serde(default)]
    vanity_name_servers: Option<Vec<String>>,
}

/// `PATCH zones/:zone_id`.
pub(crate) async fn patch(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<PatchBody>,
) -> Result<Answer, ApiError> {
    fn refuse(field: &str) -> ApiError {
        ApiError::new(Code::NotOffered, format!("{field}: changing it is not offered"))
            .at(format!("/{field}"))
    }
    if body.plan.is_some() {
        return Err(refuse("plan"));
    }
    if body.vanity_name_servers.is_some_and(|names| !names.is_empty()) {
        return Err(refuse("vanity_name_servers"));
    }
    api.change(&author, move |draft| {
        let kind = if is_secondary(draft.snapshot, zone.id)? { "secondary" } else { "full" };
        if body.kind.as_ref().is_some_and(|wanted| wanted != kind) {
            return Err(refuse("type"));
        }
        let mut zone = draft.zone(zone.id)?;
        if let Some(paused) = body.paused
            && !draft.is_repeat
            && paused != zone.paused
        {
            zone.paused = paused;
            touch(&mut zone, draft.now);
            draft.put(&zone);
        }
        shown(draft.snapshot, &zone, draft.now)
    })
    .await
}

/// `PUT zones/:zone_id/activation_check`.
pub(crate) async fn activation_check(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
) -> Result<Answer, ApiError> {
    if zone.status == ZoneStatus::Active {
        return Ok(Answer::new(json!({ "id": zone.id.to_string() })).message("the zone is active"));
    }
    let verdict = match api.activation {
        Activation::Trust => Ok(()),
        Activation::Delegation => api.delegations.check(&zone).await,
    };
    match verdict {
        Err(why) => {
            Ok(Answer::new(json!({ "id": zone.id.to_string() })).message(format!("still pending: {why}")))
        }
        Ok(()) => {
            let written = api.write(&author, move |draft| activate(draft, zone.id)).await?;
            Ok(Answer::new(json!({ "id": zone.id.to_string() }))
                .at(written.seq)
                .message("the zone is active"))
        }
    }
}

/// Makes a zone active. Its certificate follows from that: see [`background`](crate::background).
pub(crate) fn activate(draft: &mut Draft<'_>, id: ZoneId) -> Result<(), ApiError> {
    let mut zone = draft.zone(id)?;
    if zone.status == ZoneStatus::Pending {
        zone.status = ZoneStatus::Active;
        zone.activated_at = Some(draft.now);
        touch(&mut zone, draft.now);
        draft.put(&zone);
    }
    Ok(())
}

/// A zone as v4 shows it, with its account's name.
fn shown(snapshot: &Snapshot, zone: &Zone, now: Timestamp) -> Result<Value, ApiError> {
    let account = account_name(snapshot, zone.account)?;
    Ok(show(zone, is_secondary(snapshot, zone.id)?, &account, now))
}

fn account_name(snapshot: &Snapshot, account: AccountId) -> Result<String, ReadError> {
    Ok(snapshot.get::<Account>(&account)?.map_or_else(String::new, |account| account.name))
}

/// Whether a zone's records come from another server.
pub(crate) fn is_secondary(snapshot: &Snapshot, zone: ZoneId) -> Result<bool, ReadError> {
    Ok(snapshot.revision(&SecondaryZone::key_of(&zone))?.is_some())
}

fn show(zone: &Zone, is_secondary: bool, account: &str, now: Timestamp) -> Value {
    let status = match zone.status {
        ZoneStatus::Pending => "pending",
        ZoneStatus::Active => "active",
    };
    json!({
        "id": zone.id.to_string(),
        "name": zone.name,
        "status": status,
        "paused": zone.paused,
        "type": if is_secondary { "secondary" } else { "full" },
        "development_mode": zone.settings.development_mode_seconds(now),
        "name_servers": zone.name_servers,
        "original_name_servers": null,
        "original_registrar": null,
        "original_dnshost": null,
        "modified_on": time(zone.modified_at),
        "created_on": time(zone.created_at),
        "activated_on": time_or_null(zone.activated_at),
        "vanity_name_servers": [],
        "meta": {
            "step": 4,
            "custom_certificate_quota": limits::CERTIFICATES_PER_ZONE_MAX,
            "page_rule_quota": 0,
            "phishing_detected": false,
        },
        "owner": { "id": null, "type": "user", "email": null },
        "account": { "id": zone.account.to_string(), "name": account },
        "tenant": { "id": null, "name": null },
        "tenant_unit": { "id": null },
        "permissions": [],
        "plan": {
            "id": "00000000000000000000000000000001",
            "name": "Everything",
            "price": 0,
            "currency": "",
            "frequency": "",
            "is_subscribed": true,
            "can_subscribe": false,
            "legacy_id": "enterprise",
            "legacy_discount": false,
            "externally_managed": false,
        },
    })
}

/// The names of accounts, each read once.
struct AccountNames<'a> {
    snapshot: &'a Snapshot,
    names: BTreeMap<AccountId, String>,
}

impl<'a> AccountNames<'a> {
    const fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, names: BTreeMap::new() }
    }

    fn get(&mut self, id: AccountId) -> Result<&str, ApiError> {
        if !self.names.contains_key(&id) {
            let account = self.snapshot.get::<Account>(&id)?;
            self.names.insert(id, account.map_or_else(String::new, |account| account.name));
        }
        Ok(self.names.get(&id).map_or("", String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_made_anew_goes_on_counting_where_the_former_one_was() {
        assert_eq!(first_serial(1_764_000_000), 1_764_000_000);
        assert_eq!(first_serial((1 << 32) + 5), 5);
    }
    #[test]
    fn the_names_above_a_name_have_two_labels_at_least() {
        let name = ZoneName::parse("a.b.example.com").unwrap();
        let above: Vec<_> = names_above(&name).map(|name| name.to_string()).collect();
        assert_eq!(above, ["b.example.com", "example.com"]);
    }
}
