//! What archives need, as marks on the index: the first half of gc's plan.
//!
//! In: the names of archives, as they were listed. Out: marks, the hash of each archive's file, and whether something is
//! needed and nowhere. Promises: an archive that is moved by hand meanwhile is met under its new name.

use std::collections::{HashMap, HashSet};

use garret_format::ChunkId;

use crate::error::{Error, Result};
use crate::objects::index::Location;
use crate::pipeline::with_workers;
use crate::progress::{Phase, Progress};
use crate::read::chunks::Chunks;
use crate::read::mark::{Marks, Visitor, mark_archive};
use crate::repository::Repository;
use crate::store::{Key, Store};

/// How often archives are listed because one is not where it was. A store that lists late names one that was deleted each
/// time.
const LOOKS_MAX: u32 = 3;

/// By name, the hash of an archive's file.
pub(super) type Archives = HashMap<String, [u8; 32]>;

/// What was marked.
pub(super) struct Marked {
    /// What the archives are that were read.
    pub(super) archives: Archives,
    /// Names that were listed, and of which nothing is there.
    pub(super) gone: HashSet<String>,
    /// A chunk that is needed and nowhere.
    pub(super) lost: Option<Error>,
}

/// Marks what the archives of these names need, but for those `without`.
pub(super) fn mark_all(
    repository: &Repository,
    chunks: &Chunks,
    (mut names, without): (Vec<String>, &HashSet<&String>),
    marks: &Marks,
    threads: usize,
    progress: &dyn Progress,
) -> Result<Marked> {
    let mut all = Marked { archives: Archives::new(), gone: HashSet::new(), lost: None };
    for look in 1..=LOOKS_MAX {
        names.retain(|name| !without.contains(name) && !all.archives.contains_key(name));
        let marked = mark(repository, chunks, names, marks, threads, progress)?;
        all.archives.extend(marked.archives);
        all.lost = all.lost.or(marked.lost);
        all.gone = marked.gone;
        if all.gone.is_empty() || look == LOOKS_MAX {
            break;
        }
        // It may have a name by now that was not listed, or one that it had.
        names = repository.archive_names()?;
    }
    Ok(all)
}

/// Whether what has the name of an archive is there, and is something else.
pub(super) fn is_strange(store: &dyn Store, name: &str) -> bool {
    store.len(&Key::Archive(name.to_owned())).is_ok()
}

/// The same of these, once.
fn mark(
    repository: &Repository,
    chunks: &Chunks,
    names: Vec<String>,
    marks: &Marks,
    threads: usize,
    progress: &dyn Progress,
) -> Result<Marked> {
    let task = progress.begin(Phase::Mark, Some(names.len() as u64));
    // Marking waits for recipes more than it computes.
    let threads = threads.max(chunks.groups().in_flight());
    let (mut archives, mut gone) = (Archives::new(), HashSet::new());
    let lost = with_workers(threads, |workers| {
        let mark = |name: String| {
            let mut missing = Missing { archive: &name, first: None };
            let marked = match repository.archive(&name) {
                Err(Error::ArchiveMissing(_)) => Ok(None),
                archive => archive.and_then(|archive| {
                    mark_archive(chunks, &archive, marks, &mut missing)?;
                    Ok(Some(archive.fingerprint))
                }),
            };
            let missing = missing.first;
            Ok((name, missing, marked))
        };
        let mut lost = None;
        for marked in workers.map(names.into_iter().map(Ok), mark) {
            let (name, missing, marked) = marked?;
            // One for all: a pack that is gone takes thousands of chunks from every archive. A check says which.
            lost = lost.or(missing);
            // After what was found missing before it.
            match marked? {
                Some(fingerprint) => drop(archives.insert(name, fingerprint)),
                None if is_strange(repository.store(), &name) => {}
                None => drop(gone.insert(name)),
            }
            task.advance(1);
        }
        Ok(lost)
    })?;
    Ok(Marked { archives, gone, lost })
}

/// Remembers the first chunk that is needed and nowhere.
struct Missing<'m> {
    archive: &'m str,
    first: Option<Error>,
}

impl Visitor for Missing<'_> {
    fn chunk(&mut self, path: &[u8], id: &ChunkId, location: Option<&Location>) {
        if location.is_none() && self.first.is_none() {
            let needed_by = match path {
                [] => format!("backups/{}", self.archive),
                path => format!("backups/{}: {}", self.archive, String::from_utf8_lossy(path)),
            };
            self.first = Some(Error::MissingChunk { id: *id, needed_by });
        }
    }
}
