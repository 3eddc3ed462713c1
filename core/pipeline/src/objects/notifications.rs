//! Which queues are told of what happens to a bucket's objects, as
//! [R2's API](https://developers.cloudflare.com/r2/buckets/event-notifications/) has it. Who has the objects tells them.

use proxima_model::{QueueId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OBJECT_KEY_OCTETS_MAX;

/// Rules of a bucket, of all its queues; what R2 takes.
pub const NOTIFICATION_RULES_MAX: usize = 100;
/// Octets of what its owner says of a rule: all rules of a bucket are read with each change of an object.
const DESCRIPTION_OCTETS_MAX: usize = 1_024;

/// What happens to an object, in R2's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ObjectAction {
    /// It is put.
    PutObject,
    /// It is made as a copy of another one.
    CopyObject,
    /// It is made of an upload's parts.
    CompleteMultipartUpload,
    /// It is deleted.
    DeleteObject,
    /// It is deleted as a lifecycle rule says.
    LifecycleDeletion,
}

impl ObjectAction {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PutObject => "PutObject",
            Self::CopyObject => "CopyObject",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::DeleteObject => "DeleteObject",
            Self::LifecycleDeletion => "LifecycleDeletion",
        }
    }
}

/// Why rules are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// A rule that cannot be so, or too many.
    #[error("{0}")]
    Invalid(String),
    /// One event could match two rules of a queue.
    #[error("{0}")]
    Overlap(String),
}

/// The queues that are told of a bucket's objects, and of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notifications {
    /// In the order in which they were named first.
    #[serde(default)]
    pub queues: Vec<QueueNotified>,
}

/// A queue that is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueNotified {
    /// The queue.
    pub queue_id: QueueId,
    /// Of what. No event matches two of them.
    pub rules: Vec<NotificationRule>,
}

/// What a queue is told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationRule {
    /// Its id.
    pub rule_id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How keys begin.
    pub prefix: String,
    /// How keys end.
    pub suffix: String,
    /// What happens to them.
    pub actions: Vec<ObjectAction>,
    /// What its owner says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A rule as its owner gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct NewNotificationRule {
    /// How keys begin; nothing: anyhow.
    #[serde(default)]
    pub prefix: Option<String>,
    /// How keys end; nothing: anyhow.
    #[serde(default)]
    pub suffix: Option<String>,
    /// What happens to them.
    pub actions: Vec<ObjectAction>,
    /// What its owner says of it.
    #[serde(default)]
    pub description: Option<String>,
}

impl NotificationRule {
    /// Whether it covers this.
    fn matches(&self, key: &str, action: ObjectAction) -> bool {
        self.actions.contains(&action) && key.starts_with(&self.prefix) && key.ends_with(&self.suffix)
    }

    /// What could happen to some key that both rules cover.
    fn overlaps(&self, other: &Self) -> Option<ObjectAction> {
        let (prefixes, suffixes) = ((&self.prefix, &other.prefix), (&self.suffix, &other.suffix));
        // A key that begins in both ways has the longer prefix, which begins as the shorter one; and so with its end.
        let may_match_both = (prefixes.0.starts_with(prefixes.1) || prefixes.1.starts_with(prefixes.0))
            && (suffixes.0.ends_with(suffixes.1) || suffixes.1.ends_with(suffixes.0));
        self.actions.iter().copied().find(|action| may_match_both && other.actions.contains(action))
    }
}

impl NewNotificationRule {
    /// What is wrong with it by itself, by its field.
    fn check(&self) -> Result<(), &'static str> {
        let octets = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        if self.actions.is_empty() {
            return Err("actions: give at least one");
        }
        if octets(&self.prefix) + octets(&self.suffix) > OBJECT_KEY_OCTETS_MAX {
            return Err("prefix: with the suffix it is longer than a key may be");
        }
        if octets(&self.description) > DESCRIPTION_OCTETS_MAX {
            return Err("description: it is too long");
        }
        Ok(())
    }

    fn named(self, rule_id: String, created_at: Timestamp) -> NotificationRule {
        let Self { prefix, suffix, actions: given, description } = self;
        let mut actions = Vec::new();
        given.into_iter().for_each(|action| {
            if !actions.contains(&action) {
                actions.push(action)
            }
        });
        NotificationRule {
            rule_id,
            created_at,
            prefix: prefix.unwrap_or_default(),
            suffix: suffix.unwrap_or_default(),
            actions,
            description,
        }
    }
}

