//! Conditions made of entity tags (RFC 9110, 13), between this cache and who fills it.

use http::{HeaderMap, HeaderName, header};
pub use proxima_pipeline::entity_tags::{EntityTag, any_matches};

/// A client's conditions that caches judge.
const CONDITIONS: [HeaderName; 2] = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];
/// By what a client asks for a part.
const RANGES: [HeaderName; 2] = [header::IF_RANGE, header::RANGE];

/// Whether a client's request fills this cache as it is: [`make_fill_request`] would change nothing of it.
pub fn is_fill_request(request: &HeaderMap) -> bool {
    !CONDITIONS.iter().chain(&RANGES).any(|name| request.contains_key(name))
}

/// Turns a client's request into one that fills or refreshes this cache: its own conditions go, and unless a `part`
/// is to be fetched its range too (they are answered from what comes back); the stored validators come.
pub fn make_fill_request(request: &mut HeaderMap, stored: Option<&HeaderMap>, part: bool) {
    let own = CONDITIONS.iter().chain(RANGES.iter().filter(|_| !part));
    for name in own {
        request.remove(name);
    }
    let Some(stored) = stored else { return };
    if let Some(tag) = stored.get(header::ETAG) {
        request.insert(header::IF_NONE_MATCH, tag.clone());
    }
    if let Some(modified) = stored.get(header::LAST_MODIFIED) {
        request.insert(header::IF_MODIFIED_SINCE, modified.clone());
    }
}

/// Whether a 304 speaks of the stored response (RFC 9111, 4.3.4): it names no tag, or the stored one.
pub fn confirms(not_modified: &HeaderMap, stored: &HeaderMap) -> bool {
    match (not_modified.get(header::ETAG), stored.get(header::ETAG)) {
        (Some(new), Some(old)) => EntityTag::parse(new.as_bytes()).weak_eq(EntityTag::parse(old.as_bytes())),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_fill_request_carries_the_stored_validators_and_not_the_clients() {
        let mut request = HeaderMap::new();
        request.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"client\""));
        request.insert(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        let mut stored = HeaderMap::new();
        stored.insert(header::ETAG, HeaderValue::from_static("W/\"ours\""));
        make_fill_request(&mut request, Some(&stored), true);
        assert_eq!(request.get(header::IF_NONE_MATCH).expect("set"), "W/\"ours\"");
        assert_eq!(request.get(header::RANGE).expect("kept"), "bytes=0-1");
        make_fill_request(&mut request, Some(&stored), false);
        assert!(!request.contains_key(header::RANGE));
        make_fill_request(&mut request, None, false);
        assert!(request.is_empty());
    }

    #[test]
    fn a_304_of_another_tag_does_not_confirm() {
        let with = |tag: Option<&'static str>| {
            tag.map(|tag| (header::ETAG, HeaderValue::from_static(tag))).into_iter().collect::<HeaderMap>()
        };
        assert!(confirms(&with(None), &with(Some("\"1\""))));
        assert!(confirms(&with(Some("W/\"1\"")), &with(Some("\"1\""))));
        assert!(!confirms(&with(Some("\"2\"")), &with(Some("\"1\""))));
    }
}
