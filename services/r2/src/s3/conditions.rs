//! On what condition something is written: as the fields of the request say it, which `s3s` reads only for some operations.

use http::{HeaderMap, HeaderName};
use proxima_pipeline::ObjectConditions;
use s3s::S3Result;

use super::error::{not_offered, s3_error};

/// Those for what a copy replaces, by the names that R2 has for them.
const OF_COPIES: [HeaderName; 4] = [
    HeaderName::from_static("cf-copy-destination-if-match"),
    HeaderName::from_static("cf-copy-destination-if-none-match"),
    HeaderName::from_static("cf-copy-destination-if-modified-since"),
    HeaderName::from_static("cf-copy-destination-if-unmodified-since"),
];

/// What must hold of what a write replaces.
pub(super) fn of_write(headers: &HeaderMap) -> S3Result<ObjectConditions> {
    read(headers, &ObjectConditions::FIELDS)
}

/// What must hold of what a copy replaces.
pub(super) fn of_copy(headers: &HeaderMap) -> S3Result<ObjectConditions> {
    let (http, own) = (read(headers, &ObjectConditions::FIELDS)?, read(headers, &OF_COPIES)?);
    Ok(ObjectConditions {
        if_match: own.if_match.or(http.if_match),
        if_none_match: own.if_none_match.or(http.if_none_match),
        modified_since: own.modified_since.or(http.modified_since),
        unmodified_since: own.unmodified_since.or(http.unmodified_since),
    })
}

/// Parts replace no object, and an upload that begins none: who gives a condition with them would believe that it is kept.
pub(super) fn refuse_before_completion(headers: &HeaderMap) -> S3Result<()> {
    match of_copy(headers)? == ObjectConditions::default() {
        true => Ok(()),
        false => Err(not_offered("a condition before an upload is completed: give it then; here it")),
    }
}

fn read(headers: &HeaderMap, names: &[HeaderName; 4]) -> S3Result<ObjectConditions> {
    ObjectConditions::of_write(headers, names).map_err(s3_error)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proxima_pipeline::Tags;

    use super::*;

    fn fields(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let each = given.iter();
        each.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_copy_has_its_conditions_by_either_name_and_parts_have_none() {
        for name in ["if-none-match", "cf-copy-destination-if-none-match"] {
            let headers = fields(&[(name, "*")]);
            assert_eq!(of_copy(&headers).unwrap().if_none_match, Some(Tags::Any), "{name}");
            assert!(refuse_before_completion(&headers).is_err(), "{name}");
        }
        assert_eq!(of_write(&fields(&[("cf-copy-destination-if-match", "*")])).unwrap().if_match, None);
        assert!(refuse_before_completion(&fields(&[("x-amz-copy-source-if-match", "a")])).is_ok());
    }
}
