//! Last station of gc, and the first of giving space back: what is no longer wanted goes.

use garret_format::PackId;

use crate::error::{Error, Result};
use crate::repository::{Pruner, Repository};
use crate::store::Key;

impl Pruner {
    /// Removes archives from the list of archives; their space comes back with [`Pruner::gc`]. Damaged ones can be removed
    /// too.
    ///
    /// # Errors
    /// `ArchiveMissing` before anything is removed, also if what has that name is no archive; a store that cannot delete.
    pub fn delete(&mut self, names: &[String]) -> Result<()> {
        let existing = self.archive_names()?;
        if let Some(missing) = names.iter().find(|name| existing.binary_search(name).is_err()) {
            return Err(Error::ArchiveMissing(missing.clone()));
        }
        for name in names {
            self.store().delete(&Key::Archive(name.clone()))?;
        }
        Ok(self.store().sync()?)
    }
}

/// Removes packs that no segment of the index lists any more.
pub(in crate::maintain) fn packs<'p>(
    repository: &Repository,
    doomed: impl Iterator<Item = &'p PackId>,
) -> Result<()> {
    for id in doomed {
        repository.store().delete(&Key::Pack(*id))?;
    }
    Ok(repository.store().sync()?)
}
