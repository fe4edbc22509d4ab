//! Gc: gives back the space of what no archive needs. Runs with the repository's exclusive lock.
//!
//! ```text
//! mark -> GcPlan: packs to drop, packs to repack -> copy what is needed out of those -> new index -> old index -> packs
//! ```
//!
//! Nothing is deleted before what replaces it is durable, and a segment that lists a pack goes before the pack: a crash at
//! any moment leaves packs that the next gc drops, never a gap.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use garret_format::index::{GroupRow, PackRow, Record, SEGMENT_CHUNKS_MAX};
use garret_format::{ChunkId, PackId};

use crate::archive::NamedArchive;
use crate::error::{Error, Result};
use crate::fetch::ChunkReader;
use crate::group::{CompressedGroup, Compression, OpenGroup};
use crate::index::{Index, Listing, Location, Rows, read_segment, store_segment};
use crate::mark::{Marks, Visitor, mark_archive};
use crate::pipeline::with_workers;
use crate::progress::{Phase, Problem, Progress};
use crate::repository::{Access, Repository};
use crate::store::{Area, Key};
use crate::write::{Target, write_chunks};

/// Dead bytes in packs, as a fraction of live ones, that are not worth copying for: 2 %.
const WASTE_FRACTION: u64 = 50;
/// Small packs, of less than a quarter of the target, that are worth merging.
const SMALL_PACKS: usize = 8;

/// How to collect.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// How repacked groups are compressed.
    pub compression: Compression,
    /// Threads; at least one.
    pub threads: usize,
}

/// What a gc did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Packs deleted.
    pub deleted_pack_count: u64,
    /// Their bytes.
    pub deleted_pack_bytes: u64,
    /// Bytes of packs written to replace some of them.
    pub repacked_bytes: u64,
    /// Problems met, each reported: what is damaged stays.
    pub problem_count: u64,
}

/// Removes archives from the list of archives; their space comes back with [`gc`]. Damaged ones can be removed too.
///
/// # Errors
/// `Access` unless the repository was opened to delete; `ArchiveMissing` before anything is removed, also if what has that
/// name is no archive.
pub fn delete(repository: &Repository, names: &[String]) -> Result<()> {
    repository.require(Access::Delete)?;
    let existing = repository.archive_names()?;
    if let Some(missing) = names.iter().find(|name| existing.binary_search(name).is_err()) {
        return Err(Error::ArchiveMissing(missing.clone()));
    }
    for name in names {
        repository.store.delete(&Key::Archive(name.clone()))?;
    }
    Ok(repository.store.sync()?)
}

/// What a gc would do if the archives `without` were not there. Neither locks nor writes anything.
///
/// # Errors
/// As of [`gc`].
pub fn plan_gc(
    repository: &Repository,
    without: &[String],
    progress: &dyn Progress,
) -> Result<GcPlan> {
    progress.begin(Phase::Mark, None);
    let plan = plan(repository, without, &mut Problems { progress, count: 0 })?;
    progress.end();
    Ok(plan)
}

/// Gives back the space of what no archive needs.
///
/// # Errors
/// An archive whose structure cannot be read: what it needs is unknown. `MissingChunk`: what an archive needs may lie where
/// nobody finds it just now (in a pack whose footer is damaged, behind a flipped bit of the local index). Nothing is
/// deleted then; removing the archives that were named, or backing up their sources again, lets gc go on. `Doubtful` if
/// something that is listed nowhere may be an archive. `Access` unless the repository was opened to delete.
pub fn gc(
    repository: &mut Repository,
    options: &GcOptions,
    progress: &dyn Progress,
) -> Result<GcReport> {
    repository.require(Access::Delete)?;
    repository.store.sweep()?;
    progress.begin(Phase::Mark, None);
    let mut problems = Problems { progress, count: 0 };
    let plan = plan(repository, &[], &mut problems)?;
    progress.end();
    let mut report = GcReport { problem_count: problems.count, ..GcReport::default() };
    if !plan.drop.is_empty() || !plan.repack.is_empty() {
        let collected = collect(repository, &plan, options, &mut problems);
        // Also when it was cut short: packs that the index knows may be gone.
        let reopened = repository.reopen_index(progress);
        report = collected?;
        reopened?;
    }
    repository.tell(progress);
    Ok(report)
}

