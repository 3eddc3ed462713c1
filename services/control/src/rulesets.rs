//! `zones/:zone_id/rulesets`: origin rules and cache rules, each in the one phase where its action can be done.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_ledger::{Seq, Snapshot};
use proxima_model::{
    CacheSettings, DnsName, Invalid, OriginOverride, OriginRoute, Phase, Rule, RuleAction, RuleExpression,
    RuleId, Ruleset, RulesetId, Timestamp, Zone, excerpt, limits as model_limits,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{
        Api,
        body::{Given, JsonBody},
        condition::Condition,
        envelope::{Answer, time},
        write::{Author, Draft},
    },
    error::{ApiError, Code},
};

/// A ruleset as it is put: whole.
#[derive(Debug, Deserialize)]
pub(crate) struct RulesetBody {
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    rules: Vec<RuleBody>,
}

/// A rule: whole when it is added, and what is to change when it is patched.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RuleBody {
    id: Option<String>,
    action: Option<String>,
    action_parameters: Option<Value>,
    expression: Option<String>,
    description: Given<String>,
    enabled: Option<bool>,
    position: Option<PositionBody>,
}

/// The parameters of `route`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RouteBody {
    host_header: Option<String>,
    origin: Option<OriginBody>,
    sni: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct OriginBody {
    host: Option<String>,
    port: Option<u16>,
}

/// Where a rule goes: at a place counted from 1, or before or after another; an empty id is the beginning or the end.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PositionBody {
    Index(usize),
    Before(String),
    After(String),
}

fn refuse(field: &'static str, problem: impl Into<String>, remedy: &'static str) -> ApiError {
    ApiError::invalid(Code::RuleInvalid, &Invalid::new(field, problem, remedy))
}

impl RuleBody {
    /// The rule that it says, with what `former` said where it says nothing.
    pub(crate) fn rule(
        &self,
        phase: Phase,
        id: RuleId,
        former: Option<&Rule>,
        now: Timestamp,
    ) -> Result<Rule, ApiError> {
        match self.action.as_deref() {
            Some(action) if action == phase.action() => {}
            None if former.is_some() => {}
            Some(other) => {
                let message = format!(
                    "action: {} is not offered in this phase; give {:?}",
                    excerpt(other),
                    phase.action()
                );
                return Err(ApiError::new(Code::NotOffered, message).at("/action"));
            }
            None => return Err(refuse("action", "it is missing", "give the action of the phase")),
        }
        let expression = match (&self.expression, former) {
            (Some(text), _) => RuleExpression::parse(text)
                .map_err(|invalid| ApiError::invalid(Code::RuleInvalid, &invalid))?,
            (None, Some(former)) => former.expression.clone(),
            (None, None) => return Err(refuse("expression", "it is missing", "give such as true")),
        };
        let action = match (&self.action_parameters, former) {
            (Some(parameters), _) => action(phase, parameters)?,
            (None, Some(former)) => former.action.clone(),
            (None, None) => {
                return Err(refuse("action_parameters", "they are missing", "say what the rule does"));
            }
        };
        let description = match (&self.description, former) {
            (Given::Value(text), _) => text.clone(),
            (Given::Absent, Some(former)) => former.description.clone(),
            _ => String::new(),
        };
        if description.chars().count() > model_limits::TEXT_CHARS_MAX {
            return Err(refuse("description", "it is too long", "give at most 500 characters"));
        }
        let enabled = self.enabled.or(former.map(|former| former.enabled)).unwrap_or(true);
        Ok(Rule { id, description, expression, action, enabled, last_updated: now })
    }
}

/// What a rule of this phase does.
fn action(phase: Phase, parameters: &Value) -> Result<RuleAction, ApiError> {
    match phase {
        Phase::RequestOrigin => {
            let body = RouteBody::deserialize(parameters).map_err(|error| {
                refuse("action_parameters", error.to_string(), "give origin.host, origin.port or host_header")
            })?;
            body.parse().map(RuleAction::Route)
        }
        Phase::RequestCacheSettings => {
            if let Some(at) = CacheSettings::not_offered(parameters) {
                let name = at.trim_start_matches('/').replace('/', ".");
                let message = format!("action_parameters.{name} is not offered, or not with this value");
                return Err(ApiError::new(Code::NotOffered, message).at(format!("/action_parameters{at}")));
            }
            let settings = CacheSettings::parse(parameters)
                .map_err(|invalid| ApiError::invalid(Code::RuleInvalid, &invalid))?;
            Ok(RuleAction::SetCacheSettings(Box::new(settings)))
        }
    }
}

