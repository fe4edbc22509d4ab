//! First station of gc: what is needed, and what to do with each pack.
//!
//! In: the archives, and the index. Out: a [`GcPlan`]. Memory: a bit for each record of the index, a place for each chunk of
//! structure, and what the index says of the groups that are repacked. Writes nothing.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use garret_format::index::{GroupRow, PackRow, Record};
use garret_format::pack::PackKind;
use garret_format::{ChunkId, PackId};

use super::condemn::ANY;
use super::intact::{Copies, keep_intact_copies};
use super::marking::{Archives, Marked, is_strange, mark_all};
use crate::error::{Error, Result};
use crate::limits::{GROUP_LEN, STRUCTURE_COPIES, total_len};
use crate::maintain::copies::{list_copies, refuse_overwritten};
use crate::maintain::problems::Problems;
use crate::objects::index::{Index, Rows};
use crate::objects::pack::end_len;
use crate::pipeline::beside;
use crate::progress::{Problem, Progress};
use crate::read::mark::Marks;
use crate::repository::Repository;
use crate::store::Key;

/// Dead bytes in packs, as a fraction of live ones, that are not worth copying for: 2 %. What is left over in a repository
/// that loses an archive a night is then never more.
const WASTE_FRACTION: u64 = 50;
/// What a thorough gc leaves: 0.5 %, for 2 % is as much as lzma saves over zstd 19. But packs of which less than a sixteenth
/// is dead stay, so that no more than 16 bytes are copied for one: where waste is spread evenly, that would be most packs.
const THOROUGH: (u64, u64) = (200, 16);
/// Sessions whose last packs, of less than a quarter of the target, are worth merging: those of fewer cost a footer each.
const SMALL_PACKS: usize = 8;

/// What a gc keeps, and how much that nobody needs it leaves.
#[derive(Clone, Copy)]
pub(in crate::maintain) struct Aims<'p> {
    /// Of chunks that lie in one of these packs and in another, the first stay if they are intact.
    pub(in crate::maintain) preferred: &'p HashSet<PackId>,
    /// Whether it leaves less waste than usual.
    pub(in crate::maintain) is_thorough: bool,
    /// Whether copies that nobody needs are listed no longer also where no pack goes. Who looks for nothing else finds them
    /// again and reads them; compact plans by the copy that it finds first.
    pub(in crate::maintain) unlists: bool,
}

impl<'p> Aims<'p> {
    /// As compact wants it, with as much waste as usual.
    pub(in crate::maintain) fn preferring(preferred: &'p HashSet<PackId>) -> Self {
        Aims { preferred, is_thorough: false, unlists: true }
    }
}

/// What a gc will do. Shown, it is one line.
#[derive(Debug)]
pub struct GcPlan {
    /// Packs that nobody needs anything of.
    drop: Vec<PackRow>,
    /// Packs that are mostly not needed.
    repack: Vec<PackUse>,
    /// The groups of those of which something is needed, and others that hold structure of which there is no second copy.
    pub(super) groups: Vec<GroupUse>,
    /// Copies of chunks, by the pack, that need not be listed any more: another one was read and is intact.
    pub(super) superseded: HashSet<(ChunkId, PackId)>,
    /// Whether those are listed no longer also where no pack goes.
    pub(super) unlists: bool,
    /// Packs of which something is listed nowhere.
    partly_listed: HashSet<PackId>,
    /// Whether something that archives need was found damaged: what may be another copy of it stays.
    pub(in crate::maintain) holds: bool,
    /// The archives that it knows, and the fingerprint of each.
    archives: Archives,
    /// Names of archives that were listed, and that it did not find.
    gone: HashSet<String>,
}

impl std::fmt::Display for GcPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "deletes {} packs and repacks {}, {} bytes less",
            self.drop.len(),
            self.repack.len(),
            self.freed_bytes()
        )
    }
}

