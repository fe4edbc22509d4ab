//! A destination directory, and everything that a restore creates below it.
//!
//! In: relative paths as an archive holds them. Out: files (through [`FileSink`]), directories,
//! links, special files, and their metadata. Promises: see `names.rs` and `staging.rs`; a path that leads outside is
//! refused, not repaired; what gets its metadata or another name later is the very file that was made, or nothing.
//!
//! Order for a whole tree: directories and files as they come, then hard links, then flags of files
//! that have several names, then [`Root::close`], then `finish_directory` on the directories, deepest first,
//! because writing into a directory changes its mtime and a read-only directory takes no files.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::Metadata;
use crate::attributes::{self, Attributes};
use crate::names::{self, Relative, Replacing};
use crate::sink::{Unset, unset_at};
use crate::staging::{FileId, Parent, Staged, Staging};
use crate::{Allocation, FileSink, SinkError};

/// Mode of directories that no item of the archive asked for, before the umask.
const PARENT_MODE: u32 = 0o777;
/// Mode of directories that an item asked for, until `finish_directory`: what is restored below is
/// nobody else's business before its own mode says so.
const DIRECTORY_MODE: u32 = 0o700;
/// Mode of special files until they get their own.
const NODE_MODE: u32 = 0o600;

/// A special file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A named pipe.
    Fifo,
    /// A block device.
    Block {
        /// Which driver.
        major: u32,
        /// Which of its devices.
        minor: u32,
    },
    /// A character device.
    Character {
        /// Which driver.
        major: u32,
        /// Which of its devices.
        minor: u32,
    },
}

/// Where something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Below the destination, as an archive holds it.
    pub path: &'a [u8],
    /// Whether the user named a symbolic link there when this was backed up, so that it goes behind such a link.
    pub followed: bool,
}

impl<'a> Place<'a> {
    /// What was backed up by its own name.
    pub fn at(path: &'a [u8]) -> Place<'a> {
        Place { path, followed: false }
    }
}

/// A destination directory, opened once. Sinks made from it outlive it.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
    /// Whether images that a virtual machine uses may be replaced.
    used: bool,
    staging: Arc<Staging>,
    /// Directories behind links that were followed, by the path of the link.
    followed: Mutex<HashMap<PathBuf, OwnedFd>>,
    /// Links that were made here. They are the archive's and not the user's: none is followed.
    links: Mutex<HashSet<FileId>>,
    /// The parent that was asked for last, by its path below the root: the next name is often in it.
    last_parent: Mutex<Option<(PathBuf, Arc<Parent>)>>,
}

