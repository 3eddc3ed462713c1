//! Reads octets as what comes to the sockets, before a query is answered, and as what is said as JSON: what fuzz targets call. Nothing here may panic
//! but by what it asserts.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use proxima_resolver::Read;

use crate::{
    https::query_in,
    name,
    query::{QUERY_OCTETS_MAX, Query},
    resolver::{json, names},
    transfer,
    wire::LENGTH_OCTETS,
};

/// Reads octets as the beginning of a stream, as a message, and as the query of a URL in each form.
pub fn exercise(octets: &[u8]) {
    if let Some(length) = transfer::waiting(octets) {
        assert!(length <= octets.len() && length > LENGTH_OCTETS);
        assert!(transfer::is_asked_for(&octets[LENGTH_OCTETS..length]));
        // It is there when it is whole, and not before.
        assert_eq!(transfer::waiting(&octets[..length]), Some(length));
        assert_eq!(transfer::waiting(&octets[..length - 1]), None);
    }
    if let Some(length) = name::skip(octets) {
        assert!((1..=octets.len()).contains(&length));
        assert_eq!(name::skip(&octets[..length]), Some(length));
        assert_eq!(name::skip(&octets[..length - 1]), None);
    }
    Query::parse(octets).ok();
    json::answer(octets);
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if let Some(Ok(question)) = json::question(text) {
        assert!(matches!(proxima_resolver::Query::read(&question), Read::Query(_) | Read::Refused(_)));
        assert!(json::answer(&question).is_some());
    }
    if let Ok(query) = query_in(text) {
        assert!(query.len() <= QUERY_OCTETS_MAX.next_multiple_of(3));
        let again = format!("dns={}", URL_SAFE_NO_PAD.encode(&query));
        assert!(query_in(&again).is_ok_and(|again| again == query));
    }
}

/// Reads octets as a list of names that a policy blocks.
pub fn exercise_block_list(octets: &[u8]) {
    names::exercise(octets);
}
