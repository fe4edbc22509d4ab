//! Second station of compact: groups as they should be, and whether it is worth making them so.
//!
//! In: blocks of versions. Out: lists of chunks that are to be a group, for those that gain enough. Promises: which chunks
//! belong together follows from what is near, so a night that adds some changes the groups that it adds to and no others;
//! what was made so before is left as it is.

use std::collections::{BTreeMap, HashMap, HashSet};

use garret_format::pack::GROUP_CHUNKS_MAX;
use garret_format::{ChunkId, PackId};

use super::versions::{self, Block, Placed};
use crate::error::Result;
use crate::limits::{GROUP_LEN, GROUP_LEN_MOST, total_len};
use crate::objects::archive::NamedArchive;
use crate::objects::codec::Compression;
use crate::objects::index::Index;
use crate::progress::{Phase, Progress};
use crate::read::mark::Marks;
use crate::read::shares::Counted;
use crate::repository::Repository;

/// Archives of a host that are walked side by side: each costs half a megabyte. Older ones follow by themselves.
const VERSIONS_MAX: usize = 64;
/// What a chunk saves of what it takes, beside another version of its place: three quarters. Nine tenths were measured, for a
/// database of which each night changes some rows.
const SAVED_BY_VERSION: (u64, u64) = (3, 4);
/// What harder compression saves: an eighth, between zstd 3 and 19.
const SAVED_BY_EFFORT: (u64, u64) = (1, 8);
/// What a chunk takes that has no other version beside it: of disks, two fifths.
const USUAL: (u64, u64) = (2, 5);
/// What was compressed as hard before is compressed again only if a sixteenth of its length is saved: when nights have
/// added a fifth of it, about. So each byte is compressed some five times, however many nights come.
const AGAIN_GAIN: u64 = 16;

/// What is worth it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worth {
    pub(super) compression: Compression,
    /// A group is rewritten that saves one part of so many of what its chunks take now.
    pub(super) gain: u64,
}

/// All versions of some places, that should be in one group, but for what is like something elsewhere.
#[derive(Debug)]
pub(super) struct Planned {
    /// The newest first.
    pub(super) members: Vec<Member>,
    pub(super) plain_len: u64,
    /// What they take now, about.
    pub(super) stored_len: u64,
    /// What is saved of that, about.
    pub(super) gain_len: u64,
}

impl Planned {
    /// What names it: no other group begins with it.
    pub(super) fn first(&self) -> Option<ChunkId> {
        self.members.first().map(|member| member.id)
    }
}

/// A chunk of it. Where it lies is looked up again: that is three times as long, and a round has many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) id: ChunkId,
    pub(super) len: u32,
    /// Bytes of packs that it takes now, about.
    pub(super) stored_len: u32,
    pub(super) version: u32,
    pub(super) cell: (u64, u64),
}

