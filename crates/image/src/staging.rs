//! Where a restore builds what is not yet whole: directories of its own on the file systems that it writes to.
//!
//! In: the parent that something is to get a name in. Out: [`Staged`], an entry of a staging directory that becomes NAME by
//! a rename. Promises:
//!
//! - a staging directory has a random name and mode 0700 and belongs to whoever new files of this user belong to: nobody else
//!   reaches what is in it, so what is done to an entry by name is done to what this restore made. On a file system that has
//!   no owners and modes (FAT) everybody reaches everything, but there is nothing to be given away either;
//! - no name of the user's is taken for a temporary one, and nothing but NAME itself is ever replaced;
//! - what a killed run left is known by a file in it that only this module writes, and whose lock nobody holds: the next
//!   restore to the same place removes it;
//! - a read-only directory of this user is made writable while it is written to, and gets its mode back.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{AtFlags, Dir, FlockOperation, Gid, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;

use crate::used::is_used;
use crate::{NAMES_MAX, SinkError};

/// What the name of a staging directory begins with; sixteen hex digits follow.
const PREFIX: &str = ".garret-restore-";
/// The file in it that only we write, and hold locked.
const MARKER: &str = "marker";
/// What that file says: no other file says so by chance.
const MARK: &[u8] =
    b"garret restore: this directory holds files that are not complete yet, and can be removed\n";
/// Nobody but the owner, who needs to search, read and write.
const PRIVATE: u32 = 0o700;

/// What tells one file from all others while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    dev: u64,
    ino: u64,
}

impl FileId {
    pub(crate) fn of(stat: &Stat) -> FileId {
        FileId { dev: stat.st_dev, ino: stat.st_ino }
    }
}

/// The staging directories of one restore, by the mount they are on; and the directories that were made writable for it.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    directories: Mutex<HashMap<(u64, u64), Arc<Directory>>>,
    opened_up: Mutex<HashMap<FileId, (OwnedFd, Mode)>>,
}

/// Valid after every single step, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory that something is to get a name in.
#[derive(Debug)]
pub(crate) struct Parent {
    handle: OwnedFd,
    facts: OnceLock<Facts>,
}

#[derive(Debug)]
struct Facts {
    directory: Arc<Directory>,
    /// What is made in the directory belongs to this group.
    group: Option<Gid>,
}

impl Parent {
    pub(crate) fn new(handle: OwnedFd) -> Parent {
        Parent { handle, facts: OnceLock::new() }
    }
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Staging {
    /// A fresh entry for what is to be called `name` in `parent`; `path` is that name in full, for errors.
    pub(crate) fn stage(
        self: &Arc<Self>,
        parent: Arc<Parent>,
        name: &OsStr,
        path: PathBuf,
    ) -> Result<Staged, SinkError> {
        let (directory, group) = match parent.facts.get() {
            Some(facts) => (Arc::clone(&facts.directory), facts.group),
            None => {
                let facts = self.facts(&parent, &path)?;
                let found = (Arc::clone(&facts.directory), facts.group);
                // Another thread may have been first, with the same facts.
                let _same = parent.facts.set(facts);
                found
            }
        };
        let number = directory.next.fetch_add(1, Ordering::Relaxed);
        let entry = OsString::from(number.to_string());
        let (name, staging) = (name.to_owned(), Arc::clone(self));
        let (replace_used, published) = (false, false);
        Ok(Staged { parent, directory, group, entry, name, path, staging, replace_used, published })
    }

    fn facts(&self, parent: &Parent, path: &Path) -> Result<Facts, SinkError> {
        let fail = |error| SinkError::new(path, "look at the directory it is to be in", error);
        // A rename goes neither from one mount to another of the same file system nor, on btrfs, from one subvolume to
        // another of the same mount: those have devices of their own.
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let stat = rustix::fs::statx(parent, "", AtFlags::EMPTY_PATH, wanted).map_err(fail)?;
        let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
        let mount = match stat.stx_mask & StatxFlags::MNT_ID.bits() {
            0 => (0, device),
            _ => (stat.stx_mnt_id, device),
        };
        let inherits = Mode::from_raw_mode(stat.stx_mode.into()).contains(Mode::SGID);
        let group = inherits.then(|| Gid::from_raw(stat.stx_gid));
        let mut directories = lock(&self.directories);
        let directory = match directories.get(&mount) {
            Some(directory) => Arc::clone(directory),
            None => {
                let made = Directory::make(self, parent.as_fd(), path)?;
                Arc::clone(directories.entry(mount).or_insert(Arc::new(made)))
            }
        };
        Ok(Facts { directory, group })
    }

    /// Removes the staging directories, when every entry is in its place.
    pub(crate) fn close(&self) {
        lock(&self.directories).clear();
    }

    /// Does `act` to `directory`; if that belongs to this user and is read-only, it is made writable first.
    pub(crate) fn with_access<T>(
        &self,
        directory: BorrowedFd<'_>,
        act: impl Fn() -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        match act() {
            Err(Errno::ACCESS) if self.open_up(directory) => act(),
            result => result,
        }
    }

    /// Makes a directory of this user's writable to him, until this restore ends; whether that changed anything.
    pub(crate) fn open_up(&self, directory: BorrowedFd<'_>) -> bool {
        let Ok(stat) = rustix::fs::fstat(directory) else { return false };
        let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
        let (mode, needed) = (Mode::from_raw_mode(stat.st_mode), Mode::from_raw_mode(PRIVATE));
        if !is_ours || mode.contains(needed) {
            return false;
        }
        let Ok(handle) = directory.try_clone_to_owned() else { return false };
        let changed = chmod(directory, mode | needed).is_ok();
        if changed {
            lock(&self.opened_up).insert(FileId::of(&stat), (handle, mode));
        }
        changed
    }

    /// Forgets the mode that a directory had: it got another one.
    pub(crate) fn keep_mode(&self, directory: FileId) {
        lock(&self.opened_up).remove(&directory);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // While what they are in can still be written to.
        self.close();
        for (handle, mode) in lock(&self.opened_up).values() {
            // If it was moved or removed meanwhile, its mode no longer concerns us.
            let _ignored = chmod(handle.as_fd(), *mode);
        }
    }
}

/// Changes the mode of a directory that is held by a descriptor without any rights of its own.
fn chmod(directory: BorrowedFd<'_>, mode: Mode) -> rustix::io::Result<()> {
    rustix::fs::chmod(format!("/proc/self/fd/{}", directory.as_raw_fd()), mode)
}

/// One staging directory. Dropped, it is gone.
#[derive(Debug)]
struct Directory {
    handle: OwnedFd,
    home: OwnedFd,
    name: OsString,
    /// Open and locked for as long as this lives.
    marker: Option<File>,
    next: AtomicU64,
}

impl Directory {
    fn make(staging: &Staging, home: BorrowedFd<'_>, path: &Path) -> Result<Self, SinkError> {
        let fail =
            |error: std::io::Error| SinkError::new(path, "make a directory to build it in", error);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| fail(std::io::Error::other(error)))?;
        let name = OsString::from(format!("{PREFIX}{:016x}", u64::from_le_bytes(random)));
        let make = || rustix::fs::mkdirat(home, &name, Mode::from_raw_mode(PRIVATE));
        staging.with_access(home, make).map_err(|error| fail(error.into()))?;
        Directory::take(home, name, path)
    }

