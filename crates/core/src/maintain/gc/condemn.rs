//! Third station of gc: what is going to be deleted is condemned first, for others may be at work.
//!
//! In: packs of which no archive needs anything. Out: the record of them, and which may be deleted at once. The rules that
//! make it safe, by the numbers of docs/design.md, "Why gc is safe": P2 in [`Condemnation::load`], P4 in
//! [`Condemnation::condemn`], P5 in [`Condemnation::is_ripe`] and [`Condemnation::is_alone`], P7 in [`next_epoch`].

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;

use garret_format::PackId;
use garret_format::condemned::{Condemned, EPOCH_MAX};
use garret_format::index::PackRow;

use crate::error::{Error, Result, message};
use crate::objects::condemned;
use crate::objects::damage::is_damage;
use crate::progress::Progress;
use crate::repository::{Deleting, Repository};
use crate::store::Key;

/// All epochs.
pub(in crate::maintain) const ANY: RangeInclusive<u64> = 0..=EPOCH_MAX;

/// The record, as one round of gc goes on with it.
pub(super) struct Condemnation {
    record: Condemned,
    /// Condemned packs for which no session is left that began before.
    ripe: HashSet<PackId>,
    /// Whether what the repository has of it is another.
    is_stale: bool,
}

impl Condemnation {
    /// Reads the record. To be called before archives are listed: whoever is gone now has published what he will (P2). One
    /// that is damaged condemns nothing.
    pub(super) fn load(repository: &Repository, progress: &dyn Progress) -> Result<Self> {
        let store = repository.store();
        let (record, is_stale) = match condemned::load(store, repository.metadata()) {
            Err(error) if is_damage(&error) => {
                progress.notice(&format!("{}: made anew", message(&error)));
                (Condemned::default(), true)
            }
            record => (record?, false),
        };
        // Somebody has an epoch that this record does not know: it is an old one, and he may have built on what it condemns.
        let next = record.epoch.saturating_add(1);
        let (record, is_stale) = match store.has_sessions(next..=EPOCH_MAX)? {
            true => (Condemned { packs: Vec::new(), ..record }, true),
            false => (record, is_stale),
        };
        let mut epochs: BTreeMap<u64, Vec<PackId>> = BTreeMap::new();
        for (pack, epoch) in &record.packs {
            epochs.entry(*epoch).or_default().push(*pack);
        }
        let mut ripe = HashSet::new();
        for (epoch, packs) in epochs {
            if !store.has_sessions(0..=epoch.saturating_sub(1))? {
                ripe.extend(packs);
            }
        }
        Ok(Condemnation { record, ripe, is_stale })
    }

    /// Whether a pack that was condemned may be deleted, if no archive that is listed afterwards needs it (P5).
    pub(super) fn is_ripe(&self, pack: &PackId) -> bool {
        self.ripe.contains(pack)
    }

    /// Condemns `doomed`, durably, in an epoch of their own unless they were condemned before; of what was, that is lifted
    /// which `is_unneeded` does not say (P4). Where nothing is condemned there is no record.
    pub(super) fn condemn(
        &mut self,
        session: Deleting<'_>,
        doomed: &[PackRow],
        is_unneeded: impl Fn(&PackId) -> bool,
    ) -> Result<()> {
        let before = self.record.packs.len();
        self.record.packs.retain(|(pack, _)| is_unneeded(pack));
        let known: HashSet<PackId> = self.record.packs.iter().map(|(pack, _)| *pack).collect();
        let new: Vec<PackId> =
            doomed.iter().map(|row| row.id).filter(|pack| !known.contains(pack)).collect();
        if new.is_empty() && before == known.len() && !self.is_stale {
            return Ok(());
        }
        if !new.is_empty() {
            self.record.epoch = next_epoch(&session, self.record.epoch)?;
        }
        let epoch = self.record.epoch;
        self.record.packs.extend(new.into_iter().map(|pack| (pack, epoch)));
        // Until it is there: who tries again after an error has not condemned anything yet.
        self.is_stale = true;
        match self.record.packs.is_empty() {
            true => session.store().delete(&Key::Condemned)?,
            false => condemned::store(session.store(), session.metadata(), &self.record)?,
        }
        self.is_stale = false;
        Ok(())
    }

    /// Whether no session is left that began before what was condemned last.
    pub(super) fn is_alone(&self, repository: &Repository) -> Result<bool> {
        let before = self.record.epoch.saturating_sub(1);
        Ok(!repository.store().has_sessions(0..=before)?)
    }
}

/// An epoch after `last` that no session has yet: a record that was lost does not make one come again (P7).
fn next_epoch(repository: &Repository, last: u64) -> Result<u64> {
    let mut next = last.saturating_add(1);
    while next < EPOCH_MAX {
        if !repository.store().has_sessions(next..=EPOCH_MAX)? {
            return Ok(next);
        }
        next = next.saturating_mul(2);
    }
    let what = "a session has an epoch that no gc began".to_owned();
    Err(Error::Corrupt { object: "condemned".to_owned(), offset: 0, what })
}