impl RouteBody {
    fn parse(&self) -> Result<OriginRoute, ApiError> {
        if self.sni.is_some() {
            let message = "action_parameters.sni is not offered yet; the origin's host is its SNI";
            return Err(ApiError::new(Code::NotOffered, message).at("/action_parameters/sni"));
        }
        let host = |text: &Option<String>, field: &'static str| {
            let parsed = text.as_deref().map(|text| host_of(text, field));
            parsed.transpose()
        };
        let host_header = host(&self.host_header, "action_parameters.host_header")?;
        let given = self.origin.clone().unwrap_or_default();
        if given.port == Some(0) {
            return Err(refuse("action_parameters.origin.port", "0 is not a port", "give 1 to 65535"));
        }
        let origin =
            OriginOverride { host: host(&given.host, "action_parameters.origin.host")?, port: given.port };
        if host_header.is_none() && origin == OriginOverride::default() {
            return Err(refuse(
                "action_parameters",
                "they say nothing",
                "give origin.host, origin.port or host_header",
            ));
        }
        Ok(OriginRoute { host_header, origin })
    }
}

/// A host: a name, or an address.
fn host_of(text: &str, field: &'static str) -> Result<String, ApiError> {
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        return Ok(address.to_string());
    }
    match DnsName::parse(text) {
        Ok(name) if !name.is_wildcard() && name.as_str() != "." => Ok(name.to_string()),
        _ => Err(refuse(field, format!("{} is not a host", excerpt(text)), "give a host's name or address")),
    }
}

/// Puts a rule where its body wants it; at the end unless it says.
fn place(rules: &mut Vec<Rule>, rule: Rule, position: Option<&PositionBody>) -> Result<(), ApiError> {
    let at = |id: &str| {
        let found = rules.iter().position(|other| other.id.to_string() == id);
        found.ok_or_else(|| {
            refuse(
                "position",
                format!("there is no rule {}", excerpt(id)),
                "give the id of a rule of this ruleset",
            )
        })
    };
    let index = match position {
        None => rules.len(),
        Some(PositionBody::Index(index)) => index.saturating_sub(1).min(rules.len()),
        Some(PositionBody::Before(id)) if id.is_empty() => 0,
        Some(PositionBody::After(id)) if id.is_empty() => rules.len(),
        Some(PositionBody::Before(id)) => at(id)?,
        Some(PositionBody::After(id)) => at(id)? + 1,
    };
    if rules.len() >= model_limits::RULES_PER_RULESET_MAX {
        return Err(refuse("rules", "there are too many", "give at most 1000"));
    }
    rules.insert(index, rule);
    Ok(())
}

/// `GET rulesets`.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let mut all = Vec::new();
        for phase in Phase::ALL {
            all.extend(snapshot.get::<Ruleset>(&(zone.id, phase))?.map(|ruleset| show(&ruleset, false)));
        }
        Ok(Answer::new(Value::Array(all)).at(snapshot.seq()))
    })
    .await
}

/// `GET rulesets/:ruleset_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let phase = phase_of(snapshot, &zone, &id)?;
        let (ruleset, revision) = find(snapshot, &zone, phase)?;
        Ok(Answer::new(show(&ruleset, true)).at(snapshot.seq()).tagged(revision))
    })
    .await
}

