//! What the fuzz targets do. See docs/design.md, "Suites", for how to run them.

pub mod cut;
pub mod decode;
pub mod divide;
pub mod frames;
pub mod hostile;
// Of the program, which is no library.
#[path = "../../crates/garret/src/location.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod location;
pub mod repo_ops;
pub mod words;
