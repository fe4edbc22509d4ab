//! Which chunks archives need: one bit per record of the index.
//!
//! Recipe nodes shared by several recipes are read once: a node that is marked has been descended into.

use garret_format::ChunkId;
use garret_format::archive::{Archive, Item, ItemKind};
use garret_format::recipe::{Entry, Node, Recipe};

use crate::archive::{ItemReader, NamedArchive};
use crate::error::Result;
use crate::fetch::ChunkReader;
use crate::index::Location;
use crate::recipe::read_child;
use crate::store::Key;

/// The marks.
pub(crate) struct Marks {
    /// Per segment of the index, a bit per record.
    bits: Vec<Vec<u64>>,
}

impl Marks {
    /// No marks on the index of `chunks`' repository, which must not change while they are used.
    pub(crate) fn new(chunks: &ChunkReader<'_>) -> Self {
        let words = |count: u64| vec![0; count.div_ceil(64) as usize];
        let tables = chunks.repository.index.tables();
        Marks { bits: tables.map(|tables| words(tables.counts().chunks)).collect() }
    }

    /// Marks a record; whether it was not marked before.
    pub(crate) fn set(&mut self, (segment, place): (usize, u64)) -> bool {
        let Some(word) =
            self.bits.get_mut(segment).and_then(|words| words.get_mut((place / 64) as usize))
        else {
            return false;
        };
        let bit = 1 << (place % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Whether a record is marked: the index segment and the place in it.
    pub(crate) fn is_set(&self, (segment, place): (usize, u64)) -> bool {
        let word = self.bits.get(segment).and_then(|words| words.get((place / 64) as usize));
        word.is_some_and(|word| word & (1 << (place % 64)) != 0)
    }
}

/// What marking tells while it goes through an archive.
pub(crate) trait Visitor {
    /// A chunk of a stream of the file at `path` (empty: the item stream), or no place of it in the index.
    fn chunk(&mut self, path: &[u8], id: &ChunkId, location: Option<&Location>);
}

/// Marks everything that an archive needs. A data chunk that is nowhere is told to the visitor and passed over; a part of
/// the archive's own structure that cannot be read is an error, because what lies behind it cannot be known.
pub(crate) fn mark_archive(
    chunks: &ChunkReader<'_>,
    named: &NamedArchive,
    marks: &mut Marks,
    visitor: &mut dyn Visitor,
) -> Result<()> {
    let object = Key::Archive(named.name.clone()).to_string();
    let archive: &Archive = &named.archive;
    let mut marker = Marker { chunks, marks, visitor };
    marker.recipe(&archive.items, &[], &object)?;
    ItemReader::new(chunks, archive, &object).try_for_each(|item| marker.item(&item?, &object))
}

/// Marks everything that restoring an item needs, as [`mark_archive`] does; `object` names the archive in errors.
pub(crate) fn mark_item(
    chunks: &ChunkReader<'_>,
    item: &Item,
    object: &str,
    marks: &mut Marks,
    visitor: &mut dyn Visitor,
) -> Result<()> {
    Marker { chunks, marks, visitor }.item(item, object)
}

struct Marker<'m, 'c> {
    chunks: &'m ChunkReader<'c>,
    marks: &'m mut Marks,
    visitor: &'m mut dyn Visitor,
}

impl Marker<'_, '_> {
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
                            open.push(read_child(self.chunks, level, &child, needed_by)?);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Marks a chunk; whether it was not marked before. One that is nowhere counts as new, so that reading it fails.
    fn chunk(&mut self, id: &ChunkId, path: &[u8]) -> bool {
        let location = self.chunks.repository.index.find(id);
        self.visitor.chunk(path, id, location.as_ref());
        location.is_none_or(|location| self.marks.set(location.record))
    }
}
