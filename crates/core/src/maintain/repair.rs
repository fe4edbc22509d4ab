//! Repair: takes damaged packs out of the repository when what is intact in them is stored again, and makes an index that
//! lists what there is.
//!
//! ```text
//! mend        of config, key slots and archives the one copy that is intact   -> both
//! check       every byte                                        -> damaged packs, recorded; the records that are right
//! copy        what is intact in damaged packs and nowhere else  -> new packs; and structure that has no second copy
//! quarantine  damaged packs, as far as they can be read         -> quarantine/
//! swap        a new index, in place of one that lists them
//! delete      the damaged packs, and their records
//! ```
//!
//! Nothing is deleted before what replaces it is durable, nothing at all of an archive: what is lost is stored again by the
//! next backup that meets it, and every archive that needs it is whole then. A crash at any moment leaves what the next
//! repair goes on with: a pack is damaged until it is gone, and to set it aside twice is to set it aside once. Runs with the
//! repository's exclusive lock.

use std::collections::{HashMap, HashSet};

use garret_format::PackId;
use garret_format::pack::PackKind;

use super::check::{CheckOptions, CheckedPacks};
use super::copies::{self, Mended};
use super::gc::copy::{self, Copied};
use super::gc::plan::GroupUse;
use super::gc::{delete, plan, swap};
use super::problems::Problems;
use super::tags;
use crate::error::{Cause, Error, Result};
use crate::limits::STRUCTURE_COPIES;
use crate::objects::damage::{forget_records, is_damage};
use crate::objects::tombstones;
use crate::objects::verified::forget_gone;
use crate::progress::{Problem, Progress};
use crate::repository::{Deleting, Exclusive};
use crate::store::{Key, Store};

/// A damaged pack that cannot be read in one piece is read in pieces of so many bytes; what cannot be read then is zeros in
/// its copy. A disk that lost a sector of 4 KiB gives the rest.
const PIECE_LEN: u64 = 4096;
/// The longest file that is set aside, far more than any pack has: all of it is in memory for that.
const SET_ASIDE_MAX: u64 = 1 << 30;

/// What a repair did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// Packs that were taken away, and are in quarantine.
    pub quarantined_packs: u64,
    /// Their bytes.
    pub quarantined_bytes: u64,
    /// Bytes of the new packs that hold what was intact in them.
    pub saved_bytes: u64,
    /// Whether segments of the index were damaged, or left out chunks, so that all of it was made anew from the packs. Where
    /// a pack does not show what is in it, what was intact of the index was kept instead.
    pub made_index: bool,
    /// Key slots and archives that were put back from their second copies, and tag records that were made anew.
    pub mended_files: u64,
    /// Second copies that were missing or damaged, and were made anew.
    pub made_copies: u64,
}

impl Exclusive {
    /// Checks every byte, and takes damaged packs away. What is wrong is told as by a check; afterwards a check finds no
    /// damaged pack, and names what archives lack.
    ///
    /// # Errors
    /// A store that cannot be read or written. What was damaged before is there still, in its place or in quarantine.
    pub fn repair(&mut self, threads: usize, progress: &dyn Progress) -> Result<RepairReport> {
        self.store().sweep()?;
        let options = CheckOptions {
            packs: true,
            archives: false,
            verify_data: true,
            records: true,
            max_duration: None,
            threads,
        };
        let Mended { firsts: mended_files, copies: made_copies } = copies::repair(self, progress)?;
        let checked = self.check_packs(&options, progress)?;
        // Told of by the check.
        let mended_files = mended_files + tags::repair(self)?;
        let copy_len = self.store().len(&Key::TombstonesCopy).ok();
        tombstones::mend(self.store(), self.metadata(), copy_len, true)?;
        // What it does not list may be the only copy that is left.
        let is_index_damaged =
            checked.report().damaged_segments + checked.report().unlisted_chunks > 0;
        let is_index_wrong = is_index_damaged || checked.report().missing_packs > 0;
        let has_lonely = !to_save(&checked, checked.damaged()).is_empty();
        if checked.damaged().is_empty() && !is_index_wrong && !has_lonely {
            // One that broke off may have left those of packs that it took away.
            forget_records(self.store(), self.metadata())?;
            self.tell(progress);
            return Ok(RepairReport { mended_files, made_copies, ..RepairReport::default() });
        }
        let mut problems = Problems::new(progress);
        let done = take_away(self.deleting(), &checked, is_index_damaged, threads, &mut problems);
        // It holds what the index was.
        drop(checked);
        // Also when it was cut short: packs that the index knows may be gone.
        let reopened = self.deleting().reopen_index(progress);
        let report = RepairReport { mended_files, made_copies, ..done? };
        reopened?;
        if report.made_index {
            swap::remake(self.deleting(), progress)?;
        }
        forget_records(self.store(), self.metadata())?;
        forget_gone(self.store(), self.metadata())?;
        self.tell(progress);
        Ok(report)
    }
}

