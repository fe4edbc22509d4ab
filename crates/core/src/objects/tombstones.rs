//! The record of deletions: which archives were deleted, and that packs were removed.
//!
//! In: what the holder of the lock to delete is about to delete. Out: the file `tombstones`, by which each client knows that
//! what it saw and does not find was deleted, and that it does not look at an older state. Promises: it is durable before
//! what it tells of goes; it only ever grows at its end, and a chain of hashes over all its rows shows that it did. Its
//! second copy serves where it is damaged or missing, and is behind it only where the disk was full or the power went: so it
//! never takes the place of what a disk does not give for a while.

use std::collections::HashSet;

use garret_format::ArchiveId;
use garret_format::object::{ENVELOPE_LEN, Kind};
use garret_format::seen::Deletions;
use garret_format::tombstones::{
    Removal, TOMBSTONE_LEN, TOMBSTONES_HEAD_LEN, TOMBSTONES_MAX, Tombstone, Tombstones,
};

use crate::error::{Cause, Error, Result, message};
use crate::keys::random;
use crate::keys::seal::Sealer;
use crate::objects::damage::is_damage;
use crate::objects::envelope;
use crate::progress::Progress;
use crate::store::{Key, Store, StoreErrorKind};

/// Longest file of the record in bytes.
const RECORD_LEN_MAX: u64 =
    (ENVELOPE_LEN + TOMBSTONES_HEAD_LEN + TOMBSTONES_MAX * TOMBSTONE_LEN) as u64;

/// The id of the archive in a file with these bytes.
pub(crate) fn archive_id(fingerprint: &[u8; 32]) -> ArchiveId {
    let (id, _) = fingerprint.split_first_chunk().unwrap_or((&[0; ArchiveId::LEN], &[]));
    ArchiveId::from_bytes(*id)
}

/// What the record says, and why the second copy was read instead if its file is damaged.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) record: Tombstones,
    pub(crate) passed_over: Option<Error>,
}

/// One of the two files of the record, and its bytes.
fn read(store: &dyn Store, metadata: &Sealer, key: &Key) -> Result<(Tombstones, Vec<u8>)> {
    let bytes = store.get_whole(key, RECORD_LEN_MAX)?;
    let record = envelope::open(metadata, (key, Kind::Tombstones), &bytes, Tombstones::decode)?;
    Ok((record, bytes))
}

/// The record; an empty one if there is none. Where its file is not there the copy is looked at only if `is_expected`: nobody
/// else need pay for that. An error of which [`is_no_record`] holds says that neither of its files ever opens; any other,
/// that one may open again, whatever the other is.
fn load(store: &dyn Store, metadata: &Sealer, is_expected: bool) -> Result<Found> {
    let error = match read(store, metadata, &Key::Tombstones) {
        Ok((record, _)) => return Ok(Found { record, passed_over: None }),
        // Who put the first one ever was killed before it was there; or somebody took it away.
        Err(error) if is_missing(&error) && !is_expected => return Ok(Found::default()),
        Err(error) if is_missing(&error) || is_lost(&error) => error,
        Err(error) => return Err(error),
    };
    match read(store, metadata, &Key::TombstonesCopy) {
        Ok((record, _)) if is_missing(&error) => Ok(Found { record, passed_over: None }),
        Ok((record, _)) => Ok(Found { record, passed_over: Some(error) }),
        // What it says is not known, and it may be had again: nobody may take it for nothing.
        Err(other) if !is_missing(&other) && !is_no_record(&other) => Err(other),
        Err(_) if is_missing(&error) => Ok(Found::default()),
        Err(_) => Err(error),
    }
}

/// Whether what has its name is no record any more, or its disk does not give it.
fn is_lost(error: &Error) -> bool {
    is(error, StoreErrorKind::NotAFile) || is_damage(error)
}

/// Whether what has its name was read, and is no record. Only then may another take its place unasked: what a disk does not
/// give now it may give again.
fn is_no_record(error: &Error) -> bool {
    let kinds = [StoreErrorKind::NotAFile, StoreErrorKind::WrongLength];
    matches!(error, Error::Corrupt { .. }) || kinds.iter().any(|kind| is(error, *kind))
}

fn is_missing(error: &Error) -> bool {
    is(error, StoreErrorKind::NotFound)
}

fn is_newer(error: &Error) -> bool {
    matches!(error, Error::Unsupported { .. })
}

fn is(error: &Error, kind: StoreErrorKind) -> bool {
    matches!(error, Error::Store(error) if error.kind == kind)
}

/// The record, of which somebody saw something before if `is_expected`. One that is damaged, as its second copy is, counts as
/// an empty one, and is told of.
pub(crate) fn load_or_tell(
    store: &dyn Store,
    metadata: &Sealer,
    is_expected: bool,
    progress: &dyn Progress,
) -> Result<Found> {
    match load(store, metadata, is_expected) {
        // Who saw nothing needs no record to know it by.
        Err(error) if is_lost(&error) || !(is_expected || is_newer(&error)) => {
            let why = message(&error);
            progress.notice(&format!("{why}: passed over, what was deleted is not known"));
            Ok(Found::default())
        }
        found => found,
    }
}

