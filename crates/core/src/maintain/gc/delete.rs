//! Last station of gc, and the first of giving space back: what is no longer wanted goes.

use std::collections::HashSet;

use garret_format::{ArchiveId, PackId};

use crate::error::{Error, Result};
use crate::limits::ARCHIVE_LEN_MAX;
use crate::objects::copies::Survey;
use crate::objects::tags;
use crate::objects::tombstones::{archive_id, bury, note_removal};
use crate::pipeline::with_workers;
use crate::repository::{Pruner, Repository};
use crate::store::{Area, Key};

impl Pruner {
    /// Removes archives from the list of archives, and records that they were deleted, before it does so unless the disk is
    /// full; their space comes back with [`Pruner::gc`]. Damaged ones can be removed too.
    ///
    /// # Errors
    /// `ArchiveMissing` before anything is removed, also if what has that name is no archive; `Protected`
    /// likewise; a store that cannot delete.
    pub fn delete(&mut self, names: &[String]) -> Result<()> {
        let existing = self.archive_names()?;
        if let Some(missing) = names.iter().find(|name| existing.binary_search(name).is_err()) {
            return Err(Error::ArchiveMissing(missing.clone()));
        }
        // One that its disk does not give, and of which there is no copy, has no hash any more.
        let mut lost = None;
        let hash = |name: &String| -> Option<[u8; 32]> {
            if let Ok(found) = self.archive(name) {
                return Some(found.fingerprint);
            }
            lost.get_or_insert(name.clone());
            let bytes = self.store().get_whole(&Key::Archive(name.clone()), ARCHIVE_LEN_MAX);
            Some(*blake3::hash(&bytes.ok()?).as_bytes())
        };
        let hashes: Vec<Option<[u8; 32]>> = names.iter().map(hash).collect();
        let (tags, _) = tags::load(self.store(), self.metadata())?;
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
        let mut ids: Vec<ArchiveId> = hashes.iter().flatten().map(archive_id).collect();
        // Who copied an archive by hand, and deletes one of the two, keeps the archive. The two have one second copy: where
        // there are as many of these as archives nobody need be asked.
        let copies = self.store().list(Area::Copies)?.into_iter();
        let copies = copies.filter(|(key, _)| matches!(key, Key::ArchiveCopy(_))).count();
        if copies < existing.len() {
            let doomed: HashSet<&str> = names.iter().map(String::as_str).collect();
            let kept = Survey::make(self.store(), self.metadata())?.without(&doomed);
            let kept: HashSet<ArchiveId> = kept.iter().map(archive_id).collect();
            ids.retain(|id| !kept.contains(id));
        }
        let is_recorded = bury(self.store(), self.metadata(), &ids)?;
        for name in names {
            self.store().delete(&Key::Archive(name.clone()))?;
        }
        self.store().sync()?;
        self.served().forget_survey();
        if !is_recorded {
            bury(self.store(), self.metadata(), &ids)?;
        }
        Ok(())
    }
}

/// Removes packs that no segment of the index lists any more, and records that packs were removed, before it does so unless
/// the disk is full: without that, what is left would pass for what there was before they were stored.
pub(in crate::maintain) fn packs<'p>(
    repository: &Repository,
    doomed: impl Iterator<Item = &'p PackId>,
) -> Result<()> {
    let (store, mut doomed) = (repository.store(), doomed.peekable());
    if doomed.peek().is_none() {
        return Ok(());
    }
    let is_recorded = note_removal(store, repository.metadata())?;
    with_workers(repository.chunks().groups().in_flight(), |workers| {
        let delete = |id: PackId| Ok(store.delete(&Key::Pack(id))?);
        workers.map(doomed.copied().map(Ok), delete).collect::<Result<()>>()
    })?;
    store.sync()?;
    if !is_recorded {
        note_removal(store, repository.metadata())?;
    }
    Ok(())
}
