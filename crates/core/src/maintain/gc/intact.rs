//! Of several copies of a chunk, those that stay: such as were read and are intact.
//!
//! In: the index, and marks on what is needed. Out: marks on the copies that stay, which copies need not be listed any more,
//! and of what another one is to be made. Promises: no copy goes for one that was not read.

use std::cmp::Reverse;
use std::collections::HashSet;

use garret_format::index::{Record, Tables};
use garret_format::pack::PackKind;
use garret_format::{ChunkId, PackId};

use crate::error::{Error, Result};
use crate::limits::{GROUP_LEN, STRUCTURE_COPIES};
use crate::maintain::problems::Problems;
use crate::objects::index::{Index, Location};
use crate::pipeline::with_workers;
use crate::progress::Problem;
use crate::read::chunks::Chunks;
use crate::read::mark::Marks;
use crate::store::{Key, Store};

/// What there is of copies of chunks.
#[derive(Default)]
pub(super) struct Copies {
    /// Those that need not be listed any more.
    pub(super) superseded: HashSet<(ChunkId, PackId)>,
    /// Records of structure that another copy is to be made of.
    pub(super) lacking: HashSet<(usize, u64)>,
    /// Whether there is one of which no copy is intact.
    pub(super) has_lost: bool,
}

/// Of a chunk that lies in several packs one copy stays, of one of structure two, and only such as were read and are intact:
/// the others go. All stay if none is, for whoever can mend them, or if one is cold. Structure that lies in two packs and no
/// others is not read. As many are read at once as the store wants: creators that work side by side leave thousands.
pub(super) fn keep_intact_copies(
    chunks: &Chunks,
    store: &dyn Store,
    marks: &Marks,
    preferred: &HashSet<PackId>,
    threads: usize,
    problems: &mut Problems<'_>,
) -> Result<Copies> {
    let index = chunks.index();
    // The harder compressed one is the smaller one, and of equally hard ones that in the longer group of compact: what one
    // that was killed had made stays. Of usual groups none is better, so all that lies in one pack stays, or goes.
    let rank = |copy: &Location| {
        let made = (copy.group.effort, copy.group_plain_len().max(u64::from(GROUP_LEN)));
        (!preferred.contains(&copy.pack.id), Reverse(made))
    };
    let tables: Vec<Tables<'_>> = index.tables().collect();
    let look = |(_, segment, place): ((PackId, u32), usize, u64)| {
        let record = tables.get(segment).and_then(|tables| tables.record(place));
        let Some(Record { id, .. }) = record else { return Ok(None) };
        let mut copies: Vec<Location> = index.copies(&id).collect();
        let is_structure = copies.iter().any(|copy| copy.pack.kind == PackKind::Structure);
        let is_safe = copies.len() == STRUCTURE_COPIES && index.lacking_copies(&id) == 0;
        let is_cold = copies.iter().any(|copy| store.is_cold(&Key::Pack(copy.pack.id)));
        if is_cold {
            // Condemned ones go if there is another.
            let (sound, rest): (Vec<_>, Vec<_>) =
                copies.into_iter().partition(|copy| index.may_be_built_on(&copy.pack.id));
            return Ok(Some(Looked::Unread(if sound.is_empty() { rest } else { sound })));
        }
        if is_structure && is_safe {
            return Ok(Some(Looked::Unread(copies)));
        }
        // Where a chunk of a file is the same as one of structure, that is not the copy that is counted there.
        copies.sort_by_key(|copy| {
            (!index.may_be_built_on(&copy.pack.id), copy.pack.kind == PackKind::Data, rank(copy))
        });
        let wanted = if is_structure { STRUCTURE_COPIES } else { 1 };
        let (intact, damaged) = intact_copies(chunks, &id, &copies, wanted);
        let record = (segment, place);
        Ok(Some(Looked::Read(Read { id, record, copies, wanted, intact, damaged })))
    };
    let (mut found, mut told) = (Copies::default(), HashSet::new());
    let several = several(index, marks, rank).into_iter().map(Ok);
    with_workers(threads, |workers| {
        for looked in workers.map(several, look) {
            match looked? {
                Some(Looked::Unread(copies)) => {
                    copies.iter().for_each(|copy| _ = marks.set(copy.record));
                }
                Some(Looked::Read(read)) => {
                    let without = read.settle(chunks, marks, &mut found);
                    for (_, error) in without.iter().filter(|(pack, _)| told.insert(*pack)) {
                        problems.report(Problem::from(error));
                    }
                }
                None => {}
            }
        }
        Ok(found)
    })
}

