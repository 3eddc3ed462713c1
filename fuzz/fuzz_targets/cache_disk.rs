//! What lies in the cache's segments on disk: heads, descriptions, footers.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| proxima_cache::exercise_disk(octets));