/// Gives every group that is worth making, until `take` has enough.
pub(super) fn each(
    repository: &Repository,
    worth: Worth,
    progress: &dyn Progress,
    take: &mut dyn FnMut(Planned) -> Result<bool>,
) -> Result<()> {
    let mut hosts: BTreeMap<String, Vec<NamedArchive>> = BTreeMap::new();
    for (_, archive) in repository.archives(repository.archive_names()?)? {
        let archive = archive?;
        hosts.entry(archive.archive.host.clone()).or_default().push(archive);
    }
    let count = hosts.values().map(|archives| archives.len() as u64).sum();
    let task = progress.begin(Phase::Mark, Some(count * 2));
    let chunks = repository.chunks();
    let needed = Marks::new(chunks.index());
    for archives in hosts.values_mut() {
        archives.sort_by_key(|found| std::cmp::Reverse((found.archive.start, found.name.clone())));
        for versions in archives.chunks(VERSIONS_MAX) {
            versions::each(&chunks, versions, &needed, &mut |_| Ok(true))?;
            task.advance(versions.len() as u64);
        }
    }
    let judge = Judge::new(chunks.index(), &needed, worth);
    let marks = Marks::new(chunks.index());
    let limit = repository.config().group_len.min(GROUP_LEN_MOST);
    let mut left = count;
    for archives in hosts.into_values() {
        for versions in archives.chunks(VERSIONS_MAX) {
            let mut groups = Grouping::new(u64::from(limit));
            let mut full: Vec<Vec<Placed>> = Vec::new();
            let mut judged = |full: &mut Vec<Vec<Placed>>| {
                for planned in full.drain(..).filter_map(|chunks| judge.planned(chunks)) {
                    if !take(planned)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
            let goes_on = versions::each(&chunks, versions, &marks, &mut |block| {
                groups.push(block, &mut full);
                judged(&mut full)
            })?;
            groups.close(&mut full);
            if !goes_on || !judged(&mut full)? {
                // Whoever has enough goes on from there.
                task.advance(left);
                return Ok(());
            }
            task.advance(versions.len() as u64);
            left -= versions.len() as u64;
        }
    }
    Ok(())
}

/// Collects chunks until they make a group.
struct Grouping {
    limit: u64,
    open: Vec<Placed>,
    len: u64,
}

impl Grouping {
    fn new(limit: u64) -> Self {
        Grouping { limit, open: Vec::new(), len: 0 }
    }

    /// Takes in a block. One that does not fit into a group is halved, and its halves, until the parts do: so each part is
    /// the same again when another block has changed.
    fn push(&mut self, block: Block<'_>, full: &mut Vec<Vec<Placed>>) {
        let mut parts = vec![block.cells.as_slice()];
        while let Some(part) = parts.pop() {
            let len = total_len(part.iter().flatten().map(|chunk| u64::from(chunk.location.len)));
            if len > self.limit && part.len() > 1 {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
                continue;
            }
            if self.len + len > self.limit {
                self.close(full);
            }
            for chunk in part.iter().flatten() {
                self.add(*chunk, full);
            }
            // Small ones come together, and part where their names say so, which is the same each time.
            let is_end = self.len >= self.limit / 4 && ends_group(&block);
            if self.len >= self.limit / 2 || is_end {
                self.close(full);
            }
        }
    }

    /// Takes in one chunk; of a place with more versions than a group holds each group has some.
    fn add(&mut self, chunk: Placed, full: &mut Vec<Vec<Placed>>) {
        let len = u64::from(chunk.location.len);
        if self.len + len > self.limit || self.open.len() >= GROUP_CHUNKS_MAX as usize {
            self.close(full);
        }
        self.len += len;
        self.open.push(chunk);
    }

    /// Ends the group: who restores the newest stops where older versions begin.
    fn close(&mut self, full: &mut Vec<Vec<Placed>>) {
        self.len = 0;
        let mut group = std::mem::take(&mut self.open);
        if !group.is_empty() {
            group.sort_by_key(|chunk| chunk.version);
            full.push(group);
        }
    }
}

/// Whether a group of small blocks ends behind this one: behind one in eight.
fn ends_group(block: &Block<'_>) -> bool {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&block.number.to_le_bytes()).update(block.path);
    let [first, ..] = *hasher.finalize().as_bytes();
    first < 32
}

/// Knows what chunks take, and says what is worth it.
struct Judge<'c> {
    index: &'c Index,
    needed: Counted,
    worth: Worth,
}

impl<'c> Judge<'c> {
    fn new(index: &'c Index, needed: &Marks, worth: Worth) -> Self {
        let needed = Counted::among(index, |record| needed.is_set(record));
        Judge { index, needed, worth }
    }

    /// What is to be gained by making a group of these, if that is enough.
    fn planned(&self, mut chunks: Vec<Placed>) -> Option<Planned> {
        let effort = self.worth.compression.effort();
        let home = home(&chunks, effort);
        let settled = self.settled(&chunks, home);
        chunks.retain(|chunk| !settled.contains(&chunk.cell));
        let is_home = |chunk: &Placed| home == Some(place(chunk));
        let at_home: HashSet<(u64, u64)> =
            chunks.iter().filter(|chunk| is_home(chunk)).map(|chunk| chunk.cell).collect();
        let known = Home::of(chunks.iter().filter(|chunk| is_home(chunk)));
        // The first version of each cell here, and in each group that has one.
        let (mut firsts, mut beside) = (HashMap::new(), HashMap::new());
        let (mut stored_len, mut gain_len, mut again_len) = (0, 0, 0);
        for chunk in &chunks {
            let stored = self.stored_len(chunk);
            let len = u64::from(chunk.location.len);
            let is_hard = chunk.location.group.effort >= effort;
            again_len += if is_hard { len } else { 0 };
            let is_first = *firsts.entry(chunk.cell).or_insert(chunk.version) == chunk.version;
            let cell_there = beside.entry((chunk.cell, place(chunk)));
            let is_beside = *cell_there.or_insert(chunk.version) != chunk.version;
            stored_len += stored;
            if is_home(chunk) {
                continue;
            }
            // Lz4, a level of zstd below 1, or nothing.
            let is_easy = chunk.location.group.effort == 0;
            // What did not get smaller by 1/32 is stored as it is.
            let is_dense = stored > len / 32 * 31 && !is_easy;
            // What lies with another version already only gets harder.
            let is_version = (at_home.contains(&chunk.cell) || !is_first) && !is_beside;
            gain_len += match (is_version, is_hard || is_dense) {
                (true, _) => match known.shared() {
                    Some((taken, of)) => stored.saturating_sub(len * taken / of),
                    None => part(stored, SAVED_BY_VERSION),
                },
                (false, false) if is_easy => {
                    stored.saturating_sub(part(len, USUAL)).max(part(stored, SAVED_BY_EFFORT))
                }
                (false, false) => part(stored, SAVED_BY_EFFORT),
                (false, true) => 0,
            };
        }
        let plain_len = total_len(chunks.iter().map(|chunk| u64::from(chunk.location.len)));
        let is_worth = gain_len > 0
            && gain_len >= stored_len / self.worth.gain
            && gain_len >= again_len / AGAIN_GAIN;
        let member = |chunk: &Placed| {
            let (len, stored_len) = (chunk.location.len, self.stored_len(chunk) as u32);
            Member { id: chunk.id, len, stored_len, version: chunk.version, cell: chunk.cell }
        };
        let members = || chunks.iter().map(member).collect();
        is_worth.then(|| Planned { members: members(), plain_len, stored_len, gain_len })
    }

    /// What comes back with a chunk: its share, among those that are needed, of all that its group takes.
    fn stored_len(&self, chunk: &Placed) -> u64 {
        let len = u64::from(chunk.location.len);
        let needed_len = self.needed.len(self.index, &chunk.location);
        part(u64::from(chunk.location.group.sealed_len), (len, needed_len.max(len).max(1)))
    }

    /// The cells that compact put elsewhere, as hard as it should be, because they are like something there: they stay.
    fn settled(&self, chunks: &[Placed], home: Option<(PackId, u32)>) -> HashSet<(u64, u64)> {
        let mut places: HashMap<(u64, u64), Option<(PackId, u32)>> = HashMap::new();
        for chunk in chunks {
            let is_settled = home != Some(place(chunk))
                && chunk.location.group.effort >= self.worth.compression.effort()
                && is_compact(chunk.location.group_plain_len());
            let place = is_settled.then(|| place(chunk));
            let of_cell = places.entry(chunk.cell).or_insert(place);
            *of_cell = of_cell.filter(|of_cell| Some(*of_cell) == place);
        }
        places.retain(|_, place| place.is_some());
        places.into_keys().collect()
    }
}

/// What is known of the group that most of the chunks lie in.
#[derive(Default)]
struct Home {
    /// Bytes of chunks that are the first version of their cell in it,
    first_len: u64,
    /// and of those that are further ones.
    further_len: u64,
    /// Bytes of all its chunks, whoever needs them,
    plain_len: u64,
    /// and what they all take.
    sealed_len: u64,
}

impl Home {
    fn of<'p>(chunks: impl Iterator<Item = &'p Placed>) -> Self {
        let (mut home, mut firsts) = (Home::default(), HashMap::new());
        for chunk in chunks {
            let len = u64::from(chunk.location.len);
            match *firsts.entry(chunk.cell).or_insert(chunk.version) == chunk.version {
                true => home.first_len += len,
                false => home.further_len += len,
            }
            home.plain_len = chunk.location.group_plain_len();
            home.sealed_len = u64::from(chunk.location.group.sealed_len);
        }
        home
    }

    fn len(&self) -> u64 {
        self.first_len + self.further_len
    }

    /// What a further version takes, as a part of its length: what the group takes beyond the first version of each cell,
    /// if those take what is usual. Where they take more, further ones are taken to be like them. `None` if it is no group of
    /// compact, or has too little of this to tell.
    fn shared(&self) -> Option<(u64, u64)> {
        let taken = part(self.sealed_len, (self.len(), self.plain_len.max(1)));
        let beyond = taken.saturating_sub(part(self.first_len, USUAL)).min(self.further_len);
        let is_known = is_compact(self.plain_len)
            && self.len() * 3 >= self.plain_len
            && self.further_len > self.first_len / 8;
        is_known.then_some((beyond, self.further_len))
    }
}

/// Whether a group of so many bytes of chunks can only be one of compact.
fn is_compact(plain_len: u64) -> bool {
    plain_len > u64::from(GROUP_LEN)
}

fn part(len: u64, (part, whole): (u64, u64)) -> u64 {
    len * part / whole
}

/// The group in which most of these lie already, compressed as hard as it should be.
fn home(chunks: &[Placed], effort: u8) -> Option<(PackId, u32)> {
    let mut lens: HashMap<(PackId, u32), u64> = HashMap::new();
    for chunk in chunks.iter().filter(|chunk| chunk.location.group.effort >= effort) {
        *lens.entry(place(chunk)).or_default() += u64::from(chunk.location.len);
    }
    lens.into_iter().max_by_key(|(place, len)| (*len, *place)).map(|(place, _)| place)
}

fn place(chunk: &Placed) -> (PackId, u32) {
    (chunk.location.pack.id, chunk.location.group.offset)
}
