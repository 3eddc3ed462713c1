//! Rules of a zone. So far one phase: which origin a request goes to.

use serde::{Deserialize, Serialize};

use crate::{DnsName, Entity, Invalid, Key, Kind, RuleId, RulesetId, Timestamp, ZoneId, limits};

/// When on a request's way a ruleset is asked. Names are the v4 API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Before the origin is chosen: origin rules.
    #[serde(rename = "http_request_origin")]
    RequestOrigin,
}

impl Phase {
    /// Its name in the API.
    pub const fn id(self) -> &'static str {
        match self {
            Self::RequestOrigin => "http_request_origin",
        }
    }

    /// The phase of this name.
    pub fn by_id(id: &str) -> Option<Self> {
        (id == Self::RequestOrigin.id()).then_some(Self::RequestOrigin)
    }
}

/// When a rule applies. Two forms so far: `true`, and `http.host eq "NAME"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RuleExpression {
    /// `true`.
    Always,
    /// `http.host eq "NAME"`.
    HostIs(DnsName),
}

impl RuleExpression {
    /// Parses an expression.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = |problem: String| {
            Invalid::new("expression", problem, "give `true` or `http.host eq \"www.example.com\"`")
        };
        if text.len() > limits::EXPRESSION_OCTETS_MAX {
            return Err(refuse("the expression is longer than 4096 octets".to_owned()));
        }
        let mut inner = text.trim();
        while let Some(unwrapped) = inner.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            inner = unwrapped.trim();
        }
        if inner == "true" {
            return Ok(Self::Always);
        }
        inner
            .strip_prefix("http.host")
            .map(str::trim_start)
            .and_then(|rest| rest.strip_prefix("eq").or_else(|| rest.strip_prefix("==")))
            .map(str::trim_start)
            .and_then(|rest| rest.strip_prefix('"')?.strip_suffix('"'))
            .ok_or_else(|| refuse(format!("{text:.120?} is not an expression that exists yet")))
            .and_then(|name| DnsName::parse(name).map_err(|invalid| refuse(invalid.problem)))
            .map(Self::HostIs)
    }

    /// Whether it holds for a request to `host` (lower case, without port).
    pub fn holds(&self, host: &str) -> bool {
        match self {
            Self::Always => true,
            Self::HostIs(name) => name.as_str() == host,
        }
    }
}

impl std::fmt::Display for RuleExpression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Always => f.write_str("true"),
            Self::HostIs(name) => write!(f, "http.host eq \"{name}\""),
        }
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
        expression.to_string()
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

/// One origin rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginRule {
    /// Its id.
    pub id: RuleId,
    /// What its owner says of it.
    pub description: String,
    /// When it applies.
    pub expression: RuleExpression,
    /// The `Host` header to send instead (`host_header`).
    pub host_header: Option<String>,
    /// Where to go instead.
    pub origin: OriginOverride,
    /// Whether it is asked at all.
    pub enabled: bool,
    /// When it last changed.
    pub last_updated: Timestamp,
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
    pub rules: Vec<OriginRule>,
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
