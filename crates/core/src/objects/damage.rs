//! Damage records: which packs are known to be damaged.
//!
//! In: what a check, or a sample that a backup takes, found when it read twice. Out: a file `damaged/PACK` for each, which
//! every later session sees. Promises: what is in such a pack counts as absent for whoever stores, so the next backup of it
//! stores it again and no archive is built on it; whoever reads still reads what of it is intact. A record goes with its
//! pack.

use std::collections::HashSet;

use garret_format::PackId;
use garret_format::damage::{DAMAGE_LEN_MAX, DamageRecord};
use garret_format::object::{ENVELOPE_LEN, Kind};
use rustix::io::Errno;

use crate::error::{Error, Result, message};
use crate::keys::seal::Sealer;
use crate::objects::archive::now;
use crate::objects::envelope;
use crate::progress::Progress;
use crate::store::{Area, Key, Store, StoreError, StoreErrorKind, list_packs};

/// Longest file of a record in bytes.
const RECORD_LEN_MAX: u64 = (ENVELOPE_LEN + PackId::LEN + 12 + 4) as u64 + DAMAGE_LEN_MAX as u64;

/// Whether an error says that a pack is not what was written, or that its disk does not give it. Not that this program has
/// no file descriptor left, or no memory.
pub(crate) fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corrupt { .. } => true,
        Error::Store(error) => {
            let broken = [Errno::IO, Errno::BADMSG, Errno::UCLEAN, Errno::NODATA, Errno::REMOTEIO];
            let errno = error.source.raw_os_error().map(Errno::from_raw_os_error);
            error.kind == StoreErrorKind::WrongLength
                || errno.is_some_and(|errno| broken.contains(&errno))
        }
        _ => false,
    }
}

/// Records that a pack is damaged, and how that showed; durable when it returns, also where the record is there already:
/// who made it may have been killed. Whether it was: where that cannot be written it is told of: a check of a repository that
/// is only read is a check all the same, and a backup may go on.
pub(crate) fn record(
    store: &dyn Store,
    metadata: &Sealer,
    pack: PackId,
    is_recorded: bool,
    error: &Error,
    progress: &dyn Progress,
) -> bool {
    let recorded = match is_recorded {
        true => store.adopt(&Key::Damage(pack)).map_err(Error::from),
        false => write(store, metadata, pack, error),
    };
    let written = recorded.and_then(|()| Ok(store.sync()?));
    if let Err(error) = &written {
        let (pack, why) = (Key::Pack(pack), message(error));
        progress
            .notice(&format!("that {pack} is damaged cannot be noted in the repository: {why}"));
    }
    written.is_ok()
}

fn write(store: &dyn Store, metadata: &Sealer, pack: PackId, error: &Error) -> Result<()> {
    let record = DamageRecord { pack, found: now(), what: message(error) };
    let bytes = envelope::seal(metadata, Kind::Damage, record.encode())?;
    Ok(store.put(&Key::Damage(pack), &[&bytes])?)
}

/// The packs that are recorded as damaged. A record that is itself damaged, or forged, counts for nothing, and is told of.
/// One that its disk does not give counts, for its name says of which pack it is. A list of records that cannot be had is
/// told of: nobody needs it to read, and who stores or deletes is refused before.
pub(crate) fn load(
    store: &dyn Store,
    metadata: &Sealer,
    listed: &Result<Vec<PackId>, StoreError>,
    progress: &dyn Progress,
) -> HashSet<PackId> {
    records(store, metadata, listed, progress).into_iter().map(|record| record.pack).collect()
}

/// The packs of which there is a record.
pub(crate) fn listed(store: &dyn Store) -> Result<Vec<PackId>, StoreError> {
    let listed = store.list(Area::Damage)?.into_iter().filter_map(|(key, _)| match key {
        Key::Damage(pack) => Some(pack),
        _ => None,
    });
    Ok(listed.collect())
}

