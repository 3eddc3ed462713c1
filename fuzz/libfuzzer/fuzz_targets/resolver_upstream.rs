//! `resolver_upstream`, under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| proxima_fuzz::resolver_upstream::run(octets));