    /// Takes the directory that was made a moment before for our own, if it is.
    fn take(home: BorrowedFd<'_>, name: OsString, path: &Path) -> Result<Self, SinkError> {
        let fail =
            |error: std::io::Error| SinkError::new(path, "make a directory to build it in", error);
        let handle = open_directory(home, &name).map_err(|error| fail(error.into()))?;
        let exchanged = || {
            let why = "another user put something else in its place";
            SinkError::refused(path, "make a directory to build it in", why)
        };
        // One that holds something was not made a moment ago; an empty one of ours is as good as ours.
        if names_in(handle.as_fd()).is_none_or(|names| !names.is_empty()) {
            return Err(exchanged());
        }
        let (marker, owner) = mark(&handle).map_err(fail)?;
        if !is_owned(&handle, owner).map_err(|error| fail(error.into()))? {
            return Err(exchanged());
        }
        // An umask or a mount can take more away than others' rights; a file system without modes keeps what it has.
        let _kept = rustix::fs::fchmod(&handle, Mode::from_raw_mode(PRIVATE));
        // What is restored has the ACLs of the archive and no others.
        let _none = rustix::fs::fremovexattr(&handle, "system.posix_acl_default");
        remove_stale(home, owner);
        let home = home.try_clone_to_owned().map_err(fail)?;
        Ok(Directory { handle, home, name, marker: Some(marker), next: AtomicU64::new(0) })
    }
}

/// Writes the marker, under a lock: before it has its lock it says nothing, so that nobody takes it for a dead run's. Gives
/// it and whom new files here belong to: this user, or whoever the mount says.
fn mark(directory: &OwnedFd) -> std::io::Result<(File, u32)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let mut file = File::from(rustix::fs::openat(directory, MARKER, flags, mode)?);
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        file.write_all(MARK)?;
    }
    let owner = rustix::fs::fstat(&file)?.st_uid;
    Ok((file, owner))
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is open and removed stays under another name on NFS and FUSE, and the directory with it.
        drop(self.marker.take());
        // Nobody could act on a failure; the next restore to this place removes what is left.
        let _ignored = rustix::fs::unlinkat(&self.handle, MARKER, AtFlags::empty());
        let _ignored = rustix::fs::unlinkat(&self.home, &self.name, AtFlags::REMOVEDIR);
    }
}

fn open_directory(home: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(home, name, flags, Mode::empty())
}

fn is_owned(file: impl AsFd, owner: u32) -> rustix::io::Result<bool> {
    Ok(rustix::fs::fstat(file)?.st_uid == owner)
}

/// Removes what killed restores of this user left in a directory, if anything.
pub fn remove_leftovers(directory: &Path) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(home) = rustix::fs::open(directory, flags, Mode::empty()) {
        remove_stale(home.as_fd(), rustix::process::geteuid().as_raw());
    }
}