/// What was found of the copies of a chunk.
enum Looked {
    /// None was read: these stay.
    Unread(Vec<Location>),
    Read(Read),
}

/// Copies of which as many were read as had to be.
struct Read {
    id: ChunkId,
    /// The one by which it was found.
    record: (usize, u64),
    copies: Vec<Location>,
    /// How many are to stay.
    wanted: usize,
    intact: Vec<Location>,
    damaged: Vec<(PackId, Error)>,
}

impl Read {
    /// Marks those that stay. Gives what is wrong with each if none is intact.
    fn settle(self, chunks: &Chunks, marks: &Marks, found: &mut Copies) -> Vec<(PackId, Error)> {
        let Read { id, record, copies, wanted, intact, damaged } = self;
        marks.clear(record);
        let Some(first) = intact.first() else {
            copies.iter().for_each(|copy| _ = marks.set(copy.record));
            found.has_lost = true;
            return damaged;
        };
        intact.iter().for_each(|copy| _ = marks.set(copy.record));
        found.lacking.extend((intact.len() < wanted).then_some(first.record));
        let stays = |pack| intact.iter().any(|copy| copy.pack.id == pack);
        let packs = copies.iter().map(|copy| copy.pack.id).filter(|pack| !stays(*pack));
        found.superseded.extend(packs.map(|pack| (id, pack)));
        damaged.iter().for_each(|(pack, error)| chunks.groups().bypassed(*pack, error));
        Vec::new()
    }
}

/// The marked records of chunks that may lie in several packs, in the order of what is read of them first, so that each group
/// is read once: that group, and the record.
fn several<R: Ord>(
    index: &Index,
    marks: &Marks,
    rank: impl Fn(&Location) -> R,
) -> Vec<((PackId, u32), usize, u64)> {
    let mut several = Vec::new();
    for (segment, tables) in index.tables().enumerate() {
        for (place, record) in tables.records().enumerate() {
            if !marks.is_set((segment, place as u64)) {
                continue;
            }
            let mut copies = index.copies(&record.id);
            let Some(first) = copies.next() else { continue };
            let further: Vec<Location> = copies.collect();
            // Where several segments list a pack its chunks are there once.
            let at = |copy: &Location| (copy.pack, copy.group.offset, copy.offset, copy.len);
            let is_one = further.iter().all(|copy| at(copy) == at(&first));
            if is_one && first.pack.kind == PackKind::Data {
                continue;
            }
            let copies = std::iter::once(first).chain(further);
            let read = copies.min_by_key(&rank).map(|copy| (copy.pack.id, copy.group.offset));
            several.extend(read.map(|read| (read, segment, place as u64)));
        }
    }
    several.sort_unstable();
    several
}

/// The first `wanted` copies, each in another pack, that verify, and what is wrong with those before. All but the first must
/// be such as may be built on: the packs of others are to go.
fn intact_copies(
    chunks: &Chunks,
    id: &ChunkId,
    copies: &[Location],
    wanted: usize,
) -> (Vec<Location>, Vec<(PackId, Error)>) {
    let (mut intact, mut damaged) = (Vec::<Location>::new(), Vec::new());
    for copy in copies {
        let pack = copy.pack.id;
        let is_further = intact.iter().all(|other| other.pack.id != pack)
            && (intact.is_empty() || chunks.index().may_be_built_on(&pack));
        if intact.len() == wanted || !is_further {
            continue;
        }
        match chunks.verify(copy, id) {
            Ok(()) => intact.push(*copy),
            Err(error) => damaged.push((pack, error)),
        }
    }
    (intact, damaged)
}
