//! On what condition objects are read and written (RFC 9110, 13).

use http::{HeaderMap, HeaderName, header};
use proxima_model::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ObjectAbout, ObjectError};
use crate::read_http_date;

/// Which entity tags a condition is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tags {
    /// Whatever is there.
    Any,
    /// One of these.
    OneOf(Vec<String>),
}

impl Tags {
    fn have(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}

/// On what condition something is read or written (RFC 9110, 13).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectConditions {
    /// `If-Match`.
    pub if_match: Option<Tags>,
    /// `If-None-Match`.
    pub if_none_match: Option<Tags>,
    /// `If-Modified-Since`.
    pub modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`.
    pub unmodified_since: Option<Timestamp>,
}

impl ObjectConditions {
    /// The fields that HTTP has for them: `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`.
    pub const FIELDS: [HeaderName; 4] =
        [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE];

    /// What must hold of what a write replaces, as fields of these names say it, in the order of [`Self::FIELDS`].
    ///
    /// # Errors
    /// [`ObjectError::Invalid`]: one cannot be understood. It is not passed over: who gives it relies on it.
    pub fn of_write(
        headers: &HeaderMap,
        [matches, differs, since, until]: &[HeaderName; 4],
    ) -> Result<Self, ObjectError> {
        Ok(Self {
            if_match: tags(headers, matches)?,
            if_none_match: tags(headers, differs)?,
            modified_since: date(headers, since)?,
            unmodified_since: date(headers, until)?,
        })
    }

    /// What must hold of what is read. What cannot be understood says nothing (RFC 9110, 13.1).
    pub fn of_read(headers: &HeaderMap) -> Self {
        let date = |name: &HeaderName| {
            headers.get(name).and_then(|value| read_http_date(value.to_str().ok()?.trim()))
        };
        let [matches, differs, since, until] = &Self::FIELDS;
        Self {
            if_match: tags_of_read(headers, matches, false),
            // A cache may have made one weak: it is the same where octets do not matter.
            if_none_match: tags_of_read(headers, differs, true),
            modified_since: date(since),
            unmodified_since: date(until),
        }
    }

    /// Whether an object may be read.
    ///
    /// # Errors
    /// [`ObjectError::PreconditionFailed`], [`ObjectError::NotModified`].
    pub fn check_read(&self, about: &ObjectAbout) -> Result<(), ObjectError> {
        let seconds = about.modified.as_seconds();
        let matches = match &self.if_match {
            Some(tags) => tags.have(&about.etag),
            None => self.unmodified_since.is_none_or(|since| seconds <= since.as_seconds()),
        };
        if !matches {
            return Err(ObjectError::PreconditionFailed);
        }
        let is_known = match &self.if_none_match {
            Some(tags) => tags.have(&about.etag),
            None => self.modified_since.is_some_and(|since| seconds <= since.as_seconds()),
        };
        if is_known { Err(ObjectError::NotModified(Box::new(about.clone()))) } else { Ok(()) }
    }

    /// Whether an object may be copied: as where it is read, but nobody who copies has it already.
    ///
    /// # Errors
    /// [`ObjectError::PreconditionFailed`].
    pub fn check_source(&self, about: &ObjectAbout) -> Result<(), ObjectError> {
        self.check_read(about).map_err(|_| ObjectError::PreconditionFailed)
    }

    /// Whether a key that has this, or nothing, may be written.
    ///
    /// # Errors
    /// [`ObjectError::PreconditionFailed`]; [`ObjectError::NoSuchKey`] where something must be there and nothing is.
    pub fn check_write(&self, current: Option<&ObjectAbout>) -> Result<(), ObjectError> {
        match (current, &self.if_match) {
            (None, Some(_)) => return Err(ObjectError::NoSuchKey),
            (Some(about), Some(tags)) if !tags.have(&about.etag) => {
                return Err(ObjectError::PreconditionFailed);
            }
            _ => {}
        }
        let seconds = current.map(|about| about.modified.as_seconds());
        let is_there =
            matches!((current, &self.if_none_match), (Some(about), Some(tags)) if tags.have(&about.etag));
        let is_later =
            matches!((seconds, self.unmodified_since), (Some(at), Some(since)) if at > since.as_seconds());
        let is_earlier =
            matches!((seconds, self.modified_since), (Some(at), Some(since)) if at <= since.as_seconds());
        if is_there || is_later || is_earlier { Err(ObjectError::PreconditionFailed) } else { Ok(()) }
    }
}

fn given<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ObjectError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| value.to_str().map(str::trim));
    match (first.transpose(), values.next()) {
        (Ok(value), None) => Ok(value),
        _ => Err(wrong(name)),
    }
}

fn wrong(name: &HeaderName) -> ObjectError {
    ObjectError::Invalid(format!("{name}: it cannot be understood, and is not passed over"))
}

/// An entity tag, in quotes or, as some clients have it, without.
fn bare(tag: &str) -> Option<String> {
    let bare = tag.strip_prefix('"').map_or(Some(tag), |rest| rest.strip_suffix('"'));
    bare.filter(|tag| !tag.is_empty() && !tag.contains('"') && *tag != "*").map(str::to_owned)
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, ObjectError> {
    let Some(value) = given(headers, name)? else { return Ok(None) };
    if value == "*" {
        return Ok(Some(Tags::Any));
    }
    // What is weak never matches where it is written (RFC 9110, 13.1.1), and entity tags here are strong.
    let tags = value.split(',').map(|tag| bare(tag.trim())).collect::<Option<Vec<_>>>();
    tags.map(|tags| Some(Tags::OneOf(tags))).ok_or_else(|| wrong(name))
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Timestamp>, ObjectError> {
    let Some(value) = given(headers, name)? else { return Ok(None) };
    read_http_date(value).map(Some).ok_or_else(|| wrong(name))
}

/// The entity tags of a field, which may be several lines. One that is none is no object's.
fn tags_of_read(headers: &HeaderMap, name: &HeaderName, takes_weak: bool) -> Option<Tags> {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default());
    let each = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|tag| !tag.is_empty());
    let (mut tags, mut is_there) = (Vec::new(), false);
    for tag in each {
        is_there = true;
        if tag == "*" {
            return Some(Tags::Any);
        }
        tags.extend(bare(if takes_weak { tag.strip_prefix("W/").unwrap_or(tag) } else { tag }));
    }
    is_there.then_some(Tags::OneOf(tags))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn fields(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in given {
            fields.append(*name, HeaderValue::from_static(value));
        }
        fields
    }

    fn of_write(fields: &HeaderMap) -> Result<ObjectConditions, ObjectError> {
        ObjectConditions::of_write(fields, &ObjectConditions::FIELDS)
    }

    fn one_of(tags: &[&str]) -> Option<Tags> {
        Some(Tags::OneOf(tags.iter().map(|&tag| tag.to_owned()).collect()))
    }

    #[test]
    fn conditions_of_writes_are_read_as_they_are_written_or_refused() {
        let tags = |value| of_write(&fields(&[("if-match", value)])).map(|read| read.if_match).ok();
        assert_eq!(tags("*"), Some(Some(Tags::Any)));
        assert_eq!(tags("\"a\""), Some(one_of(&["a"])));
        assert_eq!(tags("a"), Some(one_of(&["a"])));
        assert_eq!(tags("\"a\", \"b-2\""), Some(one_of(&["a", "b-2"])));
        for wrong in ["", "\"a", "a\"b\"", "\"a\",", "*, \"a\""] {
            assert_eq!(tags(wrong), None, "{wrong}");
        }
        let since = |value| {
            of_write(&fields(&[("if-unmodified-since", value)])).map(|read| read.unmodified_since).ok()
        };
        assert_eq!(since("Thu, 01 Jan 1970 00:00:10 GMT"), Some(Some(Timestamp::from_millis(10_000))));
        assert_eq!(since("yesterday"), None);
        let twice = fields(&[("if-none-match", "*"), ("if-none-match", "\"a\"")]);
        assert!(of_write(&twice).is_err(), "one of them would be passed over");
    }

    #[test]
    fn conditions_of_reads_are_lists_of_tags_and_what_is_none_is_no_objects() {
        let read = |name, value| ObjectConditions::of_read(&fields(&[(name, value)]));
        for (value, if_match, if_none_match) in [
            ("\"a\"", one_of(&["a"]), one_of(&["a"])),
            ("a", one_of(&["a"]), one_of(&["a"])),
            ("\"a\", \"b\"", one_of(&["a", "b"]), one_of(&["a", "b"])),
            ("W/\"a\",, \"b\"", one_of(&["b"]), one_of(&["a", "b"])),
            ("\"a", one_of(&[]), one_of(&[])),
            ("*", Some(Tags::Any), Some(Tags::Any)),
            ("", None, None),
        ] {
            assert_eq!(read("if-match", value).if_match, if_match, "{value}");
            assert_eq!(read("if-none-match", value).if_none_match, if_none_match, "{value}");
        }
        let lines = fields(&[("if-none-match", "\"a\""), ("if-none-match", "\"b\"")]);
        assert_eq!(ObjectConditions::of_read(&lines).if_none_match, one_of(&["a", "b"]));
        let date = |value| read("if-modified-since", value).modified_since;
        assert_eq!(date("Thu, 01 Jan 1970 00:00:10 GMT"), Some(Timestamp::from_millis(10_000)));
        assert_eq!(date("garbage"), None);
    }
}
