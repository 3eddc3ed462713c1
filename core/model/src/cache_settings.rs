//! What a cache rule (`set_cache_settings`) says, with the names and the shape of the v4 API. What is not offered has no
//! field here, or a field that takes the one value that is true of this cache.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Invalid, excerpt,
    limits::{CACHE_KEY_NAMES_MAX, CACHE_KEY_TEXT_OCTETS_MAX, CACHE_TTL_SECONDS_MAX, STATUS_TTLS_MAX},
};

const FIELD: &str = "action_parameters";

/// What `set_cache_settings` sets; what is not there is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSettings {
    /// Whether answers may come from the cache, and be stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<bool>,
    /// For how long answers are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge_ttl: Option<EdgeTtl>,
    /// What browsers are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser_ttl: Option<BrowserTtl>,
    /// Whether stale answers are served while they are asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serve_stale: Option<ServeStale>,
    /// What answers are found by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<CacheKey>,
    /// `false` only: strong tags become weak on what is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respect_strong_etags: Option<bool>,
    /// `true` only: an origin's error pages are always passed through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_error_page_passthru: Option<bool>,
}

/// `edge_ttl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeTtl {
    /// Whose word counts.
    pub mode: EdgeMode,
    /// Seconds, with `override_origin`, for answers that are what was asked for: 2xx, 301 and 308. An error or a detour is
    /// not to be kept for as long because nobody thought of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<u32>,
    /// Lifetimes of statuses, whatever the mode; the first that names a status counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status_code_ttl: Vec<StatusTtl>,
}

/// Modes of [`EdgeTtl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeMode {
    /// The origin's; where it says nothing, what is usual.
    RespectOrigin,
    /// The origin's; where it says nothing, nothing is stored.
    BypassByDefault,
    /// The rule's.
    OverrideOrigin,
}

/// A lifetime of a status, or of some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusTtl {
    /// Of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// Of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code_range: Option<StatusRange>,
    /// Seconds; 0: confirmed on every use; -1: not stored.
    pub value: i64,
}

/// Statuses from one to another, or to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusRange {
    /// The first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u16>,
    /// The last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u16>,
}

/// What an answer's lifetime is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EdgeLifetime {
    /// From what the origin says, or what is usual.
    #[default]
    Origin,
    /// From what the origin says; else it is not stored.
    OriginAlone,
    /// These seconds from now; with 0 it is confirmed on every use.
    Seconds(u32),
    /// It is not stored.
    Never,
}

impl EdgeTtl {
    /// What it says of answers of a status.
    pub fn lifetime(&self, status: u16) -> EdgeLifetime {
        if let Some(of_status) = self.status_code_ttl.iter().find(|ttl| ttl.names(status)) {
            return u32::try_from(of_status.value).map_or(EdgeLifetime::Never, EdgeLifetime::Seconds);
        }
        match (self.mode, self.default) {
            (EdgeMode::OverrideOrigin, Some(seconds)) if matches!(status, 200..=299 | 301 | 308) => {
                EdgeLifetime::Seconds(seconds)
            }
            (EdgeMode::BypassByDefault, _) => EdgeLifetime::OriginAlone,
            _ => EdgeLifetime::Origin,
        }
    }
}

impl StatusTtl {
    fn names(&self, status: u16) -> bool {
        let in_range = |range: StatusRange| {
            range.from.is_none_or(|from| from <= status) && range.to.is_none_or(|to| status <= to)
        };
        self.status_code == Some(status) || self.status_code_range.is_some_and(in_range)
    }
}

/// `browser_ttl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrowserTtl {
    /// Whose word counts.
    pub mode: BrowserMode,
    /// Seconds, with `override_origin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<u32>,
}

/// Modes of [`BrowserTtl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrowserMode {
    /// The origin's.
    RespectOrigin,
    /// The rule's.
    OverrideOrigin,
    /// Browsers shall keep nothing.
    Bypass,
}

/// `serve_stale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeStale {
    /// Whether nothing stale is served while it is asked about, whatever the origin allows.
    pub disable_stale_while_updating: bool,
}

/// `cache_key`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheKey {
    /// Whether the order of the query's arguments makes no difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_query_strings_order: Option<bool>,
    /// Whether an answer whose type is not that of the URL's extension is not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_deception_armor: Option<bool>,
    /// `false` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_by_device_type: Option<bool>,
    /// What else belongs to the key, or does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_key: Option<CustomKey>,
}

