//! Second copies of `config`, key slots and archives: looked after, so that there are two that are intact, and none of what
//! is gone.
//!
//! In: a repository. Out, for a check: which of the two is missing or damaged; for a repair: both intact, where one was; for
//! a gc: the copies that were missing, and none of archives and slots that are not there. Promises: nothing is put over what
//! opens; a copy that a creator has put, and its archive not yet, is not taken; one that may be needed to put back a damaged
//! first stays.

use std::collections::{HashMap, HashSet};

use garret_format::object::{HEADER_LEN, Kind};
use garret_format::slot::Slot;
use garret_format::tombstones::{Removal, Tombstone, Tombstones};
use garret_format::{ArchiveId, SlotId};

use super::check::report::Findings;
use super::gc::condemn::ANY;
use crate::error::{Cause, Error, Hint, Result, message};
use crate::limits::{ARCHIVE_LEN_MAX, SMALL_OBJECT_LEN_MAX};
use crate::objects::archive::open;
use crate::objects::copies::{OBJECT_START, Service, find, is_alike, of_archive, salt, set_aside};
use crate::objects::tombstones::{self, archive_id, buried, bury};
use crate::pipeline::{beside, with_workers};
use crate::progress::{Problem, Progress};
use crate::repository::{Deleting, Exclusive, Repository};
use crate::store::{Area, Key, Store, StoreError, StoreErrorKind};

/// One of a file and its second copy that is missing or damaged, and what it should be.
struct Wrong {
    first: Key,
    /// The one that is wrong: the first or its copy.
    key: Key,
    /// Why.
    error: Error,
    bytes: Vec<u8>,
}

impl Wrong {
    fn is_first(&self) -> bool {
        self.key == self.first
    }

    fn is_missing(&self) -> bool {
        matches!(&self.error, Error::Store(error) if error.kind == StoreErrorKind::NotFound)
    }
}

/// What is wrong with firsts and copies of which the other is intact. `copies` are those that are there.
fn look(repository: &Repository, copies: HashSet<Key>) -> Result<Vec<Wrong>> {
    let in_flight = repository.store().properties().in_flight;
    let (few, archives) = beside(
        in_flight,
        || beside(in_flight, || wrong_of_slots(repository), || wrong_of_config(repository)),
        || wrong_of_archives(repository, copies),
    )?;
    let (slots, mut wrong) = few?;
    wrong.extend(slots?);
    wrong.extend(archives?);
    Ok(wrong)
}

/// What is wrong with the configuration, the record of what was deleted, and their copies.
fn wrong_of_config(repository: &Repository) -> Vec<Wrong> {
    let store = repository.store();
    let mut wrong = Vec::new();
    let config = repository.config().encode();
    for key in [Key::Config, Key::ConfigCopy] {
        let (first, bytes) = (Key::Config, config.clone());
        let same = compare(store, &key, &bytes);
        wrong.extend(same.err().map(|error| Wrong { first, key, error, bytes }));
    }
    let record = tombstones::wrong(store, repository.metadata());
    wrong.extend(record.map(|(key, error, bytes)| Wrong {
        first: Key::Tombstones,
        key,
        error,
        bytes,
    }));
    wrong
}

fn wrong_of_slots(repository: &Repository) -> Result<Vec<Wrong>> {
    let store = repository.store();
    let mut wrong = Vec::new();
    for id in slots(store)? {
        let (first, copy) = (Key::Slot(id), Key::SlotCopy(id));
        let read = |key: &Key| -> Result<Vec<u8>> {
            let bytes = store.get_whole(key, SMALL_OBJECT_LEN_MAX)?;
            let slot = Slot::decode(&bytes);
            let slot = slot.map_err(|error| Error::decode(&key.to_string(), 0, error))?;
            match slot.id == id {
                true => Ok(bytes),
                false => Err(Error::misnamed(&key.to_string())),
            }
        };
        match (read(&first), read(&copy)) {
            (Ok(bytes), Err(error)) => wrong.push(Wrong { first, key: copy, error, bytes }),
            (Ok(bytes), Ok(other)) if bytes != other => {
                let error = differs(&copy);
                wrong.push(Wrong { first, key: copy, error, bytes });
            }
            // Gone meanwhile, it is no damage.
            (Err(Error::Store(error)), _) if error.kind == StoreErrorKind::NotFound => {}
            (Err(error), Ok(bytes)) => {
                wrong.push(Wrong { key: first.clone(), first, error, bytes });
            }
            _ => {}
        }
    }
    Ok(wrong)
}

