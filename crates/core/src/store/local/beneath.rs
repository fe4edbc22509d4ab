//! Files and directories below one directory, reached without following a link.
//!
//! In: relative paths, in a tree that an enemy may change meanwhile. Out: descriptors. Promises: a path leads to nothing
//! outside of the directory that was opened first; no link is followed, and nothing waits for the other end of a pipe.
//! What is in the way is named in the error.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode, ResolveFlags};
use rustix::io::Errno;

/// A directory that is held open.
#[derive(Debug)]
pub(super) struct Beneath {
    root: OwnedFd,
}

impl Beneath {
    /// Opens the directory itself, which may be reached through links.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Beneath { root: rustix::fs::openat(CWD, root, flags, Mode::empty())? })
    }

    /// The same directory, for somebody else.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(Beneath { root: self.root.try_clone()? })
    }

    /// The directory at `path`; the empty path is the directory itself.
    pub(super) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let opened = self.reach(path, OFlags::RDONLY | OFlags::DIRECTORY);
        opened.map_err(|errno| self.explain(path, FileType::Directory, errno))
    }

    /// The regular file at `path`.
    pub(super) fn file(&self, path: &Path, access: OFlags) -> io::Result<File> {
        let opened = self.reach(path, access | OFlags::NONBLOCK);
        let file = opened.map_err(|errno| self.explain(path, FileType::RegularFile, errno))?;
        match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(File::from(file)),
            other => Err(in_the_way(path, FileType::RegularFile, other)),
        }
    }

    /// The entries of the directory at `path`, without `.` and `..`, in no order.
    pub(super) fn entries(&self, path: &Path) -> io::Result<Vec<(OsString, FileType)>> {
        let mut entries = Vec::new();
        for entry in Dir::new(self.directory(path)?)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => self.kind(&path.join(name))?,
                kind => kind,
            };
            entries.push((name.to_owned(), kind));
            bound(path, entries.len())?;
        }
        Ok(entries)
    }

    /// The same with the length in bytes of each, which costs a call for each.
    pub(super) fn measured(&self, path: &Path) -> io::Result<Vec<(OsString, FileType, u64)>> {
        let directory = self.directory(path)?;
        let mut found = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let kind = FileType::from_raw_mode(stat.st_mode);
                    found.push((name.to_owned(), kind, u64::try_from(stat.st_size).unwrap_or(0)));
                    bound(path, found.len())?;
                }
                // Removed meanwhile.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// What is at `path`; not followed if it is a link.
    fn kind(&self, path: &Path) -> io::Result<FileType> {
        let found = self.reach(path, OFlags::PATH)?;
        Ok(FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode))
    }

    /// Opens what is at `path`.
    fn reach(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let whole = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        match rustix::fs::openat2(&self.root, whole, flags, Mode::empty(), resolve) {
            // Kernels before 5.6, and containers that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => self.walk(path, flags),
            result => result,
        }
    }

    /// The same, one name after the other.
    fn walk(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let between = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut above: Option<OwnedFd> = None;
        let mut components = path.components().peekable();
        while let Some(component) = components.next() {
            let Component::Normal(name) = component else { return Err(Errno::XDEV) };
            let flags = if components.peek().is_some() { between } else { flags };
            let parent = above.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            above = Some(rustix::fs::openat(parent, name, flags, Mode::empty())?);
        }
        above.map_or_else(|| rustix::fs::openat(&self.root, ".", flags, Mode::empty()), Ok)
    }

    /// The error for `path`: what is in the way, if that is why it could not be opened as a thing of kind `wanted`.
    fn explain(&self, path: &Path, wanted: FileType, errno: Errno) -> io::Error {
        if !matches!(errno, Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::ISDIR) {
            return errno.into();
        }
        let prefixes: Vec<&Path> = path.ancestors().collect();
        for part in prefixes.into_iter().rev() {
            let wanted = if part == path { wanted } else { FileType::Directory };
            match self.kind(part) {
                Ok(kind) if kind != wanted => return in_the_way(part, wanted, kind),
                _ => {}
            }
        }
        errno.into()
    }
}

/// The error for a directory that does not end: file systems of others may make one up.
fn bound(path: &Path, count: usize) -> io::Result<()> {
    match count > garret_image::NAMES_MAX {
        true => Err(io::Error::other(format!(
            "{} has more than {} entries",
            path.display(),
            garret_image::NAMES_MAX
        ))),
        false => Ok(()),
    }
}

/// The error for something that was found where a file or a directory is wanted.
fn in_the_way(path: &Path, wanted: FileType, found: FileType) -> io::Error {
    let kind = match wanted {
        FileType::Directory => io::ErrorKind::NotADirectory,
        _ => io::ErrorKind::IsADirectory,
    };
    let what = match found {
        FileType::Symlink => "a symbolic link, and none is followed here",
        FileType::Directory => "a directory",
        FileType::RegularFile => "a file",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        FileType::Fifo => "a named pipe",
        _ => "a special file",
    };
    io::Error::new(kind, format!("{} is {what}", path.display()))
}

/// Removes the file `name` in `parent` unless it is something else.
pub(super) fn remove_file(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    let found = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok(rustix::fs::unlinkat(&parent, name, AtFlags::empty())?),
        other => Err(in_the_way(Path::new(name), FileType::RegularFile, other)),
    }
}

/// Gives a new file or directory its permissions, whatever the umask. Where that cannot be, as on file systems without them,
/// it keeps those it was made with, which are never more.
pub(super) fn permit(made: impl AsFd, mode: RawMode) {
    let has = rustix::fs::fstat(&made).map(|stat| stat.st_mode & 0o7777);
    if has != Ok(mode) {
        let _less = rustix::fs::fchmod(&made, Mode::from_raw_mode(mode));
    }
}

/// Renames unless the target exists, in one step.
pub(super) fn rename_new(
    (from, old): (impl AsFd, &OsStr),
    (to, new): (impl AsFd, &OsStr),
) -> rustix::io::Result<()> {
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(&from, old, &to, new, flags) {
        // File systems without the flag: a hard link is as exclusive.
        Err(Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::linkat(&from, old, &to, new, AtFlags::empty())
        }
        result => result,
    }
}

/// What tells one file from all others while it exists.
pub(super) type Identity = (u64, u64);

/// That of an open file.
pub(super) fn identity(file: impl AsFd) -> io::Result<Identity> {
    let stat = rustix::fs::fstat(file)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// The bytes of a range that the file has, in memory that nobody fills with zeros before.
pub(super) fn read_range(file: &File, range: Range<u64>) -> io::Result<Vec<u8>> {
    let len = (range.end - range.start) as usize;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = range.start + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more room than was asked for.
    bytes.truncate(len);
    Ok(bytes)
}
