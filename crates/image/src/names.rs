//! Names below a destination: hostile paths, the walk to a parent, and the life of `NAME.part`.
//!
//! In: relative paths as an archive holds them, so written by an enemy. Out: a parent directory
//! as a descriptor, and [`PartFile`]. Promises:
//!
//! - a path is walked one component at a time from a descriptor, never through a symbolic link,
//!   so nothing outside the destination is reached whatever others do to the tree meanwhile;
//! - `NAME.part` is a file that we created (O_EXCL) and hold locked; what is renamed to NAME is
//!   that very file, or the rename does not happen;
//! - a `NAME.part` left by a crashed run is replaced; one that a living run holds is not.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::SinkError;

/// Mode of a file that is being written: it may hold the secrets of a whole disk.
const PART_MODE: u32 = 0o600;
/// What a name gets while it is being written. The second and third are for a tree that holds
/// both `NAME` and a file that is really called `NAME.part`.
const PART_SUFFIXES: [&str; 3] = [".part", ".part.1", ".part.2"];

/// Longest name of all file systems in common use.
const NAME_BYTES_MAX: usize = 255;
/// What of a longer name the temporary one has.
const LONG_NAME_BYTES: usize = 200;

/// A relative path, taken apart and found harmless.
pub(crate) struct Relative<'a> {
    pub(crate) parents: Vec<&'a OsStr>,
    pub(crate) name: &'a OsStr,
}

impl<'a> Relative<'a> {
    /// Refuses what is absolute or empty or holds a NUL or an empty, `.` or `..` component.
    pub(crate) fn parse(relative: &'a [u8]) -> Result<Relative<'a>, &'static str> {
        if relative.starts_with(b"/") {
            return Err("the path is absolute");
        }
        if relative.contains(&0) {
            return Err("the path holds a NUL byte");
        }
        let mut parents = Vec::new();
        let mut name: Option<&OsStr> = None;
        for component in relative.split(|&byte| byte == b'/') {
            match component {
                b"" if relative.is_empty() => return Err("the path is empty"),
                b"" => return Err("the path has an empty component"),
                b"." => return Err("the path has the component \".\""),
                b".." => return Err("the path has the component \"..\""),
                _ => parents.extend(name.replace(OsStr::from_bytes(component))),
            }
        }
        Ok(Relative { parents, name: name.ok_or("the path is empty")? })
    }
}

/// Opens the directory `name` in `parent`, not following a symbolic link, or makes it first.
/// `path` is for errors. A new directory gets `create` as its mode, less the umask.
pub(crate) fn open_directory(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
    create: Option<u32>,
) -> Result<OwnedFd, SinkError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(parent, name, flags, Mode::empty());
    let mut opened = open();
    if let (Err(Errno::NOENT), Some(mode)) = (&opened, create) {
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
            // Another thread may have been first.
            Ok(()) | Err(Errno::EXIST) => opened = open(),
            Err(error) => return Err(SinkError::new(path, "create the directory", error)),
        }
    }
    opened.map_err(|error| match error {
        Errno::NOTDIR | Errno::LOOP => {
            let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
            let what = found.map_or("no directory", |stat| describe(&stat));
            SinkError::refused(path, "enter the directory", format!("it is {what}"))
        }
        error => SinkError::new(path, "enter the directory", error),
    })
}

/// Refuses when something is at `name` that must not be replaced: a directory with something in it.
pub(crate) fn check_replaceable(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
) -> Result<(), SinkError> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(SinkError::new(path, "stat", error)),
        Ok(stat) if file_type(&stat) != FileType::Directory => Ok(()),
        Ok(_) if is_empty_directory(parent, name) => Ok(()),
        Ok(_) => {
            let why = "a directory that is not empty is in the way";
            Err(SinkError::refused(path, "create the file", why))
        }
    }
}

/// One that cannot be read is not known to be empty.
fn is_empty_directory(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(parent, name, flags, Mode::empty());
    let Ok(entries) = opened.and_then(Dir::new) else { return false };
    let is_own = |name: &[u8]| matches!(name, b"." | b"..");
    entries.into_iter().all(|entry| entry.is_ok_and(|entry| is_own(entry.file_name().to_bytes())))
}

