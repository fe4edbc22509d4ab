//! Check: reads the repository and says what is wrong with it. Changes nothing.
//!
//! The truth is in the packs. Every record of every segment of the index must be found in a footer, everything that a footer
//! lists must be found through the index, and every chunk of every archive must be where a footer says that it is. With
//! `verify_data` footers are not believed either: every byte of every pack is compared with the pack's name, every group
//! opened, and a chunk is there if its bytes hash to its id. Archives and files that need anything else are named.
//!
//! Memory: a bit for each record of the index, and what one segment says (at most 14 MiB, twice that after a gc).

use std::collections::{BTreeMap, HashSet};

use garret_format::index::PackRow;
use garret_format::pack::Footer;
use garret_format::{ChunkId, PackId, SegmentId};

use crate::error::{Error, Result, finding};
use crate::fetch::{ChunkReader, verified};
use crate::index::{Location, Rows, read_segment};
use crate::limits::total_len;
use crate::mark::{Marks, Visitor, mark_archive};
use crate::pack::listed;
use crate::pipeline::with_workers;
use crate::progress::{Phase, Problem, Progress};
use crate::repository::{Access, Repository};
use crate::store::{Area, Key};

/// What to check.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// Whether packs and index are checked. What an archive needs is looked for in packs all the same.
    pub packs: bool,
    /// Whether archives are checked.
    pub archives: bool,
    /// Whether every byte of every pack is read.
    pub verify_data: bool,
    /// Threads; at least one.
    pub threads: usize,
}

/// What was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Packs.
    pub pack_count: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Archives.
    pub archive_count: u64,
    /// Problems found, each reported.
    pub problem_count: u64,
    /// Segments of the index that cannot be read, or say what is not so.
    pub damaged_segments: u64,
    /// Packs that are there and not as they were written.
    pub damaged_packs: u64,
    /// Packs that the index lists and that are not there.
    pub missing_packs: u64,
    /// Archives that cannot be restored whole, by name.
    pub incomplete: Vec<Incomplete>,
}

/// An archive that lacks something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// Its name.
    pub name: String,
    /// How many of its files lack something; `None` if not all of them could be looked at.
    pub file_count: Option<u64>,
}

/// Checks the repository, which must have been opened for that: with an index of its own contents.
///
/// # Errors
/// `Access`; what is found is reported instead.
pub fn check(
    repository: &Repository,
    options: &CheckOptions,
    progress: &dyn Progress,
) -> Result<CheckReport> {
    repository.require(Access::Check)?;
    let chunks = ChunkReader::new(repository);
    let (sound, report) = (Marks::new(&chunks), CheckReport::default());
    let mut checker = Checker { repository, progress, options, sound, report };
    checker.packs()?;
    if options.archives {
        checker.archives(&chunks)?;
    }
    Ok(checker.report)
}

struct Checker<'r> {
    repository: &'r Repository,
    progress: &'r dyn Progress,
    options: &'r CheckOptions,
    /// The records of the index that are right.
    sound: Marks,
    report: CheckReport,
}

/// A pack to be looked at.
struct Job {
    id: PackId,
    /// What a segment says of it.
    claim: Option<Claim>,
    /// Whether it was looked at for another segment already.
    again: bool,
}

/// What a segment of the index says of one pack.
struct Claim {
    segment: SegmentId,
    pack: PackRow,
    records: Vec<Listed>,
}

/// Where a chunk is in its pack: all that a record and the rows it refers to say of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Listed {
    id: ChunkId,
    /// Where the sealed group starts in the pack, and its length, in bytes.
    group: (u32, u32),
    /// Where the chunk starts in the uncompressed group, and its length, in bytes.
    place: (u32, u32),
}

/// What was found out about one pack.
#[derive(Default)]
struct Found {
    len: u64,
    /// What is wrong with it.
    errors: Vec<Error>,
    /// What is said of it that is not so.
    mismatch: Option<String>,
    /// The records of the index that are right about it.
    sound: Vec<(usize, u64)>,
}