fn wrong_of_archives(repository: &Repository, mut lone: HashSet<Key>) -> Result<Vec<Wrong>> {
    let mut wrong = Vec::new();
    let names = repository.archive_names()?;
    for (copy, found) in
        each_archive(repository, names, |name| wrong_of_archive(repository, &name))?
    {
        copy.iter().for_each(|copy| _ = lone.remove(copy));
        wrong.extend(found);
    }
    for Overwritten { first, bytes, .. } in overwritten(repository, &lone)? {
        let what = "it is no archive any more".to_owned();
        let error = Error::Corrupt { object: first.to_string(), offset: 0, what };
        wrong.push(Wrong { key: first.clone(), first, error, bytes });
    }
    Ok(wrong)
}

/// Refuses to go on while there is an archive in whose place is a file that is none, which nobody marks: what it needs would
/// be lost, and a repair puts it back. `copies` are those that are there, `known` the hashes of the archives' files.
pub(super) fn refuse_overwritten(
    repository: &Repository,
    copies: HashSet<Key>,
    known: impl Iterator<Item = [u8; 32]>,
) -> Result<()> {
    let mut lone = copies;
    known.for_each(|fingerprint| _ = lone.remove(&of_archive(&fingerprint)));
    match overwritten(repository, &lone)?.first() {
        Some(Overwritten { first, .. }) => Err(Error::Overwritten(first.to_string())),
        None => Ok(()),
    }
}

/// The copies that are there.
pub(super) fn list_copies(store: &dyn Store) -> Result<HashSet<Key>, StoreError> {
    Ok(store.list(Area::Copies)?.into_iter().map(|(key, _)| key).collect())
}

/// An archive in whose place is a file that is none, and is passed over.
struct Overwritten {
    first: Key,
    copy: Key,
    /// Of the copy.
    bytes: Vec<u8>,
}

/// Which of the copies that are of no archive that opens are of such a one: the file that has the archive's name is none, or
/// one has what is left of its salt, or its length, under whatever name it was moved to.
fn overwritten(repository: &Repository, lone: &HashSet<Key>) -> Result<Vec<Overwritten>> {
    let (store, metadata) = (repository.store(), repository.metadata());
    let mut found: Vec<Overwritten> = Vec::new();
    if !lone.iter().any(|key| matches!(key, Key::ArchiveCopy(_))) {
        return Ok(found);
    }
    let gone = buried(store, metadata)?;
    let strangers = store.strangers()?;
    for copy in lone {
        let Key::ArchiveCopy(hash) = copy else { continue };
        if gone.contains(&archive_id(hash.as_bytes())) {
            continue;
        }
        let Ok(bytes) = store.get_whole(copy, ARCHIVE_LEN_MAX) else { continue };
        let Ok(archive) = open(metadata, "", &bytes) else { continue };
        let named = Key::Archive(archive.archive.name);
        let is_moved = |(key, len): &&(Key, u64)| {
            let start = store.get(key, 0..(*len).min(OBJECT_START as u64)).unwrap_or_default();
            *len == bytes.len() as u64 || is_alike(&salt(&start), &salt(&bytes))
        };
        let first = match is_foreign(store, &named) {
            true => Some(named),
            false => strangers.iter().find(is_moved).map(|(key, _)| key.clone()),
        };
        let first = first.filter(|first| found.iter().all(|other| other.first != *first));
        if let Some(first) = first.filter(|_| of_archive(&archive.fingerprint) == *copy) {
            found.push(Overwritten { first, copy: copy.clone(), bytes });
        }
    }
    Ok(found)
}

