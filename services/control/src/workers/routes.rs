//! `zones/:zone_id/workers/routes`, and those of one Worker over all zones, `workers/scripts/:script_name/routes`.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_ledger::Precondition;
use proxima_model::{
    Account, AccountId, Entity, Permission, RoutePattern, Worker, WorkerName, WorkerRoute, WorkerRouteId,
    WorkerTriggers, Zone, ZoneId, limits as model_limits,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{change, named, triggers::Triggers};
use crate::{
    api::{
        Api,
        access::Caller,
        body::JsonBody,
        envelope::Answer,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    hosts::{may, place},
};

/// A route to put.
#[derive(Debug, Deserialize)]
pub(crate) struct RouteBody {
    pattern: String,
    #[serde(default)]
    script: Option<String>,
}

impl RouteBody {
    fn parse(&self) -> Result<(RoutePattern, Option<WorkerName>), ApiError> {
        let script = self.script.as_deref().filter(|script| !script.is_empty());
        Ok((pattern(&self.pattern)?, script.map(named).transpose()?))
    }
}

fn pattern(text: &str) -> Result<RoutePattern, ApiError> {
    RoutePattern::parse(text).map_err(|problem| ApiError::invalid(Code::RouteInvalid, &problem))
}

/// `GET routes`.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let routes = snapshot.scan::<WorkerRoute>(&[&zone.id]).collect::<Result<Vec<_>, _>>()?;
        Ok(Answer::new(routes.iter().map(show).collect()).at(snapshot.seq()))
    })
    .await
}

/// `GET routes/:route_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let id: WorkerRouteId = id.parse().map_err(|_| unknown())?;
    api.read(move |snapshot| {
        let route = snapshot.get::<WorkerRoute>(&(zone.id, id))?.ok_or_else(unknown)?;
        Ok(Answer::new(show(&route)).at(snapshot.seq()))
    })
    .await
}

/// `POST routes`.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<RouteBody>,
) -> Result<Answer, ApiError> {
    let (pattern, script) = body.parse()?;
    api.change(&author, move |draft| {
        let id = WorkerRouteId::from_bytes(draft.id());
        if draft.is_repeat {
            return Ok(show(&draft.made::<WorkerRoute>(&(zone.id, id))?));
        }
        let mut edit = RouteEdit::of(zone.account);
        let route = WorkerRoute { id, zone: zone.id, pattern: pattern.clone(), script: script.clone() };
        edit.put(draft, route.clone())?;
        edit.save(draft)?;
        Ok(show(&route))
    })
    .await
}

/// `PUT routes/:route_id`.
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Path((_, id)): Path<(String, String)>,
    author: Author,
    JsonBody(body): JsonBody<RouteBody>,
) -> Result<Answer, ApiError> {
    let (pattern, script) = body.parse()?;
    let id: WorkerRouteId = id.parse().map_err(|_| unknown())?;
    api.change(&author, move |draft| {
        if draft.is_repeat {
            return Ok(show(&draft.made::<WorkerRoute>(&(zone.id, id))?));
        }
        let mut edit = RouteEdit::of(zone.account);
        edit.find(draft, zone.id, id)?;
        let route = WorkerRoute { id, zone: zone.id, pattern: pattern.clone(), script: script.clone() };
        edit.put(draft, route.clone())?;
        edit.save(draft)?;
        Ok(show(&route))
    })
    .await
}

/// `DELETE routes/:route_id`.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Path((_, id)): Path<(String, String)>,
    author: Author,
) -> Result<Answer, ApiError> {
    let id: WorkerRouteId = id.parse().map_err(|_| unknown())?;
    api.change(&author, move |draft| {
        if !draft.is_repeat {
            let mut edit = RouteEdit::of(zone.account);
            edit.delete(draft, zone.id, id)?;
            edit.save(draft)?;
        }
        Ok(json!({ "id": id.to_string() }))
    })
    .await
}

/// A route of a Worker, in some zone.
#[derive(Debug, Deserialize)]
pub(crate) struct ScriptRouteBody {
    pattern: String,
    #[serde(default)]
    zone_id: Option<String>,
    #[serde(default)]
    zone_name: Option<String>,
}

