//! What archives are tagged with, and which of them are protected.
//!
//! In: names of archives, what is to become of their tags. Out: records that say so. Promises: of several archives each is
//! changed or not, and none is touched otherwise; nothing that is protected is deleted by who comes later.

use crate::error::Result;
use crate::objects::tags::{self, TagChange, Tags};
use crate::progress::Progress;
use crate::repository::{Exclusive, Pruner, Repository};

impl Repository {
    /// What all archives are tagged with now, and which are protected. A record of that which is damaged is told of.
    ///
    /// # Errors
    /// The store cannot be listed or read.
    pub fn tags(&self, progress: &dyn Progress) -> Result<Tags> {
        let (tags, wrong) = tags::load(self.store(), self.metadata())?;
        wrong.iter().for_each(|problem| progress.problem(problem));
        Ok(tags)
    }
}

impl Pruner {
    /// Changes the tags of archives, and whether they are protected; durable when it returns.
    ///
    /// # Errors
    /// `ArchiveMissing`, and an archive that cannot be read, before anything is changed; `BadOption` for words that can be no
    /// tags, or too many; a store that cannot be written.
    pub fn tag(&mut self, names: &[String], change: &TagChange) -> Result<()> {
        let archives: Result<Vec<_>> = names.iter().map(|name| self.archive(name)).collect();
        let archives = archives?;
        let (tags, _) = tags::load(self.store(), self.metadata())?;
        // All that can be refused is, before the first is written.
        let records = archives.iter().map(|archive| tags::changed(&tags, archive, change));
        for record in records.collect::<Result<Vec<_>>>()? {
            tags::put(self.store(), self.metadata(), record)?;
        }
        Ok(self.store().sync()?)
    }
}

/// Makes damaged records of archives that are there anew: protected, as they count, with the tags that they were made with.
/// Gives how many.
pub(super) fn repair(session: &Exclusive) -> Result<u64> {
    let (store, metadata) = (session.store(), session.metadata());
    let (tags, wrong) = tags::load(store, metadata)?;
    if wrong.is_empty() {
        return Ok(0);
    }
    let (change, mut mended) = (TagChange { protect: Some(true), ..TagChange::default() }, 0);
    for name in session.archive_names()? {
        let Ok(archive) = session.archive(&name) else { continue };
        if tags.is_damaged(&archive) {
            tags::put(store, metadata, tags::changed(&tags, &archive, &change)?)?;
            mended += 1;
        }
    }
    store.sync()?;
    Ok(mended)
}
