//! `rule_expression`, under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| proxima_fuzz::rule_expression::run(octets));
