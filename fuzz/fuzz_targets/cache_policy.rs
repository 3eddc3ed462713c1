//! What the cache decides by the fields of requests and answers: may it be stored, for how long, for whom, which part.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| proxima_cache::exercise_policy(octets));
