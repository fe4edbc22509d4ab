//! Third station of compact: what is alike, from all over a round, side by side.
//!
//! In: groups as plan made them, place by place. Out: groups as they are to be written. Promises: each chunk comes once; the
//! cells of a place stay together but for those that are like a cell before them, which stand behind that; what plan has of
//! a cell in one group stays in one; in each group the newest versions come first; none is longer than the limit; threads
//! change nothing.
//!
//! A file of one release and the same of the next, two kernels, a library and its copy in an image within the image: half of
//! their bytes are the same, but no chunk is, and they lie far apart. How alike two cells are is told by bottom-k sketches
//! (Broder, "On the resemblance and containment of documents", 1997): of the hashes of all windows those that are smallest.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use garret_format::ChunkId;
use garret_format::pack::GROUP_CHUNKS_MAX;

use super::plan::{Member, Planned};
use crate::error::{Error, Result};
use crate::limits::total_len;
use crate::pipeline::with_workers;
use crate::progress::{Phase, Progress};
use crate::read::chunks::Chunks;

/// One hash in so many is looked at, of a cell of 64 KiB some 500.
const SAMPLED: u64 = 128;
/// Hashes of a cell that are kept: its sketch, of which the part that two share is the part of their windows that they share,
/// about. 16 find nearly as much, 64 nothing more.
const SKETCH_LEN: usize = 32;
/// The part of a sketch that is shared by what counts as alike. With a fifth three nights of a guest are 0.3 % larger, and
/// who reads one from its beginning opens a third more groups; with two fifths a night is 1 % larger.
const ALIKE: (usize, usize) = (3, 10);
/// A shorter sketch counts as one of so many: two or three hashes say little.
const SKETCH_LEN_LEAST: usize = 8;
/// Cells that are looked at for each hash: the last before that have it. What many have makes few of them alike.
const HOLDERS_MAX: usize = 64;

/// A group as it is to be written.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) chunks: Vec<ChunkId>,
    pub(super) plain_len: u64,
    /// What they take now, about.
    pub(super) stored_len: u64,
    /// The planned groups that they come from, by number, and how many bytes from each.
    pub(super) from: BTreeMap<usize, u64>,
}

/// How it is done.
pub(super) struct Gathering<'o> {
    /// Bytes of a group.
    pub(super) limit: u64,
    pub(super) threads: usize,
    /// Whether no further planned group is taken in; one is in any case.
    pub(super) is_over: &'o dyn Fn() -> bool,
}

/// Gives the groups to write, of as many planned ones as there is time for: the first.
///
/// # Errors
/// The system's. What cannot be read gets a group of its own, so it spoils no other.
pub(super) fn gather(
    chunks: &Chunks,
    planned: &[Planned],
    options: &Gathering<'_>,
    progress: &dyn Progress,
) -> Result<Vec<Gathered>> {
    let mut left = total_len(planned.iter().map(|planned| planned.plain_len));
    let task = progress.begin(Phase::Compare, Some(left));
    let mut cells = Vec::new();
    with_workers(options.threads, |workers| {
        let begun = planned.iter().enumerate();
        let begun = begun.take_while(|(number, _)| *number == 0 || !(options.is_over)()).map(Ok);
        for found in workers.map(begun, |(number, planned)| cells_of(chunks, number, planned)) {
            let found = found?;
            let len = total_len(found.iter().map(|cell| cell.len));
            task.advance(len);
            left -= len.min(left);
            cells.extend(found);
        }
        Ok(())
    })?;
    task.advance(left);
    let leads = leads(&cells, options.limit);
    Ok(groups(cells, leads, options.limit))
}

/// A place with all its versions, the newest first.
struct Cell<'p> {
    /// The planned group that it is of.
    planned: usize,
    members: Vec<&'p Member>,
    len: u64,
    /// Empty if it cannot be read.
    sketch: Vec<u32>,
    is_readable: bool,
}

