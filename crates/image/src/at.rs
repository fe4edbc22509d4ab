//! Where something is that is backed up: a name in a directory that is held open, or a path that the user named.
//!
//! In: trees that others can change meanwhile. Out: [`Metadata`], the names in a directory, targets of symbolic links as raw
//! bytes. Promise: nothing here follows a symbolic link in the last component, unless asked to; and whoever goes from a
//! directory to what is in it by [`At::inside`] leaves the tree by no link at all, whatever is exchanged for what.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::{Metadata, SourceError};

/// How often something is looked at again if it was another one when it was opened. An automounter exchanges a directory
/// once, when it is opened; who does it more often is up to something.
pub const LOOKS_MAX: u32 = 3;

/// Most names in a directory. A file system that others have may make up a directory that does not end, and all names of one
/// are in memory. Those that are worked with have some millions.
pub const NAMES_MAX: usize = 1 << 24;

/// A place in the file system.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The directory in which `name` is; without it `name` is a path.
    directory: Option<BorrowedFd<'a>>,
    name: &'a Path,
    /// What errors call it.
    path: &'a Path,
}

/// What is in a directory.
#[derive(Debug)]
pub struct Listing {
    /// The names, in byte order, without `.` and `..`.
    pub names: Vec<OsString>,
    /// The directory itself, open, for what else is to be asked of it.
    pub directory: OwnedFd,
    /// What it is: of the directory that was listed, whatever has its name now.
    pub metadata: Metadata,
}

impl<'a> At<'a> {
    /// What is at `path`.
    pub fn path(path: &'a Path) -> At<'a> {
        At { directory: None, name: path, path }
    }

    /// What has the last name of `path` in `directory`, which was found at the rest of it.
    pub fn inside(directory: BorrowedFd<'a>, path: &'a Path) -> At<'a> {
        let name = Path::new(path.file_name().unwrap_or_default());
        At { directory: Some(directory), name, path }
    }

    /// What errors call it.
    pub(crate) fn shown(&self) -> &'a Path {
        self.path
    }

    pub(crate) fn error(
        &self,
        operation: &'static str,
        error: impl Into<io::Error>,
    ) -> SourceError {
        SourceError::new(self.path, operation, error)
    }

    /// The error for something that was another one whenever it was opened.
    pub fn exchanged(&self) -> SourceError {
        self.error("open", io::Error::other("something else is put in its place again and again"))
    }

    fn directory(&self) -> BorrowedFd<'a> {
        self.directory.unwrap_or(CWD)
    }

    /// Its metadata; of what is behind it if it is a symbolic link and `follow` is set.
    ///
    /// # Errors
    /// `NotFound`, also if a link that is followed leads nowhere; `Denied`; `Io`.
    pub fn stat(&self, follow: bool) -> Result<Metadata, SourceError> {
        let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let stat = rustix::fs::statat(self.directory(), self.name, flags);
        stat.map(|stat| Metadata::from(&stat)).map_err(|error| self.error("stat", error))
    }

    /// Opens it for reading, without waiting for anybody but who was lent a file: a file server, for one of its clients, has
    /// `/proc/sys/fs/lease-break-time` to give it back.
    pub(crate) fn open(&self, more: OFlags, follow: bool) -> rustix::io::Result<OwnedFd> {
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | more;
        flags.set(OFlags::NOFOLLOW, !follow);
        match rustix::fs::openat(self.directory(), self.name, flags, Mode::empty()) {
            Err(Errno::AGAIN) => self.open_lent(flags),
            result => result,
        }
    }

    /// Opens a regular file and waits until it is given back. Only that file: anything else could have one wait for ever.
    fn open_lent(&self, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let found = rustix::fs::openat(
            self.directory(),
            self.name,
            OFlags::PATH | (flags & (OFlags::NOFOLLOW | OFlags::CLOEXEC)),
            Mode::empty(),
        )?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(Errno::AGAIN);
        }
        let waiting = flags - OFlags::NONBLOCK - OFlags::NOFOLLOW;
        rustix::fs::open(format!("/proc/self/fd/{}", found.as_raw_fd()), waiting, Mode::empty())
    }

    /// Lists the directory; `follow` says whether it may be a symbolic link to one.
    ///
    /// # Errors
    /// `NotFound`; `Denied`; `Io` if it is no directory, a link that is not followed, or has more than [`NAMES_MAX`] names.
    pub fn list(&self, follow: bool) -> Result<Listing, SourceError> {
        let fail = |error| self.error("list", error);
        let directory = self.open(OFlags::DIRECTORY, follow).map_err(fail)?;
        let metadata = Metadata::from(&rustix::fs::fstat(&directory).map_err(fail)?);
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(OsStr::from_bytes(name).to_owned());
            }
            if names.len() > NAMES_MAX {
                let text = format!("it has more than {NAMES_MAX} entries");
                return Err(self.error("list", io::Error::other(text)));
            }
        }
        names.sort_unstable();
        Ok(Listing { names, directory, metadata })
    }

    /// The target of the symbolic link, byte for byte as it is stored.
    ///
    /// # Errors
    /// `NotFound`; `Denied`; `Io` if it is none.
    pub fn read_link(&self) -> Result<Vec<u8>, SourceError> {
        let target = rustix::fs::readlinkat(self.directory(), self.name, Vec::new())
            .map_err(|error| self.error("read the symbolic link", error))?;
        Ok(target.into_bytes())
    }

    /// A path for the calls that take nothing else.
    pub(crate) fn as_path(&self) -> PathBuf {
        match self.directory {
            None => self.name.to_owned(),
            Some(directory) => {
                Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(self.name)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::{FileKind, Time};

    #[test]
    fn nothing_is_followed_unless_asked() {
        let dir = tempfile::tempdir().unwrap();
        let (home, link) = (dir.path().join("home"), dir.path().join("home/link"));
        std::fs::create_dir(&home).unwrap();
        std::os::unix::fs::symlink("no/such\u{e9}", &link).unwrap();
        let open = At::path(&home).list(false).unwrap();
        assert_eq!(open.names, ["link"]);
        for at in [At::path(&link), At::inside(open.directory.as_fd(), &link)] {
            assert_eq!(at.stat(false).unwrap().kind, FileKind::Symlink);
            assert_eq!(at.read_link().unwrap(), "no/such\u{e9}".as_bytes());
            assert!(at.stat(true).is_err() && at.list(false).is_err());
        }
        assert_eq!(At::path(&home).stat(false).unwrap(), open.metadata);
        assert!(At::path(&home).read_link().is_err());
    }

    #[test]
    fn what_is_in_an_open_directory_is_reached_whatever_has_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (home, file) = (dir.path().join("home"), dir.path().join("home/file"));
        std::fs::create_dir(&home).unwrap();
        std::fs::write(&file, "inside").unwrap();
        let open = At::path(&home).list(false).unwrap();
        std::fs::rename(&home, dir.path().join("moved")).unwrap();
        std::os::unix::fs::symlink("/etc", &home).unwrap();
        assert_eq!(At::inside(open.directory.as_fd(), &file).stat(false).unwrap().size, 6);
        assert!(At::path(&home).list(false).is_err());
    }

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old");
        let file = std::fs::File::create(&path).unwrap();
        let time = std::time::UNIX_EPOCH - std::time::Duration::from_millis(1500);
        file.set_modified(time).unwrap();
        let expected = Time { secs: -2, nanos: 500_000_000 };
        assert_eq!(At::path(&path).stat(false).unwrap().mtime, expected);
    }
}