/// `PUT workers/scripts/:script_name/routes`: all that it is to have; others of it go.
pub(crate) async fn put_of_script(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    JsonBody(given): JsonBody<Vec<ScriptRouteBody>>,
) -> Result<Answer, ApiError> {
    let name = named(&name)?;
    if given.len() > model_limits::WORKER_ROUTES_MAX {
        let message = format!("a Worker has at most {} routes", model_limits::WORKER_ROUTES_MAX);
        return Err(ApiError::new(Code::WorkerQuota, message));
    }
    api.change(&author, move |draft| {
        change::find(draft.snapshot, &account, &name)?;
        if !draft.is_repeat {
            return replace(draft, &account, &caller, &name, &given);
        }
        let triggers = draft.snapshot.get::<WorkerTriggers>(&(account.id, name.clone()))?;
        let keys = triggers.into_iter().flat_map(|triggers| triggers.routes);
        let routes = keys.map(|key| Ok(draft.snapshot.get::<WorkerRoute>(&key)?.as_ref().map(show)));
        routes.filter_map(Result::transpose).collect()
    })
    .await
}

fn replace(
    draft: &mut Draft<'_>,
    account: &Account,
    caller: &Caller,
    name: &WorkerName,
    given: &[ScriptRouteBody],
) -> Result<Value, ApiError> {
    let mut edit = RouteEdit::of(account.id);
    let mut former = edit.triggers.get(draft, name)?.routes.clone();
    let mut shown = Vec::with_capacity(given.len());
    for (index, body) in given.iter().enumerate() {
        let at = |refusal: ApiError| refusal.at(format!("/{index}"));
        let pattern = pattern(&body.pattern).map_err(at)?;
        let (id, zone_name) = (body.zone_id.as_deref(), body.zone_name.as_deref());
        let zone = place(draft.snapshot, account, pattern.host(), id, zone_name)?.ok_or_else(|| {
            let message = format!(
                "{pattern}: the account has no such zone, or none in which it lies; give zone_id or zone_name of one that it has"
            );
            at(ApiError::new(Code::RouteInvalid, message))
        })?;
        may(caller, Permission::WorkerRoutesEdit, &zone)?;
        let id = WorkerRouteId::from_bytes(draft.id());
        let same = edit.same(draft, zone.id, &pattern)?.cloned();
        let route = match same {
            Some(same) if same.script.as_ref() == Some(name) => WorkerRoute { pattern, ..same },
            _ => WorkerRoute { id, zone: zone.id, pattern, script: Some(name.clone()) },
        };
        former.remove(&(zone.id, route.id));
        shown.push(show(&route));
        edit.put(draft, route).map_err(at)?;
    }
    for (zone, id) in former {
        // One of a zone that was deleted is gone.
        match draft.snapshot.get::<Zone>(&zone)? {
            Some(found) => {
                may(caller, Permission::WorkerRoutesEdit, &found)?;
                edit.delete(draft, zone, id)?;
            }
            None => {
                edit.triggers.get(draft, name)?.routes.remove(&(zone, id));
            }
        }
    }
    edit.save(draft)?;
    Ok(Value::Array(shown))
}

/// Routes while they are changed. Each change puts the zone too, so that no two writers put the same pattern.
struct RouteEdit {
    triggers: Triggers,
    account: AccountId,
    zones: BTreeMap<ZoneId, Routes>,
}

/// Those of a zone.
struct Routes {
    zone: Zone,
    all: BTreeMap<WorkerRouteId, WorkerRoute>,
    put: BTreeSet<WorkerRouteId>,
    deleted: BTreeSet<WorkerRouteId>,
}

impl RouteEdit {
    const fn of(account: AccountId) -> Self {
        Self { triggers: Triggers::of(account), account, zones: BTreeMap::new() }
    }

