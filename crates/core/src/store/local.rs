//! A repository in a directory of a local file system.
//!
//! ```text
//! README config  keys/SLOT  packs/00..ff/PACK  index/SEGMENT  backups/NAME  tags/HASH
//! damaged/PACK  quarantine/PACK  copies/NAME  tmp/
//! ```
//!
//! A put writes `tmp/RANDOM`, syncs its data and renames it to its place; `sync` then syncs the directories that were
//! touched, opened before the renames so that an error of theirs is not lost. Directories are made when something is put into
//! them, so a copy without empty ones is a repository too. The lock is a kernel lock on `config`. Promises: nothing outside
//! of the directory is read, written or removed, whatever links lie in it; what is not the repository's is left alone.

mod beneath;
mod listing;
mod lock;
mod make;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::{Range, RangeInclusive};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use garret_format::condemned::EPOCH_MAX;
use garret_format::{ArchiveHash, PackId, SegmentId, SlotId};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode};
use rustix::io::Errno;

use super::{Area, Guard, Key, LockMode, Store, StoreError};
use beneath::{Beneath, Identity, identity, permit, read_range, remove_file, rename_new};

pub use make::Sharing;

/// Where files are written.
const TMP: &str = "tmp";
/// What a directory has that is used by SFTP.
const LEASES: &str = "leases";
/// Where archives are.
const BACKUPS: &str = "backups";

/// A directory that holds, or will hold, a repository.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    /// Whether the directory was made by `create`.
    is_new: bool,
    /// The directory, locked by `create` until its repository is made.
    _begun: Option<File>,
    beneath: Beneath,
    permissions: OnceLock<Permissions>,
    state: Mutex<State>,
}

/// What new files and directories may be done with, and by whom.
#[derive(Clone, Copy, Debug)]
struct Permissions {
    file: RawMode,
    directory: RawMode,
}

impl Permissions {
    const PRIVATE: Permissions = Permissions { file: 0o600, directory: 0o700 };
    const OF_FILES: RawMode = 0o666;
    /// With the bit that makes what is in a directory belong to its group.
    const OF_DIRECTORIES: RawMode = 0o2777;
}

#[derive(Debug, Default)]
struct State {
    /// Directories whose entries changed since the last sync.
    touched: BTreeMap<PathBuf, OwnedFd>,
    /// Directories whose own entries, all the way up, are durable or touched. Another program may have made one and not
    /// synced it yet, or have died.
    vouched: BTreeSet<PathBuf>,
    /// What was passed over.
    foreign: BTreeSet<String>,
    foreign_told: bool,
    /// What could not be synced, and why: from then on nothing can be.
    sync_failed: Option<(PathBuf, String)>,
    /// Why directories cannot be synced at all on this file system.
    unsynced: Option<io::Error>,
    unsynced_told: bool,
}

