//! Second copies of the files on which everything hangs: `config`, key slots, archives.
//!
//! ```text
//! the first opens             the copy is not looked at
//! the first does not open     the copy is used, and the damage told of
//! the first is not there      there is no repository, key or archive: the copy serves nobody, and gc drops it
//! ```
//!
//! In: a first that is there and does not open, and why. Out: what was stored there, from its copy; else that error. A copy
//! has the bytes of its first. That of an archive is named by their hash, so it is found however the archive is called now.
//! Promises: nothing that was deleted comes back; a copy is used only if it opens, as the first would, and cannot be that of
//! another archive. The firsts are not read once more for it while they open.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use garret_format::config::Config;
use garret_format::object::{HEADER_LEN, NONCE_LEN};
use garret_format::slot::Slot;
use garret_format::{ArchiveHash, PackId, SlotId};

use crate::error::{Cause, Error, Result, message};
use crate::keys::seal::Sealer;
use crate::limits::{ARCHIVE_LEN_MAX, SMALL_OBJECT_LEN_MAX};
use crate::objects::archive::{NamedArchive, names, open};
use crate::objects::damage::is_damage;
use crate::objects::tombstones::{archive_id, buried};
use crate::progress::Problem;
use crate::store::{Area, Key, Store, StoreErrorKind};

/// The random bytes that a nonce begins with; what follows is the same in all archives.
const SALT_LEN: usize = NONCE_LEN - 8;
/// Of these, how many make sure that a damaged archive and a copy are the same: by chance 8 of 16 agree once in 10^15 cases.
const SALT_SAME: usize = 8;

/// The copies that were used, each told of once.
#[derive(Debug, Default)]
pub(crate) struct Served {
    state: Mutex<ServedState>,
}

#[derive(Debug, Default)]
struct ServedState {
    firsts: HashSet<Key>,
    untold: Vec<Problem>,
}

impl Served {
    fn state(&self) -> MutexGuard<'_, ServedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the copy of `first` is used, because of this error.
    pub(crate) fn note(&self, first: &Key, error: &Error) {
        let mut state = self.state();
        if state.firsts.insert(first.clone()) {
            let why = match error {
                Error::NotARepository { why, .. } => format!("{first} is damaged: {why}"),
                Error::DamagedKey { object, offset, what } => {
                    format!("{object} is damaged at offset {offset}: {what}")
                }
                error => message(error),
            };
            let mut problem = Problem::warning(Cause::Damaged, first, "");
            problem.text =
                format!("{why}; its second copy was used: garret check --repair puts it back");
            state.untold.push(problem);
        }
    }

    /// What was noted since this was asked last.
    pub(crate) fn take(&self) -> Vec<Problem> {
        std::mem::take(&mut self.state().untold)
    }
}

/// The copy of the archive in a file of this hash.
pub(crate) fn of_archive(fingerprint: &[u8; 32]) -> Key {
    Key::ArchiveCopy(ArchiveHash::from_bytes(*fingerprint))
}

/// Whether an error says that a file which is there is not what was written.
fn is_broken(error: &Error) -> bool {
    let is_wrong = matches!(
        error,
        Error::DamagedKey { .. } | Error::Unsupported { .. } | Error::NotARepository { .. }
    );
    is_wrong || is_damage(error)
}

/// The configuration and its bytes from the copy, because the first failed with `error`.
pub(crate) fn config(
    store: &dyn Store,
    error: Error,
    served: &Served,
) -> Result<(Config, Vec<u8>)> {
    let copy = || {
        let bytes = store.get_whole(&Key::ConfigCopy, SMALL_OBJECT_LEN_MAX).ok()?;
        Some((Config::decode(&bytes).ok()?, bytes))
    };
    match is_broken(&error).then(copy).flatten() {
        Some(found) => {
            served.note(&Key::Config, &error);
            Ok(found)
        }
        None => Err(error),
    }
}

/// The key slot from the copy, because the first failed with `error`, which is told of when it opens.
pub(crate) fn slot(store: &dyn Store, id: SlotId, error: Error) -> Result<(Slot, Error)> {
    let copy = || {
        let bytes = store.get_whole(&Key::SlotCopy(id), SMALL_OBJECT_LEN_MAX).ok()?;
        Slot::decode(&bytes).ok().filter(|slot| slot.id == id)
    };
    match is_broken(&error).then(copy).flatten() {
        Some(slot) => Ok((slot, error)),
        None => Err(error),
    }
}

/// The archive from its copy, because the first failed with `error`.
pub(crate) fn archive(
    store: &dyn Store,
    metadata: &Sealer,
    name: &str,
    error: Error,
    served: &Served,
) -> Result<NamedArchive> {
    match is_broken(&error).then(|| find(store, metadata, name)).flatten() {
        Some((found, _)) => {
            served.note(&Key::Archive(name.to_owned()), &error);
            Ok(found)
        }
        None => Err(error),
    }
}

/// An archive's file that does not open: its name, and what it has of its salt.
struct Broken {
    name: String,
    salt: Vec<u8>,
}