/// The same as [`load`], with when and how each was found.
pub(crate) fn records(
    store: &dyn Store,
    metadata: &Sealer,
    listed: &Result<Vec<PackId>, StoreError>,
    progress: &dyn Progress,
) -> Vec<DamageRecord> {
    if let Err(error) = listed {
        let why = message(error);
        progress.notice(&format!("{why}; packs that are recorded as damaged are not known"));
    }
    let (mut damaged, mut bad, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    for pack in listed.iter().flatten().copied() {
        match open(store, metadata, pack) {
            Ok(record) => damaged.push(record),
            // Its pack was found intact a moment ago.
            Err(Error::Store(error)) if error.kind == StoreErrorKind::NotFound => {}
            Err(Error::Store(error)) if error.kind != StoreErrorKind::WrongLength => {
                damaged.push(DamageRecord { pack, found: now(), what: message(&error) });
                unread.push(error.into());
            }
            Err(error) => bad.push(error),
        }
    }
    if let Some(error) = all_as_one(&bad) {
        progress.notice(&format!("{error}: passed over"));
    }
    if let Some(error) = all_as_one(&unread) {
        progress.notice(&format!("{error}: its pack counts as damaged"));
    }
    damaged
}

/// The first of them, and how many more there are.
fn all_as_one(errors: &[Error]) -> Option<String> {
    let first = message(errors.first()?);
    Some(match errors.len() {
        1 => first,
        count => format!("{first} (and {} more like it)", count - 1),
    })
}

fn open(store: &dyn Store, metadata: &Sealer, pack: PackId) -> Result<DamageRecord> {
    let key = Key::Damage(pack);
    let bytes = store.get_whole(&key, RECORD_LEN_MAX)?;
    let record = envelope::open(metadata, (&key, Kind::Damage), &bytes, DamageRecord::decode)?;
    match record.pack == pack {
        true => Ok(record),
        false => Err(Error::misnamed(&key.to_string())),
    }
}

/// Removes the record of a pack that was read and is intact: it was put back, or only the way to it was broken. Where that
/// cannot be done, the pack goes on to be stored again.
pub(crate) fn forget(store: &dyn Store, pack: PackId, progress: &dyn Progress) {
    let key = Key::Damage(pack);
    let pack = Key::Pack(pack);
    match store.delete(&key).and_then(|()| store.sync()) {
        Ok(()) => {
            progress
                .notice(&format!("{pack} was recorded as damaged and is intact: it counts again"));
        }
        Err(error) => {
            let why = message(&error);
            progress
                .notice(&format!("{pack} is intact, but the record of its damage stays: {why}"));
        }
    }
}

/// Removes the records of packs that are gone, and those that are damaged themselves. Only for the holder of the lock to
/// delete.
pub(crate) fn forget_records(store: &dyn Store, metadata: &Sealer) -> Result<()> {
    let recorded = listed(store).unwrap_or_default();
    if recorded.is_empty() {
        return Ok(());
    }
    let there: HashSet<PackId> = list_packs(store)?.into_iter().map(|(id, _)| id).collect();
    for pack in recorded {
        let is_bad = || matches!(open(store, metadata, pack), Err(Error::Corrupt { .. }));
        if !there.contains(&pack) || is_bad() {
            store.delete(&Key::Damage(pack))?;
        }
    }
    Ok(store.sync()?)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_program_without_file_descriptors_is_no_damage_of_a_pack() {
        let of = |errno: Errno| {
            let source = io::Error::from_raw_os_error(errno.raw_os_error());
            is_damage(&Error::Store(StoreError::new("read", "packs/ab", source)))
        };
        assert!(of(Errno::IO) && of(Errno::BADMSG) && of(Errno::UCLEAN));
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS, Errno::TIMEDOUT] {
            assert!(!of(errno), "{errno:?}");
        }
        assert!(is_damage(&Error::misnamed("packs/ab")));
    }
}
