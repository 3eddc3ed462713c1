//! What of a bucket's objects goes by itself, as [R2's API](https://developers.cloudflare.com/r2/buckets/object-lifecycles/)
//! writes it. Who has the objects carries it out.

use proxima_model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{OBJECT_KEY_OCTETS_MAX, ObjectError};

/// Rules of a bucket; what R2 and S3 take.
const RULES_MAX: usize = 1_000;
/// Octets of all of them as they are kept: of so many rules, each with a prefix of common size.
const OCTETS_MAX: usize = 256 << 10;
/// Characters of a rule's id; what S3 takes.
const ID_CHARS_MAX: usize = 255;
/// After how many seconds uploads are aborted in buckets that say nothing of it; what R2 has.
const ABORT_SECONDS_DEFAULT: u64 = 7 * 86_400;
/// What the rule is called by which they are.
const ABORT_ID_DEFAULT: &str = "Default Multipart Abort Rule";

/// What goes by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// The rules. Each is carried out by itself.
    #[serde(default)]
    pub rules: Vec<LifecycleRule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LifecycleRule {
    /// What its owner calls it; no two of a bucket are called the same.
    pub id: String,
    /// Whether it is in force.
    pub enabled: bool,
    /// What it covers.
    #[serde(default)]
    pub conditions: LifecycleConditions,
    /// When uploads are aborted that were begun and not completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_multipart_uploads_transition: Option<LifecycleTransition>,
    /// When objects are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_objects_transition: Option<LifecycleTransition>,
    /// When objects are kept otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage_class_transitions: Vec<StorageClassTransition>,
}

/// What a rule covers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleConditions {
    /// How keys begin.
    #[serde(default)]
    pub prefix: String,
}

/// That something happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleTransition {
    /// When.
    pub condition: LifecycleCondition,
}

/// That objects are kept otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageClassTransition {
    /// When.
    pub condition: LifecycleCondition,
    /// How: `InfrequentAccess`.
    pub storage_class: String,
}

/// When something happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum LifecycleCondition {
    /// At an age.
    Age {
        /// Which, in seconds.
        #[serde(rename = "maxAge")]
        max_age: u64,
    },
    /// At a point in time, and from then on.
    Date {
        /// Which, as RFC 3339 writes it.
        date: String,
    },
}

impl LifecycleCondition {
    /// Whether it holds `now` of what was there since `since`.
    pub fn holds(&self, since: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::Age { max_age } => {
                let age = now.as_seconds().saturating_sub(since.as_seconds());
                u64::try_from(age).is_ok_and(|age| age >= *max_age)
            }
            Self::Date { date } => point(date).is_some_and(|at| at <= now),
        }
    }
}

/// A point in time as RFC 3339 writes it.
fn point(text: &str) -> Option<Timestamp> {
    let parsed: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(parsed.as_millisecond()))
}

impl Default for Lifecycle {
    /// What is done in buckets whose owners say nothing.
    fn default() -> Self {
        let condition = LifecycleCondition::Age { max_age: ABORT_SECONDS_DEFAULT };
        let rule = LifecycleRule {
            id: ABORT_ID_DEFAULT.to_owned(),
            enabled: true,
            conditions: LifecycleConditions::default(),
            abort_multipart_uploads_transition: Some(LifecycleTransition { condition }),
            delete_objects_transition: None,
            storage_class_transitions: Vec::new(),
        };
        Self { rules: vec![rule] }
    }
}

impl Lifecycle {
    /// Reads what an owner gives, and checks it.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`]: what is wrong with it.
    pub fn parse(given: Value) -> Result<Self, ObjectError> {
        let rules: Self =
            serde_json::from_value(given).map_err(|error| ObjectError::Invalid(format!("rules: {error}")))?;
        rules.check()?;
        Ok(rules)
    }

    /// What is done in a bucket whose noun has this, which was checked when it was written.
    pub fn kept(kept: Option<&Value>) -> Self {
        kept.map_or_else(Self::default, |kept| Self::deserialize(kept).unwrap_or(Self { rules: Vec::new() }))
    }

    /// As it stands in a bucket's noun.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("text and numbers are JSON")
    }

    /// Whether it may stand there. No rules at all are taken: nothing goes by itself then.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`]: what is wrong with it.
    pub fn check(&self) -> Result<(), ObjectError> {
        let refuse = |what: String| Err(ObjectError::Invalid(what));
        if self.rules.len() > RULES_MAX {
            return refuse(format!("rules: give at most {RULES_MAX}"));
        }
        if self.to_value().to_string().len() > OCTETS_MAX {
            return refuse(format!("rules: give at most {OCTETS_MAX} octets of them"));
        }
        for (at, rule) in self.rules.iter().enumerate() {
            if rule.id.is_empty() || rule.id.chars().count() > ID_CHARS_MAX {
                return refuse(format!("rules/{at}/id: give 1 to {ID_CHARS_MAX} characters"));
            }
            if self.rules[..at].iter().any(|other| other.id == rule.id) {
                return refuse(format!("rules/{at}/id: another rule is called so"));
            }
            if rule.conditions.prefix.len() > OBJECT_KEY_OCTETS_MAX {
                return refuse(format!("rules/{at}/conditions/prefix: no key is so long"));
            }
            rule.check().map_err(|what| ObjectError::Invalid(format!("rules/{at}/{what}")))?;
        }
        Ok(())
    }
}

