//! How a stored response answers a request that is conditional or asks for a part (RFC 9110, 13.2.2 and 14;
//! RFC 9111, 4.3.2).

use http::{HeaderMap, Method, StatusCode, header};
use proxima_model::Timestamp;

use super::{
    date::{self, DateField},
    range::{self, Part},
    validators,
};

/// A stored response, as far as conditions and ranges depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// When it came, by the wall clock.
    pub received_at: Timestamp,
    /// Octets of its content, when known already.
    pub length: Option<u64>,
}

/// The shape of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The stored response as it is.
    Full,
    /// 304.
    NotModified,
    /// 206 with this part.
    Part(Part),
    /// 416 for content of this many octets.
    Unsatisfiable(u64),
}

/// Whether only the origin can judge the request's conditions: `If-Match` and `If-Unmodified-Since` guard against
/// lost updates and are not for caches (RFC 9111, 4.3.2).
pub fn for_the_origin(request: &HeaderMap) -> bool {
    request.contains_key(header::IF_MATCH) || request.contains_key(header::IF_UNMODIFIED_SINCE)
}

/// How `stored` answers a GET or HEAD with these fields.
pub fn answer(method: &Method, request: &HeaderMap, stored: Stored<'_>) -> Answer {
    if !stored.status.is_success() {
        return Answer::Full;
    }
    if not_modified(request, stored) {
        return Answer::NotModified;
    }
    let asked = (method == Method::GET && stored.status == StatusCode::OK)
        .then(|| range::Asked::read(request))
        .flatten()
        .filter(|_| range::if_range_holds(request, stored.headers));
    match (asked, stored.length) {
        (Some(asked), Some(length)) => {
            asked.of_length(length).map_or(Answer::Unsatisfiable(length), Answer::Part)
        }
        _ => Answer::Full,
    }
}

fn not_modified(request: &HeaderMap, stored: Stored<'_>) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        // If-None-Match silences If-Modified-Since (RFC 9110, 13.1.3).
        let listed = request.get_all(header::IF_NONE_MATCH).iter();
        return validators::any_matches(listed, stored.headers.get(header::ETAG));
    }
    let Some(since) = request.get(header::IF_MODIFIED_SINCE).and_then(|date| date::parse(date.as_bytes()))
    else {
        return false;
    };
    let modified = DateField::read(stored.headers, &header::LAST_MODIFIED)
        .at()
        .or_else(|| DateField::read(stored.headers, &header::DATE).at())
        .unwrap_or(stored.received_at);
    modified.as_seconds() <= since.as_seconds()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    type Fields<'a> = &'a [(&'static str, &'static str)];

    fn fields(all: Fields<'_>) -> HeaderMap {
        all.iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
    const NEW_850: &str = "Monday, 07-Nov-94 08:49:37 GMT";

    #[test]
    fn conditions_and_ranges_shape_the_answer() {
        let part = |first, end| Answer::Part(Part { first, end, length: 10 });
        let tagged = [("etag", "\"1\""), ("last-modified", OLD)];
        let undated = [("date", OLD)];
        let rows: &[(Fields<'_>, Fields<'_>, Answer)] = &[
            (&[], &tagged, Answer::Full),
            (&[("if-none-match", "\"1\"")], &tagged, Answer::NotModified),
            (&[("if-none-match", "\"0\", W/\"1\"")], &tagged, Answer::NotModified),
            (&[("if-none-match", "\"2\"")], &tagged, Answer::Full),
            (&[("if-none-match", "\"2\""), ("if-modified-since", NEW)], &tagged, Answer::Full),
            (&[("if-modified-since", OLD)], &tagged, Answer::NotModified),
            (&[("if-modified-since", NEW_850)], &tagged, Answer::NotModified),
            (&[("if-modified-since", OLD)], &[("last-modified", NEW)], Answer::Full),
            (&[("if-modified-since", NEW)], &undated, Answer::NotModified),
            (&[("if-modified-since", "yesterday")], &tagged, Answer::Full),
            (&[("range", "bytes=2-3")], &tagged, part(2, 4)),
            (&[("range", "bytes=2-3"), ("if-none-match", "\"1\"")], &tagged, Answer::NotModified),
            (&[("range", "bytes=2-3"), ("if-range", "\"1\"")], &tagged, part(2, 4)),
            (&[("range", "bytes=2-3"), ("if-range", "\"2\"")], &tagged, Answer::Full),
            (&[("range", "bytes=10-")], &tagged, Answer::Unsatisfiable(10)),
            (&[("range", "bytes=0-1,4-5")], &tagged, Answer::Full),
        ];
        for (request, stored, expected) in rows {
            let headers = fields(stored);
            let stored = Stored {
                status: StatusCode::OK,
                headers: &headers,
                received_at: Timestamp::from_millis(0),
                length: Some(10),
            };
            assert_eq!(answer(&Method::GET, &fields(request), stored), *expected, "{request:?}");
        }
    }

    #[test]
    fn only_a_success_is_conditional_and_only_a_200_to_get_has_parts() {
        let headers = fields(&[("etag", "\"1\"")]);
        let stored = |status| Stored {
            status,
            headers: &headers,
            received_at: Timestamp::from_millis(0),
            length: Some(10),
        };
        let condition = fields(&[("if-none-match", "\"1\"")]);
        let range = fields(&[("range", "bytes=0-1")]);
        assert_eq!(answer(&Method::GET, &condition, stored(StatusCode::NOT_FOUND)), Answer::Full);
        assert_eq!(answer(&Method::HEAD, &condition, stored(StatusCode::OK)), Answer::NotModified);
        assert_eq!(answer(&Method::HEAD, &range, stored(StatusCode::OK)), Answer::Full);
        assert_eq!(answer(&Method::GET, &range, stored(StatusCode::NOT_FOUND)), Answer::Full);
        assert_eq!(
            answer(&Method::GET, &range, Stored { length: None, ..stored(StatusCode::OK) }),
            Answer::Full
        );
    }
}
