//! A repository in a directory of a local file system.
//!
//! ```text
//! README config lock  keys/SLOT  packs/00..ff/PACK  index/SEGMENT  backups/NAME  tmp/
//! ```
//!
//! A put writes `tmp/RANDOM`, syncs its data and renames it to its place; `sync` then syncs the directories that were
//! touched, opened before the renames so that an error of theirs is not lost. Every directory but those inside `backups/` is
//! made by `create`. The lock is a kernel lock on the file `lock`: it ends with the process, so there is none to break.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use format::archive::is_archive_name;
use format::{PackId, SegmentId, SlotId};

use super::{Area, Guard, Key, LockMode, Store, StoreError, StoreErrorKind};

const README: &str = "This is a garret backup repository: see `garret help`. Do not change files here by hand,\n\
                      except that files in backups/ may be renamed or removed.\n";

/// The directories of a repository.
const DIRECTORIES: [&str; 5] = ["keys", "packs", "index", "backups", "tmp"];

/// A directory that holds, or will hold, a repository.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    /// Directories whose entries changed since the last sync.
    touched: Mutex<BTreeMap<PathBuf, File>>,
}

impl LocalStore {
    /// The store in `root`, whether or not there is a repository yet.
    pub fn open(root: &Path) -> Self {
        LocalStore { root: root.to_owned(), touched: Mutex::default() }
    }

    /// Makes the directories of a new repository in `root`, which must be absent or an empty directory.
    ///
    /// # Errors
    /// `AlreadyExists` if there is anything in `root`.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        let fail = |source| StoreError::new("create", root.display(), source);
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(fail)?;
        }
        match private_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let is_empty = fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_none());
                is_empty.then_some(()).ok_or(fail(error))?;
            }
            result => result.map_err(fail)?,
        }
        let built = build(root);
        if built.is_err() {
            // The directory was empty, so all that is in it now is from here; init can be tried again.
            drop(clear(root));
        }
        built.map_err(fail)?;
        Ok(Self::open(root))
    }

    /// Removes the repository, its configuration first: if this is cut short, what is left opens to nobody. A file that is
    /// not the repository's stays, and the directory with it. Only for the holder of the exclusive lock.
    pub fn remove(&self) -> Result<(), StoreError> {
        let fail = |source| StoreError::new("remove", self.root.display(), source);
        self.delete(&Key::Config)?;
        self.sync()?;
        for name in DIRECTORIES {
            match fs::remove_dir_all(self.root.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
                _ => {}
            }
        }
        for name in ["README", "lock"] {
            match fs::remove_file(self.root.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
                _ => {}
            }
        }
        fs::remove_dir(&self.root).map_err(fail)
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.to_string())
    }

    /// The directory that holds `path`, opened before it is changed, so that an error of its writing is not lost.
    fn directory_of(&self, path: &Path) -> io::Result<(PathBuf, File)> {
        let directory = path.parent().unwrap_or(&self.root);
        Ok((directory.to_owned(), File::open(directory)?))
    }

    /// Remembers to sync a directory that was changed. Not before the change: another thread's sync would come too early.
    fn touched(&self, (path, directory): (PathBuf, File)) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.entry(path).or_insert(directory);
    }

    /// Writes a temporary file whose data is durable, ready to be renamed.
    fn stage(&self, parts: &[&[u8]]) -> io::Result<Staged> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        let path = self.root.join("tmp").join(SlotId::from_bytes(name).to_string());
        let mut file = private_file(&path)?;
        let staged = Staged { path };
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_data()?;
        Ok(staged)
    }

    /// Makes what is missing between the root and `path`: for an archive with `/` in its name, and for a directory that
    /// somebody removed.
    fn make_parents(&self, path: &Path) -> io::Result<()> {
        let missing = |path: &&Path| !path.is_dir();
        let mut parents: Vec<&Path> = path.ancestors().skip(1).take_while(missing).collect();
        while let Some(parent) = parents.pop() {
            let directory = self.directory_of(parent)?;
            match private_dir(parent) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => self.touched(directory),
            }
        }
        Ok(())
    }

    fn list_ids(
        &self,
        directory: &Path,
        keys: &mut Vec<Key>,
        key: fn(&str) -> Option<Key>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            keys.extend(entry?.file_name().to_str().and_then(key));
        }
        Ok(())
    }

    fn list_archives(&self, directory: &Path, prefix: &str, keys: &mut Vec<Key>) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}"))
            else {
                continue;
            };
            if !is_archive_name(&name) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.list_archives(&entry.path(), &format!("{name}/"), keys)?;
            } else if kind.is_file() {
                keys.push(Key::Archive(name));
            }
        }
        Ok(())
    }

    fn error(&self, operation: &'static str, key: &Key, source: io::Error) -> StoreError {
        StoreError::new(operation, self.path(key).display(), source)
    }
}