/// Removes what killed runs left in a directory, where new files belong to `owner`. What is not wholly theirs stays as it is.
fn remove_stale(home: BorrowedFd<'_>, owner: u32) {
    for name in names_in(home).unwrap_or_default() {
        let is_ours = name
            .as_bytes()
            .strip_prefix(PREFIX.as_bytes())
            .is_some_and(|digits| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit));
        if is_ours && let Ok(left) = open_directory(home, &name) {
            let _still_used = remove_left(home, &name, &left, owner);
        }
    }
}

fn remove_left(home: BorrowedFd<'_>, name: &OsStr, left: &OwnedFd, owner: u32) -> Option<()> {
    // For writing: network file systems give an exclusive lock only then.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let marker = File::from(rustix::fs::openat(left, MARKER, flags, Mode::empty()).ok()?);
    if !is_owned(left, owner).ok()? || !is_owned(&marker, owner).ok()? {
        return None;
    }
    let mut said = [0; MARK.len() + 1];
    let len = marker.read_at(&mut said, 0).ok()?;
    rustix::fs::flock(&marker, FlockOperation::NonBlockingLockExclusive).ok()?;
    let entries = names_in(left.as_fd())?;
    let is_entry =
        |entry: &OsString| *entry == *MARKER || entry.as_bytes().iter().all(u8::is_ascii_digit);
    if said.get(..len) != Some(MARK) || !entries.iter().all(is_entry) {
        return None;
    }
    for entry in entries.iter().filter(|entry| **entry != *MARKER) {
        rustix::fs::unlinkat(left, entry, AtFlags::empty()).ok()?;
    }
    // See `Directory::drop`. Should another restore do the same at this moment, one of the two finds nothing any more.
    drop(marker);
    rustix::fs::unlinkat(left, MARKER, AtFlags::empty()).ok()?;
    rustix::fs::unlinkat(home, name, AtFlags::REMOVEDIR).ok()
}

/// The names in a directory, if it can be read.
fn names_in(directory: BorrowedFd<'_>) -> Option<Vec<OsString>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, ".", flags, Mode::empty()).ok()?;
    let mut names = Vec::new();
    for entry in Dir::new(opened).ok()? {
        let entry = entry.ok()?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name => names.push(OsStr::from_bytes(name).to_owned()),
        }
        if names.len() > NAMES_MAX {
            return None;
        }
    }
    Some(names)
}

/// Something in a staging directory that is to become NAME. Dropped before it is published, it is gone.
#[derive(Debug)]
pub(crate) struct Staged {
    parent: Arc<Parent>,
    directory: Arc<Directory>,
    group: Option<Gid>,
    entry: OsString,
    name: OsString,
    path: PathBuf,
    staging: Arc<Staging>,
    /// Whether an image may be replaced that a virtual machine has opened meanwhile.
    replace_used: bool,
    published: bool,
}

impl Staged {
    /// The same, and whether images may be replaced that a virtual machine has open.
    pub(crate) fn replace_used(mut self, used: bool) -> Staged {
        self.replace_used = used;
        self
    }

    /// It will be NAME and `suffix`.
    pub(crate) fn append_to_name(&mut self, suffix: &str) {
        self.name.push(suffix);
        self.path.as_mut_os_string().push(suffix);
    }

    /// NAME in full.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it: `create` is given the staging directory and the entry's name.
    pub(crate) fn create<T>(
        &self,
        create: impl Fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<T>,
    ) -> Result<T, SinkError> {
        let created = create(self.directory.handle.as_fd(), &self.entry);
        created.map_err(|error| SinkError::new(&self.path, "create the file", error))
    }

    /// Opens it without any rights, for what is done to special files and links.
    pub(crate) fn handle(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory.handle, &self.entry, flags, Mode::empty())
    }

    /// The group that things in the parent belong to, if the parent says so.
    pub(crate) fn group(&self) -> Option<Gid> {
        self.group
    }

    /// Renames it to NAME; an empty directory there goes first.
    pub(crate) fn publish(mut self) -> Result<(), SinkError> {
        self.rename()?;
        self.published = true;
        Ok(())
    }

    /// The same for another name of a file. A rename between two names of one file does nothing, so that the entry may
    /// still be there: it goes with this.
    pub(crate) fn publish_link(self) -> Result<(), SinkError> {
        self.rename()
    }

    fn rename(&self) -> Result<(), SinkError> {
        let (from, to) = (&self.directory.handle, self.parent.as_fd());
        // Asked again: writing takes long enough to start a virtual machine in.
        if !self.replace_used && is_used(to, &self.name) {
            return Err(SinkError::used(&self.path));
        }
        let rename = || rustix::fs::renameat(from, &self.entry, to, &self.name);
        let replace = || match rename() {
            Err(Errno::ISDIR) => {
                rustix::fs::unlinkat(to, &self.name, AtFlags::REMOVEDIR).and_then(|()| rename())
            }
            result => result,
        };
        let renamed = self.staging.with_access(to, replace);
        renamed.map_err(|error| SinkError::new(&self.path, "put the complete file there", error))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            let _gone = rustix::fs::unlinkat(&self.directory.handle, &self.entry, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests;
