//! A destination directory, and everything that a restore creates below it.
//!
//! In: relative paths as an archive holds them. Out: files (through [`FileSink`]), directories,
//! symbolic links, and their metadata. Promises: see `names.rs`; a path that leads outside is
//! refused, not repaired.
//!
//! Order for a whole tree: directories and files as they come, then `set_metadata` on the
//! directories, deepest first, because writing into a directory changes its mtime and a read-only
//! directory takes no files.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use crate::names::{self, PartFile, PartName, Relative, SharedNames};
use crate::{Allocation, FileSink, SinkError, Time};

/// Mode of directories that no item of the archive asked for, before the umask.
const PARENT_MODE: u32 = 0o777;
/// Mode of directories that an item asked for, until `set_metadata`: what is restored below is
/// nobody else's business before its own mode says so.
const DIRECTORY_MODE: u32 = 0o700;
/// Set-user-id and set-group-id.
const SET_ID_BITS: u32 = 0o6000;

/// A destination directory, opened once. Sinks made from it outlive it.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
    names: SharedNames,
}

impl Root {
    /// Opens `path`, creating it and its parents if missing. This path is the user's own: symbolic
    /// links in it are followed.
    pub fn open(path: &Path) -> Result<Root, SinkError> {
        std::fs::create_dir_all(path)
            .map_err(|error| SinkError::new(path, "create the directory", error))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| SinkError::new(path, "open the directory", error))?;
        Ok(Root { directory, path: path.to_owned(), names: SharedNames::default() })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts a file of `len` bytes, as `NAME.part` with mode 0600 until it is finished. Missing
    /// parents are created. What is at NAME stays until then.
    ///
    /// # Errors
    /// `Refused` for a path that could lead outside, a symbolic link or file in the place of a
    /// parent, anything but a file or symbolic link at NAME, a name of over 250 bytes, a
    /// `NAME.part` that is being written, and a map of another length.
    pub fn file(
        &self,
        relative: &[u8],
        len: u64,
        allocation: Allocation,
    ) -> Result<FileSink, SinkError> {
        FileSink::new(PartFile::create(self.part_name(relative)?)?, len, allocation)
    }

    /// Makes sure that there is a directory. Parents are created; an existing directory is left
    /// as it is. A new one has mode 0700 until [`set_metadata`](Self::set_metadata).
    pub fn directory(&self, relative: &[u8]) -> Result<(), SinkError> {
        let parsed = self.parse(relative)?;
        let parent = self.parent(&parsed, true)?;
        let path = self.full_path(relative);
        names::open_directory(parent.as_fd(), parsed.name, &path, Some(DIRECTORY_MODE))?;
        Ok(())
    }

    /// Makes a symbolic link to `target`, which is neither checked nor followed. An existing file
    /// or symbolic link is replaced at once and whole.
    pub fn symlink(&self, target: &[u8], relative: &[u8]) -> Result<(), SinkError> {
        let name = self.part_name(relative)?;
        let target = OsStr::from_bytes(target);
        name.create(|parent, part| rustix::fs::symlinkat(target, parent, part))?;
        name.publish().inspect_err(|_| name.remove())
    }

    /// Sets owner, mode and mtime of a directory, file or symbolic link (which has no mode).
    ///
    /// An owner that only root may set is left as it is, and the set-id bits of `mode` with it.
    pub fn set_metadata(
        &self,
        relative: &[u8],
        mode: u32,
        owner: Option<(u32, u32)>,
        mtime: Time,
    ) -> Result<(), SinkError> {
        let parsed = self.parse(relative)?;
        let parent = self.parent(&parsed, false)?;
        let path = self.full_path(relative);
        let fail = |error: Errno| SinkError::new(&path, "set the metadata", error);
        let stat = rustix::fs::statat(&parent, parsed.name, AtFlags::SYMLINK_NOFOLLOW);
        match names::file_type(&stat.map_err(fail)?) {
            FileType::Symlink => {
                apply_link_metadata(&parent, parsed.name, owner, mtime).map_err(fail)
            }
            FileType::Directory | FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(&parent, parsed.name, flags, Mode::empty());
                let file: File = opened.map_err(fail)?.into();
                apply_metadata(&file, mode, owner, mtime).map_err(fail)
            }
            _ => Err(SinkError::refused(&path, "set the metadata", "it is a special file")),
        }
    }

    fn full_path(&self, relative: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(relative))
    }

    fn parse<'a>(&self, relative: &'a [u8]) -> Result<Relative<'a>, SinkError> {
        Relative::parse(relative).map_err(|why| {
            // Not joined: joining an absolute path would show a place that we never look at.
            let path = Path::new(OsStr::from_bytes(relative));
            SinkError::refused(path, "restore to this path", why)
        })
    }

    /// The parent of a name and a temporary name in it, once nothing is in the way.
    fn part_name(&self, relative: &[u8]) -> Result<PartName, SinkError> {
        let parsed = self.parse(relative)?;
        let parent = self.parent(&parsed, true)?;
        names::check_replaceable(parent.as_fd(), parsed.name, &self.full_path(relative))?;
        PartName::reserve(parent, &self.path, relative, parsed.name, &self.names)
    }

    /// Walks to the parent of a name, one component at a time.
    fn parent(&self, parsed: &Relative<'_>, create: bool) -> Result<OwnedFd, SinkError> {
        let mut path = self.path.clone();
        let mut current = self.directory.try_clone();
        for component in &parsed.parents {
            let parent = current.map_err(|error| SinkError::new(&path, "enter", error))?;
            path.push(component);
            let mode = create.then_some(PARENT_MODE);
            current = Ok(names::open_directory(parent.as_fd(), component, &path, mode)?);
        }
        current.map_err(|error| SinkError::new(&path, "enter", error))
    }
}

/// Sets owner, mode and mtime of an open file, in this order: a change of owner clears set-id
/// bits. Not being allowed to give a file away is no failure, but then it must not run as us.
pub(crate) fn apply_metadata(
    file: &File,
    mode: u32,
    owner: Option<(u32, u32)>,
    mtime: Time,
) -> rustix::io::Result<()> {
    let mut mode = mode & 0o7777;
    if let Some((uid, gid)) = owner {
        match rustix::fs::fchown(file, user(uid), group(gid)) {
            Ok(()) => {}
            Err(Errno::PERM) => mode &= !SET_ID_BITS,
            Err(error) => return Err(error),
        }
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?;
    rustix::fs::futimens(file, &timestamps(mtime))
}

fn apply_link_metadata(
    parent: &OwnedFd,
    name: &OsStr,
    owner: Option<(u32, u32)>,
    mtime: Time,
) -> rustix::io::Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    if let Some((uid, gid)) = owner {
        match rustix::fs::chownat(parent, name, user(uid), group(gid), flags) {
            Ok(()) | Err(Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    rustix::fs::utimensat(parent, name, &timestamps(mtime), flags)
}

/// All ones means "leave it" to the system and is nobody's id.
fn user(uid: u32) -> Option<Uid> {
    (uid != u32::MAX).then(|| Uid::from_raw(uid))
}

fn group(gid: u32) -> Option<Gid> {
    (gid != u32::MAX).then(|| Gid::from_raw(gid))
}

/// The access time stays. Nanoseconds are clipped, since some values beyond have a meaning of
/// their own ("now").
fn timestamps(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime.secs,
            tv_nsec: mtime.nanos.min(999_999_999).into(),
        },
    }
}
