//! A destination directory, and everything that a restore creates below it.
//!
//! In: relative paths as an archive holds them. Out: files (through [`FileSink`]), directories,
//! links, special files, and their metadata. Promises: see `names.rs`; a path that leads outside is
//! refused, not repaired.
//!
//! Order for a whole tree: directories and files as they come, then hard links, then flags of files
//! that have several names, then `finish_directory` on the directories, deepest first, because
//! writing into a directory changes its mtime and a read-only directory takes no files.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::attributes::{self, Attributes};
use crate::names::{self, PartFile, PartName, Relative, SharedNames};
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

/// A destination directory, opened once. Sinks made from it outlive it.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
    names: SharedNames,
    /// The parent that was asked for last, by its path below the root: the next name is often in it.
    last_parent: Mutex<Option<(PathBuf, OwnedFd)>>,
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
        let (path, names) = (path.to_owned(), SharedNames::default());
        Ok(Root { directory, path, names, last_parent: Mutex::default() })
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
    /// parent, a directory at NAME that is not empty, a
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
    /// as it is. A new one has mode 0700 until [`finish_directory`](Self::finish_directory).
    pub fn directory(&self, relative: &[u8]) -> Result<(), SinkError> {
        let parsed = self.parse(relative)?;
        let parent = self.parent(&parsed, true)?;
        let path = self.full_path(relative);
        names::open_directory(parent.as_fd(), parsed.name, &path, Some(DIRECTORY_MODE))?;
        Ok(())
    }

    /// Makes a symbolic link to `target`, which is neither checked nor followed. What is at the name
    /// is replaced at once and whole, as by a file.
    pub fn symlink(
        &self,
        target: &[u8],
        relative: &[u8],
        attributes: &Attributes<'_>,
    ) -> Result<(), SinkError> {
        let target = OsStr::from_bytes(target);
        self.special(relative, true, attributes, |parent, part| {
            rustix::fs::symlinkat(target, parent, part)
        })
    }

    /// Makes a special file, without opening it. What is at the name is replaced as by a file.
    pub fn node(
        &self,
        node: Node,
        relative: &[u8],
        attributes: &Attributes<'_>,
    ) -> Result<(), SinkError> {
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
        self.special(relative, false, attributes, |parent, part| {
            rustix::fs::mknodat(parent, part, file_type, mode, device)
        })
    }

    fn special(
        &self,
        relative: &[u8],
        is_link: bool,
        attributes: &Attributes<'_>,
        create: impl Fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<()>,
    ) -> Result<(), SinkError> {
        let name = self.part_name(relative)?;
        name.create(create)?;
        let fail = |error: Errno| SinkError::new(name.path(), "set the metadata", error);
        let made = attributes::apply_to_name(name.parent(), name.part(), is_link, attributes)
            .map_err(fail)
            .and_then(|unset| name.publish().map(|()| unset))
            .inspect_err(|_| name.remove())?;
        report_unset(made, name.path())
    }

    /// Makes `relative` another name of `first`, which is not followed if it is a symbolic link.
    /// What is at the name is replaced as by a file.
    pub fn link(&self, first: &[u8], relative: &[u8]) -> Result<(), SinkError> {
        let from = self.parse(first)?;
        let from_parent = self.parent(&from, false)?;
        let name = self.part_name(relative)?;
        name.create(|parent, part| {
            rustix::fs::linkat(&from_parent, from.name, parent, part, AtFlags::empty())
        })?;
        let published = name.publish();
        // Also when it went well: a rename between two names of one file does nothing.
        name.remove();
        published
    }

    /// Gives a directory its attributes, when everything in it is there.
    ///
    /// An owner that only root may set is left as it is, and the set-id bits of the mode with it.
    pub fn finish_directory(
        &self,
        relative: &[u8],
        attributes: &Attributes<'_>,
    ) -> Result<(), SinkError> {
        let path = self.full_path(relative);
        let file = self.opened(relative, OFlags::DIRECTORY)?;
        let applied = attributes::apply(&file, attributes);
        let unset = applied.map_err(|error| SinkError::new(&path, "set the metadata", error))?;
        if attributes.flags != 0 {
            attributes::set_flags(&file, attributes.flags);
        }
        report_unset(unset, &path)
    }

    /// Sets flags of a file that is finished: one that is immutable takes no further name, so a
    /// file of several names gets its flags after them. What cannot be set is left.
    pub fn set_flags(&self, relative: &[u8], flags: u32) {
        if let Ok(file) = self.opened(relative, OFlags::empty()) {
            attributes::set_flags(&file, flags);
        }
    }

    /// Opens a file or directory that is there, for what needs no permission to write.
    fn opened(&self, relative: &[u8], kind: OFlags) -> Result<File, SinkError> {
        let parsed = self.parse(relative)?;
        let parent = self.parent(&parsed, false)?;
        // Opening a device could do something, should one have got the name meanwhile.
        let stat = rustix::fs::statat(&parent, parsed.name, AtFlags::SYMLINK_NOFOLLOW);
        let is_plain =
            |stat| matches!(names::file_type(&stat), FileType::RegularFile | FileType::Directory);
        if !stat.is_ok_and(is_plain) {
            let path = self.full_path(relative);
            let why = "it is gone, or is no file or directory any more";
            return Err(SinkError::refused(&path, "set the metadata", why));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | kind;
        let opened = rustix::fs::openat(&parent, parsed.name, flags, Mode::empty());
        let fail =
            |error: Errno| SinkError::new(&self.full_path(relative), "set the metadata", error);
        opened.map(File::from).map_err(fail)
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

    /// The parent of a name. The one before stays open: if somebody moves it meanwhile, what is
    /// restored goes with it, as it does for files that are being written.
    fn parent(&self, parsed: &Relative<'_>, create: bool) -> Result<OwnedFd, SinkError> {
        // Valid whatever happens while it is held: it is only ever replaced as a whole.
        let mut last = self.last_parent.lock().unwrap_or_else(PoisonError::into_inner);
        let fail = |error| SinkError::new(&self.path, "enter", error);
        if let Some((path, parent)) = &*last
            && path.iter().eq(parsed.parents.iter().copied())
        {
            return parent.try_clone().map_err(fail);
        }
        let parent = self.walk(parsed, create)?;
        let kept = parent.try_clone().map_err(fail)?;
        *last = Some((parsed.parents.iter().collect(), kept));
        Ok(parent)
    }

    /// Walks to the parent of a name, one component at a time.
    fn walk(&self, parsed: &Relative<'_>, create: bool) -> Result<OwnedFd, SinkError> {
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

/// A file is complete and in its place, but for attributes that could not be set.
pub(crate) fn report_unset(unset: attributes::Unset, path: &Path) -> Result<(), SinkError> {
    match unset {
        None => Ok(()),
        Some(error) => Err(SinkError::new(path, "set the extended attributes", error)),
    }
}
