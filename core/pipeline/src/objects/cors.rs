//! Who may ask for a bucket's objects from other sites, as [R2's API](https://developers.cloudflare.com/r2/buckets/cors/) writes
//! it, and as browsers ask about it (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ObjectError;

/// Rules of a bucket; what S3 takes.
const RULES_MAX: usize = 100;
/// Octets of all of them as they are kept; what S3 takes as XML.
const OCTETS_MAX: usize = 64 << 10;
/// The methods that a rule may allow, which are those of S3.
const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];

/// Who may ask from where. The first rule that covers a request is the one that it is answered by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorsPolicy {
    /// The rules, in their order.
    #[serde(default)]
    pub rules: Vec<CorsRule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CorsRule {
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What it covers.
    pub allowed: CorsAllowed,
    /// Fields of answers that scripts may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// For how long browsers may keep what they were told, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u32>,
}

/// What a rule covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorsAllowed {
    /// By which methods.
    pub methods: Vec<String>,
    /// From where: `https://example.com`; one `*` in each stands for anything.
    pub origins: Vec<String>,
    /// With which fields of requests, in any case; one `*` in each stands for anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
}

impl CorsPolicy {
    /// Reads what an owner gives, and checks it.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`]: what is wrong with it.
    pub fn parse(given: Value) -> Result<Self, ObjectError> {
        let policy: Self =
            serde_json::from_value(given).map_err(|error| ObjectError::Invalid(format!("rules: {error}")))?;
        policy.check()?;
        Ok(policy)
    }

    /// What stands in a bucket's noun, which was checked when it was written.
    pub fn kept(kept: &Value) -> Option<Self> {
        Self::deserialize(kept).ok()
    }

    /// As it stands there.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("text and numbers are JSON")
    }

    /// Whether it may stand there.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`]: what is wrong with it.
    pub fn check(&self) -> Result<(), ObjectError> {
        let refuse = |what: String| Err(ObjectError::Invalid(what));
        if !(1..=RULES_MAX).contains(&self.rules.len()) {
            return refuse(format!("rules: give 1 to {RULES_MAX}"));
        }
        if self.to_value().to_string().len() > OCTETS_MAX {
            return refuse(format!("rules: give at most {OCTETS_MAX} octets of them"));
        }
        for (at, rule) in self.rules.iter().enumerate() {
            let CorsAllowed { methods, origins, headers } = &rule.allowed;
            if methods.is_empty() || origins.is_empty() {
                return refuse(format!("rules/{at}/allowed: give at least one method and one origin"));
            }
            if let Some(method) = methods.iter().find(|method| !METHODS.contains(&method.as_str())) {
                return refuse(format!("rules/{at}/allowed/methods: {method:.32}: give one of {METHODS:?}"));
            }
            if let Some(origin) = origins.iter().find(|origin| !is_origin(origin)) {
                let what = "give an origin, https://example.com, with one * at the most";
                return refuse(format!("rules/{at}/allowed/origins: {origin:.128}: {what}"));
            }
            if let Some(name) = headers.iter().find(|name| !is_field_name(name, 1)) {
                let what = "give a field's name, with one * at the most";
                return refuse(format!("rules/{at}/allowed/headers: {name:.128}: {what}"));
            }
            // R2 takes `*` here, which browsers understand.
            let is_exposed = |name: &&String| name.as_str() == "*" || is_field_name(name, 0);
            if let Some(name) = rule.expose_headers.iter().find(|name| !is_exposed(name)) {
                return refuse(format!("rules/{at}/exposeHeaders: {name:.128}: give a field's name"));
            }
        }
        Ok(())
    }

    /// The rule that covers a request from `origin` by `method`, with these fields if it asks for leave to send them.
    pub fn rule(&self, origin: &str, method: &str, fields: &[&str]) -> Option<&CorsRule> {
        self.rules.iter().find(|rule| {
            let CorsAllowed { methods, origins, headers } = &rule.allowed;
            origins.iter().any(|pattern| covers(pattern, origin))
                && methods.iter().any(|allowed| allowed == method)
                && fields.iter().all(|field| {
                    let field = field.to_ascii_lowercase();
                    headers.iter().any(|pattern| covers(&pattern.to_ascii_lowercase(), &field))
                })
        })
    }
}

impl CorsRule {
    /// Whether it is for everybody: then an answer need not say for whom it is.
    pub fn is_for_all(&self) -> bool {
        self.allowed.origins.iter().any(|pattern| pattern == "*")
    }
}

