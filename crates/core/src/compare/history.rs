//! History: what each night added to a repository, and where on a disk it lies.
//!
//! In: archives, the oldest first, one by one. Out: for each file what came with it, in bytes, and what of it is not what it
//! was in an archive before. Promises: reads lists, recipes and layouts, never contents; keeps a bit for each record of the
//! index, and a number for each pack.

use std::collections::HashMap;

use garret_format::archive::{Item, ItemKind};
use garret_format::damage::DamageRecord;
use garret_format::pack::PackKind;
use garret_format::{ChunkId, PackId};
use garret_image::Part;

use crate::compare::changes::{self, Stretch};
use crate::error::Result;
use crate::objects::archive::NamedArchive;
use crate::objects::damage;
use crate::objects::index::Location;
use crate::objects::items::ItemReader;
use crate::progress::{Phase, Problem, Progress};
use crate::read::chunks::Chunks;
use crate::read::file::read_layout;
use crate::read::mark::{Marks, Visitor, mark_item, mark_list};
use crate::repository::Repository;

/// What came with a file, or an archive: what nothing had that was visited before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Added {
    /// Bytes of contents, before they were compressed.
    pub new_len: u64,
    /// Bytes of packs, about: what a pack takes is shared out by what its chunks are long.
    pub stored_len: u64,
}

impl Added {
    /// Counts what came with something else as well.
    pub fn add(&mut self, other: Added) {
        self.new_len = self.new_len.saturating_add(other.new_len);
        self.stored_len = self.stored_len.saturating_add(other.stored_len);
    }
}

/// What was visited so far.
pub struct History {
    chunks: Chunks,
    marks: Marks,
    /// Bytes of the chunks in each pack.
    plain_lens: HashMap<PackId, u64>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("History")
    }
}

impl Repository {
    /// The packs that are recorded as damaged: when that was found, and how it showed. Records that cannot be read are told
    /// of.
    pub fn damaged_packs(&self, progress: &dyn Progress) -> Vec<DamageRecord> {
        let listed = damage::listed(self.store());
        damage::records(self.store(), self.metadata(), &listed, progress)
    }

    /// The history of a repository, nothing of it visited yet.
    ///
    /// # Errors
    /// The index cannot be brought up to date.
    pub fn history(&self, progress: &dyn Progress) -> Result<History> {
        self.refresh_index(progress)?;
        let chunks = self.chunks();
        let marks = Marks::new(chunks.index());
        let mut plain_lens: HashMap<PackId, u64> = HashMap::new();
        for tables in chunks.index().tables() {
            for record in tables.records() {
                let group = tables.group(record.group);
                if let Some(pack) = group.and_then(|group| tables.pack(group.pack)) {
                    let sum = plain_lens.entry(pack.id).or_default();
                    *sum = sum.saturating_add(u64::from(record.len));
                }
            }
        }
        Ok(History { chunks, marks, plain_lens })
    }

    /// What came with an archive, which is what no older one has, and what that takes now. Older archives that cannot be read
    /// are reported, and count as having nothing.
    ///
    /// # Errors
    /// A list or recipe of the archive cannot be read.
    pub fn added(&self, archive: &NamedArchive, progress: &dyn Progress) -> Result<Added> {
        let mut history = self.history(progress)?;
        let mut visit = |archive: &NamedArchive| {
            let mut sum = Added::default();
            let list = history.visit(archive, &mut |_, _, added| sum.add(added))?;
            sum.add(list);
            Ok(sum)
        };
        each_older(self, archive, progress, &mut |older| visit(older).map(|_| ()))?;
        visit(archive)
    }
}

/// Gives every archive that is older than this one. One that cannot be read, or is refused by `take`, is reported.
pub(super) fn each_older(
    repository: &Repository,
    archive: &NamedArchive,
    progress: &dyn Progress,
    take: &mut dyn FnMut(&NamedArchive) -> Result<()>,
) -> Result<()> {
    let names = repository.archive_names()?;
    let task = progress.begin(Phase::Mark, Some(names.len() as u64));
    let age = |archive: &NamedArchive| (archive.archive.start, archive.name.clone());
    for (_, found) in repository.archives(names)? {
        let taken = match found {
            Ok(other) if age(&other) < age(archive) => take(&other),
            found => found.map(|_| ()),
        };
        if let Err(error) = taken {
            progress.problem(&Problem::from(&error));
        }
        task.advance(1);
    }
    repository.tell(progress);
    Ok(())
}

impl History {
    /// Visits an archive: gives each of its items with what came with it, and returns what the list of them took.
    ///
    /// # Errors
    /// A list, recipe or layout of the archive cannot be read; what was given before counts.
    pub fn visit(
        &mut self,
        archive: &NamedArchive,
        take: &mut dyn FnMut(&History, Item, Added),
    ) -> Result<Added> {
        let object = archive.object();
        let mut list = self.adds();
        mark_list(&self.chunks, archive, &self.marks, &mut list)?;
        let list = list.added;
        for item in ItemReader::new(&self.chunks, archive) {
            let item = item?;
            let mut adds = self.adds();
            mark_item(&self.chunks, &item, &object, &self.marks, &mut adds)?;
            let added = adds.added;
            take(self, item, added);
        }
        Ok(list)
    }

    /// Gives each stretch of the file `to` that is not as in `from`, in order, and returns the length of both that was
    /// compared: of a divided image the disk in it, of another file all. Without `from` everything is new.
    ///
    /// # Errors
    /// A recipe or layout cannot be read.
    pub fn changes(
        &self,
        from: Option<&Item>,
        to: &Item,
        take: &mut dyn FnMut(Stretch),
    ) -> Result<u64> {
        let ItemKind::File(content) = &to.kind else { return Ok(0) };
        let len = self.disk_len(to)?;
        let before = from.and_then(|item| match &item.kind {
            ItemKind::File(content) => Some((&content.recipe, item)),
            _ => None,
        });
        let end = match before {
            Some((_, item)) => len.max(self.disk_len(item)?),
            None => len,
        };
        let name = String::from_utf8_lossy(&to.path);
        let recipes = (before.map(|(recipe, _)| recipe), &content.recipe);
        changes::compare(&self.chunks, recipes, end, &name, take)?;
        Ok(len)
    }

    /// Bytes of the disk in a file; of the file, if it is not divided.
    fn disk_len(&self, item: &Item) -> Result<u64> {
        let ItemKind::File(content) = &item.kind else { return Ok(0) };
        let name = String::from_utf8_lossy(&item.path);
        let layout = read_layout(content, item.size, &self.chunks, &name)?;
        Ok(layout.map_or(item.size, |layout| layout.len(Part::Guest)))
    }

    fn adds(&self) -> Adds<'_> {
        Adds { history: self, added: Added::default() }
    }
}

/// Counts chunks that are not marked yet.
struct Adds<'h> {
    history: &'h History,
    added: Added,
}

impl Visitor for Adds<'_> {
    fn chunk(&mut self, _: &[u8], _: &ChunkId, location: Option<&Location>) {
        let Some(Location { pack, len, record, .. }) = location else { return };
        if self.history.marks.is_set(*record) {
            return;
        }
        let plain = self.history.plain_lens.get(&pack.id).copied().unwrap_or(0).max(1);
        let share = u128::from(pack.len) * u128::from(*len) / u128::from(plain);
        self.added.add(Added {
            new_len: if pack.kind == PackKind::Data { u64::from(*len) } else { 0 },
            stored_len: u64::try_from(share).unwrap_or(u64::MAX),
        });
    }
}
