//! Whether a repository is at least as new as when a client saw it last: what it saw is there, or was deleted.
//!
//! In: what the client remembers. Out: what it is to remember now, what is gone without a word, and whether that is so
//! because all of the repository is of an earlier time. Promises: nothing that was deleted by `delete` or `prune` is missed,
//! by whomever; an archive is known by its bytes, however it is called; where the names are as they were, one archive is
//! read and no more.
//!
//! ```text
//! what is remembered      the record of deletions goes on from it?      no: an older state
//!   its name is there     it is there
//!   its bytes are there   it was renamed, or copied
//!   it has a tombstone    it was deleted
//!   else it is lost       packs are gone too, and no deletion was recorded?      yes: an older state
//!                                                                                no: removed by hand, or by the storage
//! ```

use std::collections::{HashMap, HashSet};

use garret_format::{ArchiveId, PackId};

use crate::error::Result;
use crate::objects::archive::NamedArchive;
use crate::objects::tombstones::{self, Deletions, archive_id};
use crate::progress::Progress;
use crate::repository::{Exclusive, Repository};
use crate::store::Key;

/// Most archives that a client remembers.
pub const SEEN_MAX: usize = 1 << 14;

/// What a client saw of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How far the record of deletions had come.
    pub deletions: Deletions,
    /// How many packs there were.
    pub pack_count: u64,
    /// Its archives, those that were seen first first; also those that were lost, until their deletion is recorded.
    pub archives: Vec<SeenArchive>,
}

/// An archive that a client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenArchive {
    /// What it is.
    pub id: ArchiveId,
    /// Where it was last.
    pub name: String,
    /// Length of its file in bytes.
    pub len: u64,
    /// When it was made, in seconds since 1970.
    pub end: i64,
    /// Whether the user was told that it is lost.
    pub is_told: bool,
}

/// Why a state of a repository is older than what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rollback {
    /// Deletions that were recorded are not any more.
    Deletions,
    /// Archives are gone together with packs, and nobody who had the key removed any.
    Archives,
}

/// What a look at a repository found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Look {
    /// What the client is to remember from now on.
    pub seen: Seen,
    /// Archives that are gone and of which no deletion was recorded.
    pub lost: Vec<SeenArchive>,
    /// Whether, and by what, this is an older state.
    pub rollback: Option<Rollback>,
}

impl SeenArchive {
    fn new(found: &NamedArchive, len: u64) -> Self {
        let (id, name) = (archive_id(&found.fingerprint), found.name.clone());
        SeenArchive { id, name, len, end: found.archive.end.secs, is_told: false }
    }
}

impl Seen {
    /// Adds an archive that was just made.
    ///
    /// # Errors
    /// The store does not give its length.
    pub fn add(&mut self, repository: &Repository, made: &NamedArchive) -> Result<()> {
        let len = repository.store().len(&Key::Archive(made.name.clone()))?;
        self.archives.retain(|known| known.name != made.name);
        let surplus = (self.archives.len() + 1).saturating_sub(SEEN_MAX);
        self.archives.drain(..surplus);
        self.archives.push(SeenArchive::new(made, len));
        self.pack_count = self.pack_count.max(pack_count(repository));
        Ok(())
    }
}

impl Repository {
    /// Compares the repository with what was seen of it. An archive whose name and length are as they were is not read, but
    /// for the one that was seen last.
    ///
    /// # Errors
    /// The store cannot be listed, or does not give the record of deletions.
    pub fn look(&self, before: &Seen, progress: &dyn Progress) -> Result<Look> {
        let record = tombstones::load_or_tell(self.store(), self.metadata(), progress)?;
        let buried: HashSet<&ArchiveId> = record.rows.iter().collect();
        let listed = self.listed_archives()?;
        let lens: HashMap<&str, u64> =
            listed.iter().map(|(name, len)| (name.as_str(), *len)).collect();
        let is_there = |known: &SeenArchive| lens.get(known.name.as_str()) == Some(&known.len);
        let last = before.archives.last().map(|last| last.name.as_str());
        let is_settled = |known: &&SeenArchive| {
            is_there(known) && !buried.contains(&known.id) && last != Some(&known.name)
        };
        let settled: HashMap<&str, &SeenArchive> = before
            .archives
            .iter()
            .filter(is_settled)
            .map(|known| (known.name.as_str(), known))
            .collect();
        let unsettled = listed.iter().filter(|(name, _)| !settled.contains_key(name.as_str()));
        let room = SEEN_MAX.saturating_sub(settled.len());
        let (mut read, mut damaged) = (Vec::new(), HashSet::new());
        for (name, len) in unsettled.take(room) {
            match self.archive(name) {
                Ok(found) => read.push(SeenArchive::new(&found, *len)),
                // Who needs it will say so; until then it is where it was.
                Err(_) => drop(damaged.insert(name.as_str())),
            }
        }
        read.sort_by_key(|found| found.end);
        let found: HashSet<ArchiveId> =
            settled.values().copied().chain(&read).map(|found| found.id).collect();
        let deletions = tombstones::reached(&record);
        // Of what was dropped nobody knows: it may have been any of these.
        let is_forgotten = before.deletions.count < record.dropped;
        let mut seen = Seen {
            deletions,
            pack_count: pack_count(self),
            archives: Vec::with_capacity(lens.len()),
        };
        let mut lost = Vec::new();
        for known in &before.archives {
            let is_here = settled.contains_key(known.name.as_str())
                || (is_there(known) && damaged.contains(known.name.as_str()));
            if is_here {
                seen.archives.push(SeenArchive { is_told: false, ..known.clone() });
            } else if !found.contains(&known.id) && !buried.contains(&known.id) && !is_forgotten {
                seen.archives.push(known.clone());
                lost.push(known.clone());
            }
        }
        seen.archives.extend(read);
        seen.archives.drain(..seen.archives.len().saturating_sub(SEEN_MAX));
        let is_same = deletions == before.deletions;
        let rollback = if !tombstones::follows(&record, &before.deletions) {
            Some(Rollback::Deletions)
        } else if !lost.is_empty() && is_same && seen.pack_count < before.pack_count {
            Some(Rollback::Archives)
        } else {
            None
        };
        Ok(Look { seen, lost, rollback })
    }
}

impl Exclusive {
    /// Records that these archives were deleted: what was removed by hand is that for everybody then. Where there is no room
    /// for it, nothing is recorded.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn record_deleted(&mut self, lost: &[SeenArchive]) -> Result<()> {
        let ids: Vec<ArchiveId> = lost.iter().map(|lost| lost.id).collect();
        tombstones::bury(self.store(), self.metadata(), &ids).map(drop)
    }
}

/// How many packs the index lists.
fn pack_count(repository: &Repository) -> u64 {
    let index = repository.index();
    let packs: HashSet<PackId> = index
        .tables()
        .flat_map(|tables| tables.packs().map(|pack| pack.id).collect::<Vec<_>>())
        .collect();
    packs.len() as u64
}
