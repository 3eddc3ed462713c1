//! `http1_chunked`, under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| proxima_fuzz::http1_chunked::run(octets));