/// Does what the plan says.
fn collect(
    repository: &Repository,
    plan: &GcPlan,
    options: &GcOptions,
    problems: &mut Problems<'_>,
) -> Result<GcReport> {
    let (kept, repacked_bytes) = repack(repository, plan, options, problems)?;
    let repacked = plan.repack.iter().map(|pack| &pack.row).filter(|row| !kept.contains(&row.id));
    let doomed: HashMap<PackId, PackRow> =
        plan.drop.iter().chain(repacked).map(|row| (row.id, *row)).collect();
    rewrite_index(repository, &doomed)?;
    for id in doomed.keys() {
        repository.store.delete(&Key::Pack(*id))?;
    }
    repository.store.sync()?;
    Ok(GcReport {
        deleted_pack_count: doomed.len() as u64,
        deleted_pack_bytes: doomed.values().map(|row| u64::from(row.len)).sum(),
        repacked_bytes,
        problem_count: problems.count,
    })
}

/// What will be done.
pub struct GcPlan {
    /// Packs that nobody needs anything of.
    drop: Vec<PackRow>,
    /// Packs that are mostly not needed.
    repack: Vec<PackUse>,
    /// The groups of those of which something is needed.
    groups: Vec<GroupUse>,
}

impl GcPlan {
    /// About how many bytes of packs it gives back: those it drops, and what nobody needs of those it repacks.
    pub fn freed_bytes(&self) -> u64 {
        let dropped: u64 = self.drop.iter().map(|row| u64::from(row.len)).sum();
        dropped + self.repack.iter().map(PackUse::dead_bytes).sum::<u64>()
    }

    /// How many packs it deletes, those that it repacks included.
    pub fn pack_count(&self) -> usize {
        self.drop.len() + self.repack.len()
    }
}

/// How much of a pack is needed.
#[derive(Clone, Copy)]
struct PackUse {
    row: PackRow,
    live_len: u64,
    plain_len: u64,
}

/// Which chunks of a group are needed.
struct GroupUse {
    pack: PackRow,
    row: GroupRow,
    chunks: Vec<ChunkUse>,
}

struct ChunkUse {
    id: ChunkId,
    /// Place in the group, in bytes.
    offset: u32,
    /// Length in bytes.
    len: u32,
    live: bool,
}

impl PackUse {
    /// About how many bytes of the file nobody needs.
    fn dead_bytes(&self) -> u64 {
        let dead = u128::from(self.plain_len - self.live_len) * u128::from(self.row.len);
        (dead / u128::from(self.plain_len.max(1))) as u64
    }

    /// Dead bytes per thousand.
    fn dead_share(&self) -> u64 {
        self.dead_bytes() * 1000 / u64::from(self.row.len).max(1)
    }
}

/// Marks, and decides what to do with each pack.
fn plan(
    repository: &Repository,
    without: &[String],
    problems: &mut Problems<'_>,
) -> Result<GcPlan> {
    if let Some(what) = repository.store.doubtful()?.into_iter().next() {
        return Err(Error::Doubtful(what));
    }
    let chunks = ChunkReader::new(repository);
    let mut marks = Marks::new(&chunks);
    let mut lost = None;
    let without: HashSet<&String> = without.iter().collect();
    let names = repository.archive_names()?.into_iter().filter(|name| !without.contains(name));
    for name in names {
        let archive: NamedArchive = repository.archive(&name)?;
        let mut missing = Missing { archive: &name, problems, lost: &mut lost };
        mark_archive(&chunks, &archive, &mut marks, &mut missing)?;
    }
    if let Some(error) = lost {
        return Err(error);
    }
    let uses = pack_uses(&repository.index, &marks);
    let (drop, used): (Vec<_>, Vec<_>) = uses.into_iter().partition(|pack| pack.live_len == 0);
    let repack = choose(used, repository.config.pack_len);
    let groups = group_uses(&repository.index, &marks, &repack);
    Ok(GcPlan { drop: drop.into_iter().map(|pack| pack.row).collect(), repack, groups })
}

/// The packs worth copying what is needed out of: the most wasteful until little waste is left, and small ones when there
/// are many.
fn choose(mut used: Vec<PackUse>, pack_len: u32) -> Vec<PackUse> {
    let live_bytes: u64 = used.iter().map(|pack| u64::from(pack.row.len) - pack.dead_bytes()).sum();
    let mut waste: u64 = used.iter().map(PackUse::dead_bytes).sum();
    let is_small = |pack: &PackUse| pack.row.len < pack_len / 4;
    let merge_small = used.iter().filter(|pack| is_small(pack)).count() >= SMALL_PACKS;
    used.sort_by_key(|pack| (Reverse(pack.dead_share()), pack.row.id));
    used.retain(|pack| {
        let wasteful = waste > live_bytes / WASTE_FRACTION && pack.live_len < pack.plain_len;
        let chosen = wasteful || (merge_small && is_small(pack));
        waste -= if chosen { pack.dead_bytes() } else { 0 };
        chosen
    });
    used
}