impl LifecycleRule {
    fn check(&self) -> Result<(), &'static str> {
        let Self { abort_multipart_uploads_transition: abort, delete_objects_transition: delete, .. } = self;
        let classes = &self.storage_class_transitions;
        if abort.is_none() && delete.is_none() && classes.is_empty() {
            return Err("it does nothing: give a transition");
        }
        if let Some(LifecycleTransition { condition: LifecycleCondition::Date { .. } }) = abort {
            return Err("abortMultipartUploadsTransition: uploads are aborted at an age");
        }
        if classes.len() > 1 || classes.iter().any(|one| one.storage_class != "InfrequentAccess") {
            return Err("storageClassTransitions: give one, to InfrequentAccess");
        }
        let conditions = classes.iter().map(|one| &one.condition);
        let conditions = conditions.chain(abort.iter().chain(delete).map(|one| &one.condition));
        for condition in conditions {
            if matches!(condition, LifecycleCondition::Date { date } if point(date).is_none()) {
                return Err("date: give a point in time, 2030-01-02T00:00:00Z");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn age(seconds: u64) -> Value {
        json!({ "condition": { "type": "Age", "maxAge": seconds } })
    }

    #[test]
    fn rules_are_written_as_they_were_read_and_what_could_not_work_is_told() {
        let date = json!({ "type": "Date", "date": "2030-01-02T00:00:00.000Z" });
        let given = json!({ "rules": [
            { "id": "a", "enabled": true, "conditions": { "prefix": "logs/" }, "deleteObjectsTransition": age(86_400),
              "abortMultipartUploadsTransition": age(0),
              "storageClassTransitions": [{ "condition": date, "storageClass": "InfrequentAccess" }] },
            { "id": "b", "enabled": false, "conditions": { "prefix": "" }, "deleteObjectsTransition": { "condition": date } },
        ] });
        assert_eq!(Lifecycle::parse(given.clone()).unwrap().to_value(), given);
        assert!(Lifecycle::parse(json!({ "rules": [] })).unwrap().rules.is_empty());
        let long = "x".repeat(OBJECT_KEY_OCTETS_MAX + 1);
        for (rule, told) in [
            (json!({ "id": "a", "enabled": true }), "it does nothing"),
            (json!({ "id": "", "enabled": true, "deleteObjectsTransition": age(1) }), "id: give"),
            (json!({ "enabled": true, "deleteObjectsTransition": age(1) }), "missing field `id`"),
            (
                json!({ "id": "a", "enabled": true, "abortMultipartUploadsTransition": { "condition": date } }),
                "at an age",
            ),
            (
                json!({ "id": "a", "enabled": true,
                        "deleteObjectsTransition": { "condition": { "type": "Date", "date": "soon" } } }),
                "date: give",
            ),
            (
                json!({ "id": "a", "enabled": true, "storageClassTransitions":
                        [{ "condition": date, "storageClass": "Glacier" }] }),
                "InfrequentAccess",
            ),
            (
                json!({ "id": "a", "enabled": true, "conditions": { "prefix": long },
                        "deleteObjectsTransition": age(1) }),
                "prefix",
            ),
        ] {
            let error = Lifecycle::parse(json!({ "rules": [rule] })).unwrap_err().to_string();
            assert!(error.contains(told), "{rule}: {error}");
        }
        let rule =
            |at: usize| json!({ "id": at.to_string(), "enabled": true, "deleteObjectsTransition": age(1) });
        for (rules, is_taken) in [(RULES_MAX, true), (RULES_MAX + 1, false)] {
            let rules: Vec<_> = (0..rules).map(rule).collect();
            assert_eq!(Lifecycle::parse(json!({ "rules": rules })).is_ok(), is_taken);
        }
        let twice = Lifecycle::parse(json!({ "rules": [rule(1), rule(1)] }));
        assert!(twice.unwrap_err().to_string().contains("called so"));
    }

    #[test]
    fn a_condition_holds_from_its_time_on() {
        let (since, age) = (Timestamp::from_millis(5_000), LifecycleCondition::Age { max_age: 10 });
        for (now, holds) in [(4_000, false), (14_999, false), (15_000, true), (99_000, true)] {
            assert_eq!(age.holds(since, Timestamp::from_millis(now)), holds, "{now}");
        }
        let date = LifecycleCondition::Date { date: "1970-01-01T00:00:20Z".to_owned() };
        for (now, holds) in [(19_999, false), (20_000, true), (99_000, true)] {
            assert_eq!(date.holds(since, Timestamp::from_millis(now)), holds, "{now}");
        }
    }

    #[test]
    fn who_says_nothing_has_uploads_aborted_after_a_week() {
        let rules = Lifecycle::kept(None);
        assert_eq!(Lifecycle::kept(Some(&rules.to_value())), rules);
        let abort = rules.rules[0].abort_multipart_uploads_transition.clone().unwrap();
        assert_eq!(abort.condition, LifecycleCondition::Age { max_age: 604_800 });
        assert!(Lifecycle::kept(Some(&json!({ "rules": [] }))).rules.is_empty());
    }
}