impl Checker<'_> {
    fn problem(&mut self, text: String) {
        self.report.problem_count += 1;
        self.progress.problem(&Problem::loss(text));
    }

    /// What is wrong with packs and index; nobody who checks archives only wants to know.
    fn pack_problem(&mut self, text: String) {
        if self.options.packs {
            self.problem(text);
        }
    }

    /// Every segment of the index with the packs that it lists, then the packs that none lists.
    fn packs(&mut self) -> Result<()> {
        let store = &*self.repository.store;
        let listing = store.list_packs()?;
        if self.options.packs {
            let total = total_len(listing.iter().map(|(_, len)| *len));
            self.progress.begin(Phase::Check, self.options.verify_data.then_some(total));
        }
        let stored: HashSet<PackId> = listing.iter().map(|(id, _)| *id).collect();
        let (mut seen, mut missing) = (HashSet::new(), HashSet::new());
        for key in store.list(Area::Index)? {
            let Key::Index(segment) = key else { continue };
            let claims = match read_segment(&self.repository.index_source(), segment) {
                Ok(rows) => claims(segment, &rows),
                Err(error) => {
                    self.report.damaged_segments += 1;
                    self.pack_problem(finding(&error));
                    continue;
                }
            };
            let mut jobs = Vec::new();
            for claim in claims {
                let id = claim.pack.id;
                if stored.contains(&id) {
                    jobs.push(Job { id, claim: Some(claim), again: !seen.insert(id) });
                } else if missing.insert(id) {
                    self.pack_problem(format!("{} is missing", Key::Pack(id)));
                }
            }
            let is_wrong = self.look(jobs)?;
            self.report.damaged_segments += u64::from(is_wrong);
        }
        self.report.missing_packs = missing.len() as u64;
        let rest = listing.into_iter().map(|(id, _)| id).filter(|id| !seen.contains(id));
        self.look(rest.map(|id| Job { id, claim: None, again: false }).collect())?;
        if self.options.packs {
            self.progress.end();
        }
        Ok(())
    }

    /// Looks at packs; whether something is said of them that is not so.
    fn look(&mut self, jobs: Vec<Job>) -> Result<bool> {
        let (repository, verify) = (self.repository, self.options.verify_data);
        let mut is_wrong = false;
        with_workers(self.options.threads, |workers| {
            let jobs = jobs.into_iter().map(|job| Ok((job.again, job)));
            let found = workers
                .map(jobs, move |(again, job)| Ok((again, check_pack(repository, &job, verify))));
            for found in found {
                let (again, Found { len, errors, mismatch, sound }) = found?;
                if let Some(text) = mismatch {
                    is_wrong = true;
                    self.pack_problem(text);
                }
                if again {
                    continue;
                }
                self.report.pack_count += 1;
                self.report.pack_bytes = self.report.pack_bytes.saturating_add(len);
                self.progress.advance(len);
                self.report.damaged_packs += u64::from(!errors.is_empty());
                errors.iter().for_each(|error| self.pack_problem(finding(error)));
                for record in sound {
                    self.sound.set(record);
                }
            }
            Ok(())
        })?;
        Ok(is_wrong)
    }

    fn archives(&mut self, chunks: &ChunkReader<'_>) -> Result<()> {
        let mut names = self.repository.archive_names()?;
        names.sort_unstable();
        for name in names {
            self.report.archive_count += 1;
            // Fresh marks for each: what one archive lacks, another that shares it lacks as well.
            let mut marks = Marks::new(chunks);
            let mut lacks = Lacks { sound: &self.sound, files: BTreeMap::new() };
            let marked = self
                .repository
                .archive(&name)
                .and_then(|archive| mark_archive(chunks, &archive, &mut marks, &mut lacks));
            let files = lacks.files;
            let is_listed = marked.is_ok() && !files.contains_key(&b""[..]);
            if !is_listed || !files.is_empty() {
                let file_count = is_listed.then_some(files.len() as u64);
                self.report.incomplete.push(Incomplete { name: name.clone(), file_count });
            }
            for (path, count) in files {
                let path = String::from_utf8_lossy(&path).into_owned();
                let what = if path.is_empty() { "its list of files".to_owned() } else { path };
                let chunks = match count {
                    1 => "1 chunk is".to_owned(),
                    count => format!("{count} chunks are"),
                };
                self.problem(format!("backups/{name}: {what}: {chunks} missing or damaged"));
            }
            if let Err(error) = marked {
                self.problem(format!("backups/{name}: {}", finding(&error)));
            }
        }
        Ok(())
    }
}