impl GcPlan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.pack_count() == 0
    }

    /// The packs that go, but for those that must be kept because something in them could not be read.
    pub(super) fn doomed(&self, kept: &HashSet<PackId>) -> impl Iterator<Item = PackRow> {
        let repacked = self.repack.iter().map(|pack| pack.row);
        self.drop.iter().copied().chain(repacked.filter(|row| !kept.contains(&row.id)))
    }

    /// The packs that nobody needs anything of.
    pub(super) fn dropped(&self) -> impl Iterator<Item = PackRow> {
        self.drop.iter().copied()
    }

    /// Leaves packs of which something is listed nowhere, for that may be the one intact copy of something: a repair lists it
    /// again. So that they get no more, what is listed stays so. Gives how many it leaves.
    pub(super) fn hold(&mut self) -> usize {
        let before = self.pack_count();
        self.holds = true;
        self.drop.retain(|row| !self.partly_listed.contains(&row.id));
        self.repack.retain(|pack| !self.partly_listed.contains(&pack.row.id));
        self.superseded.clear();
        before - self.pack_count()
    }

    /// If anything is copied, packs that may have another copy of it: what was read a moment ago may not be read again.
    pub(super) fn leaning(&self) -> HashSet<PackId> {
        match self.groups.is_empty() {
            true => HashSet::new(),
            false => {
                let listed = self.superseded.iter().map(|(_, pack)| *pack);
                listed.chain(self.partly_listed.iter().copied()).collect()
            }
        }
    }

    /// The same as [`hold`](Self::hold), where these chunks could not be copied: packs that have copies of them stay too.
    pub(super) fn hold_copies(&mut self, unread: &HashSet<ChunkId>) {
        let copies = self.superseded.iter().filter(|(id, _)| unread.contains(id));
        let leaning: HashSet<PackId> = copies.map(|(_, pack)| *pack).collect();
        self.drop.retain(|row| !leaning.contains(&row.id));
        self.repack.retain(|pack| !leaning.contains(&pack.row.id));
        self.hold();
    }

    /// Leaves packs that no segment lists to whoever may be writing them: they are needed by an archive that is to come.
    pub(super) fn leave(&mut self, unlisted: &[Rows]) {
        let packs = unlisted.iter().flat_map(|rows| &rows.packs).map(|row| row.id);
        let packs: HashSet<PackId> = packs.collect();
        self.drop.retain(|row| !packs.contains(&row.id));
        self.repack.retain(|pack| !packs.contains(&pack.row.id));
        self.groups.retain(|group| !packs.contains(&group.pack.id));
        self.superseded.retain(|(_, pack)| !packs.contains(pack));
    }

    /// Whether every archive that is listed now was marked: whether nobody needs what it says that nobody needs (rule P6).
    pub(super) fn knows_archives(&self, repository: &Repository) -> Result<bool> {
        for (name, archive) in repository.archives(repository.archive_names()?)? {
            let fingerprint = match archive {
                Err(Error::ArchiveMissing(_))
                    if self.archives.contains_key(&name)
                        || self.gone.contains(&name)
                        || is_strange(repository.store(), &name) =>
                {
                    continue;
                }
                // Moved a moment ago, to where that listing did not see it.
                Err(Error::ArchiveMissing(_)) => return Ok(false),
                archive => archive?.fingerprint,
            };
            if self.archives.get(&name) != Some(&fingerprint) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The archives that it knows, and the hashes of their files.
    pub(super) fn into_archives(self) -> Archives {
        self.archives
    }

    /// The packs that are repacked.
    pub(super) fn repacked(&self) -> HashSet<PackId> {
        self.repack.iter().map(|pack| pack.row.id).collect()
    }

    /// Repacks only the pack of which the least has to be copied, of those that give space back; what is dropped is dropped.
    pub(super) fn keep_cheapest(&mut self) {
        let wasteful = self.repack.iter().filter(|pack| pack.dead_bytes() > 0);
        let cheapest = wasteful.min_by_key(|pack| (pack.live_len, pack.row.id)).copied();
        self.repack = cheapest.into_iter().collect();
        self.groups.retain(|group| cheapest.is_some_and(|pack| pack.row.id == group.pack.id));
        // Second copies of structure are not made then.
        self.unlists = false;
    }

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
#[derive(Clone, Copy, Debug)]
struct PackUse {
    row: PackRow,
    live_len: u64,
    /// Bytes of all its chunks,
    plain_len: u64,
    /// and of those that are listed.
    listed_len: u64,
}

/// Which chunks of a group are copied.
#[derive(Clone, Debug)]
pub(in crate::maintain) struct GroupUse {
    pub(super) pack: PackRow,
    pub(super) row: GroupRow,
    pub(super) chunks: Vec<ChunkUse>,
}

#[derive(Clone, Debug)]
pub(in crate::maintain) struct ChunkUse {
    pub(super) id: ChunkId,
    /// Place in the group, in bytes.
    pub(super) offset: u32,
    /// Length in bytes.
    pub(super) len: u32,
    /// How many copies of it are written.
    pub(super) copies: usize,
}

impl GroupUse {
    /// Bytes of the chunks that are copied.
    pub(in crate::maintain) fn live_len(&self) -> u64 {
        total_len(self.chunks.iter().map(|chunk| u64::from(chunk.len)))
    }
}

impl PackUse {
    /// About how many bytes of the file nobody needs.
    fn dead_bytes(&self) -> u64 {
        let dead =
            u128::from(self.plain_len.saturating_sub(self.live_len)) * u128::from(self.row.len);
        (dead / u128::from(self.plain_len.max(1))) as u64
    }

    /// Dead bytes per thousand.
    fn dead_share(&self) -> u64 {
        self.dead_bytes() * 1000 / u64::from(self.row.len).max(1)
    }
}

/// Lists what there is, and decides what to do with it; and whether somebody was there when it was listed, this session
/// among them.
pub(super) fn plan(
    repository: &Repository,
    without: &[String],
    aims: Aims<'_>,
    keeps: bool,
    threads: usize,
    problems: &mut Problems<'_>,
) -> Result<(GcPlan, bool)> {
    let without: HashSet<&String> = without.iter().collect();
    let names = refresh(repository, problems.progress)?;
    let (store, in_flight) = (repository.store(), repository.store().properties().in_flight);
    // Who is asked for after that listing: what was in it may be that of somebody who is there.
    let ask = || beside(in_flight, || store.has_sessions(ANY), || list_copies(store));
    let decide = || decide(repository, (names, &without), aims, keeps, threads, problems);
    let (asked, plan) = beside(in_flight, ask, decide)?;
    let ((has_sessions, copies), plan) = (asked?, plan?);
    refuse_overwritten(repository, copies?, plan.archives.values().copied())?;
    Ok((plan, has_sessions?))
}

/// Marks what the archives of these names need, but for those `without`, and decides what to do with each pack.
fn decide(
    repository: &Repository,
    (names, without): (Vec<String>, &HashSet<&String>),
    aims: Aims<'_>,
    keeps: bool,
    threads: usize,
    problems: &mut Problems<'_>,
) -> Result<GcPlan> {
    let chunks = repository.chunks();
    let index = chunks.index();
    let marks = Marks::new(index);
    let Marked { archives, gone, lost } =
        mark_all(repository, &chunks, (names, without), &marks, threads, problems.progress)?;
    // Where all packs show what they hold nothing is lost by going on; the archive lacks what it lacked.
    match lost {
        Some(error) if !index.is_whole() => return Err(error),
        Some(error) => problems.report(Problem::from(&error)),
        None => {}
    }
    let Copies { superseded, lacking, has_lost } =
        keep_intact_copies(&chunks, repository.store(), &marks, aims.preferred, threads, problems)?;
    if keeps {
        keep_groups(index, &marks, &superseded);
    }
    let (store, uses) = (repository.store(), pack_uses(index, &marks));
    let partly_listed: HashSet<PackId> = uses
        .iter()
        .filter(|pack| pack.listed_len < pack.plain_len)
        .map(|pack| pack.row.id)
        .collect();
    let is_damaged = |pack: &PackUse| pack.live_len > 0 && index.is_damaged(&pack.row.id);
    let holds = has_lost || uses.iter().any(is_damaged);
    let (drop, used): (Vec<_>, Vec<_>) = uses.into_iter().partition(|pack| pack.live_len == 0);
    // What is cold is not read to be copied.
    let used = used.into_iter().filter(|pack| !store.is_cold(&Key::Pack(pack.row.id)));
    let repack = choose(used.collect(), repository.config().pack_len, aims.is_thorough);
    let drop = drop.into_iter().map(|pack| pack.row).collect();
    let (unlists, groups) = (aims.unlists, Vec::new());
    let mut plan =
        GcPlan { drop, repack, groups, superseded, unlists, partly_listed, holds, archives, gone };
    let held = if holds { plan.hold() } else { 0 };
    if held > 0 {
        problems.progress.notice(&format!(
            "something that archives need is damaged; packs that may hold it too stay until check --repair: {held}"
        ));
    }
    let repacked = plan.repacked();
    plan.groups = group_uses(index, |pack, record| {
        let moves = repacked.contains(pack) && marks.is_set(record);
        usize::from(moves) + usize::from(lacking.contains(&record))
    });
    Ok(plan)
}

/// Brings the index up to date. Gives the names of the archives, if there is nothing else that may be one.
fn refresh(repository: &Repository, progress: &dyn Progress) -> Result<Vec<String>> {
    let (store, refresh) = (repository.store(), || repository.refresh_index(progress));
    let (doubtful, inventory) = beside(store.properties().in_flight, || store.doubtful(), refresh)?;
    match doubtful?.into_iter().next() {
        Some(what) => Err(Error::Doubtful(what)),
        None => inventory?.archive_names(),
    }
}

/// The packs worth copying what is needed out of: the most wasteful until little waste is left, and small ones when there
/// are many.
fn choose(mut used: Vec<PackUse>, pack_len: u32, is_thorough: bool) -> Vec<PackUse> {
    let live_bytes: u64 = used.iter().map(|pack| u64::from(pack.row.len) - pack.dead_bytes()).sum();
    let mut waste: u64 = used.iter().map(PackUse::dead_bytes).sum();
    let is_small = |pack: &PackUse| pack.row.len < end_len(pack.row.kind, pack_len) / 4;
    let small = |kind| used.iter().filter(|pack| pack.row.kind == kind && is_small(pack)).count();
    let merge_data = small(PackKind::Data) >= SMALL_PACKS;
    let merge_structure = small(PackKind::Structure) >= SMALL_PACKS * STRUCTURE_COPIES;
    let merges = |pack: &PackUse| match pack.row.kind {
        PackKind::Data => merge_data && is_small(pack),
        PackKind::Structure => merge_structure && is_small(pack),
    };
    used.sort_by_key(|pack| (Reverse(pack.dead_share()), pack.row.id));
    used.retain(|pack| {
        let is_much = waste > live_bytes / WASTE_FRACTION && pack.live_len < pack.plain_len;
        let (most, part) = THOROUGH;
        let is_cheap = pack.dead_bytes() >= u64::from(pack.row.len) / part;
        let is_more = is_thorough && waste > live_bytes / most && is_cheap;
        let chosen = is_much || is_more || merges(pack);
        waste -= if chosen { pack.dead_bytes() } else { 0 };
        chosen
    });
    used
}

/// Marks what nobody needs in groups that compact made and that take less than a quarter of their length, while it is less
/// than half of one: beside the version that stays it takes little, and without it all would be compressed anew. A copy that
/// need not be listed is not marked.
fn keep_groups(index: &Index, marks: &Marks, superseded: &HashSet<(ChunkId, PackId)>) {
    for (segment, tables) in index.tables().enumerate() {
        let mut lives = vec![0_u64; tables.counts().groups as usize];
        for (place, record) in tables.records().enumerate() {
            if let Some(live) = lives.get_mut(record.group as usize) {
                let is_live = marks.is_set((segment, place as u64));
                *live += if is_live { u64::from(record.len) } else { 0 };
            }
        }
        for (place, record) in tables.records().enumerate() {
            let live = lives.get(record.group as usize).copied().unwrap_or_default();
            let Some(group) = tables.group(record.group) else { continue };
            let (plain, sealed) = (u64::from(group.plain_len), u64::from(group.sealed_len));
            if plain <= u64::from(GROUP_LEN) || live * 2 < plain || sealed > plain / 4 {
                continue;
            }
            let pack = tables.pack(group.pack);
            if pack.is_some_and(|pack| !superseded.contains(&(record.id, pack.id))) {
                marks.set((segment, place as u64));
            }
        }
    }
}

/// How much of each pack is needed, from the index and the marks on it: of all that it holds, listed or not.
fn pack_uses(index: &Index, marks: &Marks) -> Vec<PackUse> {
    let mut packs: HashMap<PackId, PackUse> = HashMap::new();
    for (segment, tables) in index.tables().enumerate() {
        let mut uses: Vec<PackUse> = tables
            .packs()
            .map(|row| PackUse { row, live_len: 0, plain_len: 0, listed_len: 0 })
            .collect();
        for group in tables.groups() {
            if let Some(pack) = uses.get_mut(group.pack as usize) {
                pack.plain_len += u64::from(group.plain_len);
            }
        }
        for (place, record) in tables.records().enumerate() {
            let group = tables.group(record.group);
            let Some(pack) = group.and_then(|group| uses.get_mut(group.pack as usize)) else {
                continue;
            };
            let live = marks.is_set((segment, place as u64));
            pack.listed_len += u64::from(record.len);
            pack.live_len += if live { u64::from(record.len) } else { 0 };
        }
        for pack in uses {
            let empty = PackUse { live_len: 0, ..pack };
            let all = packs.entry(pack.row.id).or_insert(empty);
            all.live_len += pack.live_len;
            // Several segments may list a pack: a chunk is marked in one of them, mostly, and all groups stand in each.
            all.plain_len = all.plain_len.max(pack.plain_len);
            all.listed_len = all.listed_len.max(pack.listed_len);
        }
    }
    packs.into_values().collect()
}

/// The groups of which something is copied, in the order of the packs and of the places in them. `copies` says how many of
/// what is in this pack, at this record, are written.
pub(in crate::maintain) fn group_uses(
    index: &Index,
    copies: impl Fn(&PackId, (usize, u64)) -> usize,
) -> Vec<GroupUse> {
    let mut found = Vec::new();
    for (segment, tables) in index.tables().enumerate() {
        let mut groups: HashMap<u32, GroupUse> = HashMap::new();
        for (place, Record { id, group, offset, len }) in tables.records().enumerate() {
            let Some(row) = tables.group(group) else { continue };
            let Some(pack) = tables.pack(row.pack) else { continue };
            let copies = copies(&pack.id, (segment, place as u64));
            if copies > 0 {
                let new = GroupUse { pack, row, chunks: Vec::new() };
                let chunks = &mut groups.entry(group).or_insert(new).chunks;
                chunks.push(ChunkUse { id, offset, len, copies });
            }
        }
        found.extend(groups.into_values());
    }
    for group in &mut found {
        group.chunks.sort_unstable_by_key(|chunk| chunk.offset);
    }
    found.sort_unstable_by_key(|group| (group.pack.id, group.row.offset));
    found
}
