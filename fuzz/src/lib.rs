//! What the fuzzer runs: for every parser that reads what others wrote, a function of octets that must return, whatever
//! they are.
//!
//! ```text
//!  seeds/TARGET (in git), corpus/TARGET (found by former runs) ─▶ libfuzzer/ ─┐
//!  seeds/TARGET, and what becomes of them by tests/ ──▶ cargo nextest run ────┴▶ TARGET::run(octets)
//! ```
//!
//! A target is a module. It asserts more than that nothing panics: that what is written again reads the same, that
//! it is of no matter how what comes in pieces is cut, that bounds hold and that a value keeps its type's promises. Parsers that are private
//! to their crate are reached by its `exercise_…` functions, which are hidden from the documentation.
//!
//! `libfuzzer/` is a workspace of its own, for it needs a nightly toolchain and sanitizers that must not touch the build of
//! everything else; it holds nothing but a `main` for each target. The tests here run every target on stable, over its
//! seeds and some thousands of mutations of them: no fuzzing, but what keeps the targets true between two runs.
//!
//! Limits: those of what is fuzzed.

pub mod cache_disk;
pub mod cache_policy;
pub mod dns_query;
pub mod forward_frame;
pub mod http1_chunked;
pub mod http1_request;
pub mod http1_response;
pub mod http2_section;
pub mod http3_control;
pub mod http3_message;
pub mod ledger_frame;
pub mod rule_expression;
pub mod zone_file;

/// Gives every target's name to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! each_target {
    ($with:ident) => {
        $with! {
            cache_disk,
            cache_policy,
            dns_query,
            forward_frame,
            http1_chunked,
            http1_request,
            http1_response,
            http2_section,
            http3_control,
            http3_message,
            ledger_frame,
            rule_expression,
            zone_file,
        }
    };
}