impl LocalStore {
    /// The store in the directory `root`, whether or not there is a repository yet. What happens to the path afterwards makes
    /// no difference.
    ///
    /// # Errors
    /// It is no directory, cannot be opened, or is used by SFTP.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::new("open", root.display(), source);
        let beneath = Beneath::open(root).map_err(failed)?;
        // Whoever is there by SFTP has a lease there, which nobody sees here.
        if beneath.directory(Path::new(LEASES)).is_ok() {
            let why = "it is used by SFTP, and only so: name it sftp://HOST/PATH, or sync it to another place";
            return Err(failed(io::Error::other(why)));
        }
        let (_begun, permissions, state) = Default::default();
        Ok(LocalStore { root: root.to_owned(), is_new: false, _begun, beneath, permissions, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of `config` and of the directory it is in: who changes these has all that comes later follow.
    fn permissions(&self) -> io::Result<Permissions> {
        if let Some(known) = self.permissions.get() {
            return Ok(*known);
        }
        let mode = |of: &dyn AsFd| rustix::fs::fstat(of).map(|stat| stat.st_mode);
        let found = match self.beneath.file(Path::new("config"), OFlags::RDONLY) {
            Ok(config) => Permissions {
                file: mode(&config)? & Permissions::OF_FILES,
                directory: mode(&self.beneath.directory(Path::new(""))?)?
                    & Permissions::OF_DIRECTORIES,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Permissions::PRIVATE,
            Err(error) => return Err(error),
        };
        Ok(*self.permissions.get_or_init(|| found))
    }

    /// Remembers to sync a directory that was changed. Not before the change: another thread's sync would come too early.
    fn touch(&self, path: &Path, directory: OwnedFd) -> io::Result<()> {
        let mut state = self.state();
        if state.vouched.insert(path.to_owned()) {
            for above in path.ancestors().skip(1) {
                let directory = self.beneath.directory(above)?;
                state.touched.entry(above.to_owned()).or_insert(directory);
            }
        }
        state.touched.entry(path.to_owned()).or_insert(directory);
        Ok(())
    }

    /// The directory at `path`, made with what is missing above it.
    fn make_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let missing = match self.beneath.directory(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.ancestors(),
            result => return result,
        };
        let mode = self.permissions()?.directory;
        let mut made = self.beneath.directory(Path::new(""))?;
        let mut parts: Vec<&Path> = missing.filter(|part| part.file_name().is_some()).collect();
        while let Some(part) = parts.pop() {
            let above = made;
            let name = part.file_name().unwrap_or_default();
            let new = match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(mode)) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error.into()),
            };
            made = self.beneath.directory(part)?;
            if new {
                permit(&made, mode);
                self.touch(part.parent().unwrap_or(Path::new("")), above)?;
            }
        }
        Ok(made)
    }

    /// The file of an object, open for reading: the regular file beneath the root, and nothing that a link leads to.
    ///
    /// # Errors
    /// That it is not there, or is no file.
    pub fn file_of(&self, key: &Key) -> Result<File, StoreError> {
        let file = self.beneath.file(&path_of(key), OFlags::RDONLY);
        file.map_err(|source| self.error("open", key, source))
    }

    /// Writes a temporary file whose data is durable, ready to be renamed.
    fn stage(&self, parts: &[&[u8]]) -> io::Result<Staged> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        let name = OsString::from(SlotId::from_bytes(name).to_string());
        let directory = self.make_directory(Path::new(TMP))?;
        let mode = self.permissions()?.file;
        let mut file = create(&directory, &name, mode)?;
        let identity = identity(&file)?;
        let staged = Staged { directory, name, identity };
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_data()?;
        Ok(staged)
    }

    /// Puts an object into its place, replacing another or not.
    fn place_object(&self, key: &Key, parts: &[&[u8]], replace: bool) -> io::Result<()> {
        self.settle(self.stage(parts)?, key, parts, replace)
    }

    /// Gives a temporary file the name of an object.
    fn settle(&self, staged: Staged, key: &Key, parts: &[&[u8]], replace: bool) -> io::Result<()> {
        let path = path_of(key);
        let (above, name) = split(&path);
        let directory = self.make_directory(above)?;
        let moved = match replace {
            true => rustix::fs::renameat(&staged.directory, &staged.name, &directory, name),
            false => rename_new((&staged.directory, &staged.name), (&directory, name)),
        };
        match moved {
            // Over a network an answer may be lost and the call be made again: it was done, and now it cannot be.
            Err(Errno::EXIST | Errno::NOENT) if self.has_moved(&staged, &path, parts) => {}
            moved => moved?,
        }
        self.touch(above, directory)
    }

    /// Whether what has this name is the temporary file, whole: not only by its number, which some file systems give twice.
    fn has_moved(&self, staged: &Staged, path: &Path, parts: &[&[u8]]) -> bool {
        let looked = || {
            let mut file = self.beneath.file(path, OFlags::RDONLY)?;
            let mut bytes = Vec::new();
            let is_same = identity(&file)? == staged.identity;
            if is_same {
                let len: usize = parts.iter().map(|part| part.len()).sum();
                (&mut file).take(len as u64 + 1).read_to_end(&mut bytes)?;
            }
            Ok::<_, io::Error>(is_same && bytes == parts.concat())
        };
        looked().is_ok_and(|is_ours| is_ours)
    }

    /// The entries of a directory; none if it is missing.
    fn entries(&self, path: &Path) -> io::Result<Vec<(OsString, FileType)>> {
        match self.beneath.entries(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) if error.raw_os_error().is_some() => {
                Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())))
            }
            entries => entries,
        }
    }

    fn error(&self, operation: &'static str, key: &Key, source: io::Error) -> StoreError {
        StoreError::new(operation, self.root.join(path_of(key)).display(), source)
    }
}

