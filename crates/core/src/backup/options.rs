//! What is to be backed up, and how.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use garret_format::archive::Time;
use garret_image::Source;

use super::cutters::CutterChoice;
use super::walk::stored_path;
use crate::objects::codec::Compression;
use crate::pattern::Patterns;

/// What to back up.
#[non_exhaustive]
pub enum Input {
    /// A file, block device or directory, or anything else with a name.
    Path(PathBuf),
    /// The same, stored under another name: what is in a directory, below that.
    Named {
        /// Where it is.
        path: PathBuf,
        /// Relative path in the archive.
        name: Vec<u8>,
    },
    /// A pipe, stored as a file of this name if it can be read to its end.
    Stream {
        /// Relative path in the archive.
        name: Vec<u8>,
        /// Its content.
        reader: Box<dyn Read + Send>,
    },
    /// What somebody else reads: a disk of a running machine, a snapshot, an image on a server. Stored as a file whose
    /// content is the stream, whatever is in it: a qcow2 image too is taken as it is, and read in its own order.
    Source {
        /// The file it is stored as.
        item: SourceItem,
        /// Its content. What it says to be `Same` is as in `base`, is believed, and is not read where the repository has it;
        /// what it says can be read all the same.
        source: Arc<dyn Source>,
        /// What `Same` refers to. Without one everything is read.
        base: Option<Base>,
    },
}

impl Input {
    /// The path that is walked, and what it is stored as; none if it is another kind of input.
    pub(super) fn walked(&self) -> Option<(&Path, Vec<u8>)> {
        match self {
            Input::Path(path) => Some((path, stored_path(path))),
            Input::Named { path, name } => Some((path, name.clone())),
            Input::Stream { .. } | Input::Source { .. } => None,
        }
    }
}

/// The file that an [`Input::Source`] is stored as, as far as there is anything to say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceItem {
    /// Relative path in the archive.
    pub path: Vec<u8>,
    /// Permission bits; those above 0o7777 do not count. Read and write for the owner, unless it is told.
    pub mode: u32,
    /// The owner; root.
    pub uid: u32,
    /// The group; root.
    pub gid: u32,
    /// When it was changed last; now, if nobody knows.
    pub mtime: Option<Time>,
}

impl SourceItem {
    /// A file of this path, of which nothing else is known.
    pub fn new(path: impl Into<Vec<u8>>) -> Self {
        SourceItem { path: path.into(), mode: 0o600, uid: 0, gid: 0, mtime: None }
    }
}

/// The file of an older archive that a map of changes counts from: whoever made the map says which. Never "the last archive":
/// another one may have come between.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Base {
    /// The name of the archive.
    pub archive: String,
    /// Its fingerprint, if that was noted: an archive may be removed, and another one get its name.
    pub fingerprint: Option<[u8; 32]>,
    /// The path of the file in it.
    pub path: Vec<u8>,
}

impl Base {
    /// The file `path` of the archive of that name.
    pub fn new(archive: impl Into<String>, path: impl Into<Vec<u8>>) -> Self {
        Base { archive: archive.into(), fingerprint: None, path: path.into() }
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::Path(path) | Input::Named { path, .. } => {
                f.debug_tuple("Path").field(path).finish()
            }
            Input::Stream { .. } => f.write_str("Stream"),
            Input::Source { item, base, .. } => {
                f.debug_struct("Source").field("item", item).field("base", base).finish()
            }
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
    /// Threads that read, hash and compress. With 0 or 1 the caller's own does, beside the one that puts packs.
    pub threads: usize,
    /// What becomes of a file of which something cannot be read.
    pub read_errors: ReadErrors,
    /// What is recorded before relative paths: the directory that the program runs in, for the files are read from there.
    pub base: PathBuf,
    /// Recorded in the archive.
    pub host: String,
    /// Recorded in the archive.
    pub user: String,
    /// Recorded in the archive.
    pub command: Vec<Vec<u8>>,
    /// What the user says of it, recorded in the archive; at most
    /// [`COMMENT_LEN_MAX`](garret_format::archive::COMMENT_LEN_MAX) bytes.
    pub comment: String,
    /// Its tags, recorded in the archive.
    pub tags: BTreeSet<String>,
    /// When what is backed up was as it is, where that is known and not now: recorded in the place of the time of the backup.
    /// Not in the future.
    pub time: Option<Time>,
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
    /// Do not read a sample of what is stored before anything is built on it.
    pub skip_sample: bool,
    /// End the backup if a stream has no byte, instead of storing an empty file.
    pub refuse_empty: bool,
}