    fn zone(&mut self, draft: &mut Draft<'_>, id: ZoneId) -> Result<&mut Routes, ApiError> {
        Ok(match self.zones.entry(id) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                let zone = draft.zone(id)?;
                let all = draft.snapshot.scan::<WorkerRoute>(&[&id]);
                let all = all.map(|route| route.map(|route| (route.id, route))).collect::<Result<_, _>>()?;
                place.insert(Routes { zone, all, put: BTreeSet::new(), deleted: BTreeSet::new() })
            }
        })
    }

    fn find(
        &mut self,
        draft: &mut Draft<'_>,
        zone: ZoneId,
        id: WorkerRouteId,
    ) -> Result<&WorkerRoute, ApiError> {
        self.zone(draft, zone)?.all.get(&id).ok_or_else(unknown)
    }

    /// The route that matches the same.
    fn same(
        &mut self,
        draft: &mut Draft<'_>,
        zone: ZoneId,
        pattern: &RoutePattern,
    ) -> Result<Option<&WorkerRoute>, ApiError> {
        Ok(self.zone(draft, zone)?.all.values().find(|route| route.pattern.is_same_as(pattern)))
    }

    /// Puts a route, perhaps in the place of the one of its id.
    fn put(&mut self, draft: &mut Draft<'_>, route: WorkerRoute) -> Result<(), ApiError> {
        let key = (route.zone, route.id);
        if let Some(same) = self.same(draft, route.zone, &route.pattern)?.filter(|same| same.id != route.id) {
            let whose =
                same.script.as_ref().map_or("no Worker".to_owned(), |script| format!("the Worker {script}"));
            let message =
                format!("A route with the same pattern already exists: {}, of {whose}", same.pattern);
            return Err(ApiError::new(Code::RouteExists, message).at("/pattern"));
        }
        if let Some(script) = &route.script {
            let worker = Worker::key_of(&(self.account, script.clone()));
            if draft.snapshot.revision(&worker)?.is_none() {
                return Err(change::unknown(script).at("/script"));
            }
            // With the triggers that are written below, it cannot be deleted meanwhile.
            draft.require(Precondition::Present(worker));
        }
        let routes = self.zone(draft, route.zone)?;
        if !route.pattern.is_within(&routes.zone.name) {
            let message = format!("{} does not lie in the zone {}", route.pattern, routes.zone.name);
            return Err(ApiError::new(Code::RouteInvalid, message).at("/pattern"));
        }
        if !routes.all.contains_key(&route.id) && routes.all.len() >= model_limits::WORKER_ROUTES_PER_ZONE_MAX
        {
            let message = format!("a zone has at most {} routes", model_limits::WORKER_ROUTES_PER_ZONE_MAX);
            return Err(ApiError::new(Code::WorkerQuota, message));
        }
        let script = route.script.clone();
        let former = routes.all.insert(route.id, route.clone());
        if former.as_ref() == Some(&route) {
            return Ok(());
        }
        routes.put.insert(route.id);
        if let Some(former) = former.and_then(|former| former.script) {
            self.triggers.get(draft, &former)?.routes.remove(&key);
        }
        if let Some(script) = script {
            self.triggers.get(draft, &script)?.routes.insert(key);
        }
        Ok(())
    }

    fn delete(&mut self, draft: &mut Draft<'_>, zone: ZoneId, id: WorkerRouteId) -> Result<(), ApiError> {
        let routes = self.zone(draft, zone)?;
        let route = routes.all.remove(&id).ok_or_else(unknown)?;
        routes.deleted.insert(id);
        if let Some(script) = route.script {
            self.triggers.get(draft, &script)?.routes.remove(&(zone, id));
        }
        Ok(())
    }

    fn save(self, draft: &mut Draft<'_>) -> Result<(), ApiError> {
        for Routes { mut zone, all, put, deleted } in self.zones.into_values() {
            if put.is_empty() && deleted.is_empty() {
                continue;
            }
            put.iter().filter_map(|id| all.get(id)).for_each(|route| draft.put(route));
            for id in deleted {
                draft.delete::<WorkerRoute>(&(zone.id, id));
            }
            // DNS answers as before: its serial stays.
            zone.modified_at = draft.now;
            draft.put(&zone);
        }
        self.triggers.save(draft)
    }
}

fn show(route: &WorkerRoute) -> Value {
    json!({
        "id": route.id.to_string(),
        "pattern": route.pattern.as_str(),
        "script": route.script.as_ref().map(WorkerName::as_str),
    })
}

fn unknown() -> ApiError {
    ApiError::new(Code::RouteNotFound, "the zone has no such route to a Worker")
}
