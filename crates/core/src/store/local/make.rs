//! The beginning and the end of a repository's directory.
//!
//! Whoever begins one holds a kernel lock on the directory until it is made. What has begun, has no `config` and is not
//! locked was left by an init that was killed: the next one begins anew.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use garret_format::SlotId;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::beneath::{permit, remove_file};
use super::listing::LOST_FOUND;
use super::{LocalStore, Permissions, TMP, create};
use crate::store::{Area, Key, Store, StoreError};

const README: &str = "This is a garret backup repository: see `garret help`. Do not change files here by hand,\n\
                      except that files in backups/ may be renamed or removed.\n";

/// The directories of a repository.
const DIRECTORIES: [&str; 9] =
    ["keys", "packs", "index", "backups", "tags", "damaged", "quarantine", "copies", "tmp"];

/// Who may use a repository beside whoever made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sharing {
    /// Nobody: files have mode 0600, directories 0700.
    #[default]
    Private,
    /// The group of the directory: 0660 and 2770.
    Group,
    /// Whoever the umask lets.
    Umask,
}

impl LocalStore {
    /// Begins a repository in `root`, which must be absent or an empty directory; `lost+found`, if empty, does not count, nor
    /// what an init left that was killed. The directory above must be there.
    ///
    /// # Errors
    /// `AlreadyExists` if there is anything in `root`.
    pub fn create(root: &Path, sharing: Sharing) -> Result<Self, StoreError> {
        let fail = |source| StoreError::new("create", root.display(), source);
        let (mode, asked) = match sharing {
            Sharing::Private => (0o700, Some(Permissions::PRIVATE)),
            Sharing::Group => (0o770, Some(Permissions { file: 0o660, directory: 0o2770 })),
            Sharing::Umask => (0o777, None),
        };
        let is_new = match rustix::fs::mkdirat(CWD, root, Mode::from_raw_mode(mode)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(fail(error.into())),
        };
        let exists = || fail(io::ErrorKind::AlreadyExists.into());
        // A file in the way is no directory to be opened.
        let store = Self::open(root).map_err(|error| if is_new { error } else { exists() })?;
        let begun = store.beneath.directory(Path::new("")).map(File::from).map_err(fail)?;
        let is_empty = is_new || store.is_empty();
        match begun.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(exists()),
            // Where directories cannot be locked, somebody may be at it.
            Err(TryLockError::Error(_)) if !is_empty => return Err(exists()),
            _ if !is_empty && !store.is_unfinished().map_err(fail)? => return Err(exists()),
            _ if !is_empty => store.remove_content()?,
            _ => {}
        }
        let store = LocalStore { is_new, _begun: Some(begun), ..store };
        // Of two that begin at once, one makes this file; what is there then is that one's.
        let readme = store.begin(asked).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => fail(error),
        })?;
        if let Err(error) = store.build(readme) {
            let _left = store.undo_create();
            return Err(fail(error));
        }
        Ok(store)
    }

    /// Removes what [`LocalStore::create`] made and was put into it since, so that init can be tried again; the directory
    /// too, unless it was there before.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn undo_create(&self) -> Result<(), StoreError> {
        match self.is_new {
            true => self.remove(),
            false => self.remove_content(),
        }
    }

    fn is_empty(&self) -> bool {
        let entries = self.beneath.entries(Path::new(""));
        entries.is_ok_and(|entries| {
            entries.iter().all(|(name, kind)| {
                let below = || self.beneath.entries(Path::new(name));
                // Only root may look into it.
                name == LOST_FOUND
                    && *kind == FileType::Directory
                    && below().map_or_else(
                        |error| error.kind() == io::ErrorKind::PermissionDenied,
                        |below| below.is_empty(),
                    )
            })
        })
    }

    /// Whether all that is here is what a killed init leaves: our README, the beginning of it, or zeros in its place if the
    /// power was cut; key slots, second copies, what is in `tmp/`, directories; no `config`.
    fn is_unfinished(&self) -> io::Result<bool> {
        let mut readme = Vec::new();
        match self.beneath.file(Path::new("README"), OFlags::RDONLY) {
            Ok(file) => file.take(README.len() as u64 + 1).read_to_end(&mut readme)?,
            Err(_) => return Ok(false),
        };
        let is_blank = readme.len() <= README.len() && readme.iter().all(|byte| *byte == 0);
        if !README.as_bytes().starts_with(&readme) && !is_blank {
            return Ok(false);
        }
        let mut open = vec![PathBuf::new()];
        while let Some(directory) = open.pop() {
            for (name, kind) in self.entries(&directory)? {
                let path = directory.join(&name);
                let is_id = || name.to_str().and_then(SlotId::from_hex).is_some();
                let holds_ids =
                    ["keys", "copies", TMP].iter().any(|known| directory == Path::new(known));
                match kind {
                    FileType::Directory
                        if DIRECTORIES.iter().any(|known| path.starts_with(known)) =>
                    {
                        open.push(path);
                    }
                    FileType::RegularFile
                        if ["README", "copies/config"]
                            .iter()
                            .any(|ours| path == Path::new(ours))
                            || (holds_ids && is_id()) => {}
                    _ => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    /// Gives the directory its permissions, and makes the first file in it.
    fn begin(&self, asked: Option<Permissions>) -> io::Result<File> {
        let root = self.beneath.directory(Path::new(""))?;
        let permissions = match asked {
            Some(asked) => {
                permit(&root, asked.directory);
                asked
            }
            None => {
                let mode = rustix::fs::fstat(&root)?.st_mode;
                Permissions {
                    file: mode & Permissions::OF_FILES,
                    directory: mode & Permissions::OF_DIRECTORIES,
                }
            }
        };
        let _first = self.permissions.set(permissions);
        create(&root, OsStr::new("README"), permissions.file)
    }

    /// Makes the rest of what init does not put, durably.
    fn build(&self, mut readme: File) -> io::Result<()> {
        readme.write_all(README.as_bytes())?;
        readme.sync_data()?;
        let root = self.beneath.directory(Path::new(""))?;
        self.touch(Path::new(""), root)?;
        // Before anything else is here: by this file the next init knows what a power cut left of this one.
        self.sync().map_err(|error| error.source)?;
        self.make_directory(Path::new("backups"))?;
        self.sync().map_err(|error| error.source)?;
        // Its own entry; who may not read the directory above has to leave that to the kernel.
        let above = self.root.parent().filter(|above| !above.as_os_str().is_empty());
        let above = File::open(above.unwrap_or(Path::new(".")));
        let _later = above.and_then(|above| above.sync_all());
        Ok(())
    }

    /// Removes the repository, its configuration first: if this is cut short, what is left opens to nobody. A file that is
    /// not the repository's stays, and the directory with it. Only for the holder of the exclusive lock.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(&self) -> Result<(), StoreError> {
        self.remove_content()?;
        rustix::fs::unlinkat(CWD, &self.root, AtFlags::REMOVEDIR)
            .map_err(|error| StoreError::new("remove", self.root.display(), error.into()))
    }

    /// Bytes of the disk that the directory takes: with directories, what puts left behind, and what is not the repository's.
    ///
    /// # Errors
    /// A directory cannot be listed.
    pub fn taken_len(&self) -> Result<u64, StoreError> {
        let (mut taken, mut left) = (0u64, vec![self.root.clone()]);
        while let Some(directory) = left.pop() {
            let fail = |source| StoreError::new("list", directory.display(), source);
            for entry in fs::read_dir(&directory).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                // Gone meanwhile, it takes nothing.
                let Ok(found) = entry.metadata() else { continue };
                taken = taken.saturating_add(found.blocks().saturating_mul(512));
                if found.is_dir() {
                    left.push(entry.path());
                }
            }
        }
        Ok(taken)
    }

    fn remove_content(&self) -> Result<(), StoreError> {
        self.delete(&Key::Config)?;
        self.sync()?;
        for record in [Key::Verified, Key::Condemned, Key::Tombstones, Key::Cold] {
            self.delete(&record)?;
        }
        for area in Area::ALL {
            for (key, _) in self.list(area)? {
                self.delete(&key)?;
            }
        }
        self.sweep()?;
        self.clear().map_err(|source| StoreError::new("remove", self.root.display(), source))
    }

    /// Removes every directory that is empty, and then the README: without it nobody knows what else is left.
    fn clear(&self) -> io::Result<()> {
        for name in DIRECTORIES {
            // Each before what is in it, so that the last one is the innermost.
            let mut found = vec![PathBuf::from(name)];
            let mut next = 0;
            while let Some(path) = found.get(next).cloned() {
                let below = self.entries(&path)?.into_iter();
                let below = below.filter(|(_, kind)| *kind == FileType::Directory);
                found.extend(below.map(|(name, _)| path.join(name)));
                next += 1;
            }
            while let Some(path) = found.pop() {
                let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { continue };
                let removed = self
                    .beneath
                    .directory(above)
                    .and_then(|above| Ok(rustix::fs::unlinkat(&above, name, AtFlags::REMOVEDIR)?));
                match removed {
                    Err(error)
                        if !matches!(
                            error.kind(),
                            io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                        ) =>
                    {
                        return Err(error);
                    }
                    _ => {}
                }
            }
        }
        let root = || self.beneath.directory(Path::new(""));
        self.touch(Path::new(""), root()?)?;
        self.sync().map_err(|error| error.source)?;
        match remove_file(&root()?, OsStr::new("README")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
