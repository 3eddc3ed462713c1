//! On what condition something is written: as the fields of the request say it, which `s3s` reads only for some operations.

use http::{HeaderMap, HeaderName, header};
use proxima_model::Timestamp;
use proxima_pipeline::{ObjectConditions, ObjectError, Tags, read_http_date};
use s3s::S3Result;

use super::error::{not_offered, s3_error};

/// The conditions for what a write replaces: those of HTTP (RFC 9110, 13.1).
const OF_HTTP: [HeaderName; 4] =
    [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE];
/// The same for a copy, by the names that R2 has for them.
const OF_COPIES: [HeaderName; 4] = [
    HeaderName::from_static("cf-copy-destination-if-match"),
    HeaderName::from_static("cf-copy-destination-if-none-match"),
    HeaderName::from_static("cf-copy-destination-if-modified-since"),
    HeaderName::from_static("cf-copy-destination-if-unmodified-since"),
];

/// What must hold of what a write replaces.
pub(super) fn of_write(headers: &HeaderMap) -> S3Result<ObjectConditions> {
    read(headers, &OF_HTTP)
}

/// What must hold of what a copy replaces.
pub(super) fn of_copy(headers: &HeaderMap) -> S3Result<ObjectConditions> {
    let (http, own) = (read(headers, &OF_HTTP)?, read(headers, &OF_COPIES)?);
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

fn read(
    headers: &HeaderMap,
    [matches, differs, since, until]: &[HeaderName; 4],
) -> S3Result<ObjectConditions> {
    Ok(ObjectConditions {
        if_match: tags(headers, matches)?,
        if_none_match: tags(headers, differs)?,
        modified_since: date(headers, since)?,
        unmodified_since: date(headers, until)?,
    })
}

fn given<'h>(headers: &'h HeaderMap, name: &HeaderName) -> S3Result<Option<&'h str>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| value.to_str().map(str::trim));
    match (first.transpose(), values.next()) {
        (Ok(value), None) => Ok(value),
        _ => Err(wrong(name)),
    }
}

fn wrong(name: &HeaderName) -> s3s::S3Error {
    s3_error(ObjectError::Invalid(format!("{name}: it cannot be understood, and is not passed over")))
}

/// Entity tags, in quotes or, as some clients have them, without.
fn tags(headers: &HeaderMap, name: &HeaderName) -> S3Result<Option<Tags>> {
    let Some(value) = given(headers, name)? else { return Ok(None) };
    if value == "*" {
        return Ok(Some(Tags::Any));
    }
    let tags = value.split(',').map(|tag| {
        let tag = tag.trim();
        // What is weak never matches where it is written (RFC 9110, 13.1.1), and entity tags here are strong.
        let bare = tag.strip_prefix('"').map_or(Some(tag), |rest| rest.strip_suffix('"'));
        bare.filter(|tag| !tag.is_empty() && !tag.contains('"') && *tag != "*").map(str::to_owned)
    });
    tags.collect::<Option<Vec<_>>>().map(|tags| Some(Tags::OneOf(tags))).ok_or_else(|| wrong(name))
}

fn date(headers: &HeaderMap, name: &HeaderName) -> S3Result<Option<Timestamp>> {
    let Some(value) = given(headers, name)? else { return Ok(None) };
    read_http_date(value).map(Some).ok_or_else(|| wrong(name))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn fields(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let each = given.iter();
        each.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn conditions_are_read_as_they_are_written_or_refused() {
        let tags = |value| of_write(&fields(&[("if-match", value)])).map(|read| read.if_match).ok();
        let one_of =
            |tags: &[&str]| Some(Some(Tags::OneOf(tags.iter().map(|&tag| tag.to_owned()).collect())));
        assert_eq!(tags("*"), Some(Some(Tags::Any)));
        assert_eq!(tags("\"a\""), one_of(&["a"]));
        assert_eq!(tags("a"), one_of(&["a"]));
        assert_eq!(tags("\"a\", \"b-2\""), one_of(&["a", "b-2"]));
        for wrong in ["", "\"a", "a\"b\"", "\"a\",", "*, \"a\""] {
            assert_eq!(tags(wrong), None, "{wrong}");
        }
        let since = |value| {
            of_write(&fields(&[("if-unmodified-since", value)])).map(|read| read.unmodified_since).ok()
        };
        assert_eq!(since("Thu, 01 Jan 1970 00:00:10 GMT"), Some(Some(Timestamp::from_millis(10_000))));
        assert_eq!(since("yesterday"), None);
        let twice = [("if-none-match", "*"), ("if-none-match", "\"a\"")];
        let mut headers = HeaderMap::new();
        for (name, value) in twice {
            headers.append(name, HeaderValue::from_static(value));
        }
        assert!(of_write(&headers).is_err(), "one of them would be passed over");
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
