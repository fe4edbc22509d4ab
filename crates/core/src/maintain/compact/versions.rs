//! First station of compact: what the archives of a host have in each place of each file.
//!
//! In: archives, the newest first. Out: block by block the chunks that no newer version has, by cell and version. Promises:
//! each chunk comes once, where its newest version has it; a recipe node is read once, so what nights share costs nothing;
//! memory for so many versions as are walked at once.

use std::cmp::Ordering;

use garret_format::ChunkId;
use garret_format::archive::{Item, ItemKind};
use garret_format::pack::PackKind;
use garret_format::recipe::Entry;

use crate::error::Result;
use crate::objects::archive::NamedArchive;
use crate::objects::index::Location;
use crate::objects::items::ItemReader;
use crate::objects::recipe::RecipeReader;
use crate::read::chunks::Chunks;
use crate::read::mark::Marks;
use crate::store::Key;

/// Bytes of a stream whose versions are looked at together: what a group can have of one version.
pub(super) const BLOCK_LEN: u64 = 4 << 20;
/// Bytes of a stream within which chunks of several versions are versions of each other: a chunk, about.
const CELL_LEN: u64 = 64 << 10;

/// A chunk that is to lie where its newest version has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) id: ChunkId,
    /// Where it lies now.
    pub(super) location: Location,
    /// 0 if the newest archive that has the file has it, 1 if the one before that has, and so on.
    pub(super) version: u32,
    /// Its cell: the number of the file among those that are walked, and of the cell in its stream.
    pub(super) cell: (u64, u64),
}

/// What all versions of a file have between two places, none of which a block before had: cell by cell, and in each
/// version by version.
pub(super) struct Block<'p> {
    pub(super) path: &'p [u8],
    /// Number of the block in the stream.
    pub(super) number: u64,
    pub(super) cells: Vec<Vec<Placed>>,
}

/// Gives every block of every file of these archives, the newest of which stand first, until `take` has enough. `marks` has
/// what was given before, and what was read.
pub(super) fn each(
    chunks: &Chunks,
    archives: &[NamedArchive],
    marks: &Marks,
    take: &mut dyn FnMut(Block<'_>) -> Result<bool>,
) -> Result<bool> {
    let mut heads = Vec::new();
    for archive in archives {
        let mut items = ItemReader::new(chunks.clone(), archive);
        if let Some(item) = items.next().transpose()? {
            heads.push(Head { items, item });
        }
    }
    let mut file = 0;
    while let Some(path) = heads.iter().map(|head| &head.item.path).min_by(|a, b| by_parts(a, b)) {
        let path = path.clone();
        let mut versions = Vec::new();
        let mut ended = Vec::new();
        for (number, head) in
            heads.iter_mut().enumerate().filter(|(_, head)| head.item.path == path)
        {
            if let ItemKind::File(content) = &head.item.kind {
                let name = String::from_utf8_lossy(&path);
                versions.push(RecipeReader::new(chunks.clone(), &content.recipe, &*name));
            }
            match head.items.next().transpose()? {
                Some(item) => head.item = item,
                None => ended.push(number),
            }
        }
        for number in ended.into_iter().rev() {
            heads.remove(number);
        }
        file += 1;
        if !each_block(chunks, (file, &path), versions, marks, take)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An archive's items, and the one that comes next.
struct Head {
    items: ItemReader<Chunks>,
    item: Item,
}

/// The order of the items of an archive: by the parts of their paths.
fn by_parts(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|byte| *byte == b'/').cmp(b.split(|byte| *byte == b'/'))
}

fn each_block(
    chunks: &Chunks,
    (file, path): (u64, &[u8]),
    versions: Vec<RecipeReader<Chunks>>,
    marks: &Marks,
    take: &mut dyn FnMut(Block<'_>) -> Result<bool>,
) -> Result<bool> {
    let (index, store) = (chunks.index(), chunks.groups().packs().store);
    let mut versions: Vec<(u32, RecipeReader<Chunks>)> = (0..).zip(versions).collect();
    // Holes are passed over, however long they are.
    while let Some(at) = versions.iter().map(|(_, entries)| entries.at()).min() {
        let number = at / BLOCK_LEN;
        let first = number * (BLOCK_LEN / CELL_LEN);
        let mut cells = Vec::new();
        for cell in first..first + BLOCK_LEN / CELL_LEN {
            let (end, mut found) = ((cell + 1) * CELL_LEN, Vec::new());
            let cell = (file, cell);
            for (version, entries) in &mut versions {
                let mut is_known =
                    |id: &ChunkId| index.find(id).is_some_and(|node| !marks.set(node.record));
                while let Some(entry) = entries.next_before(end, &mut is_known) {
                    let Entry::Chunk { id, .. } = entry? else { continue };
                    // What is nowhere is for others to tell.
                    let there = index.find(&id).filter(|there| {
                        // What is the same as some structure stays where that is, and what is cold too.
                        let is_cold = store.is_cold(&Key::Pack(there.pack.id));
                        there.pack.kind == PackKind::Data && !is_cold && marks.set(there.record)
                    });
                    if let Some(location) = there {
                        found.push(Placed { id, location, version: *version, cell });
                    }
                }
            }
            cells.push(found);
            versions.retain(|(_, entries)| entries.at() >= end);
        }
        let is_empty = cells.iter().all(Vec::is_empty);
        if !is_empty && !take(Block { path, number, cells })? {
            return Ok(false);
        }
    }
    Ok(true)
}