/// Counts the chunks that an archive needs and cannot have, by file.
struct Lacks<'c> {
    sound: &'c Marks,
    files: BTreeMap<Vec<u8>, u64>,
}

impl Visitor for Lacks<'_> {
    fn chunk(&mut self, path: &[u8], _id: &ChunkId, location: Option<&Location>) {
        if !location.is_some_and(|location| self.sound.is_set(location.record)) {
            *self.files.entry(path.to_vec()).or_default() += 1;
        }
    }
}

/// What a segment says of each of its packs.
fn claims(segment: SegmentId, rows: &Rows) -> Vec<Claim> {
    let claim = |pack: &PackRow| Claim { segment, pack: *pack, records: Vec::new() };
    let mut claims: Vec<Claim> = rows.packs.iter().map(claim).collect();
    for record in &rows.records {
        let Some(group) = rows.groups.get(record.group as usize) else { continue };
        if let Some(claim) = claims.get_mut(group.pack as usize) {
            let group = (group.offset, group.sealed_len);
            let place = (record.offset, record.len);
            claim.records.push(Listed { id: record.id, group, place });
        }
    }
    claims
}

fn check_pack(repository: &Repository, job: &Job, verify: bool) -> Found {
    let packs = repository.packs();
    let mut found = Found::default();
    match repository.store.len(&Key::Pack(job.id)) {
        Ok(len) => found.len = len,
        Err(error) => found.errors.push(error.into()),
    }
    let (pack, footer) = match packs.footer(job.id) {
        Ok(whole) => whole,
        Err(_) if packs.is_foreign(job.id) => return Found::default(),
        Err(error) => {
            found.errors.push(error);
            found.sound = readable(repository, job);
            return found;
        }
    };
    let mut there = all(&footer);
    found.mismatch = mismatch(repository, job, &pack, &there);
    if verify && !job.again {
        let damaged = verify_pack(repository, &pack, &footer, &mut found.errors);
        there.retain(|listed| !damaged.contains(&listed.id));
    }
    found.sound = sound(repository, &pack, &there);
    found
}

/// The records of the index that lead to chunks of a pack whose footer cannot be read, found out by reading each chunk. They
/// are found by what the index says, as in a restore: it has the pack's salt too, and what lies behind a group that is lost.
fn readable(repository: &Repository, job: &Job) -> Vec<(usize, u64)> {
    let claimed = job.claim.iter().flat_map(|claim| &claim.records).map(|listed| listed.id);
    let left = repository.packs().salvage(job.id, &repository.hasher);
    let left = left.map(|(_, footer)| all(&footer)).unwrap_or_default();
    let ids: HashSet<ChunkId> = claimed.chain(left.iter().map(|listed| listed.id)).collect();
    let place = |id: ChunkId| Some((repository.index.find(&id)?, id));
    let mut places: Vec<(Location, ChunkId)> = ids.into_iter().filter_map(place).collect();
    places.retain(|(location, _)| location.pack.id == job.id);
    places.sort_unstable_by_key(|(location, _)| location.group.offset);
    let mut sound = Vec::new();
    for chunks in places.chunk_by(|(one, _), (other, _)| one.group == other.group) {
        let Some((first, _)) = chunks.first() else { continue };
        let Ok(group) = repository.packs().group(&first.pack, &first.group) else { continue };
        let is_there = |(location, id): &&(Location, ChunkId)| {
            verified(repository, &group, location, id).is_ok()
        };
        sound.extend(chunks.iter().filter(is_there).map(|(location, _)| location.record));
    }
    sound
}

