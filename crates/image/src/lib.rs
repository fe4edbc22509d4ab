//! Files and disk images: the read side and the write side.
//!
//! ```text
//!            path                                             destination directory
//!             |                                                        |
//!      RawFile::open                                              Root::open
//!             |                                                        |
//!   Source    v                                              Sink      v
//!   extent_at() -> Data or Hole          AllocationMap ---> Root::file(NAME, len, Allocation)
//!   read_at() ---> bytes                   (optional)          write_at / write_zero, any thread,
//!   changed() ---> did it move under us?                       any order, into a staging directory
//!             |                                                        |
//!        SourceError                                        finish: metadata, rename to NAME
//!                                                           drop:   it disappears
//!                                                                      |
//!                                                                  SinkError
//! ```
//!
//! - **In**: regular files and block devices, by path; of everything else the names and metadata.
//!   **Out**: files, directories, links and special files below one destination directory.
//! - A source that cannot be read and a destination that cannot be written are different error
//!   types, so a failing disk under an image is never taken for a failing repository, nor the
//!   other way round. Both name the path, the operation and the cause.
//! - What is below a named directory is reached from its descriptor, level by level ([`At`]): one that
//!   others exchange for a link meanwhile leads nowhere else.
//! - Nothing of the source is ever memory-mapped: a file cut short under a mapping kills the
//!   process, a short `pread` does not.
//! - Names in an archive are hostile: nothing is ever created outside the destination or reached
//!   through a symbolic link (see [`Root`]).
//! - The crate imports nothing of ours, prints nothing and starts no thread. Linux only.

#![warn(clippy::indexing_slicing)]
#![forbid(unsafe_code)]

mod allocation;
mod at;
mod attributes;
mod detect;
mod device;
mod extents;
mod layout;
mod metadata;
mod names;
mod partitions;
mod parts;
pub mod qcow2;
mod raw;
mod root;
mod sink;
mod source;
mod staging;
mod used;
mod varint;

pub use allocation::{AllocationMap, MapError};
pub use at::{At, LOOKS_MAX, Listing, NAMES_MAX};
pub use attributes::{Attributes, Extra, Xattrs};
pub use detect::{DETECT_BYTES, Detected, detect};
pub use device::DeviceSink;
pub use layout::{FileOrder, Layout, LayoutError, Lens, Part, Piece, RUNS_MAX};
pub use metadata::{FileKind, Metadata, Time, lstat};
pub use partitions::{Partition, partitions, section_starts};
pub use parts::PartSource;
pub use raw::RawFile;
pub use root::{Node, Place, Root};
pub use sink::{Allocation, FileSink, PAGE_BYTES, Sink, SinkError, SinkErrorKind, Unset};
pub use source::{Extent, Extents, Slot, Source, SourceError, SourceErrorKind};
pub use staging::{FileId, remove_leftovers};