/// Valid whatever happens while it is held: it is only ever changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Root {
    /// Opens `path`, creating it and its parents if missing. This path is the user's own: symbolic
    /// links in it are followed.
    ///
    /// # Errors
    /// `Denied`, `NoSpace` or `Io` if it cannot be made or opened, as when it is a file.
    pub fn open(path: &Path) -> Result<Root, SinkError> {
        std::fs::create_dir_all(path)
            .map_err(|error| SinkError::new(path, "create the directory", error))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| SinkError::new(path, "open the directory", error))?;
        Ok(Root {
            directory,
            path: path.to_owned(),
            used: false,
            staging: Arc::default(),
            followed: Mutex::default(),
            links: Mutex::default(),
            last_parent: Mutex::default(),
        })
    }

    /// The same, and whether images may be replaced that a virtual machine has open.
    #[must_use]
    pub fn replace_used(mut self, used: bool) -> Root {
        self.used = used;
        self
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts a file of `len` bytes, in a staging directory and with mode 0600 until it is finished.
    /// Missing parents are created. What is at NAME stays until then.
    ///
    /// # Errors
    /// `Refused` for a path that could lead outside, a symbolic link or file in the place of a
    /// parent, a directory at NAME that is not empty, the node of a device, and a map of another length; `Used` for an image
    /// that a virtual machine has open.
    pub fn file(
        &self,
        place: Place<'_>,
        len: u64,
        allocation: Allocation,
    ) -> Result<FileSink, SinkError> {
        let staged = match place.followed.then(|| self.behind(place.path)).transpose()?.flatten() {
            Some(staged) => staged,
            None => self.stage(place.path, true)?,
        };
        FileSink::new(staged, len, allocation)
    }

    /// What a file at that name would take the place of; behind a link where [`file`](Self::file) goes behind it, and nothing
    /// where it replaces the link.
    ///
    /// # Errors
    /// As of [`file`](Self::file).
    pub fn existing(&self, place: Place<'_>) -> Result<Option<Metadata>, SinkError> {
        let parsed = self.parse(place.path)?;
        let parent = self.parent(&parsed, true)?;
        let path = self.full_path(place.path);
        let behind = match place.followed {
            true => names::open_link(parent.as_fd(), parsed.name, &path, &lock(&self.links))?,
            false => None,
        };
        let stat = match behind {
            Some(behind) => rustix::fs::fstat(&behind),
            None => rustix::fs::statat(&parent, parsed.name, AtFlags::SYMLINK_NOFOLLOW),
        };
        match stat {
            Ok(stat) if names::file_type(&stat) == FileType::Symlink => Ok(None),
            Ok(stat) => Ok(Some(Metadata::from(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(SinkError::new(&path, "stat", error)),
        }
    }

    /// Makes sure that there is a directory. Parents are created; an existing directory is left
    /// as it is. A new one has mode 0700 until [`finish_directory`](Self::finish_directory).
    ///
    /// # Errors
    /// `Refused` for a path that could lead outside, for anything but a directory in its place or that of a parent, and for a
    /// link to be followed that others can change, that the archive made or that leads to no directory; it cannot be made.
    pub fn directory(&self, place: Place<'_>) -> Result<FileId, SinkError> {
        let parsed = self.parse(place.path)?;
        let parent = self.parent(&parsed, true)?;
        let path = self.full_path(place.path);
        let behind = match place.followed {
            true => names::open_link(parent.as_fd(), parsed.name, &path, &lock(&self.links))?,
            false => None,
        };
        let directory = match behind {
            None => self.enter(parent.as_fd(), parsed.name, &path, Some(DIRECTORY_MODE))?,
            Some(behind) => {
                names::check_directory(&behind, &path)?;
                let kept = behind.try_clone().map_err(|e| SinkError::new(&path, "enter", e))?;
                lock(&self.followed).insert(OsStr::from_bytes(place.path).into(), kept);
                behind
            }
        };
        match rustix::fs::fstat(&directory) {
            Ok(stat) => Ok(FileId::of(&stat)),
            Err(error) => Err(SinkError::new(&path, "stat", error)),
        }
    }

    /// Makes a symbolic link to `target`, which is neither checked nor followed. What is at the name
    /// is replaced at once and whole, as by a file.
    ///
    /// # Errors
    /// As of [`file`](Self::file), but the node of a device is replaced; it cannot be made, or given its metadata.
    pub fn symlink(
        &self,
        target: &[u8],
        path: &[u8],
        attributes: &Attributes<'_>,
    ) -> Result<(FileId, Unset), SinkError> {
        let target = OsStr::from_bytes(target);
        self.special(path, FileType::Symlink, attributes, |directory, entry| {
            rustix::fs::symlinkat(target, directory, entry)
        })
    }

    /// Makes a special file, without opening it. What is at the name is replaced as by a file.
    ///
    /// # Errors
    /// As of [`symlink`](Self::symlink); `Denied` for a device where only root may make one.
    pub fn node(
        &self,
        node: Node,
        path: &[u8],
        attributes: &Attributes<'_>,
    ) -> Result<(FileId, Unset), SinkError> {
        let (file_type, device) = match node {
            Node::Fifo => (FileType::Fifo, 0),
            Node::Block { major, minor } => {
                (FileType::BlockDevice, rustix::fs::makedev(major, minor))
            }
            Node::Character { major, minor } => {
                (FileType::CharacterDevice, rustix::fs::makedev(major, minor))
            }
        };
        let mode = Mode::from_raw_mode(NODE_MODE);
        self.special(path, file_type, attributes, |directory, entry| {
            rustix::fs::mknodat(directory, entry, file_type, mode, device)
        })
    }

    fn special(
        &self,
        path: &[u8],
        file_type: FileType,
        attributes: &Attributes<'_>,
        create: impl Fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<()>,
    ) -> Result<(FileId, Unset), SinkError> {
        let staged = self.stage(path, false)?;
        staged.create(create)?;
        let path = staged.path().to_owned();
        let fail = |error: Errno| SinkError::new(&path, "set the metadata", error);
        let handle = staged.handle().map_err(fail)?;
        let stat = rustix::fs::fstat(&handle).map_err(fail)?;
        // Nobody else reaches a staging directory; should a file system do otherwise, nothing is changed.
        if names::file_type(&stat) != file_type || stat.st_nlink != 1 {
            let why = "it is not what was made a moment ago";
            return Err(SinkError::refused(&path, "set the metadata", why));
        }
        if let (None, Some(group)) = (attributes.owner, staged.group()) {
            // As for a file: who may not give it to the group of the directory keeps it.
            let _kept = rustix::fs::chownat(&handle, "", None, Some(group), AtFlags::EMPTY_PATH);
        }
        let is_link = file_type == FileType::Symlink;
        if is_link {
            lock(&self.links).insert(FileId::of(&stat));
        }
        let unset = attributes::apply_to_handle(handle.as_fd(), is_link, attributes);
        let unset = unset.map_err(fail)?;
        staged.publish()?;
        Ok((FileId::of(&stat), unset_at(unset, &path)))
    }

    /// Makes `path` another name of the file `id` at `first`, which is not followed if it is a symbolic link.
    /// What is at the name is replaced as by a file.
    ///
    /// # Errors
    /// `Refused` if something else is at `first` now.
    pub fn link(&self, first: &[u8], id: FileId, path: &[u8]) -> Result<(), SinkError> {
        let from = self.parse(first)?;
        let from_parent = self.parent(&from, false)?;
        let staged = self.stage(path, false)?;
        staged.create(|directory, entry| {
            rustix::fs::linkat(&from_parent, from.name, directory, entry, AtFlags::empty())
        })?;
        let linked = staged.handle().and_then(rustix::fs::fstat);
        match linked.map(|stat| FileId::of(&stat)) {
            Ok(linked) if linked == id => staged.publish_link(),
            Ok(_) => Err(exchanged(staged.path(), "link to the first name")),
            Err(error) => Err(SinkError::new(staged.path(), "stat", error)),
        }
    }

    /// Everything has its name: removes the staging directories. Directories get their times after that.
    pub fn close(&self) {
        *lock(&self.last_parent) = None;
        self.staging.close();
    }

    /// Gives the directory `id` its attributes, when everything in it is there.
    ///
    /// An owner that only root may set is left as it is, and the set-id bits of the mode with it.
    ///
    /// # Errors
    /// `Refused` if something else is at `path` now.
    pub fn finish_directory(
        &self,
        path: &[u8],
        id: FileId,
        attributes: &Attributes<'_>,
    ) -> Result<Unset, SinkError> {
        let full_path = self.full_path(path);
        let fail = |error| SinkError::new(&full_path, "set the metadata", error);
        let parsed = self.parse(path)?;
        let held = match self.link_followed(Path::new(OsStr::from_bytes(path))) {
            Some(behind) => behind.map_err(|error| SinkError::new(&full_path, "enter", error))?,
            None => {
                let parent = self.parent(&parsed, false)?;
                self.enter(parent.as_fd(), parsed.name, &full_path, None)?
            }
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&held, ".", flags, Mode::empty());
        let file = File::from(self.staging.with_access(held.as_fd(), open).map_err(fail)?);
        if FileId::of(&rustix::fs::fstat(&file).map_err(fail)?) != id {
            return Err(exchanged(&full_path, "set the metadata"));
        }
        let unset = attributes::apply(&file, attributes).map_err(fail)?;
        self.staging.keep_mode(id);
        if attributes.flags != 0 {
            attributes::set_flags(&file, attributes.flags);
        }
        Ok(unset_at(unset, &full_path))
    }

    /// Sets flags of the file `id`, which is finished: one that is immutable takes no further name, so a
    /// file of several names gets its flags after them. What cannot be set is left.
    pub fn set_flags(&self, path: &[u8], id: FileId, flags: u32) {
        let Ok(parsed) = self.parse(path) else { return };
        let Ok(parent) = self.parent(&parsed, false) else { return };
        // Opening a device could do something, should one have got the name meanwhile.
        let stat = rustix::fs::statat(&parent, parsed.name, AtFlags::SYMLINK_NOFOLLOW);
        if !stat.is_ok_and(|stat| names::file_type(&stat) == FileType::RegularFile) {
            return;
        }
        let how = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&parent, parsed.name, how, Mode::empty());
        if let Ok(file) = opened
            && rustix::fs::fstat(&file).is_ok_and(|stat| FileId::of(&stat) == id)
        {
            attributes::set_flags(&file, flags);
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

    /// An entry of a staging directory for a name, once nothing is in the way.
    fn stage(&self, path: &[u8], by_file: bool) -> Result<Staged, SinkError> {
        let parsed = self.parse(path)?;
        let parent = self.parent(&parsed, true)?;
        let full_path = self.full_path(path);
        let replacing = Replacing { staging: &self.staging, by_file, used: self.used };
        names::check_replaceable(parent.as_fd(), parsed.name, &full_path, replacing)?;
        Ok(self.staging.stage(parent, parsed.name, full_path)?.replace_used(self.used))
    }

    /// The same for what is behind the symbolic link at `path`; `None` if there is no link that leads to something.
    fn behind(&self, path: &[u8]) -> Result<Option<Staged>, SinkError> {
        let parsed = self.parse(path)?;
        let parent = self.parent(&parsed, true)?;
        let full_path = self.full_path(path);
        let behind = names::open_link(parent.as_fd(), parsed.name, &full_path, &lock(&self.links))?;
        let Some(behind) = behind else { return Ok(None) };
        let (home, target) = names::real_place(&behind, &full_path)?;
        let name = target.file_name().unwrap_or_default();
        let replacing = Replacing { staging: &self.staging, by_file: true, used: self.used };
        names::check_replaceable(home.as_fd(), name, &target, replacing)?;
        let name = name.to_owned();
        let staged = self.staging.stage(Arc::new(Parent::new(home)), &name, target)?;
        Ok(Some(staged.replace_used(self.used)))
    }

    /// The directory behind a link that was followed.
    fn link_followed(&self, path: &Path) -> Option<std::io::Result<OwnedFd>> {
        lock(&self.followed).get(path).map(OwnedFd::try_clone)
    }

    /// The parent of a name. The one before stays open: if somebody moves it meanwhile, what is
    /// restored goes with it, as it does for files that are being written.
    fn parent(&self, parsed: &Relative<'_>, create: bool) -> Result<Arc<Parent>, SinkError> {
        let mut last = lock(&self.last_parent);
        if let Some((path, parent)) = &*last
            && path.iter().eq(parsed.parents.iter().copied())
        {
            return Ok(Arc::clone(parent));
        }
        let parent = Arc::new(Parent::new(self.walk(parsed, create)?));
        *last = Some((parsed.parents.iter().collect(), Arc::clone(&parent)));
        Ok(parent)
    }

    /// Walks to the parent of a name, one component at a time.
    fn walk(&self, parsed: &Relative<'_>, create: bool) -> Result<OwnedFd, SinkError> {
        let (mut path, mut below) = (self.path.clone(), PathBuf::new());
        let mut current = self.directory.try_clone();
        for component in &parsed.parents {
            let parent = current.map_err(|error| SinkError::new(&path, "enter", error))?;
            path.push(component);
            below.push(component);
            current = match self.link_followed(&below) {
                Some(behind) => behind,
                None => {
                    let mode = create.then_some(PARENT_MODE);
                    Ok(self.enter(parent.as_fd(), component, &path, mode)?)
                }
            };
        }
        current.map_err(|error| SinkError::new(&path, "enter", error))
    }

    /// Opens the directory `name` in `parent`, and makes it first if it is missing and has a mode to get, less the umask.
    fn enter(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        create: Option<u32>,
    ) -> Result<OwnedFd, SinkError> {
        let mut entered = names::open_directory(parent, name, path);
        let Err(error) = &entered else { return entered };
        match (error.io_error().kind(), create) {
            (std::io::ErrorKind::NotFound, Some(mode)) => {
                let mode = Mode::from_raw_mode(mode);
                let make = || rustix::fs::mkdirat(parent, name, mode);
                match self.staging.with_access(parent, make) {
                    // Another thread may have been first.
                    Ok(()) => {
                        entered = names::open_directory(parent, name, path);
                        // One that the archive does not know is what its place makes of it.
                        if let Ok(made) = &entered
                            && create == Some(DIRECTORY_MODE)
                        {
                            names::remove_acls(made);
                        }
                    }
                    Err(Errno::EXIST) => entered = names::open_directory(parent, name, path),
                    Err(error) => return Err(SinkError::new(path, "create the directory", error)),
                }
            }
            // The parent may not even be searched.
            (std::io::ErrorKind::PermissionDenied, _) if self.staging.open_up(parent) => {
                return self.enter(parent, name, path, create);
            }
            _ => {}
        }
        entered
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.close();
    }
}

fn exchanged(path: &Path, operation: &'static str) -> SinkError {
    SinkError::refused(path, operation, "somebody put something else in its place meanwhile")
}

#[cfg(test)]
mod tests;
