//! Check: reads the repository and says what is wrong with it. Changes nothing.
//!
//! Always: every segment of the index, every pack's length and footer against the index, every archive's structure, every
//! chunk of every archive against the index. With `verify_data`: every byte of every pack against the pack's name, every
//! group opened, every chunk against its id; archives that need a damaged chunk are named.

use std::collections::{BTreeMap, HashSet};

use format::index::PackRow;
use format::pack::Footer;
use format::{ChunkId, PackId};

use crate::error::{Error, Result, finding};
use crate::fetch::ChunkReader;
use crate::index::{Location, read_segment};
use crate::mark::{Marks, Visitor, mark_archive};
use crate::pack::listed;
use crate::pipeline::with_workers;
use crate::progress::{Phase, Problem, Progress};
use crate::repository::Repository;
use crate::store::{Area, Key};

/// What to check.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// Whether packs are checked.
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
    /// Segments of the index that cannot be read.
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

/// Checks the repository.
pub fn check(
    repository: &Repository,
    options: &CheckOptions,
    progress: &dyn Progress,
) -> Result<CheckReport> {
    let mut checker =
        Checker { repository, progress, damaged: HashSet::new(), report: CheckReport::default() };
    if options.packs {
        checker.segments()?;
        checker.packs(options)?;
    }
    if options.archives {
        checker.archives()?;
    }
    Ok(checker.report)
}

struct Checker<'r> {
    repository: &'r Repository,
    progress: &'r dyn Progress,
    /// Chunks that are in the index and not to be had.
    damaged: HashSet<ChunkId>,
    report: CheckReport,
}

/// What is wrong with one pack.
struct PackResult {
    len: u64,
    errors: Vec<Error>,
    damaged: Vec<ChunkId>,
}

