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
//! Every byte of the file is exactly one of two things. *Guest data*: an allocated, uncompressed
//! cluster of the active layer (or subcluster, with extended L2 entries) that the guest reads as it
//! lies in the file. *Residue*: everything else in file order, as the complement of the former.
//! That makes it cover, without any parsing: the header and its extensions, L1 and L2 tables,
//! refcounts, the snapshot table and what only internal snapshots use, bitmaps, compressed clusters,
//! leaked clusters, what lies behind the guest's end in its last cluster, and trailing bytes.
//!
//! Two classes need a reason. A cluster that the active layer shares with internal snapshots is
//! guest data, once. A preallocated zero cluster (zero flag with a place in the file) is residue:
//! the guest reads zeros there whatever the place holds, and a raw copy of the disk has zeros.
//!
//! Promises. Input is hostile: nothing panics, nothing is allocated for lengths that were not
//! checked, and no other file is opened, whatever names the header holds. What cannot be read for
//! certain gives a [`Doubt`], never an error and never a guess. A wrong answer would cost
//! deduplication, not bytes: the layout is a division of the file into disjoint parts by
//! construction (see [`Layout`]).
//!
//! Memory: 24 bytes per run (clusters that follow each other on the disk and in the file are one
//! run), at most as much for the residue, 8 bytes per L2 table while parsing (at most 32 MiB) and a
//! read buffer of 2 MiB.
//!
//! The format: docs/interop/qcow2 in QEMU's repository. Where QEMU is stricter than that text, so
//! is this; the limits are QEMU's.

mod doubt;
mod header;
mod inflate;
mod map;
mod metadata;
mod raw;
mod tables;

pub use doubt::Doubt;
pub use map::Map;
pub use raw::{RawView, RawViewError, raw_view};

use crate::{Source, SourceError};

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

/// Why parsing ended early.
enum Stop {
    Doubt(Doubt),
    Source(SourceError),
}

impl From<Doubt> for Stop {
    fn from(doubt: Doubt) -> Stop {
        Stop::Doubt(doubt)
    }
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Stop {
        Stop::Source(error)
    }
}
