//! Any bytes in; see `garret_fuzz::repo_ops::repo_ops`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| garret_fuzz::repo_ops::repo_ops(bytes));
