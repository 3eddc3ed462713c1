//! Answers by assets: fields, conditions and ranges.

use std::ops::Range;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use proxima_pipeline::{Body, Response};

use super::{
    contents::ContentError,
    site::{Plan, Site},
    sites::Sites,
};

/// A browser asks again before it uses what it has.
const REVALIDATE: HeaderValue = HeaderValue::from_static("public, max-age=0, must-revalidate");

/// What is asked for.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) host: &'a str,
    /// As it came: percent-encoded.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
}

impl Sites {
    /// The answer of a site.
    pub(crate) async fn answer(
        &self,
        site: &Site,
        plan: Plan,
        asked: &Asked<'_>,
    ) -> Result<Response, ContentError> {
        let mut response = match plan {
            Plan::File(file, status) => self.file(site, file, status, asked).await?,
            Plan::Sent(status, location) => {
                let mut response = of(status);
                // What was filled in is encoded.
                if let Ok(location) = HeaderValue::try_from(location) {
                    response.headers.insert(header::LOCATION, location);
                }
                response
            }
            Plan::MethodNotAllowed => {
                let mut response = of(StatusCode::METHOD_NOT_ALLOWED);
                response.headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
            Plan::NotFound => of(StatusCode::NOT_FOUND),
        };
        site.say(asked, &mut response.headers);
        Ok(response)
    }

    async fn file(
        &self,
        site: &Site,
        index: usize,
        status: StatusCode,
        asked: &Asked<'_>,
    ) -> Result<Response, ContentError> {
        let file = site.file(index);
        let mut response = of(status);
        response.headers.insert(header::ETAG, file.tag.clone());
        if !asked.headers.contains_key(header::AUTHORIZATION) && !asked.headers.contains_key(header::RANGE) {
            response.headers.insert(header::CACHE_CONTROL, REVALIDATE);
        }
        if is_known(asked.headers, &file.tag) {
            response.status = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        let about = self.about(site, index).await?;
        if let Some(content_type) = &about.content_type {
            response.headers.insert(header::CONTENT_TYPE, content_type.clone());
        }
        let length = u64::from(file.octets);
        let range = match (status, asked.method) {
            (StatusCode::OK, &Method::GET) => part(asked.headers, &file.tag, length),
            _ => Part::Whole,
        };
        response.headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let range = match range {
            Part::Whole => 0..length,
            Part::Of(range) => {
                let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                response.status = StatusCode::PARTIAL_CONTENT;
                response.headers.insert(header::CONTENT_RANGE, value(&text));
                range
            }
            Part::Unsatisfiable => {
                let mut response = of(StatusCode::RANGE_NOT_SATISFIABLE);
                response.headers.insert(header::CONTENT_RANGE, value(&format!("bytes */{length}")));
                return Ok(response);
            }
        };
        if *asked.method == Method::HEAD {
            response.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        } else {
            response.body = self.contents.body(site.account, about.content, range).await?;
        }
        Ok(response)
    }
}

fn of(status: StatusCode) -> Response {
    Response { status, body: Body::empty(), ..Response::default() }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits and letters")
}

/// Whether who asks has it already (RFC 9110, 13.1.2): tags of ours hold no commas.
fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = lines.flat_map(|line| line.as_bytes().split(|octet| *octet == b','));
    tags.any(|given| {
        let given = given.trim_ascii();
        given == b"*" || given.strip_prefix(b"W/").unwrap_or(given) == tag.as_bytes()
    })
}

/// What of a file is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Of(Range<u64>),
    Unsatisfiable,
}

/// Reads a range (RFC 9110, 14): one; what asks for several, or cannot be read, gets the whole.
fn part(headers: &HeaderMap, tag: &HeaderValue, length: u64) -> Part {
    // Only of the file that who asks has a part of (13.1.5).
    if headers.get(header::IF_RANGE).is_some_and(|of| of != tag) {
        return Part::Whole;
    }
    let mut lines = headers.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Part::Whole };
    let Some((first, last)) = line.to_str().ok().and_then(ends) else { return Part::Whole };
    let range = match (first, last) {
        (Some(first), Some(last)) if last < first => return Part::Whole,
        (Some(first), last) => first..last.map_or(length, |last| last.saturating_add(1).min(length)),
        (None, Some(count)) => length.saturating_sub(count)..length,
        (None, None) => return Part::Whole,
    };
    if range.start < range.end { Part::Of(range) } else { Part::Unsatisfiable }
}

/// The two numbers of a range, of which one may be left out.
fn ends(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, range) = text.trim().split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    let number = |text: &str| match text {
        "" => Some(None),
        // `parse` alone would take a sign.
        digits if digits.bytes().all(|octet| octet.is_ascii_digit()) => {
            Some(Some(digits.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
    };
    unit.eq_ignore_ascii_case("bytes").then_some(())?;
    Some((number(first)?, number(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(text))])
    }

    #[test]
    fn one_range_is_answered_and_all_else_with_the_whole() {
        let tag = HeaderValue::from_static("\"tag\"");
        for (text, expected) in [
            ("bytes=0-0", Part::Of(0..1)),
            ("bytes=2-", Part::Of(2..10)),
            ("bytes=2-100", Part::Of(2..10)),
            ("Bytes= 2-4", Part::Of(2..5)),
            ("bytes=-3", Part::Of(7..10)),
            ("bytes=-100", Part::Of(0..10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=99999999999999999999-", Part::Unsatisfiable),
            ("bytes=4-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(part(&with(header::RANGE, text), &tag, 10), expected, "{text}");
        }
        let mut headers = with(header::RANGE, "bytes=0-0");
        for (of, expected) in
            [("\"tag\"", Part::Of(0..1)), ("\"other\"", Part::Whole), ("W/\"tag\"", Part::Whole)]
        {
            headers.insert(header::IF_RANGE, HeaderValue::from_static(of));
            assert_eq!(part(&headers, &tag, 10), expected, "{of}");
        }
        assert_eq!(part(&HeaderMap::new(), &tag, 10), Part::Whole);
    }

    #[test]
    fn who_has_it_already_is_told_so_by_any_tag_of_a_list() {
        let tag = HeaderValue::from_static("\"tag\"");
        for (text, known) in [
            ("\"tag\"", true),
            ("W/\"tag\"", true),
            ("\"a\", W/\"tag\"", true),
            ("*", true),
            ("\"tag", false),
            ("\"other\"", false),
            ("", false),
        ] {
            assert_eq!(is_known(&with(header::IF_NONE_MATCH, text), &tag), known, "{text}");
        }
    }
}