/// Whether a pattern with one `*` at the most covers a text.
fn covers(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((begin, end)) => {
            text.len() >= begin.len() + end.len() && text.starts_with(begin) && text.ends_with(end)
        }
    }
}

/// A scheme, a host and perhaps a port, which is all that browsers send; or a pattern of that.
fn is_origin(text: &str) -> bool {
    let is_plain = text.bytes().all(|octet| octet.is_ascii_graphic());
    let has_path = text.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    let is_whole = text == "*" || text == "null" || text.contains("://") || text.starts_with('*');
    is_plain && is_whole && !has_path && !text.is_empty() && text.matches('*').count() <= 1
}

fn is_field_name(text: &str, wildcards_max: usize) -> bool {
    let is_token = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
    !text.is_empty() && text.bytes().all(is_token) && text.matches('*').count() <= wildcards_max
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(allowed: Value) -> Result<CorsPolicy, ObjectError> {
        CorsPolicy::parse(json!({ "rules": [{ "allowed": allowed }] }))
    }

    #[test]
    fn a_policy_is_written_as_it_was_read_and_what_could_not_work_is_told() {
        let given = json!({ "rules": [{
            "id": "a", "allowed": { "methods": ["GET", "PUT"], "origins": ["https://*.example.com"], "headers": ["x-*"] },
            "exposeHeaders": ["ETag"], "maxAgeSeconds": 60,
        }] });
        assert_eq!(CorsPolicy::parse(given.clone()).unwrap().to_value(), given);
        for (allowed, told) in [
            (json!({ "methods": [], "origins": ["*"] }), "at least one"),
            (json!({ "methods": ["GET"], "origins": [] }), "at least one"),
            (json!({ "methods": ["PATCH"], "origins": ["*"] }), "methods: PATCH"),
            (json!({ "methods": ["GET"], "origins": ["https://*.a.*"] }), "origins: https"),
            (json!({ "methods": ["GET"], "origins": ["https://a.example/"] }), "origins: https"),
            (json!({ "methods": ["GET"], "origins": ["a.example"] }), "origins: a.example"),
            (json!({ "methods": ["GET"], "origins": ["https://a\r\nx: y"] }), "origins: https"),
            (json!({ "methods": ["GET"], "origins": ["*"], "headers": ["a b"] }), "headers: a b"),
            (json!({ "methods": ["GET"], "origins": ["*"], "headers": ["*-*"] }), "headers: *-*"),
            (json!({ "origins": ["*"] }), "methods"),
        ] {
            let error = policy(allowed.clone()).unwrap_err().to_string();
            assert!(error.contains(told), "{allowed}: {error}");
        }
        for (rules, is_taken) in [(0, false), (RULES_MAX, true), (RULES_MAX + 1, false)] {
            let rule = json!({ "allowed": { "methods": ["GET"], "origins": ["*"] } });
            assert_eq!(CorsPolicy::parse(json!({ "rules": vec![rule; rules] })).is_ok(), is_taken, "{rules}");
        }
        let long = "x".repeat(OCTETS_MAX);
        assert!(policy(json!({ "methods": ["GET"], "origins": ["*"], "headers": [long] })).is_err());
    }

    #[test]
    fn the_first_rule_that_covers_all_of_a_request_is_its_rule() {
        let rule = |id: &str, origin: &str, method: &str, headers: &[&str]| json!({ "id": id, "allowed": { "origins": [origin], "methods": [method], "headers": headers } });
        let rules = json!({ "rules": [
            rule("one", "https://a.example", "GET", &["X-One", "x-amz-*"]),
            rule("below", "https://*.example", "GET", &[]),
            rule("all", "*", "PUT", &["*"]),
        ] });
        let policy = CorsPolicy::parse(rules).unwrap();
        let found = |origin, method, fields: &[&str]| {
            policy.rule(origin, method, fields).and_then(|rule| rule.id.as_deref())
        };
        assert_eq!(found("https://a.example", "GET", &["x-one", "X-Amz-Date"]), Some("one"));
        assert_eq!(found("https://a.example", "GET", &["x-two"]), None);
        assert_eq!(found("https://b.example", "GET", &[]), Some("below"));
        assert_eq!(found("https://.example", "GET", &[]), Some("below"));
        assert_eq!(found("https://example", "GET", &[]), None, "the ends of a pattern do not overlap");
        assert_eq!(found("http://a.example", "GET", &[]), None);
        assert_eq!(found("http://x.test", "PUT", &["anything"]), Some("all"));
        assert_eq!(found("http://x.test", "DELETE", &[]), None);
    }
}
