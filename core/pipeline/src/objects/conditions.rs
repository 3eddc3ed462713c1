//! On what condition objects are read and written (RFC 9110, 13).

use proxima_model::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ObjectAbout, ObjectError};

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