/// `cache_key.custom_key`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CustomKey {
    /// Which arguments of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_string: Option<KeyQuery>,
    /// Which headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<KeyHeaders>,
    /// Which cookies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<KeyCookies>,
    /// What of the visitor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<KeyUser>,
    /// Which host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<KeyHost>,
}

/// `query_string`: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyQuery {
    /// Only these arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<ArgNames>,
    /// All but these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<ArgNames>,
}

/// Names of arguments. Read as `"*"`, `{"all": true}`, `["a"]` or `{"list": ["a"]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum ArgNames {
    /// All.
    All,
    /// These.
    These(Vec<String>),
}

impl TryFrom<Value> for ArgNames {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let wrong = || "give \"*\", {\"all\": true}, [\"a\", \"b\"] or {\"list\": [\"a\", \"b\"]}".to_owned();
        match &value {
            Value::String(star) if star == "*" => Ok(Self::All),
            Value::Object(fields) if fields.len() == 1 && fields.get("all") == Some(&Value::Bool(true)) => {
                Ok(Self::All)
            }
            Value::Object(fields) if fields.len() == 1 => {
                let list = fields.get("list").ok_or_else(wrong)?;
                Vec::deserialize(list).map(Self::These).map_err(|_| wrong())
            }
            Value::Array(_) => Vec::deserialize(&value).map(Self::These).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl From<ArgNames> for Value {
    fn from(names: ArgNames) -> Value {
        match names {
            ArgNames::All => serde_json::json!({"all": true}),
            ArgNames::These(list) => serde_json::json!({ "list": list }),
        }
    }
}

/// `header`. Names are held in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyHeaders {
    /// With their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Whether they are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub check_presence: Vec<String>,
    /// Which of these texts they contain.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub contains: BTreeMap<String, Vec<String>>,
    /// `false`: `origin` is in the key as well. It is not unless this says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_origin: Option<bool>,
}

/// `cookie`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyCookies {
    /// With their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Whether they are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub check_presence: Vec<String>,
}

/// `user`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyUser {
    /// The first language of `accept-language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lang: Option<bool>,
    /// `false` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<bool>,
    /// `false` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geo: Option<bool>,
}

/// `host`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyHost {
    /// `false` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<bool>,
}

/// What the v4 API has and this cache has not, as JSON pointers into the parameters; with the value that is true of this
/// cache all the same, where there is one.
const NOT_OFFERED: [(&str, Option<bool>); 14] = [
    ("/additional_cacheable_ports", None),
    ("/cache_reserve", None),
    ("/origin_cache_control", None),
    ("/origin_error_page_passthru", Some(true)),
    ("/read_timeout", None),
    ("/respect_strong_etags", Some(false)),
    ("/shared_dictionary", None),
    ("/strip_etags", None),
    ("/strip_last_modified", None),
    ("/strip_set_cookie", None),
    ("/cache_key/cache_by_device_type", Some(false)),
    ("/cache_key/custom_key/host/resolved", Some(false)),
    ("/cache_key/custom_key/user/device_type", Some(false)),
    ("/cache_key/custom_key/user/geo", Some(false)),
];

impl CacheSettings {
    /// Where parameters ask for something that the v4 API has and this cache has not: a JSON pointer.
    pub fn not_offered(parameters: &Value) -> Option<&'static str> {
        let asked = |(at, truth): &&(&str, Option<bool>)| {
            parameters.pointer(at).is_some_and(|value| value.as_bool() != *truth || truth.is_none())
        };
        NOT_OFFERED.iter().find(asked).map(|(at, _)| *at)
    }

    /// Reads parameters as the API takes them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(parameters: &Value) -> Result<Self, Invalid> {
        let mut settings = Self::deserialize(parameters).map_err(|error| {
            wrong(error.to_string(), "give what docs/cache.md lists of set_cache_settings")
        })?;
        settings.in_lower_case();
        settings.check()?;
        Ok(settings)
    }

    fn in_lower_case(&mut self) {
        let custom = self.cache_key.as_mut().and_then(|key| key.custom_key.as_mut());
        if let Some(header) = custom.and_then(|custom| custom.header.as_mut()) {
            header
                .include
                .iter_mut()
                .chain(&mut header.check_presence)
                .for_each(|name| name.make_ascii_lowercase());
            let contains = std::mem::take(&mut header.contains);
            header.contains =
                contains.into_iter().map(|(name, texts)| (name.to_ascii_lowercase(), texts)).collect();
        }
    }

    /// Checks what one value cannot say alone.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), Invalid> {
        if *self == Self::default() {
            return Err(wrong(
                "they say nothing",
                "give cache, edge_ttl, browser_ttl, serve_stale or cache_key",
            ));
        }
        if let Some(ttl) = &self.edge_ttl {
            check_default(ttl.default, ttl.mode == EdgeMode::OverrideOrigin, "edge_ttl")?;
            if ttl.status_code_ttl.len() > STATUS_TTLS_MAX {
                return Err(wrong("edge_ttl.status_code_ttl has too many members", "give at most 100"));
            }
            ttl.status_code_ttl.iter().try_for_each(StatusTtl::check)?;
        }
        if let Some(ttl) = &self.browser_ttl {
            check_default(ttl.default, ttl.mode == BrowserMode::OverrideOrigin, "browser_ttl")?;
        }
        match self.cache_key.as_ref().and_then(|key| key.custom_key.as_ref()) {
            Some(custom) => custom.check(),
            None => Ok(()),
        }
    }
}