/// `GET rulesets/phases/:phase/entrypoint`.
pub(crate) async fn get_phase(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Path((_, phase)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let phase = known_phase(&phase)?;
    api.read(move |snapshot| {
        let (ruleset, revision) = find(snapshot, &zone, phase)?;
        Ok(Answer::new(show(&ruleset, true)).at(snapshot.seq()).tagged(revision))
    })
    .await
}

/// `PUT rulesets/phases/:phase/entrypoint`: the rules of the phase, all of them anew.
pub(crate) async fn put_phase(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    condition: Condition,
    Path((_, phase)): Path<(String, String)>,
    JsonBody(body): JsonBody<RulesetBody>,
) -> Result<Answer, ApiError> {
    let phase = known_phase(&phase)?;
    if body.rules.len() > model_limits::RULES_PER_RULESET_MAX {
        return Err(refuse("rules", "there are too many", "give at most 1000"));
    }
    api.change(&author, move |draft| {
        if draft.is_repeat {
            return Ok(show(&find(draft.snapshot, &zone, phase)?.0, true));
        }
        draft.zone(zone.id)?;
        let former = draft.read_if::<Ruleset>(&(zone.id, phase), &condition)?;
        let fresh_id = RulesetId::from_bytes(draft.id());
        let mut ruleset = former.unwrap_or_else(|| empty(fresh_id, &zone, phase, draft.now));
        let former = std::mem::take(&mut ruleset.rules);
        for (index, body) in body.rules.iter().enumerate() {
            // A rule that comes back with its id stays that rule.
            let fresh = RuleId::from_bytes(draft.id());
            let known = former.iter().find(|rule| body.id.as_deref() == Some(rule.id.to_string().as_str()));
            let id = known.map_or(fresh, |rule| rule.id);
            let rule = body.rule(phase, id, None, draft.now);
            ruleset.rules.push(rule.map_err(|refusal| refusal.at(format!("/rules/{index}")))?);
        }
        if let Some(description) = &body.description {
            ruleset.description.clone_from(description);
        }
        if let Some(name) = &body.name {
            ruleset.name.clone_from(name);
        }
        let texts = [&ruleset.name, &ruleset.description];
        if texts.iter().any(|text| text.chars().count() > model_limits::TEXT_CHARS_MAX) {
            return Err(refuse("description", "it is too long", "give at most 500 characters"));
        }
        save(draft, ruleset)
    })
    .await
}

/// `POST rulesets/:ruleset_id/rules`.
pub(crate) async fn add_rule(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    condition: Condition,
    Path((_, ruleset_id)): Path<(String, String)>,
    JsonBody(body): JsonBody<RuleBody>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let mut ruleset = edit(draft, &zone, &ruleset_id, &condition)?;
        let id = RuleId::from_bytes(draft.id());
        if draft.is_repeat {
            return Ok(show(&ruleset, true));
        }
        let rule = body.rule(ruleset.phase, id, None, draft.now)?;
        place(&mut ruleset.rules, rule, body.position.as_ref())?;
        save(draft, ruleset)
    })
    .await
}

/// `PATCH rulesets/:ruleset_id/rules/:rule_id`.
pub(crate) async fn patch_rule(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    condition: Condition,
    Path((_, ruleset_id, rule_id)): Path<(String, String, String)>,
    JsonBody(body): JsonBody<RuleBody>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let mut ruleset = edit(draft, &zone, &ruleset_id, &condition)?;
        if draft.is_repeat {
            return Ok(show(&ruleset, true));
        }
        let index = index_of(&ruleset, &rule_id)?;
        let former = ruleset.rules.remove(index);
        let rule = body.rule(ruleset.phase, former.id, Some(&former), draft.now)?;
        match &body.position {
            None => ruleset.rules.insert(index, rule),
            position => place(&mut ruleset.rules, rule, position.as_ref())?,
        }
        save(draft, ruleset)
    })
    .await
}

/// `DELETE rulesets/:ruleset_id/rules/:rule_id`.
pub(crate) async fn delete_rule(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    condition: Condition,
    Path((_, ruleset_id, rule_id)): Path<(String, String, String)>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let mut ruleset = edit(draft, &zone, &ruleset_id, &condition)?;
        if draft.is_repeat {
            return Ok(show(&ruleset, true));
        }
        let index = index_of(&ruleset, &rule_id)?;
        ruleset.rules.remove(index);
        save(draft, ruleset)
    })
    .await
}

fn known_phase(id: &str) -> Result<Phase, ApiError> {
    Phase::by_id(id).ok_or_else(|| {
        let names = Phase::ALL.map(Phase::id).join(", ");
        let message = format!("the phase {} is not offered yet; there are {names}", excerpt(id));
        ApiError::new(Code::NotOffered, message)
    })
}

