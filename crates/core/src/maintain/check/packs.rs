//! First part of check: packs, and what the index says of them.
//!
//! In: every segment of the index, every pack. Out: what is wrong with them, and the records of the open index that are
//! right. Packs of all segments are asked for in a row, with as many requests under way as the store wants.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use garret_format::index::PackRow;
use garret_format::pack::Footer;
use garret_format::{ChunkId, PackId, SegmentId};

use super::claims::{Claim, all, claims, mismatch, sound};
use super::report::Findings;
use super::verify::{Verified, verify_pack};
use crate::error::{Cause, Error, Result, UNSTEADY};
use crate::limits::total_len;
use crate::objects::damage::{forget, is_damage, record};
use crate::objects::group::WHOLE;
use crate::objects::index::{Inventory, Location, read_segment};
use crate::objects::verified;
use crate::pipeline::Threads;
use crate::progress::{Phase, Task};
use crate::read::chunks::Chunks;
use crate::read::mark::Marks;
use crate::repository::Repository;
use crate::store::{Key, Store, StoreError, list_packs};

/// Looks at packs.
#[derive(Clone, Copy)]
pub(super) struct Packs<'a, 'scope> {
    pub(super) repository: &'scope Repository,
    pub(super) chunks: &'scope Chunks,
    /// Whether every byte is read.
    pub(super) verifies: bool,
    /// For how long, if not of every pack.
    pub(super) slice: Option<Duration>,
    /// Whether it is recorded which packs are damaged.
    pub(super) records: bool,
    pub(super) threads: Threads<'a, 'scope>,
    /// The records of the index that are right: they are added here.
    pub(super) sound: &'scope Marks,
}

/// What there is to be looked at.
pub(super) struct Stored {
    segments: Vec<SegmentId>,
    packs: Vec<(PackId, u64)>,
}

impl Stored {
    /// How many of the packs are cold.
    pub(super) fn cold_count(&self, store: &dyn Store) -> usize {
        self.packs.iter().filter(|(id, _)| store.is_cold(&Key::Pack(*id))).count()
    }

    pub(super) fn of(inventory: &Inventory) -> Self {
        let mut segments: Vec<SegmentId> = inventory.segments.iter().copied().collect();
        let mut packs: Vec<(PackId, u64)> =
            inventory.packs.lens.iter().map(|(id, len)| (*id, *len)).collect();
        segments.sort_unstable();
        packs.sort_unstable();
        Stored { segments, packs }
    }
}

/// Something to be looked at, or told of in its turn.
enum Job {
    Pack(PackJob),
    /// A pack that a segment lists and that is not there.
    Missing(PackId),
    /// A segment that cannot be read.
    Damaged(SegmentId, Error),
}

/// The same when it was looked at.
enum Looked {
    Pack(PackJob, PackFindings),
    Missing(PackId),
    Damaged(SegmentId, Error),
}

/// A pack to be looked at.
struct PackJob {
    id: PackId,
    /// Its length, as the store lists it.
    len: u64,
    /// What a segment says of it.
    claim: Option<Claim>,
    /// Whether it was looked at for another segment already.
    again: bool,
    /// Whether every byte is read.
    verifies: bool,
    /// Whether something was found wrong with it a moment ago.
    is_suspect: bool,
    /// Whether what the index says of it is believed, for it is cold.
    is_left: bool,
}

impl PackJob {
    /// A pack of which every byte is read.
    fn whole(id: PackId, len: u64) -> Self {
        let (claim, again, verifies, is_suspect, is_left) = (None, false, true, false, false);
        PackJob { id, len, claim, again, verifies, is_suspect, is_left }
    }
}

/// What the store gave of a pack.
struct Read {
    footer: Result<(PackRow, Footer)>,
    /// Every byte, if that was asked for.
    bytes: Option<Result<Vec<u8>, StoreError>>,
}

/// What was found out about one pack.
#[derive(Default)]
struct PackFindings {
    len: u64,
    /// Whether every byte was read, or should have been.
    is_read: bool,
    /// What is wrong with it.
    errors: Vec<Error>,
    /// What is said of it that is not so.
    mismatch: Option<String>,
    /// The records of the index that are right about it.
    sound: Vec<(usize, u64)>,
    /// How many of its chunks the index does not list.
    unlisted: u64,
    /// What a second reading found damaged too.
    confirmed: Option<usize>,
}

