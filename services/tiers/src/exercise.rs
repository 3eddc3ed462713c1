//! Reads octets as what one cache asks another: what fuzz targets call. Nothing here may panic but by what it asserts.

use http::{HeaderName, HeaderValue, Method, Request};
use proxima_model::{PopCode, Timestamp};
use proxima_pipeline::AskedByPeer;

use crate::wire::{self, Asked};

const NOW: Timestamp = Timestamp::from_millis(0);

/// A method and a URL on the first line, fields on those after it: what is read as a question is asked again as the same.
pub fn exercise(octets: &[u8]) {
    let Some(request) = request(octets) else { return };
    let Ok(pop) = PopCode::parse("FRA") else { return };
    let local = ([192, 0, 2, 1], 7_403).into();
    let read = |request: Request<()>| wire::read(request.into_parts().0, &pop, local, NOW);
    let Ok(Asked::Answer(exchange)) = read(request) else { return };
    let is_ours = |name: &HeaderName| wire::OF_QUESTIONS.contains(name);
    assert!(!exchange.request.headers.keys().any(is_ours), "the zone's stages see what the client sent");
    let by = exchange.extensions.get::<AskedByPeer>().copied();
    let AskedByPeer { level, purged_up_to } = by.expect("a peer asked");
    let Some(again) = wire::ask(&exchange, level, purged_up_to) else { return };
    let Ok(Asked::Answer(again)) = read(again.map(drop)) else { panic!("what was read is asked again") };
    assert_eq!(again.request.url(), exchange.request.url());
    assert_eq!(again.client.address, exchange.client.address);
    assert_eq!(again.client.protocol, exchange.client.protocol);
    assert_eq!(again.extensions.get::<AskedByPeer>(), by.as_ref());
}

fn request(octets: &[u8]) -> Option<Request<()>> {
    let mut lines = octets.split(|octet| *octet == b'\n');
    let (method, url) = str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
    *request.uri_mut() = url.parse().ok()?;
    for line in lines {
        let Some(colon) = line.iter().position(|octet| *octet == b':') else { continue };
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), value) {
            request.headers_mut().append(name, value);
        }
    }
    Some(request)
}
