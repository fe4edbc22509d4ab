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

mod survey;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use garret_format::config::Config;
use garret_format::object::Kind;
use garret_format::slot::Slot;
use garret_format::{ArchiveHash, PackId, SlotId};

use crate::error::{Cause, Error, Hint, Result, message};
use crate::keys::seal::Sealer;
use crate::limits::{ARCHIVE_LEN_MAX, SEGMENT_LEN_MAX, SMALL_OBJECT_LEN_MAX};
use crate::objects::archive::{NamedArchive, open};
use crate::objects::damage::is_damage;
use crate::objects::envelope;
use crate::progress::Problem;
use crate::store::{Area, Key, Store, StoreErrorKind};
use survey::Intact;
pub(crate) use survey::{OBJECT_START, Survey, is_alike, salt};

/// What a copy was good for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    /// It was read instead of the first.
    Used,
    /// It is there, and would be read.
    Intact,
    /// The first was made anew from it.
    PutBack,
}

/// What a session knows of firsts that do not open: the copies that were used, each told of once.
#[derive(Debug, Default)]
pub(crate) struct Served {
    state: Mutex<ServedState>,
    /// Made when the first archive does not open.
    survey: Mutex<Option<Arc<Survey>>>,
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

    /// Notes what the copy of `first` is good for, after this error.
    pub(crate) fn note(&self, first: &Key, error: &Error, service: Service) {
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
            let (what, hint) = match service {
                Service::Used => ("its second copy was used", Some(Hint::Repair)),
                Service::Intact => ("its second copy is intact", Some(Hint::Repair)),
                Service::PutBack => ("it was put back from its second copy", None),
            };
            problem.hint = hint;
            problem.text = format!("{why}; {what}");
            state.untold.push(problem);
        }
    }

    /// What was noted since this was asked last.
    pub(crate) fn take(&self) -> Vec<Problem> {
        std::mem::take(&mut self.state().untold)
    }

    /// What is known of damaged archives, that of this name included.
    fn survey(&self, store: &dyn Store, metadata: &Sealer, name: &str) -> Option<Arc<Survey>> {
        let mut known = self.survey.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.as_ref().is_some_and(|survey| survey.is_broken(name)) {
            *known = Some(Arc::new(Survey::make(store, metadata).ok()?));
        }
        known.clone()
    }

    /// To be called when archives were removed: what is left over tells more of the others now.
    pub(crate) fn forget_survey(&self) {
        *self.survey.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
            served.note(&Key::Config, &error, Service::Used);
            Ok(found)
        }
        None => Err(error),
    }
}

/// Whether any archive or segment of the index opens with these keys; also if there is none.
pub(crate) fn opens_any(store: &dyn Store, metadata: &Sealer) -> Result<bool> {
    let mut is_empty = true;
    for area in [Area::Archives, Area::Index, Area::Copies] {
        for (key, _) in store.list(area)? {
            let (kind, len_max) = match key {
                Key::Archive(_) | Key::ArchiveCopy(_) => (Kind::Archive, ARCHIVE_LEN_MAX),
                Key::Index(_) => (Kind::Index, SEGMENT_LEN_MAX),
                _ => continue,
            };
            is_empty = false;
            let opened = envelope::load(store, metadata, (&key, kind), len_max, |_| Ok(()));
            if matches!(opened, Ok(Some(()))) {
                return Ok(true);
            }
        }
    }
    Ok(is_empty)
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
    if !is_broken(&error) {
        return Err(error);
    }
    if let Some((found, _)) = find(store, metadata, name, served) {
        served.note(&Key::Archive(name.to_owned()), &error, Service::Used);
        return Ok(found);
    }
    let survey = served.survey(store, metadata, name);
    match (error, survey.as_ref().and_then(|survey| survey.stray())) {
        (Error::Corrupt { object, offset, what }, Some((copy, made))) => {
            let what = format!(
                "{what}; {copy} is of an archive that was made as {made} and is not there: if this was it, rename this file \
                 to {made}"
            );
            Err(Error::Corrupt { object, offset, what })
        }
        (error, _) => Err(error),
    }
}

/// What was in the damaged file of that name, and its bytes.
pub(crate) fn find(
    store: &dyn Store,
    metadata: &Sealer,
    name: &str,
    served: &Served,
) -> Option<(NamedArchive, Vec<u8>)> {
    let survey = served.survey(store, metadata, name)?;
    let Intact { key, fingerprint } = survey.intact(name)?;
    let bytes = store.get_whole(key, ARCHIVE_LEN_MAX).ok()?;
    let found = open(metadata, name, &bytes).ok()?;
    (found.fingerprint == *fingerprint).then_some((found, bytes))
}

/// Keeps what is left of a damaged file in quarantine, under the hash of that. What its disk does not give is lost.
pub(crate) fn set_aside(store: &dyn Store, first: &Key) -> Result<()> {
    let bytes = match store.get_whole(first, ARCHIVE_LEN_MAX) {
        Ok(bytes) => bytes,
        Err(error)
            if error.kind == StoreErrorKind::WrongLength
                && store.len(first).is_ok_and(|len| len > ARCHIVE_LEN_MAX) =>
        {
            let what = "it is longer than any file of its kind, so nothing is put in its place: copy it elsewhere, \
                        put an empty file there, then repair again";
            let object = first.to_string();
            return Err(Error::Corrupt { object, offset: 0, what: what.to_owned() });
        }
        Err(error) if matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::NotAFile) => {
            Vec::new()
        }
        Err(error) => match Error::from(error) {
            error if is_damage(&error) => Vec::new(),
            // It may be there whole.
            error => return Err(error),
        },
    };
    if !bytes.is_empty() {
        let hash = PackId::from_bytes(*blake3::hash(&bytes).as_bytes());
        store.put(&Key::Quarantine(hash), &[&bytes])?;
        store.sync()?;
    }
    Ok(())
}
