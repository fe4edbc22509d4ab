//! What the fuzz targets do. See docs/design.md, "Suites", for how to run them.

pub mod cut;
pub mod decode;
pub mod divide;
pub mod hostile;
pub mod repo_ops;
