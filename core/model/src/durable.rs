//! Durable Objects: which classes of which Workers there are objects of, and which servers have them. What the objects keep is no
//! part of the log: `services/workers` has it.
//!
//! An id is hashed to one of the names in [`DurableNamespace::homes`], for good: its *slot*. Which server has a slot's objects may
//! change, by a hand-over, and these are all of its states and steps:
//!
//! ```text
//!   A has it ── begin ──▶ A has it, and hands it over to B ── end (A alone says so) ──▶ B has it
//!      ▲  │                  │
//!      │  │                  └── cancel ──▶ A has it
//!      │  └── give_up: A is lost ──▶ B has it, and begins without what was kept
//! ```
//!
//! Each hand-over that begins has a number of its own, `turn`, so that nothing of one passes for something of another.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    AccountId, DurableNamespaceId, Entity, Invalid, Key, Kind, NodeName, Timestamp, WorkerName, excerpt,
    limits, name::text_name,
};

/// What a class of Durable Objects is called: what a Worker exports it as, an identifier of JavaScript.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DurableClass(String);

impl DurableClass {
    /// Parses a class's name.
    ///
    /// # Errors
    /// What code could not export.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_of_it = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '$');
        if !(1..=limits::DURABLE_CLASS_OCTETS_MAX).contains(&text.len())
            || !text.chars().all(is_of_it)
            || text.starts_with(char::is_numeric)
        {
            return Err(Invalid::new(
                "class_name",
                format!("{} is not a class's name", excerpt(text)),
                "give what the Worker exports it as: at most 255 octets of letters, digits, _ and $",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(DurableClass);

/// Objects of one class of one Worker. A migration makes, renames, moves or deletes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurableNamespace {
    /// Whose it is.
    pub account: AccountId,
    /// Its id: what its objects lie under. Never given twice.
    pub id: DurableNamespaceId,
    /// The Worker whose code the objects run.
    pub worker: WorkerName,
    /// Their class in it: no other namespace has the same of both.
    pub class: DurableClass,
    /// Whether the objects were made with SQLite (`new_sqlite_classes`); the others keep keys and values alone.
    pub has_sql: bool,
    /// The servers that its objects were spread over, as the network was when it was made: at least one, and at most
    /// [`limits::DURABLE_HOMES_MAX`]. Each is the name of a slot, by which an object is found for good, so that no server that comes
    /// or goes later changes where an object is; who has a slot that was handed over, or is being, stands in `handed`.
    pub homes: Vec<NodeName>,
    /// By the names of slots; those that are not there are had by the server that they are called after.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub handed: BTreeMap<NodeName, DurableSlot>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A slot that was handed over, or is being.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurableSlot {
    /// The server that has its objects.
    pub server: NodeName,
    /// By which hand-over it got them; 0: it had them from the beginning.
    pub since: u32,
    /// Who had them until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<NodeName>,
    /// The number of the hand-over that was begun last.
    pub turn: u32,
    /// Whether what was kept until `since` was given up.
    #[serde(default)]
    pub began_empty: bool,
    /// The server to which they are being handed over, as `turn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<NodeName>,
}

impl DurableNamespace {
    /// The server that has the objects of a slot.
    pub fn server<'a>(&'a self, slot: &'a NodeName) -> &'a NodeName {
        self.handed.get(slot).map_or(slot, |handed| &handed.server)
    }

    /// A slot as it is, whether it was ever handed over or not.
    pub fn slot(&self, slot: &NodeName) -> DurableSlot {
        self.handed.get(slot).cloned().unwrap_or_else(|| DurableSlot {
            server: slot.clone(),
            since: 0,
            from: None,
            turn: 0,
            began_empty: false,
            to: None,
        })
    }

    /// Begins to hand a slot over; its server stops its objects when it sees that.
    ///
    /// # Errors
    /// It is being handed over already, or that server has it.
    pub fn begin_hand_over(&mut self, slot: &NodeName, to: &NodeName) -> Result<(), Invalid> {
        let mut changed = self.known(slot)?;
        if let Some(other) = &changed.to {
            return Err(refused(format!("{slot} is being handed over to {other}"), "cancel that first"));
        }
        if changed.server == *to {
            return Err(refused(format!("{to} has {slot} already"), "name another server"));
        }
        changed.turn = next(changed.turn)?;
        changed.to = Some(to.clone());
        self.handed.insert(slot.clone(), changed);
        Ok(())
    }

    /// Gives a hand-over up: the server that has the slot goes on.
    ///
    /// # Errors
    /// It is not being handed over.
    pub fn cancel_hand_over(&mut self, slot: &NodeName) -> Result<(), Invalid> {
        let mut changed = self.known(slot)?;
        if changed.to.take().is_none() {
            return Err(not_handed_over(slot));
        }
        self.handed.insert(slot.clone(), changed);
        Ok(())
    }

    /// Ends this hand-over: from now on the other server has the slot. For the one that has it until then, once all that its objects
    /// keep lies there.
    ///
    /// # Errors
    /// This hand-over is not under way any more.
    pub fn end_hand_over(&mut self, slot: &NodeName, turn: u32) -> Result<(), Invalid> {
        let mut changed = self.known(slot)?;
        let Some(to) = changed.to.take().filter(|_| changed.turn == turn) else {
            return Err(not_handed_over(slot));
        };
        changed.from = Some(std::mem::replace(&mut changed.server, to));
        (changed.since, changed.began_empty) = (turn, false);
        self.handed.insert(slot.clone(), changed);
        Ok(())
    }

    /// Gives up what a slot's objects keep, since its server is lost for good: another one has it from now on, and begins without.
    ///
    /// # Errors
    /// That server has it.
    pub fn give_up(&mut self, slot: &NodeName, to: &NodeName) -> Result<(), Invalid> {
        let mut changed = self.known(slot)?;
        if changed.server == *to {
            return Err(refused(format!("{to} has {slot} already"), "name another server"));
        }
        let (turn, from) = (next(changed.turn)?, Some(changed.server));
        changed = DurableSlot { server: to.clone(), since: turn, from, turn, began_empty: true, to: None };
        self.handed.insert(slot.clone(), changed);
        Ok(())
    }

    fn known(&self, slot: &NodeName) -> Result<DurableSlot, Invalid> {
        if !self.homes.contains(slot) {
            return Err(refused(format!("{slot} is none of the namespace's homes"), "name one of its homes"));
        }
        Ok(self.slot(slot))
    }
}

fn next(turn: u32) -> Result<u32, Invalid> {
    turn.checked_add(1).ok_or_else(|| refused("it was handed over too often".to_owned(), "make a new class"))
}

fn not_handed_over(slot: &NodeName) -> Invalid {
    refused(format!("{slot} is not being handed over by this hand-over"), "look at the homes again")
}

fn refused(problem: String, remedy: &'static str) -> Invalid {
    Invalid::new("homes", problem, remedy)
}

impl Entity for DurableNamespace {
    const KIND: Kind = Kind::DurableNamespace;
    type Id = (AccountId, DurableNamespaceId);

    fn key(&self) -> Key {
        Self::key_of(&(self.account, self.id))
    }

    fn key_of((account, id): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, id])
    }
}

/// How many namespaces of Durable Objects an account has. Written with each of them that is made, changed or deleted, so that
/// two writers of one account never count, nor take one class, at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurableUsage {
    /// Whose.
    pub account: AccountId,
    /// How many; at most [`limits::DURABLE_NAMESPACES_PER_ACCOUNT_MAX`].
    pub namespaces: usize,
}