impl<'scope> Packs<'_, 'scope> {
    /// Reads every byte of packs for so long, those first that were verified longest ago. What is wrong with one is told of
    /// by [`check`](Self::check), which looks at it closely.
    pub(super) fn read_slice(self, findings: &Findings<'_>, verified: &mut Verified) -> Result<()> {
        let Some(duration) = self.slice else { return Ok(()) };
        let Packs { repository, chunks, .. } = self;
        let (store, metadata) = (repository.store(), repository.metadata());
        let rows = verified::load_or_tell(store, metadata, findings.progress);
        let mut packs = list_packs(store)?;
        // The damaged ones are read in any case, what is cold only when all is.
        packs.retain(|(id, _)| !chunks.index().is_damaged(id) && !store.is_cold(&Key::Pack(*id)));
        verified::sort(&mut packs, &rows);
        let task = findings.progress.begin(Phase::Check, None);
        let (clock, mut is_first) = (repository.clock(), true);
        let end = clock.now().saturating_add(duration);
        let is_time = move |_: &_| std::mem::take(&mut is_first) || clock.now() < end;
        let jobs = packs
            .into_iter()
            .take_while(is_time)
            .map(|(id, len)| Job::Pack(PackJob::whole(id, len)));
        for looked in self.look(jobs) {
            if let Looked::Pack(pack, found) = looked? {
                verified.count(pack.id, found.errors.is_empty(), found.is_read);
                task.advance(pack.len);
            }
        }
        Ok(())
    }

    /// Every segment of the index with the packs that it lists, then the packs that none lists. With a slice every byte is
    /// read of those that were found damaged in it or before.
    pub(super) fn check(
        self,
        stored: Stored,
        findings: &mut Findings<'_>,
        verified: &mut Verified,
    ) -> Result<()> {
        let Packs { repository, chunks, records, sound, .. } = self;
        let store = repository.store();
        let total = total_len(stored.packs.iter().map(|(_, len)| *len));
        let reads_all = self.verifies && self.slice.is_none();
        let begin = || findings.progress.begin(Phase::Check, reads_all.then_some(total));
        let task = findings.tells_packs.then(begin);
        let suspects = verified.damaged.clone();
        let mut wrong = HashSet::new();
        for looked in self.look(self.jobs(stored, suspects)) {
            match looked? {
                Looked::Damaged(segment, error) => {
                    wrong.insert(segment);
                    findings.pack_error(&Key::Index(segment).to_string(), &error);
                }
                Looked::Missing(id) => {
                    findings.report.missing_packs += 1;
                    let pack = Key::Pack(id).to_string();
                    let text = format!("{pack} is missing");
                    findings.pack_problem(Cause::Missing, &pack, text);
                }
                Looked::Pack(pack, found) => {
                    let claim = pack.claim.as_ref().filter(|_| found.mismatch.is_some());
                    wrong.extend(claim.map(|claim| claim.segment));
                    for record in &found.sound {
                        sound.set(*record);
                    }
                    let (id, again) = (pack.id, pack.again);
                    let is_recorded = chunks.index().is_damaged(&id);
                    let is_intact = found.errors.is_empty();
                    let damage = found.confirmed.and_then(|place| found.errors.get(place));
                    if let Some(damage) = damage.filter(|_| records) {
                        let (metadata, progress) = (repository.metadata(), findings.progress);
                        record(store, metadata, id, is_recorded, damage, progress);
                    }
                    if pack.verifies && !again {
                        verified.count(id, found.errors.is_empty(), found.is_read);
                    }
                    if found.confirmed.is_some() || is_recorded && !(is_intact && pack.verifies) {
                        verified.confirmed.insert(id, pack.len);
                    }
                    findings.pack(&pack, found, task.as_deref());
                    match is_recorded && is_intact && !again {
                        true if pack.verifies && records => forget(store, id, findings.progress),
                        true => findings.known(id),
                        false => {}
                    }
                }
            }
        }
        findings.report.damaged_segments = wrong.len() as u64;
        Ok(())
    }

    /// Looks at what there is to be looked at, in order.
    fn look(self, jobs: impl Iterator<Item = Job>) -> impl Iterator<Item = Result<Looked>> {
        let Packs { repository, chunks, threads, .. } = self;
        let is_near = chunks.groups().in_flight() <= 1;
        let asked = threads.requests.map(jobs.map(Ok), move |job| match job {
            // What is near is read where it is needed.
            Job::Pack(pack) if is_near || pack.is_left => Ok((Job::Pack(pack), None)),
            Job::Pack(pack) => {
                let read = read(repository, &pack);
                Ok((Job::Pack(pack), Some(read)))
            }
            other => Ok((other, None)),
        });
        threads.workers.map(asked, move |(job, asked)| match job {
            Job::Pack(pack) if pack.is_left => {
                let found = believed(chunks, &pack);
                Ok(Looked::Pack(pack, found))
            }
            Job::Pack(pack) => {
                let read = asked.unwrap_or_else(|| read(repository, &pack));
                let found = look_twice(repository, chunks, &pack, read);
                Ok(Looked::Pack(pack, found))
            }
            Job::Missing(id) => Ok(Looked::Missing(id)),
            Job::Damaged(segment, error) => Ok(Looked::Damaged(segment, error)),
        })
    }

    /// What is to be looked at, a segment of the index after the other; what one says is in memory while its packs are looked
    /// at.
    fn jobs(
        self,
        stored: Stored,
        suspects: HashSet<PackId>,
    ) -> impl Iterator<Item = Job> + use<'scope> {
        let Packs { repository, chunks, verifies, slice, .. } = self;
        let store = repository.store();
        let job = move |id, len, claim, again| {
            let is_suspect = suspects.contains(&id);
            let is_cold = store.is_cold(&Key::Pack(id));
            let is_wanted =
                slice.is_none() || !is_cold && (is_suspect || chunks.index().is_damaged(&id));
            let verifies = verifies && is_wanted;
            let is_left = !verifies && is_cold;
            Job::Pack(PackJob { id, len, claim, again, verifies, is_suspect, is_left })
        };
        let Stored { segments, packs } = stored;
        let lens: HashMap<PackId, u64> = packs.iter().copied().collect();
        let (mut seen, mut missing) = (HashSet::new(), HashSet::new());
        let (mut ready, mut segments, mut rest) =
            (VecDeque::new(), segments.into_iter(), packs.into_iter());
        std::iter::from_fn(move || {
            loop {
                if let Some(job) = ready.pop_front() {
                    return Some(job);
                }
                let Some(segment) = segments.next() else {
                    let (id, len) = rest.find(|(id, _)| !seen.contains(id))?;
                    return Some(job(id, len, None, false));
                };
                match read_segment(&repository.index_source(), segment) {
                    Ok(rows) => {
                        ready.extend(claims(segment, &rows).into_iter().filter_map(|claim| {
                            let id = claim.pack.id;
                            match lens.get(&id) {
                                Some(len) => {
                                    let (again, claim) = (!seen.insert(id), Some(claim));
                                    Some(job(id, *len, claim, again))
                                }
                                None => missing.insert(id).then_some(Job::Missing(id)),
                            }
                        }))
                    }
                    Err(error) => return Some(Job::Damaged(segment, error)),
                }
            }
        })
    }
}

