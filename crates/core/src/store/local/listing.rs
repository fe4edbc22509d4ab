//! What lies in the directories of a repository.
//!
//! In: a store. Out: keys of its objects and their lengths, and what may be an archive and cannot be listed. What is not
//! the repository's is passed over and remembered, once.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use garret_format::PackId;
use garret_format::archive::is_archive_name;
use garret_format::object::{HEADER_LEN, Kind};
use rustix::fs::{FileType, OFlags};

use super::{BACKUPS, Key, LocalStore, Store, path_of};

/// What the user does with what may be an archive.
const MOVE: &str = "rename it, or move it out of the repository";

/// What file systems keep for themselves in their uppermost directory.
pub(super) const LOST_FOUND: &str = "lost+found";

impl LocalStore {
    /// Remembers what is passed over; not what hides, or file systems have of their own.
    pub(super) fn note_foreign(&self, path: &Path) {
        let hides = |name: &OsStr| name.as_encoded_bytes().starts_with(b".") || name == LOST_FOUND;
        if !path.file_name().is_some_and(hides) {
            self.state().foreign.insert(path.display().to_string());
        }
    }

    /// The entries of a directory, with the length of each; none if it is missing.
    fn measured(&self, path: &Path) -> io::Result<Vec<(OsString, FileType, u64)>> {
        match self.beneath.measured(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) if error.raw_os_error().is_some() => {
                Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())))
            }
            entries => entries,
        }
    }

    /// Adds the objects in `directory`, whose names make keys.
    pub(super) fn list_ids(
        &self,
        directory: &Path,
        keys: &mut Vec<(Key, u64)>,
        key: impl Fn(&str) -> Option<Key>,
    ) -> io::Result<()> {
        for (name, kind, len) in self.measured(directory)? {
            match name.to_str().and_then(&key).filter(|_| kind == FileType::RegularFile) {
                Some(key) => keys.push((key, len)),
                None => self.note_foreign(&directory.join(name)),
            }
        }
        Ok(())
    }

    pub(super) fn list_packs(&self, keys: &mut Vec<(Key, u64)>) -> io::Result<()> {
        let packs = Path::new("packs");
        for (name, _) in self.entries(packs)? {
            let path = packs.join(&name);
            let shard = name.to_str().and_then(|name| {
                let first = u8::from_str_radix(name, 16).ok()?;
                (format!("{first:02x}") == name).then_some(first)
            });
            match shard {
                Some(shard) => {
                    for (name, kind, len) in self.beneath.measured(&path)? {
                        let id = name.to_str().and_then(PackId::from_hex);
                        let id = id.filter(|id| id.as_bytes().starts_with(&[shard]));
                        match id.filter(|_| kind == FileType::RegularFile) {
                            Some(id) => keys.push((Key::Pack(id), len)),
                            None => self.note_foreign(&path.join(&name)),
                        }
                    }
                }
                None => self.note_foreign(&path),
            }
        }
        Ok(())
    }

    pub(super) fn list_archives(&self, keys: &mut Vec<(Key, u64)>) -> io::Result<()> {
        let mut open = vec![String::new()];
        while let Some(prefix) = open.pop() {
            // Without a slash at its end, which would follow a link.
            let directory: PathBuf = Path::new(BACKUPS).join(&prefix).components().collect();
            for (name, kind, len) in self.measured(&directory)? {
                let named = name.to_str().map(|name| match prefix.as_str() {
                    "" => name.to_owned(),
                    prefix => format!("{prefix}/{name}"),
                });
                match (named.filter(|name| is_archive_name(name)), kind) {
                    (Some(name), FileType::Directory) => open.push(name),
                    (Some(name), FileType::RegularFile) => keys.push((Key::Archive(name), len)),
                    _ => self.note_foreign(&directory.join(name)),
                }
            }
        }
        Ok(())
    }

    /// Archives under names that hide or are too long, and links that may lead to one: users move files here by hand. The
    /// next sync is one of all directories that were looked into: whoever removed an archive may have died before his.
    pub(super) fn doubtful_archives(&self) -> io::Result<Vec<String>> {
        if let Err(error) = self.beneath.directory(Path::new(BACKUPS)) {
            return match error.kind() {
                io::ErrorKind::NotFound => Ok(vec![format!(
                    "{BACKUPS} is missing, so what is needed is not known: put it back, or make an empty one if there \
                     is no archive"
                )]),
                _ => Err(error),
            };
        }
        let (mut found, mut open) = (Vec::new(), vec![PathBuf::from(BACKUPS)]);
        while let Some(directory) = open.pop() {
            for (name, kind) in self.entries(&directory)? {
                let path = directory.join(&name);
                let named = path.strip_prefix(BACKUPS).ok().and_then(Path::to_str);
                let is_name = named.is_some_and(is_archive_name);
                let shown = path.display();
                match kind {
                    FileType::Directory if name != LOST_FOUND => open.push(path),
                    FileType::Symlink if is_name => found.push(format!(
                        "{shown} is a symbolic link, and an archive may be behind it: {MOVE}"
                    )),
                    FileType::RegularFile if !is_name && self.begins_as_archive(&path) => {
                        found.push(format!(
                            "{shown} is an archive under a name that none can have: {MOVE}"
                        ));
                    }
                    _ => {}
                }
            }
            match self.beneath.directory(&directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => self.touch(&directory, opened?)?,
            }
        }
        Ok(found)
    }

    fn begins_as_archive(&self, path: &Path) -> bool {
        let mut start = [0; HEADER_LEN];
        let read = self
            .beneath
            .file(path, OFlags::RDONLY)
            .and_then(|mut file| file.read_exact(&mut start));
        read.is_ok() && start == Kind::Archive.header()
    }

    /// Leaves out what does not begin as an object of its kind, however damaged, could.
    pub(super) fn pass_over_foreign(&self, keys: &mut Vec<(Key, u64)>) {
        keys.retain(|(key, _)| {
            let foreign = self.begins_otherwise(key);
            if foreign {
                self.pass_over(key);
            }
            !foreign
        });
    }

    /// Whether it begins as no object of its kind could, however damaged. What cannot be read may be ours.
    pub(super) fn begins_otherwise(&self, key: &Key) -> bool {
        let Some(kind) = looked_at(key) else { return false };
        let read = || {
            let mut start = Vec::with_capacity(HEADER_LEN);
            let file = self.beneath.file(&path_of(key), OFlags::RDONLY)?;
            file.take(HEADER_LEN as u64).read_to_end(&mut start)?;
            Ok::<_, io::Error>(start)
        };
        read().is_ok_and(|start| kind.is_foreign(&start))
    }
}

/// The kind that an object is listed for only if it begins like one. Of packs there may be a million, and whatever is in
/// quarantine may be left of anything.
fn looked_at(key: &Key) -> Option<Kind> {
    match key {
        Key::Slot(_) | Key::SlotCopy(_) => Some(Kind::Slot),
        Key::Index(_) => Some(Kind::Index),
        Key::Archive(_) | Key::ArchiveCopy(_) => Some(Kind::Archive),
        Key::Damage(_) => Some(Kind::Damage),
        Key::Tags(_) => Some(Kind::Tags),
        Key::ConfigCopy => Some(Kind::Config),
        Key::TombstonesCopy => Some(Kind::Tombstones),
        Key::Config | Key::Pack(_) | Key::Quarantine(_) => None,
        Key::Verified | Key::Condemned | Key::Tombstones | Key::Cold => None,
    }
}