/// The archives of which it says that they are gone; none if it is lost.
pub(crate) fn buried(store: &dyn Store, metadata: &Sealer) -> Result<HashSet<ArchiveId>> {
    Ok(among(&load_if_any(store, metadata)?))
}

/// The archives that this record says are gone, however they went.
pub(crate) fn among(record: &Tombstones) -> HashSet<ArchiveId> {
    let rows = record.rows.iter().filter(|row| row.removal != Removal::Packs);
    rows.map(|row| row.id).collect()
}

/// The archives that somebody deleted, and which nothing that came later says were lost; none if the record is lost.
pub(crate) fn deleted(store: &dyn Store, metadata: &Sealer) -> Result<HashSet<ArchiveId>> {
    Ok(deleted_in(&load_if_any(store, metadata)?))
}

/// The same of this record.
pub(crate) fn deleted_in(record: &Tombstones) -> HashSet<ArchiveId> {
    let mut deleted = HashSet::new();
    for row in &record.rows {
        match row.removal {
            Removal::Deleted => drop(deleted.insert(row.id)),
            Removal::Missed => drop(deleted.remove(&row.id)),
            Removal::Packs => {}
        }
    }
    deleted
}

fn load_if_any(store: &dyn Store, metadata: &Sealer) -> Result<Tombstones> {
    match load(store, metadata, true) {
        Err(error) if is_lost(&error) => Ok(Tombstones::default()),
        found => Ok(found?.record),
    }
}

/// What is wrong with the record, if neither of its files opens, or one does not and the other is not given.
pub(crate) fn damage(store: &dyn Store, metadata: &Sealer) -> Option<Error> {
    load(store, metadata, false).err()
}

/// Which of its two files is wrong, why, and what its bytes should be, where the other is intact. A copy that says something
/// else is none of these: who put it was killed before he put the first.
pub(crate) fn wrong(store: &dyn Store, metadata: &Sealer) -> Option<(Key, Error, Vec<u8>)> {
    let [first, copy] = [Key::Tombstones, Key::TombstonesCopy];
    match (read(store, metadata, &first), read(store, metadata, &copy)) {
        (Ok((_, bytes)), Err(error)) => Some((copy, error, bytes)),
        (Err(error), Ok((_, bytes))) if is_lost(&error) => Some((first, error, bytes)),
        _ => None,
    }
}

/// Makes of one file that is intact two that are alike, as far as there is room, and removes both where neither is a
/// record: it is made anew when something is deleted. A first file that its disk does not give is replaced only by who
/// `gives_up`, as both are removed only by him where no disk gives one; for all others a copy of which `copy_len` says that
/// it is as long as the record is not read. Gives what the first file said; nothing if it was not intact. Only for
/// the holder of the lock to delete.
pub(crate) fn mend(
    store: &dyn Store,
    metadata: &Sealer,
    copy_len: Option<u64>,
    gives_up: bool,
) -> Result<Tombstones> {
    let [first, copy] = [Key::Tombstones, Key::TombstonesCopy];
    let found = read(store, metadata, &first);
    let record = found.as_ref().map(|(record, _)| record.clone()).unwrap_or_default();
    match &found {
        Ok((_, bytes)) if !gives_up && copy_len == Some(bytes.len() as u64) => return Ok(record),
        Err(error) if is_missing(error) && !gives_up && copy_len.is_none() => return Ok(record),
        _ => {}
    }
    let is_gone =
        |error: &Error| is_missing(error) || is_no_record(error) || (gives_up && is_lost(error));
    let (key, bytes) = match (found, read(store, metadata, &copy)) {
        (Ok((_, bytes)), Ok((_, other))) if bytes == other => return Ok(record),
        (Ok((_, bytes)), _) => (copy, bytes),
        (Err(error), Ok((_, bytes))) if is_gone(&error) => (first, bytes),
        (Err(one), Err(other)) if is_gone(&one) && is_gone(&other) => {
            for (key, error) in [(first, one), (copy, other)] {
                if is_damage(&error) {
                    store.delete(&key)?;
                }
            }
            store.sync()?;
            return Ok(record);
        }
        _ => return Ok(record),
    };
    put_if_room(store, &key, &bytes)?;
    store.sync()?;
    Ok(record)
}

/// Whether there was room for it.
fn put_if_room(store: &dyn Store, key: &Key, bytes: &[u8]) -> Result<bool> {
    match store.put(key, &[bytes]).map_err(Error::from) {
        Err(error) if error.cause() == Cause::Full => Ok(false),
        put => put.map(|()| true),
    }
}