impl Checker<'_> {
    fn problem(&mut self, text: String) {
        self.report.problem_count += 1;
        self.progress.problem(&Problem::loss(text));
    }

    /// The repository's index: every segment opens, every pack it lists is there. The client's copy is not asked.
    fn segments(&mut self) -> Result<()> {
        let packs: HashSet<Key> =
            self.repository.store.list_packs()?.into_iter().map(|(id, _)| Key::Pack(id)).collect();
        let mut missing = HashSet::new();
        for key in self.repository.store.list(Area::Index)? {
            let Key::Index(id) = key else { continue };
            match read_segment(&self.repository.index_source(), id) {
                Ok(rows) => {
                    let lost = rows.packs.iter().map(|pack| Key::Pack(pack.id));
                    for pack in lost.filter(|pack| !packs.contains(pack)) {
                        self.problem(format!("{pack} is missing"));
                        missing.insert(pack);
                    }
                }
                Err(error) => {
                    self.report.damaged_segments += 1;
                    self.problem(finding(&error));
                }
            }
        }
        self.report.missing_packs = missing.len() as u64;
        Ok(())
    }

    fn packs(&mut self, options: &CheckOptions) -> Result<()> {
        let packs = self.repository.store.list_packs()?;
        let total = packs.iter().map(|(_, len)| len).sum();
        self.progress.begin(Phase::Check, options.verify_data.then_some(total));
        let ids = packs.into_iter().map(|(id, _)| Ok(id));
        let (repository, verify) = (self.repository, options.verify_data);
        with_workers(options.threads, |workers| {
            for result in workers.map(ids, move |id| Ok(check_pack(repository, id, verify))) {
                let PackResult { len, errors, damaged } = result?;
                self.report.pack_count += 1;
                self.report.pack_bytes += len;
                self.progress.advance(len);
                self.report.damaged_packs += u64::from(!errors.is_empty());
                self.damaged.extend(damaged);
                errors.iter().for_each(|error| self.problem(finding(error)));
            }
            Ok(())
        })?;
        self.progress.end();
        Ok(())
    }

    fn archives(&mut self) -> Result<()> {
        let chunks = ChunkReader::new(self.repository);
        let mut names = self.repository.archive_names()?;
        names.sort_unstable();
        for name in names {
            self.report.archive_count += 1;
            // Fresh marks for each: what one archive lacks, another that shares it lacks as well.
            let mut marks = Marks::new(&chunks);
            let mut lacks = Lacks { damaged: &self.damaged, files: BTreeMap::new() };
            let marked = self
                .repository
                .archive(&name)
                .and_then(|archive| mark_archive(&chunks, &archive, &mut marks, &mut lacks));
            let files = lacks.files;
            let is_listed = marked.is_ok() && !files.contains_key(&b""[..]);
            if !is_listed || !files.is_empty() {
                let file_count = is_listed.then_some(files.len() as u64);
                self.report.incomplete.push(Incomplete { name: name.clone(), file_count });
            }
            for (path, count) in files {
                let path = String::from_utf8_lossy(&path).into_owned();
                let what = if path.is_empty() { "its list of files".to_owned() } else { path };
                self.problem(format!(
                    "backups/{name}: {what}: {count} chunks are missing or damaged"
                ));
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
    damaged: &'c HashSet<ChunkId>,
    files: BTreeMap<Vec<u8>, u64>,
}

impl Visitor for Lacks<'_> {
    fn chunk(&mut self, path: &[u8], id: &ChunkId, location: Option<&Location>) {
        if location.is_none() || self.damaged.contains(id) {
            *self.files.entry(path.to_vec()).or_default() += 1;
        }
    }
}

fn check_pack(repository: &Repository, id: PackId, verify: bool) -> PackResult {
    let mut result = PackResult { len: 0, errors: Vec::new(), damaged: Vec::new() };
    match check_structure(repository, id, &mut result) {
        Ok((pack, footer)) if verify => verify_pack(repository, &pack, &footer, &mut result),
        Ok(_) => {}
        Err(_) if repository.packs().is_foreign(id) => {}
        Err(error) => result.errors.push(error),
    }
    result
}

/// The footer, and whether the index says the same.
fn check_structure(
    repository: &Repository,
    id: PackId,
    result: &mut PackResult,
) -> Result<(PackRow, Footer)> {
    result.len = repository.store.len(&Key::Pack(id))?;
    let (pack, footer) = repository.packs().footer(id)?;
    for (offset, _, chunks) in listed(&footer) {
        let mut at = 0;
        for (chunk, len) in chunks {
            let found = repository.index.find(chunk);
            let agrees = found.is_some_and(|location| {
                // A chunk that is stored twice may be listed elsewhere.
                location.len == *len
                    && (location.pack.id != id
                        || (location.group.offset, location.offset) == (offset, at))
            });
            if !agrees {
                return Err(Error::Corrupt {
                    object: Key::Pack(id).to_string(),
                    offset: u64::from(offset),
                    what: format!("the index does not agree about chunk {chunk}"),
                });
            }
            at += len;
        }
    }
    Ok((pack, footer))
}

/// Every byte: the hash of the file is its name, every group opens, every chunk has its id.
fn verify_pack(repository: &Repository, pack: &PackRow, footer: &Footer, result: &mut PackResult) {
    let key = Key::Pack(pack.id);
    match repository.store.get(&key, 0..u64::from(pack.len)) {
        Ok(bytes) if blake3::hash(&bytes) == *pack.id.as_bytes() => {}
        Ok(_) => result.errors.push(Error::Corrupt {
            object: key.to_string(),
            offset: 0,
            what: "its bytes do not hash to its name".to_owned(),
        }),
        Err(error) => result.errors.push(error.into()),
    }
    for (offset, sealed_len, chunks) in listed(footer) {
        let row = format::index::GroupRow { pack: 0, offset, sealed_len };
        let group = match repository.packs().group(pack, &row) {
            Ok(group) => group,
            Err(error) => {
                result.errors.push(error);
                result.damaged.extend(chunks.iter().map(|(id, _)| *id));
                continue;
            }
        };
        let mut contents = group.chunks();
        for (id, _) in chunks {
            if contents.next().and_then(|bytes| repository.hasher.verify(id, bytes)).is_none() {
                result.errors.push(Error::Corrupt {
                    object: key.to_string(),
                    offset: u64::from(offset),
                    what: format!("the group does not hold chunk {id}"),
                });
                result.damaged.push(*id);
            }
        }
    }
}
