//! What an archive keeps about a file besides its bytes.
//!
//! In: what the system says. Out: [`Metadata`]. Promise: it is of a symbolic link if that is what was asked for.

use std::path::Path;

use rustix::fs::{FileType, Stat};

use crate::{At, SourceError};

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A block device.
    Block,
    /// A character device.
    Character,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl FileKind {
    /// The kind in the words of an error message, with its article.
    pub fn describe(self) -> &'static str {
        match self {
            FileKind::Regular => "a regular file",
            FileKind::Directory => "a directory",
            FileKind::Symlink => "a symbolic link",
            FileKind::Block => "a block device",
            FileKind::Character => "a character device",
            FileKind::Fifo => "a named pipe",
            FileKind::Socket => "a socket",
        }
    }
}

impl From<FileType> for FileKind {
    fn from(file_type: FileType) -> FileKind {
        match file_type {
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            FileType::BlockDevice => FileKind::Block,
            FileType::CharacterDevice => FileKind::Character,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            // Linux has exactly the seven kinds.
            FileType::RegularFile | FileType::Unknown => FileKind::Regular,
        }
    }
}

/// A point in time: `secs` since 1970-01-01 UTC (negative before) plus `nanos` forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Whole seconds, rounded towards the past.
    pub secs: i64,
    /// Nanoseconds after `secs`, below 1,000,000,000.
    pub nanos: u32,
}

impl Time {
    fn new(secs: i64, nanos: i64) -> Time {
        Time { secs, nanos: u32::try_from(nanos).unwrap_or(0) }
    }
}

/// What `stat` says about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The kind of file.
    pub kind: FileKind,
    /// Permission bits, set-id bits and the sticky bit: at most 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes. For an opened block device its capacity; otherwise what `stat` says.
    pub size: u64,
    /// Time of the last change of the content.
    pub mtime: Time,
    /// Time of the last change of content or metadata.
    pub ctime: Time,
    /// Number of the file system's device.
    pub dev: u64,
    /// Inode number; with `dev` it identifies the file while it exists.
    pub ino: u64,
    /// Number of hard links.
    pub nlink: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// Major and minor number of the device that a node stands for.
    pub device: (u32, u32),
}

impl From<&Stat> for Metadata {
    fn from(stat: &Stat) -> Metadata {
        let nanos = |nanos| i64::try_from(nanos).unwrap_or(0);
        Metadata {
            kind: FileType::from_raw_mode(stat.st_mode).into(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: Time::new(stat.st_mtime, nanos(stat.st_mtime_nsec)),
            ctime: Time::new(stat.st_ctime, nanos(stat.st_ctime_nsec)),
            dev: stat.st_dev,
            ino: stat.st_ino,
            nlink: stat.st_nlink,
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
            device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
        }
    }
}

impl Metadata {
    /// Whether both are of one thing in the file system, at whatever time.
    pub fn is_of_same(&self, other: &Metadata) -> bool {
        (self.dev, self.ino, self.kind) == (other.dev, other.ino, other.kind)
    }
}

/// The metadata of `path` itself: of the link, if it is a symbolic link.
///
/// # Errors
/// As of [`At::stat`].
pub fn lstat(path: &Path) -> Result<Metadata, SourceError> {
    At::path(path).stat(false)
}
