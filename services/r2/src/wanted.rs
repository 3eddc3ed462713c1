//! How HTTP asks for an object, by S3 and at public hosts: on what condition, how much of it, and of which object that is wanted
//! (RFC 9110, 13 and 14). What cannot be understood says nothing.

use std::future::Future;

use http::{HeaderMap, HeaderValue, header};
use proxima_pipeline::{
    ObjectAbout, ObjectConditions, ObjectError, ObjectGet, ObjectRange, ranges::Asked, read_http_date,
};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    get: ObjectGet,
    /// `If-Range`: of which object it is wanted, if of one alone.
    of: Option<HeaderValue>,
}

impl Wanted {
    /// What the fields of a request say.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let range = Asked::read(headers).map(|asked| match asked {
            Asked::From(first, last) => ObjectRange::From(first, last),
            Asked::Last(octets) => ObjectRange::Last(octets),
        });
        let of = headers.get(header::IF_RANGE).filter(|_| range.is_some()).cloned();
        Self { get: ObjectGet { conditions: ObjectConditions::of_read(headers), range }, of }
    }

    /// The same of all of the object.
    pub(crate) fn whole(self) -> ObjectGet {
        ObjectGet { range: None, ..self.get }
    }

    /// The same of one of its parts.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`]: there is a range, too.
    pub(crate) fn part(self, number: u16) -> Result<Self, ObjectError> {
        if self.get.range.is_some() {
            return Err(ObjectError::Invalid("give a range or a part's number".to_owned()));
        }
        Ok(Self { get: ObjectGet { range: Some(ObjectRange::Part(number)), ..self.get }, ..self })
    }

    /// Asks so, and once more for all of it if it is not the object of which the range is wanted: which one is there is known when it
    /// is here.
    pub(crate) async fn ask<T, F>(
        self,
        about: fn(&T) -> &ObjectAbout,
        ask: impl Fn(ObjectGet) -> F,
    ) -> Result<T, ObjectError>
    where
        F: Future<Output = Result<T, ObjectError>>,
    {
        let Some(of) = self.of.clone() else { return ask(self.get).await };
        let whole = || ask(self.clone().whole());
        match ask(self.get.clone()).await {
            Ok(read) if is_wanted(&of, about(&read)) => Ok(read),
            Ok(_) => whole().await,
            Err(refused @ ObjectError::InvalidRange(_)) => {
                let read = whole().await?;
                if is_wanted(&of, about(&read)) { Err(refused) } else { Ok(read) }
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether the object is the one of which a range is wanted (RFC 9110, 13.1.5).
fn is_wanted(wanted: &HeaderValue, about: &ObjectAbout) -> bool {
    let Ok(wanted) = wanted.to_str().map(str::trim) else { return false };
    let is_tag = wanted.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(&about.etag);
    is_tag || read_http_date(wanted).is_some_and(|at| at.as_seconds() == about.modified.as_seconds())
}