fn path_of(key: &Key) -> PathBuf {
    PathBuf::from(key.to_string())
}

/// The directory of an object and its name in it.
fn split(path: &Path) -> (&Path, &OsStr) {
    (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default())
}

/// Makes a file that is not there yet.
fn create(directory: &OwnedFd, name: &OsStr, mode: RawMode) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(mode))?;
    permit(&file, mode);
    Ok(File::from(file))
}

impl Store for LocalStore {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.place_object(key, parts, true).map_err(|source| self.error("write", key, source))
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.place_object(key, &[bytes], false).map_err(|source| self.error("create", key, source))
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let read = || {
            let file = self.beneath.file(&path_of(key), OFlags::RDONLY)?;
            let end = file.metadata()?.len();
            if range.end > end || range.start > range.end {
                let text = format!("it ends at {end}, bytes up to {} are needed", range.end);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            read_range(&file, range.clone())
        };
        read().map_err(|source| self.error("read", key, source))
    }

    fn get_whole(&self, key: &Key, max: u64) -> Result<Vec<u8>, StoreError> {
        let open = || {
            let file = self.beneath.file(&path_of(key), OFlags::RDONLY)?;
            let len = file.metadata()?.len();
            Ok((file, len))
        };
        let (file, len) = open().map_err(|source| self.error("read", key, source))?;
        if len > max {
            return Err(StoreError::too_long(self.root.join(path_of(key)).display(), len, max));
        }
        read_range(&file, 0..len).map_err(|source| self.error("read", key, source))
    }

    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        let file = self.beneath.file(&path_of(key), OFlags::RDONLY);
        match file.and_then(|file| file.metadata()) {
            Ok(metadata) => Ok(metadata.len()),
            Err(source) => Err(self.error("read", key, source)),
        }
    }

    /// Whether a pack begins like one is not looked at: there may be a million, and whoever cannot read one looks.
    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        let mut keys = Vec::new();
        let listed = match area {
            Area::Slots => self.list_ids(Path::new("keys"), &mut keys, |name| {
                SlotId::from_hex(name).map(Key::Slot)
            }),
            Area::Packs => self.list_packs(&mut keys),
            Area::Index => self.list_ids(Path::new("index"), &mut keys, |name| {
                SegmentId::from_hex(name).map(Key::Index)
            }),
            Area::Archives => self.list_archives(&mut keys),
            Area::Damage => self.list_ids(Path::new("damaged"), &mut keys, |name| {
                PackId::from_hex(name).map(Key::Damage)
            }),
            Area::Quarantine => self.list_ids(Path::new("quarantine"), &mut keys, |name| {
                PackId::from_hex(name).map(Key::Quarantine)
            }),
            Area::Tags => self.list_ids(Path::new("tags"), &mut keys, |name| {
                ArchiveHash::from_hex(name).map(Key::Tags)
            }),
            Area::Copies => self.list_ids(Path::new("copies"), &mut keys, |name| match name {
                "config" => Some(Key::ConfigCopy),
                "tombstones" => Some(Key::TombstonesCopy),
                name => SlotId::from_hex(name)
                    .map(Key::SlotCopy)
                    .or_else(|| ArchiveHash::from_hex(name).map(Key::ArchiveCopy)),
            }),
        };
        listed.map_err(|error| StoreError::new("list", self.root.display(), error))?;
        self.pass_over_foreign(&mut keys);
        // A directory that changes while it is listed may give a name twice, and so may a bad file system.
        keys.sort_unstable();
        keys.dedup_by(|(one, _), (other, _)| one == other);
        Ok(keys)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let path = path_of(key);
        let (above, name) = split(&path);
        let delete = || -> io::Result<()> {
            let directory = self.beneath.directory(above)?;
            match remove_file(&directory, name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                // Who tries again what failed halfway finds nothing: the next sync covers that too.
                _ => self.touch(above, directory),
            }
        };
        match delete() {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(self.error("delete", key, source))
            }
            _ => Ok(()),
        }
    }

    fn adopt(&self, key: &Key) -> Result<(), StoreError> {
        let path = path_of(key);
        let (above, _) = split(&path);
        let adopt = || self.touch(above, self.beneath.directory(above)?);
        adopt().map_err(|source| self.error("sync", key, source))
    }

    fn doubtful(&self) -> Result<Vec<String>, StoreError> {
        let found = self.doubtful_archives();
        found.map_err(|source| StoreError::new("list", self.root.join(BACKUPS).display(), source))
    }

    fn strangers(&self) -> Result<Vec<(Key, u64)>, StoreError> {
        let mut keys = Vec::new();
        let listed = self.list_archives(&mut keys);
        listed.map_err(|error| StoreError::new("list", self.root.display(), error))?;
        keys.retain(|(key, _)| self.begins_otherwise(key));
        Ok(keys)
    }

    fn sweep(&self) -> Result<(), StoreError> {
        let tmp = Path::new(TMP);
        let sweep = || {
            let mut left = self.entries(tmp)?;
            // Nothing else in there was made by a put.
            left.retain(|(name, kind)| {
                let ours = name.to_str().and_then(SlotId::from_hex).is_some();
                ours && *kind == FileType::RegularFile
            });
            if left.is_empty() {
                return Ok(());
            }
            let directory = self.beneath.directory(tmp)?;
            let remove = |name| match remove_file(&directory, name) {
                // As when something is deleted: a call that is made again finds nothing.
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
            // Asked after the listing: what a session puts that begins from now on was not in it.
            if lock::has_sessions(&self.beneath, 0..=EPOCH_MAX)? {
                return Ok(());
            }
            left.iter().try_for_each(|(name, _)| remove(name))
        };
        sweep().map_err(|source| StoreError::new("clean", self.root.join(TMP).display(), source))
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        // The kernel tells an error of writing once: what came back as an error must not be asked for again and be fine.
        if let Some((path, what)) = &state.sync_failed {
            let error = io::Error::other(format!("it failed before: {what}"));
            return Err(StoreError::new("sync", path.display(), error));
        }
        while let Some((path, directory)) = state.touched.pop_first() {
            match rustix::fs::fsync(&directory) {
                Ok(()) => {}
                // The file system has no such call for directories: nothing was lost, and nothing can be done.
                Err(error @ (Errno::INVAL | Errno::OPNOTSUPP)) => {
                    state.unsynced = Some(error.into());
                }
                Err(error) => {
                    let path = self.root.join(path);
                    state.sync_failed = Some((path.clone(), error.to_string()));
                    return Err(StoreError::new("sync", path.display(), error.into()));
                }
            }
        }
        Ok(())
    }

    fn lock(
        &self,
        mode: LockMode,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn Guard>, StoreError> {
        match lock::take(&self.beneath, mode, patience, waiting) {
            Ok(guard) => Ok(Box::new(guard)),
            Err(source) => Err(self.error("lock", &Key::Config, source)),
        }
    }

    fn has_sessions(&self, epochs: RangeInclusive<u64>) -> Result<bool, StoreError> {
        lock::has_sessions(&self.beneath, epochs)
            .map_err(|source| self.error("look for locks on", &Key::Config, source))
    }

    fn pass_over(&self, key: &Key) {
        self.note_foreign(&path_of(key));
    }

    fn notices(&self) -> Vec<String> {
        let mut state = self.state();
        let mut lines = Vec::new();
        if let (Some(first), false) = (state.foreign.first(), state.foreign_told) {
            lines.push(match state.foreign.len() {
                1 => format!("passed over {first}, which is not the repository's"),
                count => {
                    format!(
                        "passed over {count} files that are not the repository's, first {first}"
                    )
                }
            });
            state.foreign_told = true;
        }
        if let (Some(error), false) = (&state.unsynced, state.unsynced_told) {
            lines.push(format!(
                "{}: directories cannot be synced on this file system ({error}): a power cut may take back what was \
                 written last",
                self.root.display()
            ));
            state.unsynced_told = true;
        }
        lines
    }

    fn place(&self) -> String {
        self.root.display().to_string()
    }
}

/// A temporary file; whatever is still there when this is dropped is removed.
struct Staged {
    directory: OwnedFd,
    name: OsString,
    identity: Identity,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a successful rename there is nothing to remove; after a failure there is nothing more to be done about it.
        let _ = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
    }
}

#[cfg(test)]
mod tests;
