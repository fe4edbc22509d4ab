//! What an archive keeps about a file besides its bytes.
//!
//! In: a path or an open file. Out: [`Metadata`], the names in a directory, the target of a symbolic link as raw bytes.
//! Promise: nothing here follows a symbolic link in the last component of a path.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::SourceError;

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
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

impl Kind {
    /// The kind in the words of an error message, with its article.
    pub fn describe(self) -> &'static str {
        match self {
            Kind::Regular => "a regular file",
            Kind::Directory => "a directory",
            Kind::Symlink => "a symbolic link",
            Kind::Block => "a block device",
            Kind::Character => "a character device",
            Kind::Fifo => "a named pipe",
            Kind::Socket => "a socket",
        }
    }
}

impl From<std::fs::FileType> for Kind {
    fn from(file_type: std::fs::FileType) -> Kind {
        match file_type {
            t if t.is_dir() => Kind::Directory,
            t if t.is_symlink() => Kind::Symlink,
            t if t.is_block_device() => Kind::Block,
            t if t.is_char_device() => Kind::Character,
            t if t.is_fifo() => Kind::Fifo,
            t if t.is_socket() => Kind::Socket,
            // Linux has exactly the seven kinds.
            _ => Kind::Regular,
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
    pub kind: Kind,
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

impl From<&std::fs::Metadata> for Metadata {
    fn from(stat: &std::fs::Metadata) -> Metadata {
        Metadata {
            kind: stat.file_type().into(),
            mode: stat.mode() & 0o7777,
            uid: stat.uid(),
            gid: stat.gid(),
            size: stat.size(),
            mtime: Time::new(stat.mtime(), stat.mtime_nsec()),
            ctime: Time::new(stat.ctime(), stat.ctime_nsec()),
            dev: stat.dev(),
            ino: stat.ino(),
            nlink: stat.nlink(),
            blocks: stat.blocks(),
            device: (rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev())),
        }
    }
}

/// The metadata of `path` itself: of the link, if it is a symbolic link.
pub fn lstat(path: &Path) -> Result<Metadata, SourceError> {
    let stat =
        std::fs::symlink_metadata(path).map_err(|error| SourceError::new(path, "stat", error))?;
    Ok(Metadata::from(&stat))
}

/// What is in a directory.
#[derive(Debug)]
pub struct Listing {
    /// The names, in byte order, without `.` and `..`.
    pub names: Vec<OsString>,
    /// The directory itself, open, for what else is to be asked of it.
    pub directory: OwnedFd,
}

/// Lists the directory `path`; `follow` says whether it may be a symbolic link to one.
pub fn list(path: &Path, follow: bool) -> Result<Listing, SourceError> {
    let fail = |error: Errno| SourceError::new(path, "list", error);
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    flags.set(OFlags::NOFOLLOW, !follow);
    let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(fail)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort_unstable();
    Ok(Listing { names, directory })
}

/// The target of the symbolic link `path`, byte for byte as it is stored.
pub fn read_link(path: &Path) -> Result<Vec<u8>, SourceError> {
    let target = std::fs::read_link(path)
        .map_err(|error| SourceError::new(path, "read the symbolic link", error))?;
    Ok(target.into_os_string().into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lstat_and_read_link_do_not_follow() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("no/such\u{e9}", &link).unwrap();
        assert_eq!(lstat(&link).unwrap().kind, Kind::Symlink);
        assert_eq!(read_link(&link).unwrap(), "no/such\u{e9}".as_bytes());
        assert_eq!(lstat(dir.path()).unwrap().kind, Kind::Directory);
        assert!(read_link(dir.path()).is_err());
    }

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old");
        let file = std::fs::File::create(&path).unwrap();
        let time = std::time::UNIX_EPOCH - std::time::Duration::from_millis(1500);
        file.set_modified(time).unwrap();
        assert_eq!(lstat(&path).unwrap().mtime, Time { secs: -2, nanos: 500_000_000 });
    }
}