/// The chunks of a footer.
fn all(footer: &Footer) -> Vec<Listed> {
    let groups = listed(footer).flat_map(|(offset, sealed_len, chunks)| {
        chunks.iter().scan(0, move |at: &mut u32, (id, len)| {
            let place = (*at, *len);
            *at = at.saturating_add(*len);
            Some(Listed { id: *id, group: (offset, sealed_len), place })
        })
    });
    groups.collect()
}

/// The records of the index that lead to one of these chunks of the pack.
fn sound(repository: &Repository, pack: &PackRow, there: &[Listed]) -> Vec<(usize, u64)> {
    let record = |listed: &Listed| {
        let found = repository.index.find(&listed.id)?;
        let group = (found.group.offset, found.group.sealed_len);
        let place = (found.offset, found.len);
        let is_right = found.pack == *pack && Listed { id: listed.id, group, place } == *listed;
        is_right.then_some(found.record)
    };
    there.iter().filter_map(record).collect()
}

/// In what a segment of the index, or the index as it was opened, says something else of a pack than its footer.
fn mismatch(
    repository: &Repository,
    job: &Job,
    pack: &PackRow,
    there: &[Listed],
) -> Option<String> {
    let lacks = |listed: &&Listed| !repository.index.contains(&listed.id);
    let lacking = there.iter().filter(lacks).count();
    let key = Key::Pack(job.id);
    let Some(Claim { segment, pack: row, records }) = &job.claim else {
        return (lacking > 0).then(|| format!("{key}: the index lacks {lacking} of its chunks"));
    };
    let segment = Key::Index(*segment);
    if row != pack {
        return Some(format!("{segment}: {key} has another length or salt than it says"));
    }
    let known: HashSet<&Listed> = there.iter().collect();
    let wrong = records.iter().filter(|record| !known.contains(record)).count();
    match wrong + lacking {
        0 => None,
        count => Some(format!("{segment}: does not agree with {key} about {count} chunks")),
    }
}

/// Every byte: the hash of the file is its name, every group opens, every chunk has its id. Gives the chunks that do not.
fn verify_pack(
    repository: &Repository,
    pack: &PackRow,
    footer: &Footer,
    errors: &mut Vec<Error>,
) -> HashSet<ChunkId> {
    let key = Key::Pack(pack.id);
    match repository.store.get(&key, 0..u64::from(pack.len)) {
        Ok(bytes) if blake3::hash(&bytes) == *pack.id.as_bytes() => {}
        Ok(_) => errors.push(Error::misnamed(&key.to_string())),
        Err(error) => errors.push(error.into()),
    }
    let mut damaged = HashSet::new();
    for (offset, sealed_len, chunks) in listed(footer) {
        let row = garret_format::index::GroupRow { pack: 0, offset, sealed_len };
        let group = match repository.packs().group(pack, &row) {
            Ok(group) => group,
            Err(error) => {
                errors.push(error);
                damaged.extend(chunks.iter().map(|(id, _)| *id));
                continue;
            }
        };
        let mut contents = group.chunks();
        for (id, _) in chunks {
            if contents.next().and_then(|bytes| repository.hasher.verify(id, bytes)).is_none() {
                errors.push(Error::Corrupt {
                    object: key.to_string(),
                    offset: u64::from(offset),
                    what: format!("the group does not hold chunk {id}"),
                });
                damaged.insert(*id);
            }
        }
    }
    damaged
}
