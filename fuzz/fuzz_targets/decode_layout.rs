//! Any bytes in; see `garret_fuzz::divide::layout`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| garret_fuzz::divide::layout(bytes));
