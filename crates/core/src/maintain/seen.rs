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

use garret_format::object::{Envelope, Kind};
use garret_format::seen::{SEEN_MAX, SEEN_PACKS_MAX, Seen, SeenArchive};
use garret_format::tombstones::{Removal, Tombstone, Tombstones};
use garret_format::verified::short_id;
use garret_format::{ArchiveId, RepositoryId};

use crate::error::Result;
use crate::keys::seal::{BoxKind, Nonce, Sealer};
use crate::keys::{Keys, Purpose};
use crate::objects::archive::NamedArchive;
use crate::objects::copies::Service;
use crate::objects::tombstones::{self, archive_id};
use crate::pipeline::beside;
use crate::progress::Progress;
use crate::repository::{Pruner, Repository, Sight};
use crate::store::Key;

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

/// The bytes of a file in which a client keeps what it saw at `place`: sealed with a key that follows from the master key, so
/// that nobody else reads it, and it opens as nothing else; in an unencrypted repository damage shows.
///
/// # Errors
/// There are no random numbers.
pub fn seal_seen(seen: &Seen, id: RepositoryId, keys: &Keys, place: &[u8]) -> Result<Vec<u8>> {
    let nonce = Nonce::random()?;
    let mut sealed = seen.encode();
    Sealer::new(id, Purpose::Client, keys).seal(
        BoxKind::Whole(Kind::Seen),
        &nonce,
        place,
        &mut sealed,
    );
    Ok(Envelope { nonce: nonce.to_bytes(), sealed }.encode(Kind::Seen))
}

/// What a client saw, if that was sealed for this repository and place.
pub fn open_seen(bytes: &[u8], id: RepositoryId, keys: &Keys, place: &[u8]) -> Option<Seen> {
    let Envelope { nonce, mut sealed } = Envelope::decode(bytes, Kind::Seen).ok()?;
    let nonce = Nonce::from_bytes(nonce);
    Sealer::new(id, Purpose::Client, keys).open(
        BoxKind::Whole(Kind::Seen),
        &nonce,
        place,
        &mut sealed,
    )?;
    Seen::decode(&sealed).ok()
}

fn seen_archive(found: &NamedArchive) -> SeenArchive {
    let (id, name) = (archive_id(&found.fingerprint), found.name.clone());
    SeenArchive { id, name, len: found.len, end: found.archive.end.secs, is_told: false }
}

impl Repository {
    /// Adds an archive that was just made to what was seen, and the packs that came into the index since it was opened.
    ///
    /// # Errors
    /// It could not be listed when it was opened, nor can it now.
    pub fn note_made(&self, seen: &mut Seen, made: &NamedArchive) -> Result<()> {
        seen.archives.retain(|known| known.name != made.name);
        let surplus = (seen.archives.len() + 1).saturating_sub(SEEN_MAX);
        seen.archives.drain(..surplus);
        seen.archives.push(seen_archive(made));
        // Not the others: what is gone meanwhile another process of this client knows by now.
        let before = self.first_sight()?;
        let known = self.index();
        let packs = known.tables().flat_map(|tables| tables.packs().collect::<Vec<_>>());
        let packs = packs.map(|row| short_id(&row.id));
        seen.packs.extend(packs.filter(|pack| before.packs.binary_search(pack).is_err()));
        seen.packs.sort_unstable();
        seen.packs.dedup();
        seen.packs.truncate(SEEN_PACKS_MAX);
        Ok(())
    }

