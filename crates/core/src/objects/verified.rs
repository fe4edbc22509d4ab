//! The record of verified packs: of which packs every byte was read, in which order, and on which day.
//!
//! In: what a check read. Out: the file `verified`, by which the next check, of any client, begins with what was read longest
//! ago. Promises: nothing but that order, and what `info` shows, depends on it: who removes it, or puts an old one back, has
//! packs read again that were read before. The order is that of the rows, so no clock can spoil it.

use std::collections::{HashMap, HashSet};

use garret_format::PackId;
use garret_format::object::{ENVELOPE_LEN, Kind};
use garret_format::verified::{
    VERIFIED_MAX, VERIFIED_ROW_LEN, VerifiedPack, decode_verified, encode_verified, short_id,
};

use crate::error::{Cause, Result, message};
use crate::keys::seal::Sealer;
use crate::objects::damage::is_damage;
use crate::objects::envelope;
use crate::progress::Progress;
use crate::store::{Key, Store, list_packs};

/// Longest file of the record in bytes.
const RECORD_LEN_MAX: u64 = (ENVELOPE_LEN + 4 + VERIFIED_MAX * VERIFIED_ROW_LEN) as u64;

/// The rows, the pack that was read longest ago first; none if there is no record.
pub(crate) fn load(store: &dyn Store, metadata: &Sealer) -> Result<Vec<VerifiedPack>> {
    let what = (&Key::Verified, Kind::Verified);
    let rows = envelope::load(store, metadata, what, RECORD_LEN_MAX, decode_verified)?;
    Ok(rows.unwrap_or_default())
}

/// The same; a record that cannot be read counts for nothing, and is told of.
pub(crate) fn load_or_tell(
    store: &dyn Store,
    metadata: &Sealer,
    progress: &dyn Progress,
) -> Vec<VerifiedPack> {
    load(store, metadata).unwrap_or_else(|error| {
        progress
            .notice(&format!("{}: passed over, packs count as never verified", message(&error)));
        Vec::new()
    })
}

/// Sorts packs as they should be read: those that never were, then the others, the one that was read longest ago first.
pub(crate) fn sort(packs: &mut [(PackId, u64)], rows: &[VerifiedPack]) {
    let places = rows.iter().enumerate().map(|(place, row)| (row.pack, place));
    let places: HashMap<[u8; 8], usize> = places.collect();
    packs.sort_by_cached_key(|(id, _)| (places.get(&short_id(id)).copied(), *id));
}

/// Notes that `intact` were read on `day`, in this order, and that `doubtful` are not what they were. Durable when it
/// returns. Of two who do so at once one may lose what he read.
pub(crate) fn note(
    store: &dyn Store,
    metadata: &Sealer,
    intact: &[PackId],
    doubtful: &HashSet<PackId>,
    day: u32,
) -> Result<()> {
    let read: HashSet<[u8; 8]> = intact.iter().chain(doubtful).map(short_id).collect();
    // Another check may have written it meanwhile. One that is damaged is made anew.
    let mut rows = match load(store, metadata) {
        Err(error) if is_damage(&error) => Vec::new(),
        rows => rows?,
    };
    rows.retain(|row| !read.contains(&row.pack));
    rows.extend(intact.iter().map(|id| VerifiedPack { pack: short_id(id), day }));
    write(store, metadata, rows)
}

/// Drops the rows of packs that are gone, if there is room to say so: they do no harm. Only for the holder of the lock to
/// delete.
pub(crate) fn forget_gone(store: &dyn Store, metadata: &Sealer) -> Result<()> {
    let Ok(mut rows) = load(store, metadata) else { return Ok(()) };
    if rows.is_empty() {
        return Ok(());
    }
    let there: HashSet<[u8; 8]> = list_packs(store)?.iter().map(|(id, _)| short_id(id)).collect();
    let before = rows.len();
    rows.retain(|row| there.contains(&row.pack));
    if rows.len() == before {
        return Ok(());
    }
    match write(store, metadata, rows) {
        Err(error) if error.cause() == Cause::Full => Ok(()),
        written => written,
    }
}

fn write(store: &dyn Store, metadata: &Sealer, mut rows: Vec<VerifiedPack>) -> Result<()> {
    // What does not fit was read longest ago, and is read next.
    rows.drain(..rows.len().saturating_sub(VERIFIED_MAX));
    let bytes = envelope::seal(metadata, Kind::Verified, encode_verified(&rows))?;
    store.put(&Key::Verified, &[&bytes])?;
    Ok(store.sync()?)
}
