//! `r2_wire`, under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| proxima_fuzz::r2_wire::run(octets));
