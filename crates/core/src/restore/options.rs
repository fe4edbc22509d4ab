//! Where a restore goes, and how; and what it did.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;

/// Which zeros become holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllocationMode {
    /// Every zero page.
    #[default]
    Sparse,
    /// Those that were holes in the source.
    Exact,
    /// None.
    Full,
}

/// What disk images in a format of their own come back as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// The file, byte for byte.
    #[default]
    Stored,
    /// The guest's disk, as `NAME.raw`. Other files come back as they were.
    Raw,
}

/// Where restored bytes go.
pub enum Destination<'a> {
    /// Files below this directory, which is made if it is missing.
    Directory(PathBuf),
    /// The one selected file, as a regular file: what is there is replaced when it is complete.
    File {
        /// Where it goes, whatever its own name.
        path: PathBuf,
        /// What it gets besides its content.
        metadata: FileMetadata,
    },
    /// The one selected file, written to this block device in place, zeros too.
    Device(PathBuf),
    /// The content of the one selected file.
    Stream(&'a mut (dyn Write + Send)),
    /// Nowhere: everything is read and verified.
    Nowhere,
}

/// What a file gets besides its content when it goes to a place that need not be its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileMetadata {
    /// What its item has.
    OfItem,
    /// What belongs to the place: mode, and if `owners` is set owner, of the file that was there.
    OfPlace {
        /// Mode if there was none.
        mode: u32,
    },
}

/// How to restore.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// Which zeros become holes. `Exact` is `Sparse` for a disk in another form than it was stored in.
    pub allocation: AllocationMode,
    /// What disk images come back as.
    pub form: Form,
    /// Threads that read, decompress and write. With 0 or 1 the caller's own does.
    pub threads: usize,
    /// Whether to restore owners: only root can.
    pub owners: bool,
    /// Whether of a damaged file what is left is restored, under its name and `.damaged`, with zeros in place of the rest.
    /// Not to a device or a stream, which have no other name.
    pub salvage: bool,
    /// Whether an image may be replaced that a virtual machine has open, known by the locks that QEMU holds.
    pub replace_used: bool,
    /// Numbers of users by name. An owner whose recorded name is not here gets the recorded number.
    pub users: HashMap<String, u32>,
    /// Numbers of groups by name.
    pub groups: HashMap<String, u32>,
    /// How many leading parts of each path are left out; an item of which nothing is left is passed over.
    pub strip: usize,
}

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Files restored.
    pub file_count: u64,
    /// Bytes of their streams, holes included.
    pub bytes: u64,
    /// Items that could not be restored, or not with all that belongs to them; each reported as a problem.
    pub problem_count: u64,
    /// Those of them that were not replaced because a virtual machine has them open.
    pub used_count: u64,
    /// Selected paths that matched nothing.
    pub unmatched: Vec<Vec<u8>>,
}
