//! Any bytes in; see `garret_fuzz::decode::paper`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| garret_fuzz::decode::paper(bytes));
