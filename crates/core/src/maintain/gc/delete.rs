//! Last station of gc, and the first of giving space back: what is no longer wanted goes.

use std::collections::HashSet;

use garret_format::tombstones::{Removal, Tombstone};
use garret_format::{ArchiveId, ChunkId, PackId};

use crate::error::{Error, Result};
use crate::limits::ARCHIVE_LEN_MAX;
use crate::objects::archive::NamedArchive;
use crate::objects::copies::Survey;
use crate::objects::index::{Index, Location};
use crate::objects::tags;
use crate::objects::tombstones::{archive_id, bury, note_removal};
use crate::pipeline::{beside, with_workers};
use crate::read::mark::{Marks, Visitor, mark_archive};
use crate::repository::{Deleting, Pruner};
use crate::store::{Area, Key};

impl Pruner {
    /// Removes archives from the list of archives, and records that they were deleted, before it does so unless the disk is
    /// full; their space comes back with [`Pruner::gc`]. Damaged ones can be removed too.
    ///
    /// # Errors
    /// `ArchiveMissing` before anything is removed, also if what has that name is no archive; `Protected`
    /// likewise; a store that cannot delete.
    pub fn delete(&mut self, names: &[String]) -> Result<()> {
        let (store, metadata) = (self.store(), self.metadata());
        let in_flight = store.properties().in_flight;
        let records =
            || beside(in_flight, || tags::load(store, metadata), || store.list(Area::Copies));
        let archives =
            || beside(in_flight, || self.archive_names(), || self.archives(names.to_vec()));
        let (records, archives) = beside(in_flight, records, archives)?;
        let ((tags, copies), (existing, found)) = (records?, archives?);
        let ((tags, _), copies, existing) = (tags?, copies?, existing?);
        if let Some(missing) = names.iter().find(|name| existing.binary_search(name).is_err()) {
            return Err(Error::ArchiveMissing(missing.clone()));
        }
        // One that its disk does not give, and of which there is no copy, has no hash any more.
        let mut lost = None;
        let hash = |(name, found): &(String, Result<NamedArchive>)| -> Option<[u8; 32]> {
            if let Ok(found) = found {
                return Some(found.fingerprint);
            }
            let bytes = store.get_whole(&Key::Archive(name.clone()), ARCHIVE_LEN_MAX);
            lost.get_or_insert_with(|| name.clone());
            Some(*blake3::hash(&bytes.ok()?).as_bytes())
        };
        let found = found?;
        let hashes: Vec<Option<[u8; 32]>> = found.iter().map(hash).collect();
        for (name, hash) in names.iter().zip(&hashes) {
            if hash.is_some_and(|hash| tags.protects(&hash)) {
                return Err(Error::Protected(name.clone()));
            }
        }
        // Of one of which not enough is left to say which it was, a record that is of no other may be.
        if let Some(name) = lost {
            let known = existing.iter().filter_map(|name| self.archive(name).ok());
            if tags.protects_another(&known.map(|found| found.fingerprint).collect()) {
                return Err(Error::Protected(name));
            }
        }
        let whole = self.whole_ones(&found);
        let mut rows: Vec<Tombstone> = hashes
            .iter()
            .flatten()
            .map(|hash| {
                let is_whole = whole.contains(hash);
                let removal = if is_whole { Removal::Deleted } else { Removal::Missed };
                Tombstone { removal, id: archive_id(hash) }
            })
            .collect();
        // Who copied an archive by hand, and deletes one of the two, keeps the archive. The two have one second copy: where
        // there are as many of these as archives nobody need be asked.
        let copies = copies.iter().filter(|(key, _)| matches!(key, Key::ArchiveCopy(_))).count();
        if copies < existing.len() {
            let doomed: HashSet<&str> = names.iter().map(String::as_str).collect();
            let kept = Survey::make(store, metadata)?.without(&doomed);
            let kept: HashSet<ArchiveId> = kept.iter().map(archive_id).collect();
            rows.retain(|row| !kept.contains(&row.id));
        }
        let is_recorded = bury(store, metadata, &rows)?;
        with_workers(in_flight, |workers| {
            let delete = |name: &String| Ok(store.delete(&Key::Archive(name.clone()))?);
            workers.map(names.iter().map(Ok), delete).collect::<Result<()>>()
        })?;
        store.sync()?;
        self.served().forget_survey();
        if !is_recorded {
            bury(store, metadata, &rows)?;
        }
        Ok(())
    }

    /// The hashes of those archives of which all is there, as far as the index knows. One that has lost something is deleted
    /// because it did: a copy elsewhere, in which it is whole, is not to follow that.
    fn whole_ones(&self, found: &[(String, Result<NamedArchive>)]) -> HashSet<[u8; 32]> {
        let chunks = self.chunks();
        let mut marks = Marks::new(chunks.index());
        let mut whole = HashSet::new();
        for archive in found.iter().filter_map(|(_, found)| found.as_ref().ok()) {
            let mut seen = Whole { index: chunks.index(), lacks: false };
            match mark_archive(&chunks, archive, &marks, &mut seen) {
                Ok(()) if !seen.lacks => drop(whole.insert(archive.fingerprint)),
                // What it lacks is marked by now, and the next one may lack it too.
                _ => marks = Marks::new(chunks.index()),
            }
        }
        whole
    }
}

/// Finds whether anything that an archive needs is gone, or in a pack that is known to be damaged.
struct Whole<'w> {
    index: &'w Index,
    lacks: bool,
}

impl Visitor for Whole<'_> {
    fn chunk(&mut self, _path: &[u8], _id: &ChunkId, location: Option<&Location>) {
        self.lacks |= location.is_none_or(|there| self.index.is_damaged(&there.pack.id));
    }
}

/// Removes packs that no segment of the index lists any more, and records that packs were removed, before it does so unless
/// the disk is full: without that, what is left would pass for what there was before they were stored.
pub(in crate::maintain) fn packs<'p>(
    session: Deleting<'_>,
    doomed: impl Iterator<Item = &'p PackId>,
) -> Result<()> {
    let (store, mut doomed) = (session.store(), doomed.peekable());
    if doomed.peek().is_none() {
        return Ok(());
    }
    let is_recorded = note_removal(store, session.metadata())?;
    with_workers(session.chunks().groups().in_flight(), |workers| {
        let delete = |id: PackId| Ok(store.delete(&Key::Pack(id))?);
        workers.map(doomed.copied().map(Ok), delete).collect::<Result<()>>()
    })?;
    store.sync()?;
    if !is_recorded {
        note_removal(store, session.metadata())?;
    }
    Ok(())
}