/// What kind of file `stat` is about.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn describe(stat: &Stat) -> &'static str {
    match file_type(stat) {
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::RegularFile => "a regular file",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        _ => "a special file",
    }
}

/// Names that this process must not step on, by relative path. Small: what is being written
/// now, and finished files whose names look like temporary ones.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    temporary: HashSet<PathBuf>,
    finished: HashSet<PathBuf>,
    /// How many names were too long for a suffix.
    long_count: u64,
}

/// The names that all sinks of one root share.
pub(crate) type SharedNames = Arc<Mutex<Reserved>>;

fn lock(names: &SharedNames) -> MutexGuard<'_, Reserved> {
    // The sets are valid after every single step, so a panic elsewhere does not spoil them.
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a temporary name begins with: the name, or if that leaves no room for a suffix, what fits and a number.
fn temporary_base(name: &OsStr, long_count: &mut u64) -> OsString {
    let longest = PART_SUFFIXES.map(str::len).into_iter().max().unwrap_or_default();
    if name.len() + longest <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    *long_count += 1;
    let mut base =
        OsStr::from_bytes(name.as_bytes().get(..LONG_NAME_BYTES).unwrap_or_default()).to_owned();
    base.push(format!(".{long_count}"));
    base
}

/// A name, the parent that holds it, and the temporary name that is reserved for it until drop.
#[derive(Debug)]
pub(crate) struct PartName {
    parent: OwnedFd,
    name: OsString,
    part: OsString,
    /// NAME in full, for errors.
    path: PathBuf,
    /// NAME and the temporary name, relative to the root: the keys in `names`.
    relative: PathBuf,
    relative_part: PathBuf,
    names: SharedNames,
}

impl PartName {
    /// Chooses and reserves the temporary name.
    pub(crate) fn reserve(
        parent: OwnedFd,
        root: &Path,
        relative: &[u8],
        name: &OsStr,
        names: &SharedNames,
    ) -> Result<PartName, SinkError> {
        let relative = Path::new(OsStr::from_bytes(relative));
        let path = root.join(relative);
        let mut reserved = lock(names);
        if reserved.temporary.contains(relative) {
            let why = "another file is being written under this name; restore it after that";
            return Err(SinkError::refused(&path, "create the file", why));
        }
        let base = temporary_base(name, &mut reserved.long_count);
        for suffix in PART_SUFFIXES {
            let mut part = base.clone();
            part.push(suffix);
            let relative_part = relative.with_file_name(&part);
            let taken = reserved.finished.contains(&relative_part)
                || !reserved.temporary.insert(relative_part.clone());
            if !taken {
                drop(reserved);
                let (name, relative) = (name.to_owned(), relative.to_owned());
                let names = Arc::clone(names);
                return Ok(PartName { parent, name, part, path, relative, relative_part, names });
            }
        }
        let why = "it is being written already, or its temporary names are files of their own";
        Err(SinkError::refused(&path, "create the file", why))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `create` on the temporary name; what a crashed run left there is removed first.
    pub(crate) fn create<T>(
        &self,
        create: impl Fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<T>,
    ) -> Result<T, SinkError> {
        let mut created = create(self.parent.as_fd(), &self.part);
        if matches!(created, Err(Errno::EXIST)) {
            self.remove_stale()?;
            created = create(self.parent.as_fd(), &self.part);
        }
        created.map_err(|error| match error {
            Errno::NAMETOOLONG => {
                let why =
                    "the name is too long for this file system to be written as NAME.part first";
                SinkError::refused(&self.path, "create the file", why)
            }
            error => SinkError::new(&self.path, "create the file", error),
        })
    }

    /// The directory that holds both names.
    pub(crate) fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// The temporary name.
    pub(crate) fn part(&self) -> &OsStr {
        &self.part
    }

    /// Renames the temporary name to NAME; an empty directory there goes first.
    pub(crate) fn publish(&self) -> Result<(), SinkError> {
        let rename = || rustix::fs::renameat(&self.parent, &self.part, &self.parent, &self.name);
        let mut renamed = rename();
        if renamed == Err(Errno::ISDIR) {
            renamed = rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR)
                .and_then(|()| rename());
        }
        renamed.map_err(|error| SinkError::new(&self.path, "rename NAME.part to it", error))?;
        let named_like_temporary =
            PART_SUFFIXES.iter().any(|s| self.name.as_bytes().ends_with(s.as_bytes()));
        if named_like_temporary {
            lock(&self.names).finished.insert(self.relative.clone());
        }
        Ok(())
    }