impl Store for LocalStore {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        let path = self.path(key);
        let put = || {
            let staged = self.stage(parts)?;
            self.make_parents(&path)?;
            let directory = self.directory_of(&path)?;
            fs::rename(&staged.path, &path)?;
            self.touched(directory);
            Ok(())
        };
        put().map_err(|source| self.error("write", key, source))
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(key);
        let put = || {
            let staged = self.stage(&[bytes])?;
            self.make_parents(&path)?;
            let directory = self.directory_of(&path)?;
            rename_new(&staged.path, &path)?;
            self.touched(directory);
            Ok(())
        };
        put().map_err(|source| self.error("create", key, source))
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let read = || {
            let mut file = File::open(self.path(key))?;
            let end = file.metadata()?.len();
            if range.end > end || range.start > range.end {
                let text = format!("it ends at {end}, bytes up to {} are needed", range.end);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            file.seek(SeekFrom::Start(range.start))?;
            let mut bytes = vec![0; (range.end - range.start) as usize];
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| self.error("read", key, source))
    }

    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        match fs::metadata(self.path(key)) {
            Ok(metadata) => Ok(metadata.len()),
            Err(source) => Err(self.error("read", key, source)),
        }
    }

    fn list(&self, area: Area) -> Result<Vec<Key>, StoreError> {
        let mut keys = Vec::new();
        let listed = match area {
            Area::Slots => self.list_ids(&self.root.join("keys"), &mut keys, |name| {
                SlotId::from_hex(name).map(Key::Slot)
            }),
            Area::Index => self.list_ids(&self.root.join("index"), &mut keys, |name| {
                SegmentId::from_hex(name).map(Key::Index)
            }),
            Area::Packs => (0..=u8::MAX).try_for_each(|shard| {
                let directory = self.root.join("packs").join(format!("{shard:02x}"));
                self.list_ids(&directory, &mut keys, |name| PackId::from_hex(name).map(Key::Pack))
            }),
            Area::Archives => self.list_archives(&self.root.join("backups"), "", &mut keys),
        };
        match listed {
            Ok(()) => Ok(keys),
            // An area that is gone holds nothing; an index is rebuilt, lost archives show as lost.
            Err(error) if error.kind() == io::ErrorKind::NotFound && area == Area::Index => {
                Ok(keys)
            }
            Err(error) => Err(StoreError::new("list", self.root.display(), error)),
        }
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let path = self.path(key);
        let delete = || -> io::Result<()> {
            let directory = self.directory_of(&path)?;
            fs::remove_file(&path)?;
            self.touched(directory);
            Ok(())
        };
        match delete() {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(self.error("delete", key, source))
            }
            _ => Ok(()),
        }
    }

    fn adopt(&self, key: &Key) -> Result<(), StoreError> {
        let directory = self.directory_of(&self.path(key));
        self.touched(directory.map_err(|source| self.error("sync", key, source))?);
        Ok(())
    }

    fn sweep(&self) -> Result<(), StoreError> {
        let tmp = self.root.join("tmp");
        let sweep = || {
            for entry in fs::read_dir(&tmp)? {
                fs::remove_file(entry?.path())?;
            }
            Ok(())
        };
        sweep().map_err(|source| StoreError::new("clean", tmp.display(), source))
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((path, directory)) = touched.pop_first() {
            directory
                .sync_all()
                .map_err(|source| StoreError::new("sync", path.display(), source))?;
        }
        Ok(())
    }

    fn lock(
        &self,
        mode: LockMode,
        waiting: &mut dyn FnMut(),
    ) -> Result<Box<dyn Guard>, StoreError> {
        let path = self.root.join("lock");
        let fail = |source| StoreError::new("lock", path.display(), source);
        let file = File::open(&path).map_err(fail)?;
        let tried = match mode {
            LockMode::Shared => file.try_lock_shared(),
            LockMode::Exclusive => file.try_lock(),
        };
        match (tried, mode) {
            (Ok(()), _) => {}
            (Err(TryLockError::WouldBlock), LockMode::Shared) => {
                waiting();
                file.lock_shared().map_err(fail)?;
            }
            (Err(TryLockError::WouldBlock), LockMode::Exclusive) => {
                waiting();
                file.lock().map_err(fail)?;
            }
            (Err(TryLockError::Error(source)), _) => return Err(fail(source)),
        }
        Ok(Box::new(LocalGuard { _file: file }))
    }

    fn place(&self) -> String {
        self.root.display().to_string()
    }
}

/// The kernel releases the lock when the file is closed.
struct LocalGuard {
    _file: File,
}

impl Guard for LocalGuard {}

/// A temporary file; whatever is still there when this is dropped is removed.
struct Staged {
    path: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a successful rename there is nothing to remove; after a failure there is nothing more to be done about it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes the directories and files of an empty repository, durably.
fn build(root: &Path) -> io::Result<()> {
    for name in DIRECTORIES {
        private_dir(&root.join(name))?;
    }
    let packs = root.join("packs");
    for shard in 0..=u8::MAX {
        private_dir(&packs.join(format!("{shard:02x}")))?;
    }
    for (name, text) in [("README", README), ("lock", "")] {
        let mut file = private_file(&root.join(name))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    File::open(&packs)?.sync_all()?;
    File::open(root)?.sync_all()
}

/// Removes everything in a directory.
fn clear(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Renames unless the target exists, in one step.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let cwd = rustix::fs::CWD;
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(cwd, from, cwd, to, flags) {
        // File systems without the flag: a hard link is as exclusive.
        Err(rustix::io::Errno::INVAL) => fs::hard_link(from, to),
        result => Ok(result?),
    }
}

impl StoreErrorKind {
    /// Whether the object is not there.
    pub fn is_not_found(self) -> bool {
        self == StoreErrorKind::NotFound
    }
}