fn not_found() -> ApiError {
    ApiError::new(Code::RulesetNotFound, "could not find the ruleset or rule")
}

fn find(snapshot: &Snapshot, zone: &Zone, phase: Phase) -> Result<(Ruleset, Seq), ApiError> {
    snapshot.get_with_revision::<Ruleset>(&(zone.id, phase))?.ok_or_else(not_found)
}

/// The phase whose ruleset has this id.
fn phase_of(snapshot: &Snapshot, zone: &Zone, id: &str) -> Result<Phase, ApiError> {
    for phase in Phase::ALL {
        let ruleset = snapshot.get::<Ruleset>(&(zone.id, phase))?;
        if ruleset.is_some_and(|ruleset| ruleset.id.to_string() == id) {
            return Ok(phase);
        }
    }
    Err(not_found())
}

/// The ruleset, to be changed; neither it nor the zone's being there can change meanwhile.
fn edit(draft: &mut Draft<'_>, zone: &Zone, id: &str, condition: &Condition) -> Result<Ruleset, ApiError> {
    draft.zone(zone.id)?;
    let phase = phase_of(draft.snapshot, zone, id)?;
    draft.read_if::<Ruleset>(&(zone.id, phase), condition)?.ok_or_else(not_found)
}

fn index_of(ruleset: &Ruleset, id: &str) -> Result<usize, ApiError> {
    ruleset.rules.iter().position(|rule| rule.id.to_string() == id).ok_or_else(not_found)
}

fn empty(id: RulesetId, zone: &Zone, phase: Phase, now: Timestamp) -> Ruleset {
    Ruleset {
        id,
        zone: zone.id,
        phase,
        name: "default".to_owned(),
        description: String::new(),
        version: 0,
        rules: Vec::new(),
        last_updated: now,
    }
}

fn save(draft: &mut Draft<'_>, mut ruleset: Ruleset) -> Result<Value, ApiError> {
    let regexes: usize = ruleset.rules.iter().map(|rule| rule.expression.parsed().regexes()).sum();
    if regexes > model_limits::REGEXES_PER_RULESET_MAX {
        let remedy = "use at most 64 in a ruleset; contains and wildcard are not counted";
        return Err(refuse("rules", format!("they have {regexes} regular expressions together"), remedy));
    }
    ruleset.version += 1;
    ruleset.last_updated = draft.now;
    draft.put(&ruleset);
    Ok(show(&ruleset, true))
}

fn show(ruleset: &Ruleset, with_rules: bool) -> Value {
    let mut shown = json!({
        "id": ruleset.id.to_string(),
        "name": ruleset.name,
        "description": ruleset.description,
        "kind": "zone",
        "version": ruleset.version.to_string(),
        "phase": ruleset.phase.id(),
        "last_updated": time(ruleset.last_updated),
    });
    if with_rules {
        shown["rules"] = ruleset.rules.iter().map(|rule| show_rule(rule, ruleset.version)).collect();
    }
    shown
}

fn show_rule(rule: &Rule, version: u64) -> Value {
    let parameters = match &rule.action {
        RuleAction::Route(route) => show_route(route),
        RuleAction::SetCacheSettings(settings) => json!(settings),
    };
    json!({
        "id": rule.id.to_string(),
        "ref": rule.id.to_string(),
        "version": version.to_string(),
        "action": rule.action.phase().action(),
        "action_parameters": parameters,
        "expression": rule.expression.to_string(),
        "description": rule.description,
        "enabled": rule.enabled,
        "last_updated": time(rule.last_updated),
    })
}

fn show_route(route: &OriginRoute) -> Value {
    let mut parameters = json!({});
    if let Some(host_header) = &route.host_header {
        parameters["host_header"] = host_header.as_str().into();
    }
    if route.origin != OriginOverride::default() {
        let mut origin = json!({});
        if let Some(host) = &route.origin.host {
            origin["host"] = host.as_str().into();
        }
        if let Some(port) = route.origin.port {
            origin["port"] = port.into();
        }
        parameters["origin"] = origin;
    }
    parameters
}

#[cfg(test)]
#[path = "rulesets_tests.rs"]
mod tests;