fn cells_of<'p>(chunks: &Chunks, number: usize, planned: &'p Planned) -> Result<Vec<Cell<'p>>> {
    let mut cells: BTreeMap<(u64, u64), Vec<&Member>> = BTreeMap::new();
    for member in &planned.members {
        cells.entry(member.cell).or_default().push(member);
    }
    let cell = |members: Vec<&'p Member>| {
        let len = total_len(members.iter().map(|member| u64::from(member.len)));
        let sketch = sketch(chunks, &members)?;
        let is_readable = sketch.is_some();
        Ok(Cell { planned: number, members, len, sketch: sketch.unwrap_or_default(), is_readable })
    };
    cells.into_values().map(cell).collect()
}

/// The sketch of the newest version, if that can be read. The others are like it, or like nothing.
fn sketch(chunks: &Chunks, members: &[&Member]) -> Result<Option<Vec<u32>>> {
    let newest = members.first().map(|member| member.version);
    let mut hashes = Vec::new();
    for member in members.iter().filter(|member| Some(member.version) == newest) {
        let Some(location) = chunks.index().find(&member.id) else { return Ok(None) };
        match chunks.read(&location, &member.id, |chunk| sample(chunk.bytes(), &mut hashes)) {
            Ok(()) => {}
            Err(error @ Error::System { .. }) => return Err(error),
            // Who comes to write it tells of it.
            Err(_) => return Ok(None),
        }
    }
    hashes.sort_unstable();
    hashes.dedup();
    hashes.truncate(SKETCH_LEN);
    hashes.shrink_to_fit();
    Ok(Some(hashes))
}

