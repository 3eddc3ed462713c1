//! Changes on a condition (RFC 9110, 13.1): what a client has read must still be what is there, or its change would undo
//! somebody else's.
//!
//! An entity tag is the place in the log of the entry that last put the noun. It never comes again, not even when a revert
//! brings back the same contents.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use proxima_ledger::Seq;

use crate::{
    api::Api,
    error::{ApiError, Code},
};

/// Tags that one `If-Match` may list.
pub(crate) const TAGS_MAX: usize = 16;

/// What must hold of a noun for a change of it to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing in particular.
    #[default]
    None,
    /// `If-Match: *`: it is there.
    Present,
    /// `If-Match`: it is one of these.
    OneOf(Vec<Seq>),
    /// `If-None-Match: *`: it is not there.
    Absent,
}

/// The tag of a noun that this entry put.
pub(crate) fn tag(revision: Seq) -> String {
    format!("\"{revision}\"")
}

impl Condition {
    /// Reads the fields of a request.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let wrong = |message: &str| Err(ApiError::new(Code::FieldInvalid, message));
        let matches = values(headers, &header::IF_MATCH)?;
        let none_match = values(headers, &header::IF_NONE_MATCH)?;
        match (matches.as_slice(), none_match.as_slice()) {
            ([], []) => Ok(Self::None),
            ([], ["*"]) => Ok(Self::Absent),
            ([], _) => wrong("If-None-Match: for a change, only * means something"),
            (["*"], []) => Ok(Self::Present),
            (tags, []) if tags.len() <= TAGS_MAX => tags
                .iter()
                .map(|tag| {
                    let revision = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')?.parse().ok());
                    revision.map(Seq).ok_or_else(|| {
                        ApiError::new(
                            Code::FieldInvalid,
                            "If-Match: give the ETag of the answer that was read, or *",
                        )
                    })
                })
                .collect::<Result<_, _>>()
                .map(Self::OneOf),
            (_, []) => wrong("If-Match: give at most 16 tags"),
            _ => wrong("give If-Match or If-None-Match, not both"),
        }
    }

    /// Refuses the change if it does not hold. `found`: which entry put the noun, if it is there.
    pub(crate) fn check(&self, found: Option<Seq>) -> Result<(), ApiError> {
        let (holds, message) = match self {
            Self::None => (true, ""),
            Self::Present => (found.is_some(), "If-Match: there is nothing to change"),
            Self::OneOf(revisions) => (
                found.is_some_and(|found| revisions.contains(&found)),
                "If-Match: somebody has changed it since it was read; read it again and decide anew",
            ),
            Self::Absent => {
                (found.is_none(), "If-None-Match: somebody has made it meanwhile; read it and decide anew")
            }
        };
        if holds { Ok(()) } else { Err(ApiError::new(Code::ConditionFailed, message)) }
    }
}

/// The members of a list in a field, which must be text. A field that is there has one at least: whoever sent it meant
/// a condition, and an empty one is none.
fn values<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Vec<&'h str>, ApiError> {
    let mut all = Vec::new();
    for line in headers.get_all(name) {
        let line = line.to_str().map_err(|_| {
            ApiError::new(Code::FieldInvalid, format!("{name}: give printable ASCII characters"))
        })?;
        all.extend(line.split(',').map(str::trim).filter(|member| !member.is_empty()));
    }
    if all.is_empty() && headers.contains_key(name) {
        return Err(ApiError::new(
            Code::FieldInvalid,
            format!("{name} is empty: give a condition, or leave it out"),
        ));
    }
    Ok(all)
}

impl FromRequestParts<Arc<Api>> for Condition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, ApiError> {
        Self::read(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(HeaderName, &'static str)]) -> Result<Condition, Code> {
        let headers = fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        Condition::read(&headers).map_err(|error| error.code())
    }

    #[test]
    fn conditions_are_read_as_they_are_written_and_nothing_else_passes_for_one() {
        let (matches, none_match) = (header::IF_MATCH, header::IF_NONE_MATCH);
        assert_eq!(read(&[]), Ok(Condition::None));
        assert_eq!(read(&[(matches.clone(), "*")]), Ok(Condition::Present));
        assert_eq!(read(&[(none_match.clone(), "*")]), Ok(Condition::Absent));
        let two = Ok(Condition::OneOf(vec![Seq(7), Seq(9)]));
        assert_eq!(read(&[(matches.clone(), "\"7\", \"9\"")]), two);
        assert_eq!(read(&[(matches.clone(), "\"7\""), (matches.clone(), "\"9\"")]), two);
        for wrong in [
            &[(matches.clone(), "7")][..],
            &[(matches.clone(), "W/\"7\"")],
            &[(matches.clone(), "\"x\"")],
            &[(matches.clone(), "\"7\", *")],
            &[(matches.clone(), "")],
            &[(matches.clone(), " , ")],
            &[(none_match.clone(), "")],
            &[(matches.clone(), "\"7\""), (none_match.clone(), ",")],
            &[(none_match.clone(), "\"7\"")],
            &[(matches.clone(), "*"), (none_match, "*")],
        ] {
            assert_eq!(read(wrong), Err(Code::FieldInvalid), "{wrong:?}");
        }
        let many = "\"1\",".repeat(TAGS_MAX + 1);
        assert_eq!(read(&[(matches, Box::leak(many.into_boxed_str()))]), Err(Code::FieldInvalid));
    }

    #[test]
    fn a_condition_holds_of_what_it_names_and_of_nothing_else() {
        let seven = Some(Seq(7));
        for (condition, present, other, absent) in [
            (Condition::None, true, true, true),
            (Condition::Present, true, true, false),
            (Condition::OneOf(vec![Seq(7)]), true, false, false),
            (Condition::Absent, false, false, true),
        ] {
            let holds = [seven, Some(Seq(8)), None].map(|found| condition.check(found).is_ok());
            assert_eq!(holds, [present, other, absent], "{condition:?}");
        }
    }
}
