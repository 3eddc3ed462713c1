//! Makes keys as rules do, of whatever a client asks: what fuzz tests call. Nothing here may panic but by what it asserts.

use http::{HeaderMap, Method, Uri, uri::PathAndQuery};
use proxima_model::CacheSettings;
use proxima_pipeline::{Request, Scheme};

use super::custom::make;

/// A rule's settings, as the API takes them, and a request's URL and fields.
pub(crate) fn exercise(settings: &[u8], url: &[u8], headers: HeaderMap) {
    let Ok(settings) = serde_json::from_slice(settings) else { return };
    let Some(settings) = CacheSettings::parse(&settings).ok().and_then(|settings| settings.cache_key) else {
        return;
    };
    let Some(request) = request(url, headers) else { return };
    let sorted = settings.ignore_query_strings_order == Some(true);
    let Some((url, parts)) = make(&request, &settings) else {
        assert!(settings.custom_key.is_none() && !sorted);
        return;
    };
    let path = |url: &str| url.split('?').next().unwrap_or_default().to_owned();
    assert_eq!(path(&url), path(&request.url()));
    assert!(url.len() <= request.url().len());
    assert!(parts.is_empty() || settings.custom_key.is_some());
    assert_eq!(make(&request, &settings), Some((url.clone(), parts.clone())));
    // What is left of the query is left again, and in any order where the order is of no matter.
    let before = request.url().len() - request.target.as_str().len();
    let Ok(target) = PathAndQuery::try_from(&url[before..]) else { return };
    let mut again = Request { target, ..request };
    assert_eq!(make(&again, &settings), Some((url.clone(), parts.clone())));
    if let Some(query) = again.target.query().filter(|_| sorted) {
        let reversed: Vec<&str> = query.rsplit('&').collect();
        let Ok(target) = format!("{}?{}", again.target.path(), reversed.join("&")).try_into() else { return };
        again.target = target;
        assert_eq!(make(&again, &settings), Some((url, parts)));
    }
}

fn request(url: &[u8], headers: HeaderMap) -> Option<Request> {
    let uri = Uri::try_from(url).ok()?;
    let scheme = match uri.scheme_str()? {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    Some(Request {
        method: Method::GET,
        scheme,
        host: uri.host()?.to_ascii_lowercase().into(),
        port: uri.port_u16(),
        target: uri.path_and_query()?.clone(),
        headers,
        upgrade: None,
    })
}