/// Appends these rows; durable when it returns. Whether there was room for it: a full disk keeps nobody from deleting.
/// But one that does not give the record now does. Only for the holder of the lock to delete.
pub(crate) fn bury(store: &dyn Store, metadata: &Sealer, rows: &[Tombstone]) -> Result<bool> {
    if rows.is_empty() {
        return Ok(true);
    }
    let mut record = match load(store, metadata, true) {
        Err(error) if is_no_record(&error) => Tombstones::default(),
        Ok(Found { passed_over: Some(error), .. }) if !is_no_record(&error) => return Err(error),
        found => found?.record,
    };
    let is_first = reached(&record).count == 0;
    record.rows.extend(rows);
    let surplus = record.rows.len().saturating_sub(TOMBSTONES_MAX);
    for row in record.rows.drain(..surplus) {
        record.head = chain(&record.head, &row);
    }
    record.dropped = record.dropped.saturating_add(surplus as u64);
    let bytes = envelope::seal(metadata, Kind::Tombstones, record.encode())?;
    // The copy first: what a client remembers it read from the other, and so it is in both. That of the first record ever is
    // durable before it: where there was a copy before, a power cut leaves an older one, else it could leave none.
    put_if_room(store, &Key::TombstonesCopy, &bytes)?;
    let is_durable = if is_first { store.sync() } else { Ok(()) };
    let put = is_durable.and_then(|()| store.put(&Key::Tombstones, &[&bytes]));
    match put.and_then(|()| store.sync()).map_err(Error::from) {
        Err(error) if error.cause() == Cause::Full => Ok(false),
        put => put.map(|()| true),
    }
}

/// The same for packs: what was there when the record was as long as this may be gone now. A row that is random, so that
/// no two records that began alike go on alike.
pub(crate) fn note_removal(store: &dyn Store, metadata: &Sealer) -> Result<bool> {
    bury(
        store,
        metadata,
        &[Tombstone { removal: Removal::Packs, id: ArchiveId::from_bytes(random()?) }],
    )
}

/// How far it has come.
pub(crate) fn reached(record: &Tombstones) -> Deletions {
    let count = record.dropped.saturating_add(record.rows.len() as u64);
    Deletions { count, head: record.rows.iter().fold(record.head, |head, row| chain(&head, row)) }
}

/// Whether it went on from there, as far as its rows tell.
pub(crate) fn follows(record: &Tombstones, earlier: &Deletions) -> bool {
    let Some(count) = earlier.count.checked_sub(record.dropped) else { return true };
    let rows = usize::try_from(count).ok().and_then(|count| record.rows.get(..count));
    rows.is_some_and(|rows| {
        rows.iter().fold(record.head, |head, row| chain(&head, row)) == earlier.head
    })
}

fn chain(head: &[u8; 32], row: &Tombstone) -> [u8; 32] {
    *blake3::Hasher::new().update(head).update(&row.encode()).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Keys, Purpose};
    use crate::progress::Silent;
    use crate::store::MemoryStore;
    use garret_format::RepositoryId;

    fn id(number: u64) -> ArchiveId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        ArchiveId::from_bytes(bytes)
    }

    #[test]
    fn a_record_goes_on_from_each_earlier_one_and_from_no_other() {
        let store = MemoryStore::new();
        let repository = RepositoryId::from_bytes([1; 32]);
        let metadata = Sealer::new(repository, Purpose::Metadata, &Keys::none());
        let mut earlier = vec![Deletions::default()];
        for number in 0..50 {
            let row = Tombstone { removal: Removal::Deleted, id: id(number) };
            assert!(bury(&store, &metadata, &[row]).unwrap());
            let record = load_or_tell(&store, &metadata, true, &Silent).unwrap().record;
            assert!(earlier.iter().all(|earlier| follows(&record, earlier)), "{number}");
            let other = Deletions { head: [7; 32], ..reached(&record) };
            let later = Deletions { count: number + 2, ..reached(&record) };
            assert!(!follows(&record, &other) && !follows(&record, &later), "{number}");
            earlier.push(reached(&record));
        }
        // Of what was dropped nothing can be said, of all else as before.
        let row = |number| Tombstone { removal: Removal::Missed, id: id(number) };
        let many: Vec<Tombstone> = (50..TOMBSTONES_MAX as u64 + 20).map(row).collect();
        bury(&store, &metadata, &many).unwrap();
        let record = load_or_tell(&store, &metadata, true, &Silent).unwrap().record;
        assert_eq!((record.dropped, record.rows.len()), (20, TOMBSTONES_MAX));
        assert!(earlier.iter().all(|earlier| follows(&record, earlier)));
        let forged = |count| Deletions { count, head: [7; 32] };
        assert!(follows(&record, &forged(19)) && !follows(&record, &forged(20)));
        assert_eq!(reached(&record).count, TOMBSTONES_MAX as u64 + 20);
    }
}
