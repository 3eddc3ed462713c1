//! `http3_control`, under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| proxima_fuzz::http3_control::run(octets));