fn wrong(problem: impl Into<String>, remedy: &'static str) -> Invalid {
    Invalid::new(FIELD, problem, remedy)
}

fn check_default(default: Option<u32>, overrides: bool, what: &str) -> Result<(), Invalid> {
    match default {
        Some(seconds) if overrides && seconds <= CACHE_TTL_SECONDS_MAX => Ok(()),
        None if !overrides => Ok(()),
        None => {
            Err(wrong(format!("{what}.default is missing"), "give the seconds with mode override_origin"))
        }
        Some(_) if overrides => {
            Err(wrong(format!("{what}.default is too long"), "give at most 31536000 seconds"))
        }
        Some(_) => Err(wrong(
            format!("{what}.default says nothing with this mode"),
            "leave it out, or give mode override_origin",
        )),
    }
}

impl StatusTtl {
    fn check(&self) -> Result<(), Invalid> {
        let is_status = |status: u16| (100..=999).contains(&status);
        let valid = match (self.status_code, self.status_code_range) {
            (Some(status), None) => is_status(status),
            (None, Some(StatusRange { from, to })) => {
                let (from, to) = (from.unwrap_or(100), to.unwrap_or(999));
                (self.status_code_range != Some(StatusRange { from: None, to: None }))
                    && is_status(from)
                    && is_status(to)
                    && from <= to
            }
            _ => false,
        };
        if !valid {
            return Err(wrong(
                "a member of edge_ttl.status_code_ttl names no statuses",
                "give status_code, or status_code_range with from, to or both, of 100 to 999",
            ));
        }
        if !(-1..=i64::from(CACHE_TTL_SECONDS_MAX)).contains(&self.value) {
            return Err(wrong(
                format!("edge_ttl.status_code_ttl has the value {}", self.value),
                "give -1 not to store, 0 to confirm on every use, or at most 31536000 seconds",
            ));
        }
        Ok(())
    }
}

impl CustomKey {
    fn check(&self) -> Result<(), Invalid> {
        let mut names = 0;
        let mut texts = |all: &[String], is_valid: fn(&str) -> bool, what: &str| {
            names += all.len();
            match all.iter().find(|text| text.len() > CACHE_KEY_TEXT_OCTETS_MAX || !is_valid(text)) {
                Some(bad) => {
                    Err(wrong(format!("{} cannot be {what}", excerpt(bad)), "give it as requests have it"))
                }
                None => Ok(()),
            }
        };
        if let Some(KeyQuery { include, exclude }) = &self.query_string {
            match (include, exclude) {
                (Some(args), None) | (None, Some(args)) => {
                    if let ArgNames::These(list) = args {
                        texts(list, |text| !text.is_empty(), "an argument's name")?;
                    }
                }
                _ => {
                    return Err(wrong(
                        "custom_key.query_string says two things or none",
                        "give include or exclude",
                    ));
                }
            }
        }
        if let Some(header) = &self.header {
            texts(&header.include, is_token, "a header's name")?;
            texts(&header.check_presence, is_token, "a header's name")?;
            for (name, values) in &header.contains {
                texts(std::slice::from_ref(name), is_token, "a header's name")?;
                texts(values, |text| !text.is_empty(), "part of a header")?;
            }
        }
        if let Some(cookie) = &self.cookie {
            texts(&cookie.include, is_token, "a cookie's name")?;
            texts(&cookie.check_presence, is_token, "a cookie's name")?;
        }
        if names > CACHE_KEY_NAMES_MAX {
            return Err(wrong("custom_key has too many names and texts", "give at most 100 together"));
        }
        Ok(())
    }
}

/// A token (RFC 9110, 5.6.2): what names of headers and cookies are.
fn is_token(text: &str) -> bool {
    let is_part = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
    !text.is_empty() && text.bytes().all(is_part)
}