/// Whether there is a file in the archive's place that is none.
fn is_foreign(store: &dyn Store, key: &Key) -> bool {
    let start = store.len(key).and_then(|len| store.get(key, 0..len.min(HEADER_LEN as u64)));
    start.is_ok_and(|start| Kind::Archive.is_foreign(&start))
}

/// The key of the copy of an archive that opens, and what is wrong with either.
fn wrong_of_archive(repository: &Repository, name: &str) -> (Option<Key>, Option<Wrong>) {
    let (store, first) = (repository.store(), Key::Archive(name.to_owned()));
    match archive(repository, name) {
        Ok((copy, bytes)) => {
            let same = compare(store, &copy, &bytes);
            let key = copy.clone();
            (Some(copy), same.err().map(|error| Wrong { first, key, error, bytes }))
        }
        Err(Error::Store(error)) if error.kind == StoreErrorKind::NotFound => (None, None),
        Err(error) => match find(store, repository.metadata(), name, repository.served()) {
            Some((found, bytes)) => {
                let key = first.clone();
                (Some(of_archive(&found.fingerprint)), Some(Wrong { first, key, error, bytes }))
            }
            None => (None, None),
        },
    }
}

/// Does this with each of these names of archives, with as many requests under way as the store wants.
fn each_archive<T: Send>(
    repository: &Repository,
    names: Vec<String>,
    work: impl Fn(String) -> T + Sync,
) -> Result<Vec<T>> {
    let work = &work;
    with_workers(repository.chunks().groups().in_flight(), |workers| {
        workers.map(names.into_iter().map(Ok), move |name| Ok(work(name))).collect()
    })
}

/// The bytes of an archive's file that opens, and the key of its copy.
fn archive(repository: &Repository, name: &str) -> Result<(Key, Vec<u8>)> {
    let first = Key::Archive(name.to_owned());
    let bytes = repository.store().get_whole(&first, ARCHIVE_LEN_MAX)?;
    let found = open(repository.metadata(), name, &bytes)?;
    Ok((of_archive(&found.fingerprint), bytes))
}

fn slots(store: &dyn Store) -> Result<Vec<SlotId>> {
    let ids = store.list(Area::Slots)?.into_iter().filter_map(|(key, _)| match key {
        Key::Slot(id) => Some(id),
        _ => None,
    });
    Ok(ids.collect())
}

/// Whether these are the bytes of an object.
fn compare(store: &dyn Store, key: &Key, bytes: &[u8]) -> Result<()> {
    match store.get_whole(key, ARCHIVE_LEN_MAX)? == bytes {
        true => Ok(()),
        false => Err(differs(key)),
    }
}

fn differs(key: &Key) -> Error {
    let what = "it is not what was stored there".to_owned();
    Error::Corrupt { object: key.to_string(), offset: 0, what }
}

/// Reports what a repair would put back, each that is damaged; copies that are missing, which anybody may have removed, on
/// one line.
pub(super) fn check(repository: &Repository, findings: &mut Findings<'_>) -> Result<()> {
    let copies = match list_copies(repository.store()) {
        Ok(copies) => copies,
        Err(error) => {
            let text = format!(
                "{}: there are no second copies; move away what is there, and the next prune makes them",
                message(&error)
            );
            let subject = Some(error.object.clone());
            findings.tell(&Problem::new((&error).into(), subject, text));
            return Ok(());
        }
    };
    let (firsts, copies): (Vec<_>, Vec<_>) =
        look(repository, copies)?.into_iter().partition(Wrong::is_first);
    for wrong in &firsts {
        repository.served().note(&wrong.first, &wrong.error, Service::Intact);
    }
    findings.report.problem_count += firsts.len() as u64;
    findings.report.damaged_copies += (firsts.len() + copies.len()) as u64;
    let (missing, damaged): (Vec<_>, Vec<_>) = copies.into_iter().partition(Wrong::is_missing);
    for Wrong { key, first, error, .. } in &damaged {
        let what = format!("{}: the second copy of {first} is damaged", message(error));
        findings.lacks_copy(key, &what);
    }
    if let Some(Wrong { key, first, .. }) = missing.first() {
        let more = match missing.len() {
            1 => String::new(),
            count => format!(" (and {} more like it)", count - 1),
        };
        findings.lacks_copy(key, &format!("{key}, the second copy of {first}, is missing{more}"));
    }
    Ok(())
}