impl Findings<'_> {
    /// A pack in which nothing wrong was met this time, and that is recorded as damaged.
    fn known(&mut self, id: PackId) {
        self.report.damaged_packs += 1;
        let pack = Key::Pack(id).to_string();
        let text = format!("{pack} was found damaged before, and is recorded as such in damaged/");
        self.pack_problem(Cause::Damaged, &pack, text);
    }

    fn pack(&mut self, job: &PackJob, found: PackFindings, task: Option<&dyn Task>) {
        let pack = Key::Pack(job.id).to_string();
        let PackFindings { len, errors, mismatch, unlisted, .. } = found;
        if let Some(text) = mismatch {
            self.pack_problem(Cause::Damaged, &pack, text);
        }
        if job.again {
            return;
        }
        if let Some(task) = task {
            task.advance(job.len);
        }
        self.report.pack_count += 1;
        self.report.pack_bytes = self.report.pack_bytes.saturating_add(len);
        self.report.unlisted_chunks = self.report.unlisted_chunks.saturating_add(unlisted);
        self.report.damaged_packs += u64::from(!errors.is_empty());
        errors.iter().for_each(|error| self.pack_error(&pack, error));
    }
}

/// What a segment says of a pack, as if it were found there.
fn believed(chunks: &Chunks, job: &PackJob) -> PackFindings {
    let mut found = PackFindings { len: job.len, ..PackFindings::default() };
    let Some(claim) = &job.claim else { return found };
    let len = u64::from(claim.pack.len);
    match job.len == len {
        true => (found.sound, found.unlisted) = sound(chunks, &claim.pack, &claim.records),
        false => found.errors.push(Error::Corrupt {
            object: Key::Pack(job.id).to_string(),
            offset: job.len.min(len),
            what: format!("it has {} bytes, and {len} were written", job.len),
        }),
    }
    found
}

