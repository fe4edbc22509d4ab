//! What is to be backed up, and how.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::PathBuf;

use super::cutters::CutterChoice;
use crate::objects::group::Compression;
use crate::pattern::Patterns;

/// What to back up.
#[non_exhaustive]
pub enum Input {
    /// A file, block device or directory, or anything else with a name.
    Path(PathBuf),
    /// A pipe, stored as a file of this name if it can be read to its end.
    Stream {
        /// Relative path in the archive.
        name: Vec<u8>,
        /// Its content.
        reader: Box<dyn Read + Send>,
    },
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Input::Stream { .. } => f.write_str("Stream"),
        }
    }
}

/// What becomes of a file of which something cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadErrors {
    /// It is not stored.
    #[default]
    Fail,
    /// The rest is stored, with zeros for what cannot be read, and where those are.
    Zero,
}

/// How to back up.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BackupOptions {
    /// Which cutter.
    pub cutter: CutterChoice,
    /// How new groups are compressed.
    pub compression: Compression,
    /// Threads that read, hash and compress; at least one.
    pub threads: usize,
    /// What becomes of a file of which something cannot be read.
    pub read_errors: ReadErrors,
    /// The current directory, which relative paths start from.
    pub base: PathBuf,
    /// Recorded in the archive.
    pub host: String,
    /// Recorded in the archive.
    pub user: String,
    /// Recorded in the archive.
    pub command: Vec<Vec<u8>>,
    /// Names of users by uid. A uid that is missing here is stored by number only.
    pub users: HashMap<u32, String>,
    /// Names of groups by gid, in the same way.
    pub groups: HashMap<u32, String>,
    /// Directories that are passed over, by device and inode: the repository and the cache.
    pub skip: HashSet<(u64, u64)>,
    /// Paths that are passed over, by the path that was named and what is below it.
    pub exclude: Patterns,
    /// Pass over directories that hold a tag that says they are caches.
    pub exclude_caches: bool,
    /// Pass over what is on another file system than the path that was named.
    pub one_file_system: bool,
    /// Read what comes out of a named pipe that was named, instead of storing that there is one.
    pub read_special: bool,
    /// End the backup if a stream has no byte, instead of storing an empty file.
    pub refuse_empty: bool,
}
