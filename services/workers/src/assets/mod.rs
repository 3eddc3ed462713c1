//! Static assets: what of a version a server answers by itself, without its code.
//!
//! ```text
//!  request ─▶ Sites: the version, compiled (Site) ─▶ route: code first? ──────────────▶ code
//!                        │ once                       │ no             ▲ nothing there  │ env.ASSETS.fetch
//!       replica ─▶ manifest, _headers, _redirects     ▼                │                ▼
//!                                                    plan: _redirects ─┴─ pages ─▶ Plan ─▶ answer ◀─ assets.sock
//!                                                                                            │
//!                                                          replica ─▶ Contents ─ octets ─────┘ _headers
//! ```
//!
//! What lies where is decided by pure code ([`pages`], [`redirects`], [`fields`], [`paths`]), in the order in which Cloudflare
//! documents it. A version never changes, so what is compiled of one is right for ever, and is kept as long as there is room.
//!
//! Invariants:
//! * No file is read to answer 304, 405, or a redirect; of a large one, a piece at a time is in memory.
//! * Patterns of customers are matched in time that grows with the path alone (the crate `regex`), and bounded in number.
//!
//! Limits: those of the model (`WORKER_ASSET…`); [`sites::SITES_OCTETS_MAX`] and [`contents::SMALL_OCTETS_MAX`] of memory.

mod answer;
mod binding;
mod contents;
mod fields;
mod pages;
mod paths;
mod redirects;
mod site;
mod sites;

pub(crate) use answer::Asked;
pub(crate) use binding::Binding;
pub(crate) use site::Route;
pub(crate) use sites::Sites;

/// Reads octets as a path, and behind its line as both kinds of rules, for fuzz targets: what is sent on within a site stays there.
pub(crate) fn exercise(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let (path, text) = text.split_once('\n').unwrap_or((text, ""));
    let decoded = paths::decode(path);
    assert_eq!(paths::decode(&paths::encode(&decoded)), decoded);
    let url = paths::Url::new("www.example.com", path);
    let rules = redirects::Redirects::parse(text, proxima_model::HtmlHandling::AutoTrailingSlash);
    match rules.find(&url, Some("a=b")) {
        Some(redirects::Sent::To(status, location)) => {
            assert!(status.is_redirection() && !location.starts_with("//"), "{location}");
            http::HeaderValue::try_from(location).expect("what cannot stand in a field is encoded");
        }
        Some(redirects::Sent::Within(path)) => assert!(path.starts_with('/'), "{path}"),
        None => {}
    }
    let mut headers = http::HeaderMap::new();
    fields::Fields::parse(text).apply(&url, &mut headers);
    assert!(!headers.contains_key(http::header::CONTENT_LENGTH));
    let lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
    if let Ok(first) = proxima_model::FirstPaths::try_from(lines) {
        let _who = paths::First::of(&first).who(path);
    }
}
