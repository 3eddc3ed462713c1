//! `sealed_tickets`, under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| proxima_fuzz::sealed_tickets::run(octets));