/// How much of each pack is needed, from the index and the marks on it.
fn pack_uses(index: &Index, marks: &Marks) -> Vec<PackUse> {
    let mut packs: HashMap<PackId, PackUse> = HashMap::new();
    for (segment, tables) in index.tables().enumerate() {
        let mut uses: Vec<PackUse> =
            tables.packs().map(|row| PackUse { row, live_len: 0, plain_len: 0 }).collect();
        for (place, record) in tables.records().enumerate() {
            let group = tables.group(record.group);
            let Some(pack) = group.and_then(|group| uses.get_mut(group.pack as usize)) else {
                continue;
            };
            let live = marks.is_set((segment, place as u64));
            pack.plain_len += u64::from(record.len);
            pack.live_len += if live { u64::from(record.len) } else { 0 };
        }
        for pack in uses {
            let empty = PackUse { live_len: 0, plain_len: 0, ..pack };
            let sum = packs.entry(pack.row.id).or_insert(empty);
            sum.live_len += pack.live_len;
            sum.plain_len += pack.plain_len;
        }
    }
    packs.into_values().collect()
}

/// The groups of these packs of which something is needed, in the order of the packs and of the places in them.
fn group_uses(index: &Index, marks: &Marks, packs: &[PackUse]) -> Vec<GroupUse> {
    let wanted: HashSet<PackId> = packs.iter().map(|pack| pack.row.id).collect();
    let mut found = Vec::new();
    for (segment, tables) in index.tables().enumerate() {
        let mut groups: HashMap<u32, GroupUse> = HashMap::new();
        for (place, Record { id, group, offset, len }) in tables.records().enumerate() {
            let Some(row) = tables.group(group) else { continue };
            let Some(pack) = tables.pack(row.pack) else { continue };
            if wanted.contains(&pack.id) {
                let live = marks.is_set((segment, place as u64));
                let new = GroupUse { pack, row, chunks: Vec::new() };
                let chunks = &mut groups.entry(group).or_insert(new).chunks;
                chunks.push(ChunkUse { id, offset, len, live });
            }
        }
        let needed = |group: &GroupUse| group.chunks.iter().any(|chunk| chunk.live);
        found.extend(groups.into_values().filter(needed));
    }
    for group in &mut found {
        group.chunks.sort_unstable_by_key(|chunk| chunk.offset);
    }
    found.sort_unstable_by_key(|group| (group.pack.id, group.row.offset));
    found
}

/// Copies what is needed into new packs. Gives the packs that must stay because something in them could not be read, and the
/// bytes of the new packs.
fn repack(
    repository: &Repository,
    plan: &GcPlan,
    options: &GcOptions,
    problems: &mut Problems<'_>,
) -> Result<(HashSet<PackId>, u64)> {
    let total = plan.repack.iter().map(|pack| pack.plain_len).sum();
    problems.progress.begin(Phase::Repack, Some(total));
    let before = Listing::read(&*repository.store)?;
    // The writer gets an index of its own: repacking stores chunks that the repository has, and the plan's must not change.
    let mut index = Index::empty(repository.config.repository);
    let target = Target {
        store: &*repository.store,
        data: &repository.data,
        metadata: &repository.metadata,
        hasher: &repository.hasher,
        index: &mut index,
        group_len: repository.config.group_len,
        pack_len: repository.config.pack_len,
    };
    let (kept, written) = with_workers(options.threads, |workers| {
        write_chunks(target, options.compression, workers, |writer| {
            let mut kept = HashSet::new();
            let groups = plan.groups.iter().map(Ok);
            let read =
                workers.map(groups, |group| Ok((group.pack.id, read_live(repository, group))));
            for read in read {
                match read? {
                    (_, Ok(Live::Whole(group))) => writer.keep_group(group)?,
                    (_, Ok(Live::Some(chunks))) => {
                        for (id, bytes) in chunks {
                            writer.keep(id, &bytes)?;
                        }
                    }
                    (pack, Err(error)) => {
                        problems.report(Problem::new(&error));
                        kept.insert(pack);
                    }
                }
            }
            Ok(kept)
        })
    })?;
    repository.store.sync()?;
    problems.progress.end();
    // Nobody else is here. What the old packs held is about to be deleted: a file system that says it wrote may not have.
    let found = Listing::read(&*repository.store)?.len_beyond(&before);
    if found != written.pack_bytes {
        return Err(Error::Corrupt {
            object: "packs".to_owned(),
            offset: 0,
            what: format!("of {} bytes that were written {found} are there", written.pack_bytes),
        });
    }
    Ok((kept, written.pack_bytes))
}