fn take_away(
    session: Deleting<'_>,
    checked: &CheckedPacks,
    is_index_damaged: bool,
    threads: usize,
    problems: &mut Problems<'_>,
) -> Result<RepairReport> {
    let store = session.store();
    let mut damaged = checked.damaged().clone();
    damaged.retain(|id, len| match *len > SET_ASIDE_MAX {
        true => {
            let pack = Key::Pack(*id).to_string();
            let text =
                format!("{pack}: {len} bytes are more than any pack has: move it away by hand");
            problems.report(Problem::new(Cause::Damaged, Some(pack), text));
            false
        }
        false => true,
    });
    let groups = to_save(checked, &damaged);
    let Copied { kept, bytes: saved_bytes, .. } =
        copy::copy(session, &groups, None, threads, problems)?;
    damaged.retain(|id, _| !kept.contains(id));
    for (id, len) in &damaged {
        set_aside(store, *id, *len)?;
    }
    store.sync()?;
    // After what it alone knew of damaged packs was used.
    let is_gone = |id: &PackId| damaged.contains_key(id);
    let made_index = is_index_damaged && swap::follows(&session, is_gone, true);
    match made_index {
        true => swap::forget(session)?,
        false => {
            swap::swap(session, &damaged.keys().copied().collect(), &HashSet::new(), false)?;
        }
    }
    delete::packs(session, damaged.keys())?;
    Ok(RepairReport {
        quarantined_packs: damaged.len() as u64,
        quarantined_bytes: damaged.values().sum(),
        saved_bytes,
        made_index,
        ..RepairReport::default()
    })
}

/// What the check found intact in damaged packs and in no other, and structure that has no second copy.
fn to_save(checked: &CheckedPacks, damaged: &HashMap<PackId, u64>) -> Vec<GroupUse> {
    let (index, sound) = (checked.chunks().index(), checked.sound());
    let mut saved: HashMap<(usize, u64), usize> = HashMap::new();
    for (segment, tables) in index.tables().enumerate() {
        for (place, record) in tables.records().enumerate() {
            let at = (segment, place as u64);
            let pack = tables.group(record.group).and_then(|group| tables.pack(group.pack));
            let Some(pack) = pack.filter(|_| sound.is_set(at)) else { continue };
            let wanted = match pack.kind {
                PackKind::Data if !damaged.contains_key(&pack.id) => continue,
                PackKind::Data => 1,
                PackKind::Structure => STRUCTURE_COPIES,
            };
            let mut safe = HashSet::new();
            for copy in index.copies(&record.id).filter(|copy| sound.is_set(copy.record)) {
                safe.extend((!damaged.contains_key(&copy.pack.id)).then_some(copy.pack.id));
            }
            let copies = index.copies(&record.id).filter_map(|copy| saved.get(&copy.record));
            let there = safe.len() + copies.sum::<usize>();
            if there < wanted {
                saved.insert(at, wanted - there);
            }
        }
    }
    plan::group_uses(index, |_, record| saved.get(&record).copied().unwrap_or(0))
}

/// Puts a copy of a damaged pack into quarantine.
fn set_aside(store: &dyn Store, id: PackId, len: u64) -> Result<()> {
    let (key, aside) = (Key::Pack(id), Key::Quarantine(id));
    if store.len(&aside).is_ok_and(|there| there == len) {
        // By a repair that broke off, perhaps before it was durable. A disk that fails gives less each time.
        return Ok(store.adopt(&aside)?);
    }
    let bytes = store.get(&key, 0..len).map_err(Error::from).or_else(|error| {
        if !is_damage(&error) {
            return Err(error);
        }
        let mut bytes = Vec::with_capacity(len as usize);
        for start in (0..len).step_by(PIECE_LEN as usize) {
            let end = (start + PIECE_LEN).min(len);
            let piece = store.get(&key, start..end);
            bytes.extend(piece.unwrap_or_else(|_| vec![0; (end - start) as usize]));
        }
        Ok(bytes)
    })?;
    Ok(store.put(&aside, &[&bytes])?)
}
