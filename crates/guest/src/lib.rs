//! What is on a guest's disk, without a machine and without the kernel.
//!
//! ```text
//! disk (a Source) -> volumes: the disk or its partitions -> open -> FileSystem: ext4 | xfs | ntfs | fat
//!                                                                    | entries, links, bytes, by paths as in the guest
//!                                                                    `-> copy: files of this host
//! ```
//!
//! In: any [`Source`]. Out: what is on it, and the contents of files. Promises: nothing is written;
//! every byte is taken for hostile: what is asked of the disk, what is held in memory and how far links lead is bounded; what
//! is not known to be read rightly is refused.
//!
//! The formats are read by libraries, one each, behind one trait. Who opens file systems of others does it in a thread that
//! can do no harm: see `sandbox` of the programs.

mod copy;
mod ext4;
mod fat;
mod ntfs;
mod volume;
mod walk;
mod window;
mod xfs;

use std::sync::Arc;

use garret_image::{Source, Time};

pub use copy::{Copied, CopyOptions, Received, Step, Steps, channel, receive, send};
pub use garret_image::SinkError;
pub use volume::{Holds, Volume, volumes};
pub use walk::resolve;
use window::Window;

/// Entries of one directory; a forged one may have any number, or have them in a ring.
const ENTRIES_MAX: usize = 1 << 21;

/// What is read of a file at once, in bytes.
const STEP: usize = 256 * 1024;

/// Why something of a guest's disk is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has that path.
    #[error("there is no such file")]
    Missing,
    /// Something on the way is no directory, or what should be one.
    #[error("it is no directory")]
    NotADirectory,
    /// It is there, and no file.
    #[error("it is no file")]
    NotAFile,
    /// Links that lead in a circle: how many were followed.
    #[error("{0} links were followed, and there is no end")]
    Links(usize),
    /// It is there, and this cannot read it: why.
    #[error("{0}")]
    NotServed(String),
    /// The bytes make no sense: how.
    #[error("the file system is damaged: {0}")]
    Damaged(String),
    /// The disk could not be read: why.
    #[error("{0}")]
    Disk(String),
    /// Who was given the bytes wants no more.
    #[error(transparent)]
    Taken(#[from] std::io::Error),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of thing has a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// What Windows reads in a way of its own: a link, a file that lies elsewhere, one that is compressed.
    Reparse,
    /// A pipe, a socket, a device.
    Special,
}

/// What a file system says of a thing. What it does not know is not said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Length of a file, in bytes.
    pub len: u64,
    /// Permission bits, with set-id bits and the sticky bit.
    pub mode: Option<u32>,
    /// User and group.
    pub owner: Option<(u32, u32)>,
    /// When its content was changed last.
    pub modified: Option<Time>,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Link => "symbolic link",
            Kind::Reparse => "reparse point",
            Kind::Special => "pipe, socket or device",
        })
    }
}

/// A disk that is looked into.
pub type Disk = Arc<dyn Source>;

/// Names in a directory, and what has them.
pub type Entries = Vec<(Vec<u8>, Result<Entry>)>;

/// A file system. Paths begin with `/`, have neither `.` nor `..` nor double `/` in them, and no link before the last name:
/// [`resolve`] makes such.
pub trait FileSystem {
    /// What has this path; a link is not followed.
    ///
    /// # Errors
    /// `Missing`; damage.
    fn entry(&mut self, path: &[u8]) -> Result<Entry>;

    /// What is in a directory, without `.` and `..`, by name.
    ///
    /// # Errors
    /// `Missing`, `NotADirectory`; damage.
    fn entries(&mut self, path: &[u8]) -> Result<Entries>;

    /// Where a symbolic link leads, as it was made.
    ///
    /// # Errors
    /// `Missing`, `NotServed`; damage.
    fn target(&mut self, path: &[u8]) -> Result<Vec<u8>>;

    /// Hands over the bytes of a file in order, as many as its entry says.
    ///
    /// # Errors
    /// `Missing`, `NotAFile`, `NotServed` for what is stored in a way that is not read here; damage; what `take` says.
    fn read(
        &mut self,
        path: &[u8],
        take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<()>;

    /// What is to be known of all that is read, if anything: that changes were under way, and are not in it.
    fn caution(&mut self) -> Option<String> {
        None
    }
}

/// Opens the file system of a volume of `disk`.
///
/// # Errors
/// `NotServed` if nothing here reads what it holds; damage.
pub fn open(disk: &Disk, volume: &Volume) -> Result<Box<dyn FileSystem>> {
    let window = Window::new(disk.clone(), volume.range.clone());
    match volume.holds {
        Holds::Ext4 => ext4::open(window),
        Holds::Xfs => xfs::open(window),
        Holds::Ntfs => ntfs::open(window),
        Holds::Fat => fat::open(window),
        Holds::Other(what) => Err(Error::NotServed(format!("{what} is not read here"))),
        Holds::Nothing => Err(Error::NotServed("it holds nothing that is known".to_owned())),
    }
}

/// Puts what was found into order.
fn sorted(mut entries: Entries) -> Entries {
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    entries
}

/// Whether a directory can hold one more than `count`.
fn has_room(count: usize) -> Result<()> {
    match count < ENTRIES_MAX {
        true => Ok(()),
        false => Err(Error::Damaged(format!("a directory has more than {ENTRIES_MAX} names"))),
    }
}