/// Adds the hashes of some windows of 16 bytes: of which does not depend on where they lie.
fn sample(bytes: &[u8], hashes: &mut Vec<u32>) {
    let mut windows = bytes;
    while let Some((window, _)) = windows.split_first_chunk::<16>() {
        let window = u128::from_le_bytes(*window);
        let (low, high) = (window as u64, (window >> 64) as u64);
        // Zeros, and other patterns of eight bytes, are everywhere. The constant is that of Fibonacci hashing (Knuth 6.4):
        // it brings what all bits are into the upper ones.
        let hash = (low ^ high.rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if low != high && hash < u64::MAX / SAMPLED {
            hashes.push((hash >> 25) as u32);
        }
        windows = windows.get(1..).unwrap_or_default();
    }
}

/// The first of the cells that stand together.
#[derive(Clone, Copy)]
struct Lead {
    number: usize,
    planned: usize,
}

/// For each cell its lead: itself, if it is like none before it.
fn leads(cells: &[Cell<'_>], limit: u64) -> Vec<Lead> {
    let sketches = cells.iter().enumerate();
    let mut holders: Vec<(u32, u32)> = sketches
        .flat_map(|(number, cell)| cell.sketch.iter().map(move |hash| (*hash, number as u32)))
        .collect();
    holders.sort_unstable();
    let mut leads: Vec<Lead> = Vec::with_capacity(cells.len());
    // By lead, the bytes of those that stand with it.
    let mut lens = vec![0_u64; cells.len()];
    let mut shared: Vec<usize> = Vec::new();
    for (number, cell) in cells.iter().enumerate() {
        shared.clear();
        for hash in &cell.sketch {
            let end = holders.partition_point(|holder| *holder < (*hash, number as u32));
            let before = holders.get(..end).unwrap_or_default().iter().rev();
            let same = before.take_while(|(other, _)| other == hash).take(HOLDERS_MAX);
            let same = same.map(|(_, holder)| *holder as usize);
            let has_room = |holder: &usize| {
                let lead = leads.get(*holder).and_then(|lead| lens.get(lead.number));
                lead.is_some_and(|len| len + cell.len <= limit)
            };
            shared.extend(same.filter(has_room));
        }
        shared.sort_unstable();
        let least = cell.sketch.len().max(SKETCH_LEN_LEAST) * ALIKE.0;
        let like = shared.chunk_by(|one, other| one == other).filter_map(|same| {
            let other = *same.first()?;
            let lead = *leads.get(other)?;
            let is_alike = same.len() * ALIKE.1 >= least;
            is_alike.then_some((same.len(), Reverse(other), lead))
        });
        let most = like.max_by_key(|(count, other, _)| (*count, *other));
        let lead = most.map_or(Lead { number, planned: cell.planned }, |(.., lead)| lead);
        if let Some(len) = lens.get_mut(lead.number) {
            *len += cell.len;
        }
        leads.push(lead);
    }
    leads
}

/// Groups of cells, those with one lead behind each other. They end where planned ones do, unless those are too long now, so
/// the next run finds what it plans in few of them.
fn groups(cells: Vec<Cell<'_>>, leads: Vec<Lead>, limit: u64) -> Vec<Gathered> {
    let mut order: Vec<(Lead, Cell<'_>)> = leads.into_iter().zip(cells).collect();
    order.sort_by_key(|(lead, _)| lead.number);
    let (mut open, mut full) = (Open::default(), Vec::new());
    for stretch in order.chunk_by(|(one, _), (other, _)| one.planned == other.planned) {
        let len = total_len(stretch.iter().map(|(_, cell)| cell.len));
        let count = stretch.iter().map(|(_, cell)| cell.members.len()).sum();
        if !open.has_room(len, count, limit) {
            open.close(&mut full);
        }
        // One that is too long is parted evenly.
        let part = len.div_ceil(len.div_ceil(limit).max(1));
        for (_, cell) in stretch {
            if !cell.is_readable || !open.has_room(cell.len, cell.members.len(), limit) {
                open.close(&mut full);
            }
            open.push(cell);
            if !cell.is_readable || len > limit && open.group.plain_len >= part {
                open.close(&mut full);
            }
        }
    }
    open.close(&mut full);
    full
}

/// A group that more may come to.
#[derive(Default)]
struct Open<'p> {
    members: Vec<&'p Member>,
    group: Gathered,
}

impl<'p> Open<'p> {
    fn has_room(&self, len: u64, count: usize, limit: u64) -> bool {
        self.group.plain_len + len <= limit
            && self.members.len() + count <= GROUP_CHUNKS_MAX as usize
    }

    fn push(&mut self, cell: &Cell<'p>) {
        self.members.extend(&cell.members);
        self.group.plain_len += cell.len;
        let stored = cell.members.iter().map(|member| u64::from(member.stored_len));
        self.group.stored_len += total_len(stored);
        *self.group.from.entry(cell.planned).or_default() += cell.len;
    }

    /// Ends the group: who restores the newest stops where older versions begin.
    fn close(&mut self, full: &mut Vec<Gathered>) {
        let Open { mut members, mut group } = std::mem::take(self);
        if !members.is_empty() {
            members.sort_by_key(|member| member.version);
            group.chunks = members.iter().map(|member| member.id).collect();
            full.push(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use garret_random::Random;

    use super::*;

    const LIMIT: u64 = 1 << 20;

    /// Planned groups of cells, each of a family or of none, with some versions each.
    fn planned(random: &mut Random, len_most: u32) -> (Vec<Planned>, HashMap<ChunkId, u64>) {
        let (mut planned, mut families, mut number) = (Vec::new(), HashMap::new(), 0_u64);
        for _ in 0..60 {
            let mut members = Vec::new();
            for cell in 0..20 {
                let family = random.below(12_u64);
                for version in 0..1 + random.below(3_u32) {
                    number += 1;
                    let mut id = [0; 32];
                    id[..8].copy_from_slice(&number.to_le_bytes());
                    let id = ChunkId::from_bytes(id);
                    families.insert(id, family);
                    let (len, cell) = (1 + random.below(len_most), (0, cell));
                    members.push(Member { id, len, stored_len: len / 2, version, cell });
                }
            }
            members.sort_by_key(|member| member.version);
            let plain_len = total_len(members.iter().map(|member| u64::from(member.len)));
            planned.push(Planned { members, plain_len, stored_len: plain_len / 2, gain_len: 1 });
        }
        (planned, families)
    }

    /// Half of a sketch is of the family, but for those of family 0, and one in thirty cannot be read.
    fn cells<'p>(
        random: &mut Random,
        planned: &'p [Planned],
        families: &HashMap<ChunkId, u64>,
    ) -> Vec<Cell<'p>> {
        let mut found = Vec::new();
        for (number, planned) in planned.iter().enumerate() {
            let mut of_cell: BTreeMap<(u64, u64), Vec<&Member>> = BTreeMap::new();
            for member in &planned.members {
                of_cell.entry(member.cell).or_default().push(member);
            }
            for members in of_cell.into_values() {
                let family = families[&members[0].id];
                let own = (0..SKETCH_LEN as u32).map(|_| random.below(u32::MAX)).collect();
                let mut sketch: Vec<u32> = own;
                for (at, hash) in sketch.iter_mut().enumerate().filter(|(at, _)| at % 2 == 0) {
                    *hash = if family > 0 { family as u32 * 1000 + at as u32 } else { *hash };
                }
                sketch.sort_unstable();
                let is_readable = random.below(30) > 0;
                sketch.truncate(if is_readable { SKETCH_LEN } else { 0 });
                let len = total_len(members.iter().map(|member| u64::from(member.len)));
                found.push(Cell { planned: number, members, len, sketch, is_readable });
            }
        }
        found
    }

    /// Cells of all lengths, families that are longer than a group, and more chunks than one may have.
    #[test]
    fn each_chunk_comes_once_in_groups_within_their_limits_and_no_cell_is_parted() {
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let len_most = [4, 1000, 40_000][seed as usize % 3];
            let (planned, families) = planned(&mut random, len_most);
            let cells = cells(&mut random, &planned, &families);
            let of_cell: HashMap<ChunkId, (usize, bool, u32)> = cells
                .iter()
                .enumerate()
                .flat_map(|(number, cell)| {
                    let members = cell.members.iter();
                    members
                        .map(move |member| (member.id, (number, cell.is_readable, member.version)))
                })
                .collect();
            let leads = leads(&cells, LIMIT);
            let groups = groups(cells, leads, LIMIT);
            let (mut chunks, mut homes) = (HashSet::new(), HashMap::new());
            for (number, group) in groups.iter().enumerate() {
                assert!(
                    group.plain_len <= LIMIT && group.chunks.len() <= GROUP_CHUNKS_MAX as usize
                );
                assert_eq!(group.plain_len, group.from.values().sum::<u64>(), "seed {seed}");
                let versions = group.chunks.iter().map(|id| of_cell[id].2);
                assert!(versions.is_sorted(), "seed {seed}");
                for id in &group.chunks {
                    assert!(chunks.insert(*id), "seed {seed}: twice");
                    let (cell, is_readable, _) = of_cell[id];
                    assert_eq!(*homes.entry(cell).or_insert(number), number, "seed {seed}: parted");
                    let is_alone = group.chunks.iter().all(|other| of_cell[other].0 == cell);
                    assert!(is_readable || is_alone, "seed {seed}");
                }
            }
            assert_eq!(chunks.len(), of_cell.len(), "seed {seed}");
        }
    }

    /// A family has one lead, or as many as it fills groups, and what is like nothing leads itself.
    #[test]
    fn what_is_alike_stands_together_as_far_as_there_is_room() {
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let (planned, families) = planned(&mut random, [1000, 40_000][seed as usize % 2]);
            let cells = cells(&mut random, &planned, &families);
            let mut of_family: HashMap<u64, (HashSet<usize>, u64)> = HashMap::new();
            for (number, (cell, lead)) in cells.iter().zip(leads(&cells, LIMIT)).enumerate() {
                let family = families[&cell.members[0].id];
                if family == 0 || !cell.is_readable {
                    assert_eq!(lead.number, number, "seed {seed}");
                } else {
                    let (leads, len) = of_family.entry(family).or_default();
                    leads.insert(lead.number);
                    *len += cell.len;
                }
            }
            for (leads, len) in of_family.into_values() {
                // One that is full to a cell takes no longer one.
                let most = len.div_ceil(LIMIT - 3 * 40_000) + 1;
                let most = if len <= LIMIT { 1 } else { most as usize };
                assert!(leads.len() <= most, "seed {seed}: {} leads for {len}", leads.len());
            }
        }
    }
}
