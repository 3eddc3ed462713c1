//! `transfer_bodies`, under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| proxima_fuzz::transfer_bodies::run(octets));