impl Findings<'_> {
    fn lacks_copy(&mut self, key: &Key, what: &str) {
        let mut problem = Problem::warning(Cause::Damaged, key, "");
        (problem.text, problem.hint) = (what.to_owned(), Some(Hint::Repair));
        self.tell(&problem);
    }
}

/// How many files were made anew.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mended {
    /// Firsts that were damaged.
    pub(super) firsts: u64,
    /// Copies that were missing or damaged.
    pub(super) copies: u64,
}

/// Makes of one that is intact two. What was damaged of a first is in quarantine before.
pub(super) fn repair(session: &Exclusive, progress: &dyn Progress) -> Result<Mended> {
    let store = session.store();
    let mut mended = Mended::default();
    for wrong in look(session, list_copies(store)?)? {
        let Wrong { first, key, bytes, error } = &wrong;
        if !wrong.is_first() {
            store.put(key, &[bytes])?;
            mended.copies += 1;
        } else if *first != Key::Config {
            // Who has the lock has mended that one, on which it is.
            match set_aside(store, first) {
                Err(error @ Error::Corrupt { .. }) => {
                    progress.problem(&Problem::from(&error));
                    continue;
                }
                aside => aside?,
            }
            store.put(first, &[bytes])?;
            session.served().note(first, error, Service::PutBack);
            mended.firsts += 1;
        }
    }
    store.sync()?;
    Ok(mended)
}

/// Records of archives that were deleted and are there again that they are lost when they go: a copy elsewhere is not to
/// follow that.
fn note_back(
    session: Deleting<'_>,
    record: &Tombstones,
    known: &HashMap<String, [u8; 32]>,
) -> Result<()> {
    let deleted = tombstones::deleted_in(record);
    let back = known.values().map(archive_id).filter(|id| deleted.contains(id));
    let back: Vec<Tombstone> = back.map(|id| Tombstone { removal: Removal::Missed, id }).collect();
    bury(session.store(), session.metadata(), &back).map(drop)
}

/// Makes the copies anew that are missing, as far as there is room, and drops those of slots and archives that are gone. Of
/// such archives it is recorded that they were deleted, whoever removed them; gives of how many. `known` are archives that
/// were read a moment ago, and the hashes of their files: they are not read again while their copy is there.
pub(super) fn tend(session: Deleting<'_>, known: &HashMap<String, [u8; 32]>) -> Result<u64> {
    let store = session.store();
    let copies: HashMap<Key, u64> = store.list(Area::Copies)?.into_iter().collect();
    let copy_len = copies.get(&Key::TombstonesCopy).copied();
    let record = tombstones::mend(store, session.metadata(), copy_len, false)?;
    note_back(session, &record, known)?;
    // Asked after that listing and before the others: who is gone has published what he will; who comes puts other copies.
    let is_alone = !store.has_sessions(ANY)?;
    let (mut kept, mut missing) =
        (HashSet::from([Key::ConfigCopy, Key::TombstonesCopy]), Vec::new());
    let config = session.config().encode();
    if copies.get(&Key::ConfigCopy) != Some(&(config.len() as u64)) {
        missing.push((Key::ConfigCopy, config));
    }
    let in_flight = store.properties().in_flight;
    let (slots, listed) = beside(in_flight, || slots(store), || store.list(Area::Archives))?;
    for id in slots? {
        let copy = Key::SlotCopy(id);
        // Who adds a key beside this may have put its copy since that listing.
        if is_alone && !copies.contains_key(&copy) {
            let bytes = store.get_whole(&Key::Slot(id), SMALL_OBJECT_LEN_MAX).unwrap_or_default();
            let is_intact = Slot::decode(&bytes).is_ok_and(|slot| slot.id == id);
            missing.extend(is_intact.then(|| (copy.clone(), bytes)));
        }
        kept.insert(copy);
    }
    let lens: HashMap<String, u64> = listed?
        .into_iter()
        .filter_map(|(key, len)| match key {
            Key::Archive(name) => Some((name, len)),
            _ => None,
        })
        .collect();
    let look = |name: String| {
        let len = lens.get(&name);
        match known.get(&name).map(of_archive) {
            Some(copy) if len.is_some() && copies.get(&copy) == len => Archived::Intact(copy, None),
            _ => read(&session, &name, &copies),
        }
    };
    let mut is_known = true;
    let names = lens.keys().cloned().collect();
    for found in each_archive(&session, names, look)? {
        match found {
            Archived::Intact(copy, lacking) => {
                missing.extend(lacking.map(|bytes| (copy.clone(), bytes)));
                kept.insert(copy);
            }
            Archived::Gone => {}
            Archived::Unknown => is_known = false,
        }
    }
    for (key, bytes) in missing {
        match store.put(&key, &[&bytes]).map_err(Error::from) {
            Err(error) if error.cause() == Cause::Full => break,
            put => put?,
        }
    }
    let mut lone: HashSet<Key> = copies.into_keys().filter(|key| !kept.contains(key)).collect();
    // For a repair.
    for Overwritten { copy, .. } in overwritten(&session, &lone)? {
        lone.remove(&copy);
    }
    let removed = match is_known {
        true => forget(session, lone.into_iter(), is_alone)?,
        false => 0,
    };
    store.sync()?;
    Ok(removed)
}

