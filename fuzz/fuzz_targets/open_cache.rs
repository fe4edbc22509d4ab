//! Any bytes in; see `garret_fuzz::hostile::open_cache`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| garret_fuzz::hostile::open_cache(bytes));
