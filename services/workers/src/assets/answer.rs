//! Answers by assets: fields, conditions and ranges.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use proxima_pipeline::{Body, Response, entity_tags::any_matches, ranges};

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
        if any_matches(asked.headers.get_all(header::IF_NONE_MATCH).iter(), Some(&file.tag)) {
            response.status = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        let about = self.about(site, index).await?;
        if let Some(content_type) = &about.content_type {
            response.headers.insert(header::CONTENT_TYPE, content_type.clone());
        }
        let length = u64::from(file.octets);
        let range = match (status, asked.method) {
            (StatusCode::OK, &Method::GET) => asked_range(asked.headers, &file.tag),
            _ => None,
        };
        response.headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let range = match range.map(|range| range.of_length(length)) {
            None => 0..length,
            Some(Some(part)) => {
                response.status = StatusCode::PARTIAL_CONTENT;
                response.headers.insert(header::CONTENT_RANGE, part.content_range());
                part.first..part.end
            }
            Some(None) => {
                let mut response = of(StatusCode::RANGE_NOT_SATISFIABLE);
                response.headers.insert(header::CONTENT_RANGE, ranges::unsatisfied_range(length));
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

/// The range that is asked for, if it is of the file that who asks has a part of (RFC 9110, 13.1.5).
fn asked_range(headers: &HeaderMap, tag: &HeaderValue) -> Option<ranges::Asked> {
    let is_other = headers.get(header::IF_RANGE).is_some_and(|of| of != tag);
    if is_other { None } else { ranges::Asked::read(headers) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(text))])
    }

    /// The part that is answered, if not the whole; `Some(None)`: no part of it.
    fn part(headers: &HeaderMap, tag: &HeaderValue) -> Option<Option<(u64, u64)>> {
        let range = asked_range(headers, tag)?;
        Some(range.of_length(10).map(|part| (part.first, part.end)))
    }

    #[test]
    fn one_range_is_answered_and_all_else_with_the_whole() {
        let tag = HeaderValue::from_static("\"tag\"");
        for (text, expected) in [
            ("bytes=0-0", Some(Some((0, 1)))),
            ("bytes=2-", Some(Some((2, 10)))),
            ("bytes=2-100", Some(Some((2, 10)))),
            ("Bytes= 2-4", Some(Some((2, 5)))),
            ("bytes=-3", Some(Some((7, 10)))),
            ("bytes=-100", Some(Some((0, 10)))),
            ("bytes=10-", Some(None)),
            ("bytes=-0", Some(None)),
            ("bytes=99999999999999999999-", Some(None)),
            ("bytes=4-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=-", None),
            ("bytes=+1-2", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(part(&with(header::RANGE, text), &tag), expected, "{text}");
        }
        let mut headers = with(header::RANGE, "bytes=0-0");
        for (of, expected) in [("\"tag\"", Some(Some((0, 1)))), ("\"other\"", None), ("W/\"tag\"", None)] {
            headers.insert(header::IF_RANGE, HeaderValue::from_static(of));
            assert_eq!(part(&headers, &tag), expected, "{of}");
        }
        assert_eq!(part(&HeaderMap::new(), &tag), None);
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
            let headers = with(header::IF_NONE_MATCH, text);
            let is_known = any_matches(headers.get_all(header::IF_NONE_MATCH).iter(), Some(&tag));
            assert_eq!(is_known, known, "{text}");
        }
    }
}
