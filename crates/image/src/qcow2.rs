//! QCOW2 images: which bytes of the file are the guest's disk, and where on it they belong.
//!
//! ```text
//!  file --> header --> L1 --> L2 tables --> entries --> runs --> Layout --> PartSource (guest)
//!             |         |         |            |                    |   `-> PartSource (residue)
//!             `---------+---------+------------+--> any Doubt       |
//!                                                     |             `-> RawView (the guest's disk,
//!                                                     v                 compressed clusters too)
//!                                             the file is opaque
//! ```
//!
//! Every byte of the file is one of two things. *Guest data*: an allocated, uncompressed cluster of
//! the active layer (or subcluster, with extended L2 entries) that the guest reads as it lies in the
//! file. *Residue*: all the rest, in file order and without any parsing: header, tables, refcounts,
//! bitmaps, what only internal snapshots use, compressed and leaked clusters, trailing bytes.
//! A cluster shared with internal snapshots is guest data, once. A preallocated zero cluster (zero
//! flag with a place in the file) is residue: the guest reads zeros whatever the place holds, and a
//! raw copy of the disk has zeros there.
//!
//! Promises. Input is hostile: nothing panics, nothing is allocated for unchecked lengths, and no
//! other file is opened, whatever names the header holds. What cannot be read for certain gives a
//! [`Doubt`], never an error and never a guess. A wrong answer would cost deduplication, not bytes:
//! a [`Layout`](crate::Layout) divides the file into disjoint parts by construction.
//!
//! Memory: 24 bytes per run (clusters that follow each other on the disk and in the file), at most
//! as much for the residue; while parsing 8 bytes per L2 table (32 MiB at most) and 2 MiB.
//!
//! The format: docs/interop/qcow2 in QEMU's repository. Limits, and what it leaves open: QEMU's.

mod doubt;
mod header;
mod inflate;
mod map;
mod metadata;
mod raw;
mod stop;
mod tables;

pub use doubt::{Doubt, Structure};
pub use header::{Others, others};
pub use map::Map;
pub use raw::{RawView, RawViewError, raw_view};

use crate::{Source, SourceError};
use stop::Stop;

/// What a file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An image that can be read in the order of the guest's disk.
    Qcow2(Map),
    /// Bytes, for that reason.
    Opaque(Doubt),
}

/// Finds out where the guest's disk lies in `file`. Reads the header and the tables of the active
/// layer only; L2 tables that are holes are not read.
///
/// # Errors
/// Only if the file itself cannot be read.
pub fn parse(file: &dyn Source) -> Result<Outcome, SourceError> {
    match map::read(file) {
        Ok(map) => Ok(Outcome::Qcow2(map)),
        Err(Stop::Doubt(doubt)) => Ok(Outcome::Opaque(doubt)),
        Err(Stop::Source(error)) => Err(error),
    }
}
