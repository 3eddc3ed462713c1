//! What the fuzzer runs: for every parser that reads what others wrote, a function of octets that must return, whatever
//! they are.
//!
//! ```text
//!  seeds/TARGET (in git), corpus/TARGET (found by former runs) ─▶ libfuzzer/ ─┐
//!  seeds/TARGET, and what becomes of them by tests/ ──▶ cargo nextest run ────┴▶ TARGET::run(octets)
//! ```
//!
//! A target is a module. It asserts more than that nothing panics: that what is written again reads the same, that it is
//! of no matter how what comes in pieces is cut, that bounds hold and that a value keeps its type's promises. Parsers that
//! are private to their crate are reached by its `exercise_…` functions, which are hidden from the documentation.
//!
//! A new target is a module here, its name in [`each_target`], and a `main` with its `[[bin]]` in `libfuzzer/`; a test says
//! which of them is missing.
//!
//! `libfuzzer/` is a workspace of its own, for it needs a nightly toolchain and sanitizers that must not touch the build of
//! everything else; it holds nothing but a `main` for each target. The tests here run every target on stable, over its
//! seeds and some thousands of mutations of them: no fuzzing, but what keeps the targets true between two runs.
//!
//! Limits: those of what is fuzzed.

pub mod analytics_filters;
pub mod asset_rules;
pub mod bird_reply;
pub mod block_lists;
pub mod cache_disk;
pub mod cache_keys;
pub mod cache_policy;
pub mod config;
pub mod control_bodies;
pub mod dns_query;
pub mod dns_streams;
pub mod dns_wire;
pub mod edge_fields;
pub mod forward_frame;
pub mod http1_chunked;
pub mod http1_connection;
pub mod http1_request;
pub mod http1_response;
pub mod http2_connection;
pub mod http2_section;
pub mod http3_control;
pub mod http3_message;
pub mod http3_session;
pub mod kv_wire;
pub mod ledger_frame;
pub mod ledger_values;
pub mod lists;
pub mod model_nouns;
pub mod origin_http1;
pub mod origin_http2;
pub mod queues_wire;
pub mod r2_wire;
pub mod resolver_homes;
pub mod resolver_messages;
pub mod resolver_upstream;
pub mod root_anchors;
pub mod rule_expression;
pub mod sealed_tickets;
pub mod tiers_wire;
pub mod transfer_bodies;
pub mod transfer_stream;
pub mod zone_file;
pub mod zone_import;

/// Gives every target's name to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! each_target {
    ($with:ident) => {
        $with! {
            analytics_filters,
            asset_rules,
            bird_reply,
            block_lists,
            cache_disk,
            cache_keys,
            cache_policy,
            config,
            control_bodies,
            dns_query,
            dns_streams,
            dns_wire,
            edge_fields,
            forward_frame,
            http1_chunked,
            http1_connection,
            http1_request,
            http1_response,
            http2_connection,
            http2_section,
            http3_control,
            http3_message,
            http3_session,
            kv_wire,
            ledger_frame,
            ledger_values,
            lists,
            model_nouns,
            origin_http1,
            origin_http2,
            queues_wire,
            r2_wire,
            resolver_homes,
            resolver_messages,
            resolver_upstream,
            root_anchors,
            rule_expression,
            sealed_tickets,
            tiers_wire,
            transfer_bodies,
            transfer_stream,
            zone_file,
            zone_import,
        }
    };
}
