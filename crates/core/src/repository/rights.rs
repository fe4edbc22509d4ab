//! What only some sessions may do to a repository, as values that they alone give out.
//!
//! ```text
//! Writer, Pruner     -> Adding     new chunks, then an archive of them
//! Pruner, Exclusive  -> Deleting   packs, segments and records in place of others
//! ```
//!
//! In: a session, borrowed for as long as the right is used. Out: the repository, with what the right allows. Promises: what
//! takes one of these in its arguments cannot be called by a session that has not the right.

use std::ops::Deref;

use super::entry::look_around;
use super::{Checker, Exclusive, Pruner, Repository, Writer};
use crate::error::Result;
use crate::limits::GROUP_LEN;
use crate::objects::index::Index;
use crate::progress::Progress;
use crate::write::ChunkTarget;

/// The right to add archives, and what they need.
#[derive(Clone, Copy)]
pub(crate) struct Adding<'s>(&'s Repository);

/// The right to delete, and to write anew what stays.
#[derive(Clone, Copy)]
pub(crate) struct Deleting<'s>(&'s Checker);

impl Writer {
    pub(crate) fn adding(&mut self) -> Adding<'_> {
        Adding(self)
    }
}

impl Pruner {
    pub(crate) fn adding(&mut self) -> Adding<'_> {
        Adding(self)
    }

    pub(crate) fn deleting(&mut self) -> Deleting<'_> {
        Deleting(self)
    }
}

impl Exclusive {
    pub(crate) fn deleting(&mut self) -> Deleting<'_> {
        Deleting(self)
    }
}

impl Deref for Adding<'_> {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        self.0
    }
}

impl Deref for Deleting<'_> {
    type Target = Checker;

    fn deref(&self) -> &Checker {
        self.0
    }
}

impl Adding<'_> {
    /// Does `work` with an index that grows. Whatever comes of it, what was stored is known afterwards.
    pub(crate) fn growing<R>(&self, work: impl FnOnce(&mut Index) -> Result<R>) -> Result<R> {
        let mut index = Index::clone(&self.index());
        let result = work(&mut index);
        self.set_index(index);
        result
    }

    /// Where new chunks go that `index` does not have; it grows by them.
    pub(crate) fn target<'r>(&'r self, index: &'r mut Index) -> ChunkTarget<'r> {
        target(self, index)
    }
}

impl Deleting<'_> {
    /// Where chunks go that are written anew; `index` grows by them.
    pub(crate) fn target<'r>(&'r self, index: &'r mut Index) -> ChunkTarget<'r> {
        target(self, index)
    }

    /// Makes the index that of what the repository now holds. If it fails, the index knows nothing: what is looked for is
    /// missing then, never wrong.
    pub(crate) fn reopen_index(&self, progress: &dyn Progress) -> Result<()> {
        let mut index = Index::clone(&self.index());
        index.forget();
        let updated =
            look_around(self.store(), self.metadata()).and_then(|(condemned, inventory)| {
                index.set_condemned(&condemned.unwrap_or_default());
                index.update(&self.index_source(), inventory?, progress)
            });
        self.set_index(index);
        updated.map(drop)
    }
}

fn target<'r>(repository: &'r Repository, index: &'r mut Index) -> ChunkTarget<'r> {
    ChunkTarget {
        store: repository.store(),
        data: &repository.shared.data,
        metadata: repository.metadata(),
        hasher: repository.hasher(),
        index,
        group_len: repository.config().group_len.min(GROUP_LEN),
        pack_len: repository.config().pack_len,
        log: None,
    }
}