/// The needed part of a group.
enum Live {
    /// Everything: it is not compressed again.
    Whole(CompressedGroup),
    /// Some chunks.
    Some(Vec<(ChunkId, Vec<u8>)>),
}

/// Reads a group and checks every chunk that is needed of it: the pack it comes from will be deleted.
fn read_live(repository: &Repository, group: &GroupUse) -> Result<Live> {
    let GroupUse { pack, row, chunks } = group;
    let (frame, body) = repository.packs().body(pack, row)?;
    let corrupt = |what| Error::Corrupt {
        object: Key::Pack(pack.id).to_string(),
        offset: u64::from(row.offset),
        what,
    };
    let open = OpenGroup::decompress(&frame, &body).map_err(corrupt)?;
    let live =
        chunks.iter().filter(|chunk| chunk.live).map(|ChunkUse { id, offset, len, .. }| {
            let bytes = open.slice(*offset, *len);
            match bytes.and_then(|bytes| repository.hasher.verify(id, bytes)) {
                Some(chunk) => Ok((*id, chunk.bytes())),
                None => Err(corrupt(format!("the group does not hold chunk {id}"))),
            }
        });
    let live: Vec<(ChunkId, &[u8])> = live.collect::<Result<_>>()?;
    // A chunk that is stored twice is listed once: the group is not whole then.
    if frame.chunk_count as usize == live.len() {
        let chunks = live.iter().map(|(id, bytes)| (*id, bytes.len() as u32)).collect();
        return Ok(Live::Whole(CompressedGroup { frame, body, chunks }));
    }
    Ok(Live::Some(live.into_iter().map(|(id, bytes)| (id, bytes.to_vec())).collect()))
}

/// Replaces the segments that list doomed packs, and merges small ones, by new ones that do not.
fn rewrite_index(repository: &Repository, doomed: &HashMap<PackId, PackRow>) -> Result<()> {
    let stored = Listing::read(&*repository.store)?;
    let survives = |pack: &PackRow| stored.has(pack) && !doomed.contains_key(&pack.id);
    let mut old = Vec::new();
    let mut new = Segments { repository, rows: Rows::default() };
    for unstored in repository.index.unstored() {
        new.push(unstored.keep_packs(survives))?;
    }
    for key in repository.store.list(Area::Index)? {
        let Key::Index(id) = key else { continue };
        match read_segment(&repository.index_source(), id) {
            Ok(segment) => {
                let full = segment.records.len() >= SEGMENT_CHUNKS_MAX / 2;
                if full && segment.packs.iter().all(survives) {
                    continue;
                }
                new.push(segment.keep_packs(survives))?;
            }
            // Its packs are known from their footers.
            Err(Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        old.push(key);
    }
    new.flush()?;
    repository.store.sync()?;
    for key in old {
        repository.store.delete(&key)?;
    }
    Ok(repository.store.sync()?)
}

/// Collects rows and stores a segment whenever there are enough for one.
struct Segments<'r> {
    repository: &'r Repository,
    rows: Rows,
}

impl Segments<'_> {
    fn push(&mut self, rows: Rows) -> Result<()> {
        self.rows.append(rows);
        if self.rows.records.len() >= SEGMENT_CHUNKS_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        if !rows.packs.is_empty() {
            store_segment(&*self.repository.store, &self.repository.metadata, &rows.sorted())?;
        }
        Ok(())
    }
}

struct Problems<'p> {
    progress: &'p dyn Progress,
    count: u64,
}

impl Problems<'_> {
    fn report(&mut self, problem: Problem) {
        self.count += 1;
        self.progress.problem(&problem);
    }
}

/// Reports chunks that are needed and nowhere.
struct Missing<'m, 'p> {
    archive: &'m str,
    problems: &'m mut Problems<'p>,
    /// The first of them.
    lost: &'m mut Option<Error>,
}

impl Visitor for Missing<'_, '_> {
    fn chunk(&mut self, path: &[u8], id: &ChunkId, location: Option<&Location>) {
        if location.is_none() {
            let needed_by = format!("backups/{}: {}", self.archive, String::from_utf8_lossy(path));
            let error = Error::MissingChunk { id: *id, needed_by };
            self.problems.report(Problem::new(&error));
            self.lost.get_or_insert(error);
        }
    }
}
