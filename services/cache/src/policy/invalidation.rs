//! What an unsafe request makes us forget (RFC 9111, 4.4).

use http::{HeaderMap, Method, StatusCode, Uri, header};

/// Whether a method may change something at the origin: every method that is not known to be safe
/// (RFC 9110, 9.2.1; the others of the registry that are safe are those of RFC 3253, 4918, 5323 and QUERY).
pub fn changes_state(method: &Method) -> bool {
    let safe = ["GET", "HEAD", "OPTIONS", "TRACE", "PRI", "PROPFIND", "REPORT", "SEARCH", "QUERY"];
    !safe.contains(&method.as_str())
}

/// The URLs that an answered request makes invalid: its own, and those that `Location` and `Content-Location` name
/// on the same host by the same scheme. Nothing after an error, and nothing after a safe method. `target` is absolute.
pub fn targets(method: &Method, target: &Uri, status: StatusCode, response: &HeaderMap) -> Vec<Uri> {
    if !changes_state(method) || !(status.is_success() || status.is_redirection()) {
        return Vec::new();
    }
    let mut all = vec![target.clone()];
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let named = response.get(name).and_then(|value| value.to_str().ok());
        all.extend(
            named.and_then(|reference| resolve(target, reference)).filter(|url| same_origin(target, url)),
        );
    }
    all
}

/// The URL of which a response says that it is its representation (RFC 9110, 8.7), absolute.
pub fn content_location(target: &Uri, response: &HeaderMap) -> Option<Uri> {
    let mut lines = response.get_all(header::CONTENT_LOCATION).iter();
    let (Some(only), None) = (lines.next(), lines.next()) else { return None };
    resolve(target, only.to_str().ok()?)
}

fn same_origin(one: &Uri, other: &Uri) -> bool {
    let authority = |uri: &Uri| uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
    one.scheme() == other.scheme() && authority(one) == authority(other)
}

/// Resolves a reference against an absolute URL (RFC 3986, 5.2), without its fragment.
fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.split('#').next()?.trim();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?.as_str());
    if reference.contains("://") && !reference.starts_with(['/', '?']) {
        return reference.parse().ok();
    }
    if let Some(rest) = reference.strip_prefix("//") {
        return format!("{scheme}://{rest}").parse().ok();
    }
    let path = if reference.is_empty() {
        base.path_and_query()?.as_str().to_owned()
    } else if reference.starts_with('/') {
        without_dots(reference)
    } else if reference.starts_with('?') {
        format!("{}{reference}", base.path())
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        without_dots(&format!("{folder}/{reference}"))
    };
    format!("{scheme}://{authority}{path}").parse().ok()
}

/// Removes dot segments from a path (RFC 3986, 5.2.4), leaving the query alone.
fn without_dots(path_and_query: &str) -> String {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_folder = false;
    for segment in path.split('/').skip(1) {
        ends_in_folder = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let mut clean: String = kept.iter().flat_map(|segment| ["/", segment]).collect();
    if ends_in_folder || clean.is_empty() {
        clean.push('/');
    }
    if let Some(query) = query {
        clean.push('?');
        clean.push_str(query);
    }
    clean
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn invalidated(method: &str, status: u16, location: Option<&'static str>) -> Vec<String> {
        let target = Uri::from_static("http://example.test/a/b?c=d");
        let response: HeaderMap =
            location.map(|to| (header::LOCATION, HeaderValue::from_static(to))).into_iter().collect();
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let status = StatusCode::from_u16(status).expect("a status");
        targets(&method, &target, status, &response).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unsafe_methods_that_succeed_invalidate_their_url() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "ANYTHING"] {
            assert_eq!(invalidated(method, 204, None), ["http://example.test/a/b?c=d"], "{method}");
            assert_eq!(invalidated(method, 500, None), [""; 0], "{method}");
            assert_eq!(invalidated(method, 404, None), [""; 0], "{method}");
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND"] {
            assert_eq!(invalidated(method, 200, None), [""; 0], "{method}");
        }
    }

    #[test]
    fn locations_are_resolved_and_kept_to_the_same_origin() {
        for (location, expected) in [
            ("/x", Some("http://example.test/x")),
            ("http://EXAMPLE.test/x?y", Some("http://EXAMPLE.test/x?y")),
            ("//example.test/x", Some("http://example.test/x")),
            ("x#fragment", Some("http://example.test/a/x")),
            ("../x/./y/..?q=/../", Some("http://example.test/x/?q=/../")),
            ("?e", Some("http://example.test/a/b?e")),
            ("https://example.test/x", None),
            ("http://other.test/x", None),
            ("//other.test/x", None),
            ("http://", None),
        ] {
            let found = invalidated("POST", 201, Some(location));
            assert_eq!(found.get(1).map(String::as_str), expected, "{location}");
        }
    }
}
