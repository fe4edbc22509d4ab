//! Any bytes in; see `garret_fuzz::words::read_words`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| garret_fuzz::words::read_words(bytes));
