//! What is in a repository, looked into and run without a restore.
//!
//! ```text
//! archive -> Exports -> Reader -> nbd     a disk for a virtual machine, or for any client of NBD
//!            exports    ahead
//!         -> Tree ----> Reader -> mount   files in a directory
//! ```
//!
//! In: open repositories. Out: servers that end when they are told to. Promises: nothing is written anywhere; every byte
//! that is given was checked against the id of its chunk, and what is damaged is an error of the bytes that it concerns,
//! never other bytes; clients are hostile, so what each may take of memory and threads is bounded.

#![warn(clippy::indexing_slicing)]

mod ahead;
mod exports;
pub mod mount;
pub mod nbd;

pub use ahead::{Ahead, Reader};
pub use exports::{ArchiveExports, Disk, Exports, RAW_VIEW, disk};
