//! `http3_message`, under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| proxima_fuzz::http3_message::run(octets));
