//! Which chunks archives need: one bit per record of the index.
//!
//! Recipe nodes shared by several recipes are read once: a node that is marked has been descended into.

use std::sync::atomic::{AtomicU64, Ordering};

use garret_format::ChunkId;
use garret_format::archive::{Item, ItemKind};
use garret_format::recipe::{Entry, Node, Recipe};

use crate::error::Result;
use crate::objects::archive::NamedArchive;
use crate::objects::index::{Index, Location};
use crate::objects::items::ItemReader;
use crate::objects::recipe::read_child;
use crate::read::chunks::Chunks;

/// The marks. Any number of threads sets them.
pub(crate) struct Marks {
    /// Per segment of the index, a bit per record.
    bits: Vec<Box<[AtomicU64]>>,
}

impl Marks {
    /// No marks on this index.
    pub(crate) fn new(index: &Index) -> Self {
        let words = |count: u64| (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Marks { bits: index.tables().map(|tables| words(tables.counts().chunks)).collect() }
    }

    fn word(&self, (segment, place): (usize, u64)) -> Option<(&AtomicU64, u64)> {
        let word = self.bits.get(segment)?.get(usize::try_from(place / 64).ok()?)?;
        Some((word, 1 << (place % 64)))
    }

    /// Marks a record, by the index segment and the place in it; whether it was not marked before.
    pub(crate) fn set(&self, record: (usize, u64)) -> bool {
        // Each bit stands for itself: nothing else is read because of one.
        let set = |(word, bit): (&AtomicU64, u64)| word.fetch_or(bit, Ordering::Relaxed) & bit == 0;
        self.word(record).is_some_and(set)
    }

    /// Takes the mark from a record.
    pub(crate) fn clear(&self, record: (usize, u64)) {
        if let Some((word, bit)) = self.word(record) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// How many records are marked.
    pub(crate) fn count(&self) -> u64 {
        let words = self.bits.iter().flatten();
        words.map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum()
    }

    /// Whether a record is marked.
    pub(crate) fn is_set(&self, record: (usize, u64)) -> bool {
        self.word(record).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }
}

/// What marking tells while it goes through an archive.
pub(crate) trait Visitor {
    /// A chunk of a stream of the file at `path` (empty: the item stream), before it is marked; or no place of it in the
    /// index.
    fn chunk(&mut self, path: &[u8], id: &ChunkId, location: Option<&Location>);
}

/// Marks everything that an archive needs. A data chunk that is nowhere is told to the visitor and passed over; a part of
/// the archive's own structure that cannot be read is an error, because what lies behind it cannot be known.
pub(crate) fn mark_archive(
    chunks: &Chunks,
    archive: &NamedArchive,
    marks: &Marks,
    visitor: &mut dyn Visitor,
) -> Result<()> {
    mark_list(chunks, archive, marks, visitor)?;
    let object = archive.object();
    let mut marker = Marker { chunks, marks, visitor };
    ItemReader::new(chunks, archive).try_for_each(|item| marker.item(&item?, &object))
}

/// Marks what the list of an archive's items needs, and nothing of the items.
pub(crate) fn mark_list(
    chunks: &Chunks,
    archive: &NamedArchive,
    marks: &Marks,
    visitor: &mut dyn Visitor,
) -> Result<()> {
    Marker { chunks, marks, visitor }.recipe(&archive.archive.items, &[], &archive.object())
}

/// Marks everything that restoring an item needs, as [`mark_archive`] does; `object` names the archive in errors.
pub(crate) fn mark_item(
    chunks: &Chunks,
    item: &Item,
    object: &str,
    marks: &Marks,
    visitor: &mut dyn Visitor,
) -> Result<()> {
    Marker { chunks, marks, visitor }.item(item, object)
}

struct Marker<'m> {
    chunks: &'m Chunks,
    marks: &'m Marks,
    visitor: &'m mut dyn Visitor,
}

impl Marker<'_> {
    fn item(&mut self, item: &Item, object: &str) -> Result<()> {
        let ItemKind::File(content) = &item.kind else { return Ok(()) };
        let name = format!("{object}: {}", String::from_utf8_lossy(&item.path));
        content.recipes().try_for_each(|recipe| self.recipe(recipe, &item.path, &name))
    }

    fn recipe(&mut self, recipe: &Recipe, path: &[u8], needed_by: &str) -> Result<()> {
        let mut open = vec![recipe.root.clone()];
        while let Some(node) = open.pop() {
            match node {
                Node::Leaf(entries) => {
                    for entry in entries {
                        if let Entry::Chunk { id, .. } = entry {
                            self.chunk(&id, path);
                        }
                    }
                }
                Node::Inner { level, children } => {
                    for child in children {
                        if self.chunk(&child.id, path) {
                            open.push(read_child(&self.chunks, level, &child, needed_by)?);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Marks a chunk; whether it was not marked before. One that is nowhere counts as new, so that reading it fails.
    fn chunk(&mut self, id: &ChunkId, path: &[u8]) -> bool {
        let location = self.chunks.index().find(id);
        self.visitor.chunk(path, id, location.as_ref());
        location.is_none_or(|location| self.marks.set(location.record))
    }
}
