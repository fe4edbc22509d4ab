//! What the format's test suites share.

#[allow(dead_code, reason = "no suite uses all of it")]
pub mod samples;