/// What may be the archive in a damaged file: a copy without a first, or an archive's file that opens.
struct Candidate {
    key: Key,
    found: NamedArchive,
    salt: Vec<u8>,
}

/// What was in the damaged file of that name, and its bytes. Known by its salt; or by the name with which it was made, if
/// each of the copies that are left over is that of another damaged file then, so that none was deleted or renamed.
pub(crate) fn find(
    store: &dyn Store,
    metadata: &Sealer,
    name: &str,
) -> Option<(NamedArchive, Vec<u8>)> {
    let Survey { broken, whole, copies } = Survey::make(store, metadata, name).ok()?;
    let first = broken.iter().find(|broken| broken.name == name)?;
    let mut lone: Vec<Candidate> = Vec::new();
    let mut is_certain = true;
    for hash in copies {
        match candidate(store, metadata, Key::ArchiveCopy(hash), name) {
            Some(copy) if of_archive(&copy.found.fingerprint) == copy.key => lone.push(copy),
            // Of whatever archive it was.
            _ => is_certain = false,
        }
    }
    let is_same = |candidate: &&Candidate| is_alike(&first.salt, &candidate.salt);
    // Somebody copied the file by hand: what he made is the same archive.
    let twin = || whole.iter().find(|candidate| is_same(candidate));
    let same = lone.iter().find(is_same).or_else(twin).map(|candidate| candidate.key.clone());
    let key = same.or_else(|| {
        lone.retain(|copy| !broken.iter().any(|broken| is_alike(&broken.salt, &copy.salt)));
        let made: BTreeMap<&str, &Candidate> =
            lone.iter().map(|copy| (copy.found.archive.name.as_str(), copy)).collect();
        let is_lost = |made: &&str| broken.iter().any(|broken| broken.name == **made);
        is_certain &= made.len() == lone.len() && made.keys().all(is_lost);
        Some(made.get(name).filter(|_| is_certain)?.key.clone())
    })?;
    let bytes = store.get_whole(&key, ARCHIVE_LEN_MAX).ok()?;
    Some((open(metadata, name, &bytes).ok()?, bytes))
}

/// All archives as they are in a repository of which one is damaged.
struct Survey {
    broken: Vec<Broken>,
    whole: Vec<Candidate>,
    /// Copies that are of no archive that opens, nor of one of which it is recorded that it was deleted.
    copies: HashSet<ArchiveHash>,
}

impl Survey {
    fn make(store: &dyn Store, metadata: &Sealer, name: &str) -> Result<Self> {
        let mut copies = archive_copies(store)?;
        if copies.is_empty() {
            return Ok(Survey { broken: Vec::new(), whole: Vec::new(), copies });
        }
        let gone = buried(store, metadata)?;
        copies.retain(|hash| !gone.contains(&archive_id(hash.as_bytes())));
        let (mut broken, mut whole) = (Vec::new(), Vec::new());
        for other in names(store)? {
            let key = Key::Archive(other.clone());
            let bytes = match store.get_whole(&key, ARCHIVE_LEN_MAX) {
                Err(error) if error.kind == StoreErrorKind::NotFound => continue,
                bytes => bytes.unwrap_or_default(),
            };
            let salt = salt(&bytes);
            match open(metadata, name, &bytes) {
                Ok(found) => {
                    copies.remove(&ArchiveHash::from_bytes(found.fingerprint));
                    whole.push(Candidate { key, found, salt });
                }
                Err(_) => broken.push(Broken { name: other, salt }),
            }
        }
        Ok(Survey { broken, whole, copies })
    }
}

/// The archive's file or copy under this key, if it opens.
fn candidate(store: &dyn Store, metadata: &Sealer, key: Key, name: &str) -> Option<Candidate> {
    let bytes = store.get_whole(&key, ARCHIVE_LEN_MAX).ok()?;
    let (found, salt) = (open(metadata, name, &bytes).ok()?, salt(&bytes));
    Some(Candidate { key, found, salt })
}

fn archive_copies(store: &dyn Store) -> Result<HashSet<ArchiveHash>> {
    let listed = store.list(Area::Copies)?.into_iter();
    let hashes = listed.filter_map(|(key, _)| match key {
        Key::ArchiveCopy(hash) => Some(hash),
        _ => None,
    });
    Ok(hashes.collect())
}

fn salt(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().skip(HEADER_LEN).take(SALT_LEN).copied().collect()
}

fn is_alike(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).filter(|(one, other)| one == other).count() >= SALT_SAME
}

/// Keeps what is left of a damaged file in quarantine, under the hash of that. What its disk does not give is lost.
pub(crate) fn set_aside(store: &dyn Store, first: &Key) -> Result<()> {
    let bytes = store.get_whole(first, ARCHIVE_LEN_MAX).unwrap_or_default();
    if !bytes.is_empty() {
        let hash = PackId::from_bytes(*blake3::hash(&bytes).as_bytes());
        store.put(&Key::Quarantine(hash), &[&bytes])?;
        store.sync()?;
    }
    Ok(())
}