    pub(crate) fn remove(&self) {
        // Nobody could act on a failure, and the next run replaces what is left.
        let _ignored = rustix::fs::unlinkat(&self.parent, &self.part, AtFlags::empty());
    }

    /// Removes the temporary name unless it is a directory or a file that somebody holds.
    fn remove_stale(&self) -> Result<(), SinkError> {
        let refused = |why: String| {
            let part = self.path.with_file_name(&self.part);
            Err(SinkError::refused(&part, "replace the temporary file", why))
        };
        let Ok(stat) = rustix::fs::statat(&self.parent, &self.part, AtFlags::SYMLINK_NOFOLLOW)
        else {
            return Ok(());
        };
        match file_type(&stat) {
            FileType::Directory => return refused(format!("{} is in the way", describe(&stat))),
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(&self.parent, &self.part, flags, Mode::empty());
                if opened.is_ok_and(|file| !lock_file(&file)) {
                    return refused("another process is writing it".to_owned());
                }
            }
            _ => {}
        }
        self.remove();
        Ok(())
    }

    /// Whether the temporary name still leads to `file`.
    fn leads_to(&self, file: &File) -> bool {
        let here = rustix::fs::statat(&self.parent, &self.part, AtFlags::SYMLINK_NOFOLLOW);
        let (Ok(here), Ok(there)) = (here, rustix::fs::fstat(file)) else {
            return false;
        };
        (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
    }
}

impl Drop for PartName {
    fn drop(&mut self) {
        lock(&self.names).temporary.remove(&self.relative_part);
    }
}

/// Whether the file is ours now. Where the file system has no locks it always is.
fn lock_file(file: impl AsFd) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
}

/// A regular file under a temporary name. Dropped without [`publish`](Self::publish), it is gone.
#[derive(Debug)]
pub(crate) struct PartFile {
    file: File,
    name: PartName,
    published: bool,
}

impl PartFile {
    /// Creates the file, empty, and locks it.
    pub(crate) fn create(name: PartName) -> Result<PartFile, SinkError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(PART_MODE);
        let file: File =
            name.create(|parent, part| rustix::fs::openat(parent, part, flags, mode))?.into();
        // Between the two lines above and below, another run may have taken it for a stale one.
        if !lock_file(&file) || !name.leads_to(&file) {
            let why = "another process is writing it";
            return Err(SinkError::refused(name.path(), "create the file", why));
        }
        Ok(PartFile { file, name, published: false })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        self.name.path()
    }

    /// Renames it to NAME.
    pub(crate) fn publish(mut self) -> Result<(), SinkError> {
        if !self.name.leads_to(&self.file) {
            let why = "another process has replaced NAME.part";
            return Err(SinkError::refused(self.path(), "rename NAME.part to it", why));
        }
        self.name.publish()?;
        self.published = true;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.published && self.name.leads_to(&self.file) {
            self.name.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_taken() {
        for bad in [&b""[..], b"/", b"/a", b"a//b", b"a/", b".", b"a/.", b"./a", b"..", b"a/../b"] {
            assert!(Relative::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(Relative::parse(b"a/../../etc/passwd").is_err());
        assert!(Relative::parse(b"a\0b").is_err());
        let good = Relative::parse(b"a/..b/\xff.img").unwrap();
        assert_eq!(good.parents, [OsStr::new("a"), OsStr::new("..b")]);
        assert_eq!(good.name.as_bytes(), b"\xff.img");
    }
}