impl Entity for DurableUsage {
    const KIND: Kind = Kind::DurableUsage;
    type Id = AccountId;

    fn key(&self) -> Key {
        Self::key_of(&self.account)
    }

    fn key_of(account: &AccountId) -> Key {
        Key::new(Self::KIND, &[account])
    }
}

/// Which object of a namespace: 32 octets, written as 64 hexadecimal digits, as Workers write them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurableObjectId([u8; 32]);

impl DurableObjectId {
    /// The id of these octets.
    pub const fn from_bytes(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for DurableObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for DurableObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableObjectId({self})")
    }
}

impl FromStr for DurableObjectId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut octets = [0; 32];
        hex::decode_to_slice(text, &mut octets).map_err(|_| {
            let problem = format!("{} is not a Durable Object's id", excerpt(text));
            Invalid::new("id", problem, "give 64 hexadecimal digits")
        })?;
        Ok(Self(octets))
    }
}

impl Serialize for DurableObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DurableObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> DurableNamespace {
        DurableNamespace {
            account: AccountId::from_bytes([1; 16]),
            id: DurableNamespaceId::from_bytes([2; 16]),
            worker: WorkerName::parse("app").unwrap(),
            class: DurableClass::parse("Counter").unwrap(),
            has_sql: true,
            homes: vec![name("ams1"), name("fra1")],
            handed: BTreeMap::new(),
            created_at: Timestamp::from_millis(0),
        }
    }

    fn name(text: &str) -> NodeName {
        NodeName::parse(text).unwrap()
    }

    #[test]
    fn a_slot_is_had_by_who_it_is_called_after_until_a_hand_over_has_ended_and_others_stay() {
        let (mut of, [a, b, c]) = (namespace(), ["ams1", "fra1", "sin1"].map(name));
        assert_eq!((of.server(&a), of.server(&b)), (&a, &b));
        of.begin_hand_over(&a, &c).unwrap();
        assert_eq!((of.server(&a), of.slot(&a).to, of.slot(&a).turn), (&a, Some(c.clone()), 1));
        assert!(of.begin_hand_over(&a, &b).is_err(), "one at a time");
        assert!(of.end_hand_over(&a, 0).is_err() && of.end_hand_over(&b, 1).is_err());
        of.end_hand_over(&a, 1).unwrap();
        assert_eq!((of.server(&a), of.slot(&a).since, of.slot(&a).to), (&c, 1, None));
        assert!(of.end_hand_over(&a, 1).is_err(), "it has ended");
        assert!(of.begin_hand_over(&a, &c).is_err(), "it has it");
        assert!(of.begin_hand_over(&c, &b).is_err(), "who has a slot is none");
        assert_eq!(of.server(&b), &b);
        of.begin_hand_over(&a, &a).unwrap();
        of.end_hand_over(&a, 2).unwrap();
        let back =
            DurableSlot { server: a.clone(), since: 2, from: Some(c), turn: 2, began_empty: false, to: None };
        assert_eq!(of.slot(&a), back);
    }

    #[test]
    fn what_was_cancelled_is_not_ended_by_a_later_one_and_what_is_lost_begins_empty() {
        let (mut of, [a, b, c]) = (namespace(), ["ams1", "fra1", "sin1"].map(name));
        assert!(of.cancel_hand_over(&a).is_err());
        of.begin_hand_over(&a, &c).unwrap();
        of.cancel_hand_over(&a).unwrap();
        assert!(of.end_hand_over(&a, 1).is_err());
        of.begin_hand_over(&a, &c).unwrap();
        assert!(of.end_hand_over(&a, 1).is_err(), "of the first");
        of.give_up(&a, &b).unwrap();
        let lost = DurableSlot {
            server: b.clone(),
            since: 3,
            from: Some(a.clone()),
            turn: 3,
            began_empty: true,
            to: None,
        };
        assert_eq!(of.slot(&a), lost);
        assert!(of.end_hand_over(&a, 2).is_err() && of.give_up(&a, &b).is_err());
    }

    #[test]
    fn namespaces_that_were_written_before_there_were_hand_overs_are_read_and_written_as_they_were() {
        let text = serde_json::to_string(&namespace()).unwrap();
        assert!(!text.contains("handed"), "{text}");
        assert_eq!(serde_json::from_str::<DurableNamespace>(&text).unwrap(), namespace());
        let mut handed = namespace();
        handed.begin_hand_over(&name("ams1"), &name("sin1")).unwrap();
        let text = serde_json::to_string(&handed).unwrap();
        assert_eq!(serde_json::from_str::<DurableNamespace>(&text).unwrap(), handed);
    }
}
