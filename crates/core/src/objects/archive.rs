//! Archives: list, load, publish.
//!
//! In: a store and what seals its metadata. Out: [`NamedArchive`]s. Promises: a name is never reused, and an archive is
//! visible only when everything that it refers to is durable.

use std::time::{SystemTime, UNIX_EPOCH};

use garret_format::ArchiveHash;
use garret_format::archive::{Archive, Time, name_fault, new_name_fault};
use garret_format::object::Kind;

use crate::error::{Error, Result};
use crate::keys::seal::Sealer;
use crate::limits::ARCHIVE_LEN_MAX;
use crate::objects::envelope;
use crate::store::{Area, Key, Store, StoreErrorKind};

/// An archive and the name it is found under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedArchive {
    /// Name of its file in `backups/`.
    pub name: String,
    /// What it says.
    pub archive: Archive,
    /// BLAKE3 of its file: changes when anything in the archive does.
    pub fingerprint: [u8; 32],
    /// Length of its file in bytes.
    pub len: u64,
}

impl NamedArchive {
    /// Its path in the repository: what errors call it.
    pub(crate) fn object(&self) -> String {
        Key::Archive(self.name.clone()).to_string()
    }
}

/// The time that goes into what is stored now.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

/// The names of all archives, sorted.
pub(crate) fn names(store: &dyn Store) -> Result<Vec<String>> {
    let keys = store.list(Area::Archives)?.into_iter();
    let mut names: Vec<String> = keys
        .filter_map(|(key, _)| match key {
            Key::Archive(name) => Some(name),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Reads, opens and checks the archive of that name.
///
/// # Errors
/// `ArchiveMissing` also if what has that name is no archive.
pub(crate) fn load(store: &dyn Store, metadata: &Sealer, name: &str) -> Result<NamedArchive> {
    sound(name, name_fault)?;
    let key = Key::Archive(name.to_owned());
    let bytes = match store.get_whole(&key, ARCHIVE_LEN_MAX) {
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            return Err(Error::ArchiveMissing(name.to_owned()));
        }
        result => result?,
    };
    if Kind::Archive.is_foreign(&bytes) {
        return Err(Error::ArchiveMissing(name.to_owned()));
    }
    open(metadata, name, &bytes)
}

/// The archive that these bytes of its file are; errors call it by its name.
pub(crate) fn open(metadata: &Sealer, name: &str, bytes: &[u8]) -> Result<NamedArchive> {
    let key = Key::Archive(name.to_owned());
    let archive = envelope::open(metadata, (&key, Kind::Archive), bytes, Archive::decode)?;
    let fingerprint = *blake3::hash(bytes).as_bytes();
    Ok(NamedArchive { name: name.to_owned(), archive, fingerprint, len: bytes.len() as u64 })
}

/// Fails if no new archive may be called so.
pub(crate) fn check_form(name: &str) -> Result<()> {
    sound(name, new_name_fault)
}

/// Fails if the name cannot be used for a new archive.
pub(crate) fn check_new_name(store: &dyn Store, name: &str) -> Result<()> {
    check_form(name)?;
    match store.len(&Key::Archive(name.to_owned())) {
        Ok(_) => Err(Error::ArchiveExists(name.to_owned())),
        Err(error) => match error.kind {
            StoreErrorKind::NotFound => Ok(()),
            StoreErrorKind::NotAFile => Err(Error::ArchiveExists(name.to_owned())),
            _ => Err(error.into()),
        },
    }
}

fn sound(name: &str, fault: fn(&str) -> Option<&'static str>) -> Result<()> {
    match fault(name) {
        Some(why) => Err(Error::BadName { name: name.to_owned(), why }),
        None => Ok(()),
    }
}

/// The commit: makes the archive visible, after everything it refers to is durable, and returns when it is durable itself.
/// Its second copy is there before: it serves nobody without the first.
pub(crate) fn publish(store: &dyn Store, name: &str, bytes: &[u8]) -> Result<[u8; 32]> {
    let fingerprint = *blake3::hash(bytes).as_bytes();
    let copy = Key::ArchiveCopy(ArchiveHash::from_bytes(fingerprint));
    store.put(&copy, &[bytes])?;
    store.sync()?;
    match store.put_new(&Key::Archive(name.to_owned()), bytes) {
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
            // What stays of it goes with the next gc.
            let _left = store.delete(&copy);
            return Err(Error::ArchiveExists(name.to_owned()));
        }
        result => result?,
    }
    store.sync()?;
    Ok(fingerprint)
}

/// The bytes of an archive's file.
pub(crate) fn seal(metadata: &Sealer, archive: &Archive) -> Result<Vec<u8>> {
    envelope::seal(metadata, Kind::Archive, archive.encode())
}