/// What to do for the copy of the archive of that name, by what it is read to be.
fn read(repository: &Repository, name: &str, copies: &HashMap<Key, u64>) -> Archived {
    match archive(repository, name) {
        Ok((copy, bytes)) => {
            let is_there = copies.get(&copy) == Some(&(bytes.len() as u64));
            Archived::Intact(copy, (!is_there).then_some(bytes))
        }
        Err(Error::Store(error)) if error.kind == StoreErrorKind::NotFound => Archived::Gone,
        Err(_) => {
            match find(repository.store(), repository.metadata(), name, repository.served()) {
                Some((found, _)) => Archived::Intact(of_archive(&found.fingerprint), None),
                None => Archived::Unknown,
            }
        }
    }
}

/// An archive, for who looks after copies.
enum Archived {
    /// The key of its copy, and what is to be put there if that is missing.
    Intact(Key, Option<Vec<u8>>),
    /// Removed a moment ago.
    Gone,
    /// Neither its file nor a copy of it opens.
    Unknown,
}

/// Removes copies without a first: while there are sessions, which may be about to publish it, those of archives of which it
/// is recorded that they were deleted.
fn forget(session: Deleting<'_>, copies: impl Iterator<Item = Key>, is_alone: bool) -> Result<u64> {
    let (store, metadata) = (session.store(), session.metadata());
    let copies: Vec<Key> = copies.collect();
    if copies.is_empty() {
        return Ok(0);
    }
    let gone = buried(store, metadata)?;
    let id = |key: &Key| -> Option<ArchiveId> {
        let Key::ArchiveCopy(hash) = key else { return None };
        Some(archive_id(hash.as_bytes()))
    };
    let is_gone = |key: &Key| id(key).is_some_and(|id| gone.contains(&id));
    let copies: Vec<Key> = copies.into_iter().filter(|key| is_alone || is_gone(key)).collect();
    // One that is damaged was perhaps that of a damaged file, and deleted with that.
    let is_intact = |key: &Key| {
        let bytes = store.get_whole(key, ARCHIVE_LEN_MAX);
        bytes.is_ok_and(|bytes| of_archive(blake3::hash(&bytes).as_bytes()) == *key)
    };
    let unrecorded = copies.iter().filter(|key| !is_gone(key) && is_intact(key));
    let missed = |id| Tombstone { removal: Removal::Missed, id };
    let removed: Vec<Tombstone> = unrecorded.filter_map(id).map(missed).collect();
    bury(store, metadata, &removed)?;
    copies.iter().try_for_each(|key| store.delete(key))?;
    Ok(removed.len() as u64)
}
