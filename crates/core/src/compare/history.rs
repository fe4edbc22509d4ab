//! History: what each night added to a repository, and where on a disk it lies.
//!
//! In: archives, the oldest first, one by one. Out: for each file what came with it, in bytes, and what of it is not what it
//! was in an archive before. Promises: reads lists, recipes and layouts, never contents; keeps a bit for each record of the
//! index, and a number for each pack.

use std::collections::HashMap;

use garret_format::archive::{Item, ItemKind};
use garret_format::damage::DamageRecord;
use garret_format::index::GroupRow;
use garret_format::pack::PackKind;
use garret_format::{ChunkId, PackId};
use garret_image::Part;

use crate::compare::changes::{self, Stretch};
use crate::error::Result;
use crate::limits::total_len;
use crate::objects::archive::NamedArchive;
use crate::objects::damage;
use crate::objects::index::{Index, Location};
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
    /// Bytes of packs, about: what a group takes is shared out by what its chunks are long, and what a pack has beside its
    /// groups by how many they are.
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
    /// What each pack takes beside its groups, for each of its chunks.
    frames: HashMap<PackId, u64>,
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
        let frames = frames(chunks.index());
        Ok(History { chunks, marks, frames })
    }

    /// What came with an archive, which is what no older one has, and what that takes now; `None` if one cannot be read
    /// that is older, or may be, which is reported. Reads the lists of all that are older.
    ///
    /// # Errors
    /// A list or recipe of the archive cannot be read.
    pub fn added(&self, archive: &NamedArchive, progress: &dyn Progress) -> Result<Option<Added>> {
        let mut history = self.history(progress)?;
        let mut visit = |archive: &NamedArchive| {
            let mut sum = Added::default();
            let list = history.visit(archive, &mut |_, _, added| sum.add(added))?;
            sum.add(list);
            Ok(sum)
        };
        match each_older(self, archive, progress, &mut |older| visit(older).map(|_| ()))? {
            0 => visit(archive).map(Some),
            _ => Ok(None),
        }
    }
}

/// What each pack takes beside its groups, for each of its chunks.
fn frames(index: &Index) -> HashMap<PackId, u64> {
    // What is no group, and how many chunks.
    let mut packs: HashMap<PackId, (u64, u64)> = HashMap::new();
    for tables in index.tables() {
        for pack in tables.packs() {
            packs.entry(pack.id).or_insert((u64::from(pack.len), 0));
        }
        let pack_of = |group: &GroupRow| tables.pack(group.pack).map(|pack| pack.id);
        for group in tables.groups() {
            if let Some((len, _)) = pack_of(&group).and_then(|pack| packs.get_mut(&pack)) {
                *len = len.saturating_sub(u64::from(group.sealed_len));
            }
        }
        for record in tables.records() {
            let group = tables.group(record.group);
            let pack = group.and_then(|group| pack_of(&group));
            if let Some((_, count)) = pack.and_then(|pack| packs.get_mut(&pack)) {
                *count += 1;
            }
        }
    }
    packs.into_iter().map(|(pack, (len, count))| (pack, len / count.max(1))).collect()
}

/// Gives every archive that is older than this one. One that cannot be read, so that nobody knows its age, or of which `take`
/// cannot read something, is reported; returns how many these are.
pub(super) fn each_older(
    repository: &Repository,
    archive: &NamedArchive,
    progress: &dyn Progress,
    take: &mut dyn FnMut(&NamedArchive) -> Result<()>,
) -> Result<u64> {
    let mut failed = 0;
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
            failed += 1;
        }
        task.advance(1);
    }
    repository.tell(progress);
    Ok(failed)
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
    fn chunk(&mut self, _: &[u8], id: &ChunkId, location: Option<&Location>) {
        let Some(Location { pack, len, record, .. }) = location else { return };
        let History { chunks, marks, frames } = self.history;
        if marks.is_set(*record) {
            return;
        }
        let index = chunks.index();
        self.added.add(Added {
            new_len: if pack.kind == PackKind::Data { u64::from(*len) } else { 0 },
            // Structure lies in two packs, and so does for a while what was moved.
            stored_len: total_len(index.copies(id).map(|copy| {
                let frame = frames.get(&copy.pack.id).copied().unwrap_or(0);
                copy.stored_len().saturating_add(frame)
            })),
        });
    }
}