impl Notifications {
    /// What was kept with a bucket.
    pub fn kept(value: Option<&Value>) -> Self {
        value.and_then(|value| Self::deserialize(value).ok()).unwrap_or_default()
    }

    /// As it is kept: nothing, if nobody is told of anything.
    pub fn to_value(&self) -> Option<Value> {
        let to_value = || serde_json::to_value(self).expect("it has no keys that are no text");
        (!self.queues.is_empty()).then(to_value)
    }

    /// The rules of a queue.
    pub fn of(&self, queue: QueueId) -> Option<&QueueNotified> {
        self.queues.iter().find(|there| there.queue_id == queue)
    }

    /// Adds rules to those of a queue, all or none, each with an id that `id` gives. Rules of different queues may cover the same.
    ///
    /// # Errors
    /// A rule that covers nothing or what another one of the queue covers, or more rules than there may be.
    pub fn add(
        &mut self,
        queue: QueueId,
        new: Vec<NewNotificationRule>,
        now: Timestamp,
        mut id: impl FnMut() -> String,
    ) -> Result<(), NotificationError> {
        let there: usize = self.queues.iter().map(|queue| queue.rules.len()).sum();
        if new.is_empty() || there + new.len() > NOTIFICATION_RULES_MAX {
            let what = format!("rules: give at least one; a bucket has at most {NOTIFICATION_RULES_MAX}");
            return Err(NotificationError::Invalid(what));
        }
        let mut rules = self.of(queue).map(|there| there.rules.clone()).unwrap_or_default();
        for (at, new) in new.into_iter().enumerate() {
            new.check().map_err(|what| NotificationError::Invalid(format!("rules/{at}/{what}")))?;
            let rule = new.named(id(), now);
            for other in &rules {
                if let Some(action) = rule.overlaps(other) {
                    let (action, id) = (action.as_str(), &other.rule_id);
                    return Err(NotificationError::Overlap(format!(
                        "rules/{at}: one {action} could match it and rule {id} of the queue: give a prefix or a suffix that \
                         excludes the other's"
                    )));
                }
            }
            rules.push(rule);
        }
        match self.queues.iter_mut().find(|there| there.queue_id == queue) {
            Some(there) => there.rules = rules,
            None => self.queues.push(QueueNotified { queue_id: queue, rules }),
        }
        Ok(())
    }

    /// Takes rules of a queue away, those of these ids, or all. If one of them is not there, none: then this is `false`.
    pub fn remove(&mut self, queue: QueueId, ids: Option<&[String]>) -> bool {
        let Some(there) = self.queues.iter_mut().find(|there| there.queue_id == queue) else { return false };
        let is_there = |id: &String| there.rules.iter().any(|rule| rule.rule_id == *id);
        if !ids.is_none_or(|ids| ids.iter().all(is_there)) {
            return false;
        }
        there.rules.retain(|rule| ids.is_some_and(|ids| !ids.contains(&rule.rule_id)));
        self.queues.retain(|queue| !queue.rules.is_empty());
        true
    }