    /// Compares what is there with what was seen before. An archive whose name and length are as they were is not read, but
    /// for the one that was seen last.
    ///
    /// # Errors
    /// The store does not give the record of deletions.
    pub fn look(&self, now: &Sight, before: &Seen, progress: &dyn Progress) -> Result<Look> {
        let lens: HashMap<&str, u64> =
            now.archives.iter().map(|(name, len)| (name.as_str(), *len)).collect();
        let is_there = |known: &SeenArchive| lens.get(known.name.as_str()) == Some(&known.len);
        let last = before.archives.last().map(|last| last.name.as_str());
        let is_same = |known: &&SeenArchive| is_there(known) && last != Some(&known.name);
        let mut settled: HashMap<&str, &SeenArchive> = before
            .archives
            .iter()
            .filter(is_same)
            .map(|known| (known.name.as_str(), known))
            .collect();
        let unsettled =
            now.archives.iter().filter(|(name, _)| !settled.contains_key(name.as_str()));
        let room = SEEN_MAX.saturating_sub(settled.len());
        let unsettled = unsettled.take(room).map(|(name, _)| name.clone()).collect();
        // The record after the listing: what somebody deletes meanwhile is recorded before it is gone.
        let in_flight = self.store().properties().in_flight;
        let record = || self.deletions(before, progress);
        let (record, found) = beside(in_flight, record, || self.archives(unsettled))?;
        let (record, mut found) = (record?, found?);
        self.note_looked(found.iter().filter_map(|(_, found)| found.as_ref().ok()));
        let buried = tombstones::among(&record);
        // What was deleted and is there was copied, or put back.
        let again = settled.extract_if(|_, known| buried.contains(&known.id));
        found.extend(self.archives(again.map(|(name, _)| name.to_owned()).collect())?);
        let (mut read, mut damaged) = (Vec::new(), HashSet::new());
        for (name, found) in found {
            match found {
                Ok(found) => read.push(seen_archive(&found)),
                // Who needs it will say so; until then it is where it was.
                Err(_) => drop(damaged.insert(name)),
            }
        }
        read.sort_by_key(|found| found.end);
        let found: HashSet<ArchiveId> =
            settled.values().copied().chain(&read).map(|found| found.id).collect();
        let deletions = tombstones::reached(&record);
        // Of what was dropped nobody knows: it may have been any of these.
        let is_forgotten = before.deletions.count < record.dropped;
        let mut seen = Seen { deletions, packs: now.packs.clone(), archives: Vec::new() };
        let mut lost = Vec::new();
        for known in &before.archives {
            let name = known.name.as_str();
            let is_here = settled.contains_key(name) || damaged.contains(name);
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
        if !is_same {
            self.settle_tombstones();
        }
        let rollback = if !tombstones::follows(&record, &before.deletions) {
            Some(Rollback::Deletions)
        } else if !lost.is_empty() && is_same && lacks(&seen.packs, &before.packs) {
            Some(Rollback::Archives)
        } else {
            None
        };
        seen.packs.truncate(SEEN_PACKS_MAX);
        Ok(Look { seen, lost, rollback })
    }

    /// The record of deletions, for who saw this before.
    fn deletions(&self, before: &Seen, progress: &dyn Progress) -> Result<Tombstones> {
        let is_expected = before.deletions.count > 0;
        let (store, metadata) = (self.store(), self.metadata());
        let found = tombstones::load_or_tell(store, metadata, is_expected, progress)?;
        if let Some(error) = &found.passed_over {
            self.served().note(&Key::Tombstones, error, Service::Used);
        }
        Ok(found.record)
    }

    /// Whoever put the record may have died before it was durable. A client that remembers it would take what a power cut
    /// leaves for an older state. Who may not sync it goes without; a session that writes ends at its own next sync.
    fn settle_tombstones(&self) {
        let store = self.store();
        let _unsynced = store.adopt(&Key::Tombstones).and_then(|()| store.sync());
    }
}

impl Pruner {
    /// Records that these archives were deleted: what was removed by hand is that for everybody then. Where there is no room
    /// for it, nothing is recorded.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn record_deleted(&mut self, lost: &[SeenArchive]) -> Result<()> {
        let row = |lost: &SeenArchive| Tombstone { removal: Removal::Missed, id: lost.id };
        let rows: Vec<Tombstone> = lost.iter().map(row).collect();
        tombstones::bury(self.store(), self.metadata(), &rows).map(drop)
    }
}

/// Whether any of `before` is not among `now`; both are sorted.
fn lacks(now: &[[u8; 8]], before: &[[u8; 8]]) -> bool {
    before.iter().any(|pack| now.binary_search(pack).is_err())
}
