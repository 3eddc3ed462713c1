//! RFC 9111 as a pure core: no I/O, no clock, no state. Times are handed in, decisions are handed out, and every
//! decision can say why.
//!
//! ```text
//!   response ──▶ storing::judge ──▶ Store { Freshness, dropped fields } │ Refusal
//!   stored + request ──▶ reuse::decide ──▶ Fresh │ Stale… │ Validate
//!                    ──▶ conditions::answer ──▶ Full │ NotModified │ Part │ Unsatisfiable
//!   304 from the origin ──▶ fields::update ──▶ stored fields, newer
//!   unsafe request answered ──▶ invalidation::targets ──▶ URLs to forget
//! ```
//!
//! A stored response is judged twice with two clocks: `Date`, `Expires` and `Age` are compared once, when it is
//! received, by the wall clock; how long it has lain here is measured by a monotonic clock. A wall clock that jumps
//! can therefore neither revive nor age what is stored.

pub mod codings;
pub mod conditions;
pub mod date;
pub mod directives;
pub mod fields;
pub mod freshness;
pub mod invalidation;
pub mod range;
pub mod reuse;
pub mod storing;
pub mod validators;
pub mod vary;
pub mod wishes;

/// Runs every parser and decision over one set of fields, as a request's and as a response's: what property and fuzz
/// tests call. Nothing in it may panic, whatever the fields hold.
pub fn exercise(fields: &http::HeaderMap) {
    use http::{Method, StatusCode, Uri};
    use proxima_model::Timestamp;

    let at = Timestamp::from_millis(1_700_000_000_000);
    let when = freshness::Exchanged { requested_at: at, received_at: at };
    let answered = storing::Answered {
        method: &Method::GET,
        request: fields,
        status: StatusCode::OK,
        response: fields,
        when,
        share_cookies: true,
        wishes: wishes::Wishes::default(),
    };
    let _verdict = storing::judge(answered);
    let overriding = wishes::Wishes {
        lifetime: proxima_model::EdgeLifetime::Seconds(60),
        never_while_updating: true,
        armored: Some("jpg"),
    };
    let _overridden = storing::judge(storing::Answered { wishes: overriding, ..answered });
    let _accepted = codings::accepted(fields);
    let _part = storing::judge(storing::Answered { status: StatusCode::PARTIAL_CONTENT, ..answered });
    let said = directives::ResponseDirectives::read(fields);
    let freshness = freshness::Freshness::of(StatusCode::OK, fields, &said, when);
    let asked = directives::RequestDirectives::read(fields);
    let _reuse = reuse::decide(&freshness, std::time::Duration::from_secs(1), &asked);
    let stored =
        conditions::Stored { status: StatusCode::OK, headers: fields, received_at: at, length: Some(10) };
    let _answer = conditions::answer(&Method::GET, fields, stored);
    let _variant = vary::Vary::read(fields).map(|vary| {
        let language =
            vary::preferred_language(fields).or_else(|| vary::language_of(fields).map(<[u8]>::to_vec));
        (vary.of_a_part().variant(fields), language.map(|language| vary.variant_in(fields, &language)))
    });
    let _updated = fields::update(fields, &fields::storable(fields, &[]));
    let _tags = crate::marks::Tags::take(&mut fields.clone());
    let target = Uri::from_static("http://example.test/a/b");
    let _posted = storing::judge_posted(storing::Answered { method: &Method::POST, ..answered }, &target);
    let _forgotten = invalidation::targets(&Method::POST, &target, StatusCode::OK, fields);
}
