//! Any bytes in; see `garret_fuzz::frames::frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| garret_fuzz::frames::frames(bytes));