    /// The queues that are told that this happens to the object of a key: each once.
    pub fn notified<'a>(&'a self, key: &'a str, action: ObjectAction) -> impl Iterator<Item = QueueId> + 'a {
        let is_told = move |queue: &&QueueNotified| queue.rules.iter().any(|rule| rule.matches(key, action));
        self.queues.iter().filter(is_told).map(|queue| queue.queue_id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ONE: QueueId = QueueId::from_bytes([1; 16]);
    const TWO: QueueId = QueueId::from_bytes([2; 16]);

    fn new(value: Value) -> NewNotificationRule {
        serde_json::from_value(value).expect("a rule")
    }

    /// Adds rules, whose ids are numbered on.
    fn add(
        all: &mut Notifications,
        queue: QueueId,
        rules: Vec<NewNotificationRule>,
    ) -> Result<(), NotificationError> {
        let mut count = all.queues.iter().map(|queue| queue.rules.len()).sum::<usize>();
        all.add(queue, rules, Timestamp::from_millis(7), || {
            count += 1;
            format!("r{count}")
        })
    }

    #[test]
    fn a_queue_is_told_of_what_its_rules_cover() {
        let mut all = Notifications::default();
        let images = new(
            json!({ "prefix": "a/", "suffix": ".png", "actions": ["PutObject", "CopyObject", "PutObject"] }),
        );
        let text = new(json!({ "prefix": "b/", "actions": ["PutObject"], "description": "text" }));
        let gone = new(json!({ "actions": ["DeleteObject", "LifecycleDeletion"] }));
        add(&mut all, ONE, vec![images, text]).unwrap();
        add(&mut all, ONE, vec![gone.clone()]).unwrap();
        add(&mut all, TWO, vec![gone]).unwrap();
        let told = |all: &Notifications, key, action| all.notified(key, action).collect::<Vec<_>>();
        for (key, action, queues) in [
            ("a/b.png", ObjectAction::PutObject, vec![ONE]),
            ("a/b.png", ObjectAction::CopyObject, vec![ONE]),
            ("a/b.png", ObjectAction::CompleteMultipartUpload, vec![]),
            ("a/b.jpg", ObjectAction::PutObject, vec![]),
            ("x/a/b.png", ObjectAction::PutObject, vec![]),
            ("b/b.jpg", ObjectAction::PutObject, vec![ONE]),
            ("b", ObjectAction::LifecycleDeletion, vec![ONE, TWO]),
        ] {
            assert_eq!(told(&all, key, action), queues, "{key} {action:?}");
        }
        let rules = &all.of(ONE).unwrap().rules;
        assert_eq!(rules[0].actions.len(), 2, "each once");
        assert_eq!((rules[1].created_at.as_millis(), rules[1].description.as_deref()), (7, Some("text")));
        assert_eq!(Notifications::kept(all.to_value().as_ref()), all);

        assert!(!all.remove(ONE, Some(&["r4".to_owned()])), "another queue's");
        assert!(!all.remove(ONE, Some(&["r2".to_owned(), "none".to_owned()])));
        assert_eq!(told(&all, "b/x", ObjectAction::PutObject), [ONE], "all or none");
        assert!(all.remove(ONE, Some(&["r2".to_owned()])));
        assert_eq!(told(&all, "b/x", ObjectAction::PutObject), []);
        assert!(all.remove(ONE, None) && all.remove(TWO, None) && !all.remove(TWO, None));
        assert_eq!(all.to_value(), None);
        assert_eq!(Notifications::kept(None), all);
    }

    #[test]
    fn rules_of_one_queue_that_one_event_could_match_are_refused() {
        let rule = |prefix: &str, suffix: &str, action: &str| {
            new(json!({ "prefix": prefix, "suffix": suffix, "actions": [action] }))
        };
        let put = |prefix, suffix| rule(prefix, suffix, "PutObject");
        for (first, second, is_taken) in [
            (put("", ""), put("images/", ""), false),
            (put("images/", ""), put("images/cats/", ""), false),
            (put("images/", ".png"), put("images/", ".jpg"), true),
            (put("images/", ".png"), put("logs/", ".png"), true),
            (put("", ".png"), put("logs/", ""), false),
            (put("", ".tar.gz"), put("", ".gz"), false),
            (put("a/", ""), rule("a/", "", "CopyObject"), true),
        ] {
            let both = add(&mut Notifications::default(), ONE, vec![first.clone(), second.clone()]);
            assert_eq!(both.is_ok(), is_taken, "{first:?} {second:?}");
            let mut all = Notifications::default();
            add(&mut all, ONE, vec![first.clone()]).unwrap();
            let before = all.clone();
            match add(&mut all, ONE, vec![put("z/", ""), second.clone()]) {
                Ok(()) => assert!(is_taken, "{first:?} {second:?}"),
                Err(error) => {
                    assert!(!is_taken && matches!(error, NotificationError::Overlap(_)), "{error}");
                    assert_eq!(all, before, "none of them is taken");
                }
            }
            add(&mut all, TWO, vec![second]).expect("another queue is told by itself");
        }
    }

    #[test]
    fn rules_have_bounds_and_say_something() {
        let add = |rules: Vec<NewNotificationRule>| add(&mut Notifications::default(), ONE, rules);
        let numbered = |count: usize| {
            let rule = |at| new(json!({ "prefix": format!("{at}/"), "actions": ["PutObject"] }));
            (0..count).map(rule).collect::<Vec<_>>()
        };
        assert_eq!(add(numbered(NOTIFICATION_RULES_MAX)), Ok(()));
        let any = new(json!({ "actions": ["PutObject"] }));
        let of = |octets: usize| Some("k".repeat(octets));
        assert_eq!(
            add(vec![NewNotificationRule { prefix: of(1_000), suffix: of(24), ..any.clone() }]),
            Ok(())
        );
        assert_eq!(add(vec![NewNotificationRule { description: of(1_024), ..any.clone() }]), Ok(()));
        for rules in [
            numbered(NOTIFICATION_RULES_MAX + 1),
            Vec::new(),
            vec![new(json!({ "actions": [] }))],
            vec![NewNotificationRule { prefix: of(1_000), suffix: of(25), ..any.clone() }],
            vec![NewNotificationRule { description: of(1_025), ..any }],
        ] {
            assert!(matches!(add(rules), Err(NotificationError::Invalid(_))));
        }
        assert!(serde_json::from_value::<NewNotificationRule>(json!({ "actions": ["GetObject"] })).is_err());
        assert!(serde_json::from_value::<NewNotificationRule>(json!({ "prefix": "a" })).is_err());
    }

    /// Few letters, so that keys and rules meet often.
    fn text() -> impl Strategy<Value = String> {
        "[ab]{0,3}"
    }

    fn any_rule() -> impl Strategy<Value = NotificationRule> {
        let actions = prop_oneof![
            Just(vec![ObjectAction::PutObject]),
            Just(vec![ObjectAction::DeleteObject]),
            Just(vec![ObjectAction::PutObject, ObjectAction::DeleteObject]),
        ];
        (text(), text(), actions).prop_map(|(prefix, suffix, actions)| {
            let (prefix, suffix) = (Some(prefix), Some(suffix));
            let new = NewNotificationRule { prefix, suffix, actions, description: None };
            new.named(String::new(), Timestamp::from_millis(0))
        })
    }

    proptest! {
        #[test]
        fn rules_overlap_if_and_only_if_there_is_a_key_that_both_match(
            (one, two, key) in (any_rule(), any_rule(), "[ab]{0,6}")
        ) {
            let both = |key: &str, action| one.matches(key, action) && two.matches(key, action);
            prop_assert_eq!(one.overlaps(&two).is_some(), two.overlaps(&one).is_some());
            match one.overlaps(&two) {
                None => {
                    prop_assert!(!both(&key, ObjectAction::PutObject) && !both(&key, ObjectAction::DeleteObject));
                }
                Some(action) => {
                    let longer = |a: &str, b: &str| if a.len() > b.len() { a.to_owned() } else { b.to_owned() };
                    let key = longer(&one.prefix, &two.prefix) + &longer(&one.suffix, &two.suffix);
                    prop_assert!(both(&key, action), "{}", key);
                }
            }
        }
    }
}
