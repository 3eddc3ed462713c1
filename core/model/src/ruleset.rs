//! Rules of a zone: when they hold, and what they do then.

use std::{fmt, sync::Arc};

use proxima_rules::Expression;
use serde::{Deserialize, Serialize};

use crate::{CacheSettings, Entity, Invalid, Key, Kind, RuleId, RulesetId, Timestamp, ZoneId};

/// When on a request's way a ruleset is asked. Names are the v4 API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Before the origin is chosen: origin rules.
    #[serde(rename = "http_request_origin")]
    RequestOrigin,
    /// Before the cache is asked: cache rules.
    #[serde(rename = "http_request_cache_settings")]
    RequestCacheSettings,
}

impl Phase {
    /// All of them, in the order in which the API lists them.
    pub const ALL: [Self; 2] = [Self::RequestOrigin, Self::RequestCacheSettings];

    /// Its name in the API.
    pub const fn id(self) -> &'static str {
        match self {
            Self::RequestOrigin => "http_request_origin",
            Self::RequestCacheSettings => "http_request_cache_settings",
        }
    }

    /// The phase of this name.
    pub fn by_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.id() == id)
    }

    /// The name in the API of what its rules do.
    pub const fn action(self) -> &'static str {
        match self {
            Self::RequestOrigin => "route",
            Self::RequestCacheSettings => "set_cache_settings",
        }
    }
}

/// When a rule applies: the text as its owner wrote it, and what it means.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuleExpression {
    text: Box<str>,
    parsed: Arc<Expression>,
}

impl RuleExpression {
    /// Parses an expression.
    ///
    /// # Errors
    /// What is wrong with it, where, and what to do.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match Expression::parse(text) {
            Ok(parsed) => Ok(Self { text: text.into(), parsed: Arc::new(parsed) }),
            Err(error) => {
                let remedy = error.remedy;
                let said = error.to_string();
                let problem = said.strip_suffix(&format!("; {remedy}")).unwrap_or(&said);
                Err(Invalid::new("expression", problem, remedy))
            }
        }
    }

    /// What it means.
    pub const fn parsed(&self) -> &Arc<Expression> {
        &self.parsed
    }
}

impl PartialEq for RuleExpression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RuleExpression {}

impl fmt::Display for RuleExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for RuleExpression {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<RuleExpression> for String {
    fn from(expression: RuleExpression) -> String {
        expression.text.into()
    }
}

/// Where the `route` action sends a request instead (`origin: {host, port}`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginOverride {
    /// The host to connect to: a name, or an IP address as text.
    pub host: Option<String>,
    /// The port to connect to.
    pub port: Option<u16>,
}

/// What the `route` action does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginRoute {
    /// The `Host` header to send instead (`host_header`).
    pub host_header: Option<String>,
    /// Where to go instead.
    pub origin: OriginOverride,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// `route`.
    Route(OriginRoute),
    /// `set_cache_settings`.
    SetCacheSettings(Box<CacheSettings>),
}

impl RuleAction {
    /// The phase in which it can be done.
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Route(_) => Phase::RequestOrigin,
            Self::SetCacheSettings(_) => Phase::RequestCacheSettings,
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredRule", into = "StoredRule")]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// What its owner says of it.
    pub description: String,
    /// When it applies.
    pub expression: RuleExpression,
    /// What it does then.
    pub action: RuleAction,
    /// Whether it is asked at all.
    pub enabled: bool,
    /// When it last changed.
    pub last_updated: Timestamp,
}

/// A rule as it lies in the log. That of an origin rule is the oldest: its fields stand beside the others.
#[derive(Serialize, Deserialize)]
struct StoredRule {
    id: RuleId,
    description: String,
    expression: RuleExpression,
    #[serde(default)]
    host_header: Option<String>,
    #[serde(default)]
    origin: OriginOverride,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_settings: Option<Box<CacheSettings>>,
    enabled: bool,
    last_updated: Timestamp,
}

impl From<Rule> for StoredRule {
    fn from(rule: Rule) -> Self {
        let Rule { id, description, expression, action, enabled, last_updated } = rule;
        let (OriginRoute { host_header, origin }, cache_settings) = match action {
            RuleAction::Route(route) => (route, None),
            RuleAction::SetCacheSettings(settings) => (OriginRoute::default(), Some(settings)),
        };
        Self { id, description, expression, host_header, origin, cache_settings, enabled, last_updated }
    }
}

impl TryFrom<StoredRule> for Rule {
    type Error = Invalid;

    fn try_from(stored: StoredRule) -> Result<Self, Invalid> {
        let StoredRule {
            id,
            description,
            expression,
            host_header,
            origin,
            cache_settings,
            enabled,
            last_updated,
        } = stored;
        let action = match cache_settings {
            Some(settings) => {
                settings.check()?;
                RuleAction::SetCacheSettings(settings)
            }
            None => RuleAction::Route(OriginRoute { host_header, origin }),
        };
        Ok(Self { id, description, expression, action, enabled, last_updated })
    }
}

/// The rules of one phase of one zone, asked in order: later rules that apply override earlier ones, field by field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Its id.
    pub id: RulesetId,
    /// The zone whose it is.
    pub zone: ZoneId,
    /// When it is asked.
    pub phase: Phase,
    /// What people call it.
    pub name: String,
    /// What its owner says of it.
    pub description: String,
    /// Raised with every change.
    pub version: u64,
    /// The rules.
    pub rules: Vec<Rule>,
    /// When it last changed.
    pub last_updated: Timestamp,
}

impl Entity for Ruleset {
    const KIND: Kind = Kind::Ruleset;
    type Id = (ZoneId, Phase);

    fn key(&self) -> Key {
        Self::key_of(&(self.zone, self.phase))
    }

    fn key_of((zone, phase): &(ZoneId, Phase)) -> Key {
        Key::new(Self::KIND, &[zone, &phase.id()])
    }
}
