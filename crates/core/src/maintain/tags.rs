//! What archives are tagged with, and which of them are protected.
//!
//! In: names of archives, what is to become of their tags. Out: records that say so. Promises: of several archives each is
//! changed or not, and none is touched otherwise; nothing that is protected is deleted by who comes later.

use crate::error::Result;
use crate::objects::tags::{self, TagChange, Tags};
use crate::progress::Progress;
use crate::repository::{Pruner, Repository};

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
        for archive in &archives {
            tags::change(self.store(), self.metadata(), (&tags, archive), change)?;
        }
        Ok(self.store().sync()?)
    }
}