/// Asks the store for what is needed of a pack.
fn read(repository: &Repository, job: &PackJob) -> Read {
    let (packs, is_wanted) = (repository.packs(), job.verifies && !job.again);
    let whole = || repository.store().get(&Key::Pack(job.id), 0..job.len);
    // In one request where it is no longer than packs are; else its footer bounds what may be asked for.
    let first = (is_wanted && job.len <= 2 * u64::from(repository.config().pack_len)).then(whole);
    let footer = match &first {
        Some(Ok(bytes)) => packs.footer_of(job.id, bytes),
        _ => packs.footer(job.id, job.len),
    };
    let is_left = is_wanted && first.is_none() && footer.is_ok();
    Read { footer, bytes: first.or_else(|| is_left.then(whole)) }
}

/// Reads every byte of a pack, twice if it is damaged; what both readings found.
pub(super) fn confirm(repository: &Repository, chunks: &Chunks, id: PackId) -> Option<Error> {
    let len = repository.store().len(&Key::Pack(id)).ok()?;
    let job = PackJob::whole(id, len);
    let mut found = look_twice(repository, chunks, &job, read(repository, &job));
    found.confirmed.map(|place| found.errors.swap_remove(place))
}

/// Looks at a pack, and once more if it is damaged: storage and memory err too, and what is recorded must be so.
fn look_twice(
    repository: &Repository,
    chunks: &Chunks,
    job: &PackJob,
    first: Read,
) -> PackFindings {
    let mut found = look_at(repository, chunks, job, first);
    let is_well = found.errors.is_empty();
    if job.again || is_well && !job.is_suspect {
        return found;
    }
    if !is_well {
        let mut second = look_at(repository, chunks, job, read(repository, job));
        if !second.errors.is_empty() {
            second.confirmed = second.errors.iter().position(is_damage);
            return second;
        }
        second.errors = found.errors;
        found = second;
    }
    let object = Key::Pack(job.id).to_string();
    found.errors.push(Error::Corrupt { object, offset: 0, what: UNSTEADY.to_owned() });
    found
}

fn look_at(repository: &Repository, chunks: &Chunks, job: &PackJob, read: Read) -> PackFindings {
    let mut found = PackFindings { len: job.len, ..PackFindings::default() };
    let (pack, footer) = match read.footer {
        Ok(whole) => whole,
        // What the index lists is a pack, whatever is left of its first bytes.
        Err(_) if job.claim.is_none() && repository.packs().is_foreign(job.id) => {
            return PackFindings::default();
        }
        Err(error) => {
            // An index of this version lists it.
            found.errors.push(if job.claim.is_some() { error.of_ours() } else { error });
            found.sound = readable(repository, chunks, job);
            return found;
        }
    };
    let mut there = all(&footer);
    found.mismatch = mismatch(chunks, job.claim.as_ref(), &pack, &there);
    if let Some(bytes) = read.bytes {
        found.is_read = true;
        let damaged = verify_pack(repository, &pack, &footer, bytes, &mut found.errors);
        there.retain(|listed| !damaged.contains(&listed.id));
    }
    // The first look has read as much as was asked for: a footer alone does not make right what it found damaged.
    if !job.again {
        (found.sound, found.unlisted) = sound(chunks, &pack, &there);
    }
    found
}

/// The records of the index that lead to chunks of a pack whose footer cannot be read, found out by reading each chunk. They
/// are found by what the index says, as in a restore: it has the pack's salt too, and what lies behind a group that is lost.
fn readable(repository: &Repository, chunks: &Chunks, job: &PackJob) -> Vec<(usize, u64)> {
    let claimed = job.claim.iter().flat_map(|claim| &claim.records).map(|listed| listed.id);
    let left = repository.packs().salvage(job.id, repository.hasher());
    let left = left.map(|(_, footer)| all(&footer)).unwrap_or_default();
    let ids: HashSet<ChunkId> = claimed.chain(left.iter().map(|listed| listed.id)).collect();
    let places = |id: ChunkId| chunks.index().copies(&id).map(move |place| (place, id)).collect();
    let places = ids.into_iter().flat_map(|id| -> Vec<_> { places(id) });
    let mut places: Vec<(Location, ChunkId)> =
        places.filter(|(location, _)| location.pack.id == job.id).collect();
    places.sort_unstable_by_key(|(location, _)| location.group.offset);
    let mut sound = Vec::new();
    for places in places.chunk_by(|(one, _), (other, _)| one.group == other.group) {
        let Some((first, _)) = places.first() else { continue };
        let group = repository.packs().group(&first.pack, &first.group, WHOLE, None);
        let Ok(group) = group else { continue };
        let is_there =
            |(location, id): &&(Location, ChunkId)| chunks.verified(&group, location, id).is_ok();
        sound.extend(places.iter().filter(is_there).map(|(location, _)| location.record));
    }
    sound
}
