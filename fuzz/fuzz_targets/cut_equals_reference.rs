//! Any bytes in; see `garret_fuzz::cut::equals_reference`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| garret_fuzz::cut::equals_reference(bytes));
