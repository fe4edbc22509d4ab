//! Fourth station of gc: an index that does not list what is about to go.
//!
//! In: the doomed packs, and copies of chunks that need not be listed. Out: new segments in place of those that listed one,
//! and of small ones. Promises: a segment goes only when what lists its other packs is durable.

use std::collections::HashSet;

use garret_format::index::{PackRow, SEGMENT_CHUNKS_MAX};
use garret_format::pack::PackKind;
use garret_format::{ChunkId, PackId};

use super::condemn;
use crate::error::{Cause, Error, Result, message};
use crate::objects::index::{Listing, Rows, read_segment, store_segment};
use crate::progress::Progress;
use crate::repository::{Deleting, Repository};
use crate::store::{Area, Key};

/// Replaces the segments that list doomed packs, and merges small ones, by new ones that do not. Cold packs that are not
/// there stay listed if `keeps_missing` is set.
pub(in crate::maintain) fn swap(
    session: Deleting<'_>,
    doomed: &HashSet<PackId>,
    superseded: &HashSet<(ChunkId, PackId)>,
    keeps_missing: bool,
) -> Result<()> {
    let store = session.store();
    let segments = store.list(Area::Index)?;
    // Afterwards: a pack is there before a segment lists it.
    let stored = Listing::read(store)?;
    // Of what is cold nobody else knows, and a listing may have been short.
    let is_kept = |pack: &PackRow| {
        keeps_missing && pack.kind == PackKind::Data && store.is_cold(&Key::Pack(pack.id))
    };
    let survives =
        |pack: &PackRow| (stored.has(pack) || is_kept(pack)) && !doomed.contains(&pack.id);
    let mut old = Vec::new();
    let mut new = Segments { session, rows: Rows::default() };
    // Whoever is writing packs will list them. Where there is no index at all they are listed with the others.
    if segments.is_empty() || !store.has_sessions(condemn::ANY)? {
        for unstored in session.index().unstored() {
            new.push(unstored.keep_packs(survives).without(superseded))?;
        }
    }
    for (key, _) in segments {
        let Key::Index(id) = key else { continue };
        match read_segment(&session.index_source(), id) {
            Ok(segment) => {
                let full = segment.records.len() >= SEGMENT_CHUNKS_MAX / 2;
                if full && segment.packs.iter().all(survives) && !segment.lists_any(superseded) {
                    continue;
                }
                new.push(segment.keep_packs(survives).without(superseded))?;
            }
            // Its packs are known from their footers, if these could be read. What could be read before is read wrong now.
            Err(Error::Corrupt { .. })
                if !session.index().lacks_cold() && !session.index().has_segment(&id) => {}
            Err(error) => return Err(error),
        }
        old.push(key);
    }
    new.flush()?;
    store.sync()?;
    for key in old {
        store.delete(&key)?;
    }
    Ok(store.sync()?)
}

/// Whether the index follows from the packs: each that it lists shows in its footer what is in it. Those that do not matter
/// are for `passes_over` to say. Of a cold pack that is not to be read, or one without its footer, the index may know what
/// nobody else does.
pub(in crate::maintain) fn follows(
    repository: &Repository,
    passes_over: impl Fn(&PackId) -> bool,
    reads_cold: bool,
) -> bool {
    let (index, store) = (repository.index(), repository.store());
    index.tables().flat_map(|tables| tables.packs().collect::<Vec<_>>()).all(|pack| {
        let footer = || repository.packs().footer(pack.id, u64::from(pack.len));
        let is_asked = reads_cold || !store.is_cold(&Key::Pack(pack.id));
        passes_over(&pack.id) || is_asked && footer().is_ok_and(|(row, _)| row == pack)
    })
}

/// Removes the index, which must follow from the packs.
pub(in crate::maintain) fn forget(session: Deleting<'_>) -> Result<()> {
    let store = session.store();
    for (key, _) in store.list(Area::Index)? {
        store.delete(&key)?;
    }
    Ok(store.sync()?)
}

/// Stores the index that was read from packs when there was none. Where there is no room even for that, it is read from them
/// again each time.
pub(in crate::maintain) fn remake(session: Deleting<'_>, progress: &dyn Progress) -> Result<()> {
    match swap(session, &HashSet::new(), &HashSet::new(), true) {
        Err(error) if error.cause() == Cause::Full => {
            let why = message(&error);
            progress.notice(&format!(
                "{why}: until there is room, what is in packs is looked up in each of them"
            ));
        }
        swapped => swapped?,
    }
    session.reopen_index(progress)
}

/// Collects rows and stores a segment whenever there are enough for one.
struct Segments<'s> {
    session: Deleting<'s>,
    rows: Rows,
}

impl Segments<'_> {
    fn push(&mut self, rows: Rows) -> Result<()> {
        self.rows.append(rows);
        if self.rows.records.len() >= SEGMENT_CHUNKS_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        if !rows.packs.is_empty() {
            store_segment(self.session.store(), self.session.metadata(), &rows.sorted())?;
        }
        Ok(())
    }
}
