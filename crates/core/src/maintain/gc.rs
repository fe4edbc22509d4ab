//! Gc: gives back the space of what no archive needs, beside whoever reads and adds. One at a time.
//!
//! ```text
//! plan     archives -> marking -> packs to drop, packs to repack
//! copy     what is needed out of those to be repacked -> new packs
//! condemn  the doomed packs -> the record of them: from now on nobody builds on them
//! swap     new index segments, which list neither what is deleted nor copies that nobody needs -> in place of the old ones
//! delete   packs that were condemned before every session that is left began
//! ```
//!
//! Nothing is deleted before what replaces it is durable, and a segment that lists a pack goes before the pack: a crash at
//! any moment leaves packs that the next gc drops, never a gap. While sessions are left that began before, packs wait for the
//! next gc. On a full disk it goes round again as long as it makes room.

pub(super) mod condemn;
pub(super) mod copy;
pub(super) mod delete;
pub(super) mod intact;
mod marking;
pub(crate) mod plan;
pub(super) mod swap;

use std::collections::HashSet;

use garret_format::condemned::CONDEMNED_MAX;
use garret_format::index::PackRow;
use garret_format::{ChunkId, PackId};

use super::copies;
use crate::error::{Cause, Error, Result};
use crate::limits::total_len;
use crate::objects::codec::Compression;
use crate::objects::damage::forget_records;
use crate::objects::tags;
use crate::objects::verified::forget_gone;
use crate::pipeline::beside;
use crate::progress::Progress;
use crate::repository::{Deleting, Pruner, Repository};

use crate::maintain::problems::Problems;
use condemn::Condemnation;
use copy::Copied;
use marking::is_strange;
use plan::{Aims, GcPlan};

/// Rounds because archives came in meanwhile. What such a round condemned is ripe in the next, whatever comes then.
const ROUNDS_MAX: u32 = 3;

/// How to collect.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct GcOptions {
    /// How groups are compressed of which only a part is needed; as they were, if it is not said.
    pub compression: Option<Compression>,
    /// Threads; 0 is 1.
    pub threads: usize,
}

/// What a gc did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// Packs deleted.
    pub deleted_pack_count: u64,
    /// Their bytes.
    pub deleted_pack_bytes: u64,
    /// Bytes of packs written to replace some of them.
    pub repacked_bytes: u64,
    /// Packs that the next gc deletes: somebody is at work who might need them.
    pub waiting_pack_count: u64,
    /// Their bytes.
    pub waiting_pack_bytes: u64,
    /// Archives that nobody recorded as deleted, and that are gone: they were removed by hand. Now it is recorded.
    pub removed_count: u64,
    /// Problems met, each reported: what is damaged stays.
    pub problem_count: u64,
    /// Whether something that archives need is damaged: what may be another copy of it stays, until a repair.
    pub holds: bool,
}

impl Repository {
    /// What a gc would do if the archives `without` were not there. Neither locks nor writes anything.
    ///
    /// # Errors
    /// As of [`Pruner::gc`].
    pub fn plan_gc(
        &self,
        without: &[String],
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<GcPlan> {
        let (none, mut problems) = (HashSet::new(), Problems::new(progress));
        let aims = Aims { unlists: false, ..Aims::preferring(&none) };
        let planned = plan::plan(self, without, aims, true, threads, &mut problems)?;
        // Who only looks has a session, and would take his own for that of somebody who stores.
        Ok(planned.0)
    }
}

impl Pruner {
    /// Gives back the space of what no archive needs.
    ///
    /// # Errors
    /// An archive whose structure cannot be read: what it needs is unknown. `MissingChunk` while a pack is damaged or
    /// missing: what an archive needs may lie where nobody finds it just now. Nothing is deleted then; a repair, removing
    /// the archives that were named, or backing up their sources again, lets gc go on. A chunk that is missing while all
    /// packs are there and sound is a problem. `Doubtful` if something that is listed nowhere may be an archive,
    /// `Overwritten` if something lies in the place of one.
    pub fn gc(&mut self, options: &GcOptions, progress: &dyn Progress) -> Result<GcReport> {
        let none = HashSet::new();
        self.gc_aiming(Aims { unlists: false, ..Aims::preferring(&none) }, options, progress)
    }

    /// The same, with other aims.
    pub(super) fn gc_aiming(
        &mut self,
        aims: Aims<'_>,
        options: &GcOptions,
        progress: &dyn Progress,
    ) -> Result<GcReport> {
        let session = self.deleting();
        let in_flight = session.store().properties().in_flight;
        let mut problems = Problems::new(progress);
        let mut report = GcReport::default();
        let (mut full, mut rounds): (Option<Error>, _) = (None, 1..ROUNDS_MAX);
        let archives = loop {
            // Before the plan lists archives (rule P2).
            let (store, load) = (session.store(), || Condemnation::load(&session, progress));
            let (swept, condemnation) = beside(in_flight, || store.sweep(), load)?;
            let condemnation = swept.map_err(Error::from).and(condemnation)?;
            let (mut plan, has_sessions) =
                plan::plan(&session, &[], aims, full.is_none(), options.threads, &mut problems)?;
            if has_sessions {
                plan.leave(&session.index().unstored());
            }
            let mut forgot_index = false;
            if full.is_some() {
                // The smallest step that makes room, in all the room that there is.
                plan.keep_cheapest();
                forgot_index = !plan.is_empty() && swap::follows(&session, |_| false, false);
                if forgot_index {
                    swap::forget(session)?;
                }
            }
            let collected = collect(session, &mut plan, condemnation, options, &mut problems);
            // Also when it was cut short: packs that the index knows may be gone.
            let is_same = !forgot_index && collected.as_ref().is_ok_and(Collected::is_nothing);
            let reopened = if is_same { Ok(()) } else { session.reopen_index(progress) };
            let collected = collected?;
            reopened?;
            if forgot_index || collected.forgot_index {
                swap::remake(session, progress)?;
            }
            report.holds |= plan.holds;
            let is_over = collected.is_over(full.is_some());
            report.add(&collected);
            full = match (full, collected.full) {
                _ if collected.has_news && rounds.next().is_some() => None,
                _ if is_over => break plan.into_archives(),
                (None, now) => now,
                // A step that gains nothing is the last. One that does takes away a pack with dead bytes for one without.
                (Some(error), _) if collected.deleted.is_empty() => return Err(error),
                (Some(_), now) => now,
            };
        };
        report.problem_count = problems.count;
        let (store, metadata) = (session.store(), session.metadata());
        let forget = || {
            forget_records(store, metadata)?;
            forget_gone(store, metadata)?;
            forget_tags(session, archives.values())
        };
        let (forgotten, removed) = beside(in_flight, forget, || copies::tend(session, &archives))?;
        report.removed_count = forgotten.and(removed)?;
        session.tell(progress);
        Ok(report)
    }
}

/// Removes what archives that are gone were tagged with; `known` are the hashes of the files of those that were there.
fn forget_tags<'f>(session: Deleting<'_>, known: impl Iterator<Item = &'f [u8; 32]>) -> Result<()> {
    let store = session.store();
    let gone = tags::of_others(store, known)?;
    // One may have been moved while the others were read, and who brings one puts its tags before it.
    if gone.is_empty() || store.has_sessions(condemn::ANY)? {
        return Ok(());
    }
    let mut now = Vec::new();
    for (name, archive) in session.archives(session.archive_names()?)? {
        match archive {
            Ok(archive) => now.push(archive.fingerprint),
            Err(Error::ArchiveMissing(_)) if is_strange(store, &name) => {}
            // Of one that does not open, or was moved just now, it is not known which it is.
            Err(_) => return Ok(()),
        }
    }
    for key in tags::of_others(store, now.iter())?.intersection(&gone) {
        store.delete(key)?;
    }
    Ok(store.sync()?)
}

impl GcReport {
    /// Counts another gc as well: what waits is what it left waiting.
    pub(super) fn add_up(&mut self, later: &GcReport) {
        self.deleted_pack_count += later.deleted_pack_count;
        self.deleted_pack_bytes += later.deleted_pack_bytes;
        self.repacked_bytes += later.repacked_bytes;
        self.waiting_pack_count = later.waiting_pack_count;
        self.waiting_pack_bytes = later.waiting_pack_bytes;
        self.removed_count += later.removed_count;
        self.problem_count += later.problem_count;
        self.holds = later.holds;
    }

    /// What waits is what the last round left waiting.
    fn add(&mut self, round: &Collected) {
        let bytes = |rows: &[PackRow]| total_len(rows.iter().map(|row| u64::from(row.len)));
        self.deleted_pack_count += round.deleted.len() as u64;
        self.deleted_pack_bytes += bytes(&round.deleted);
        self.repacked_bytes += round.repacked_bytes;
        self.waiting_pack_count = round.waiting.len() as u64;
        self.waiting_pack_bytes = bytes(&round.waiting);
    }
}

/// What one round did.
#[derive(Default)]
struct Collected {
    deleted: Vec<PackRow>,
    /// Doomed, and condemned, but not deleted yet.
    waiting: Vec<PackRow>,
    /// Bytes of the packs written to replace some of them.
    repacked_bytes: u64,
    /// Whether archives came in meanwhile, and what was condemned waits only because of them.
    has_news: bool,
    /// Whether the index is to be made anew: there was no room for another beside it.
    forgot_index: bool,
    /// Whether the index may list fewer copies than before.
    has_unlisted: bool,
    /// Why nothing was repacked, if there was no room for that: there may be now.
    full: Option<Error>,
}

impl Collected {
    /// Whether everything is as it was.
    fn is_nothing(&self) -> bool {
        let is_one = self.deleted.is_empty() && self.waiting.is_empty() && self.full.is_none();
        is_one && self.repacked_bytes == 0 && !self.forgot_index && !self.has_unlisted
    }

    /// Whether there is nothing left to do: for want of work, or because what is left waits for others.
    fn is_over(&self, was_full: bool) -> bool {
        let has_gained = !self.deleted.is_empty();
        let waits = !self.waiting.is_empty() && !has_gained;
        let had_work = has_gained || self.repacked_bytes > 0;
        waits || self.full.is_none() && !(was_full && had_work)
    }
}

/// Does what the plan says. On a full disk what needs no room comes first: packs of which nobody needs anything go before
/// others are repacked, but for those that may have another copy of what is copied, and the index before them, if there is no
/// room for another and it follows from the packs.
fn collect(
    session: Deleting<'_>,
    plan: &mut GcPlan,
    mut condemnation: Condemnation,
    options: &GcOptions,
    problems: &mut Problems<'_>,
) -> Result<Collected> {
    let mut done = Collected::default();
    let leaning = plan.leaning();
    let (later, ripe): (Vec<_>, Vec<_>) = plan
        .dropped()
        .filter(|row| condemnation.is_ripe(&row.id))
        .partition(|row| leaning.contains(&row.id));
    let none = HashSet::new();
    // Copies that may be needed are listed until it is known that they are not.
    let unlisted = if leaning.is_empty() { &plan.superseded } else { &none };
    done.delete(session, unlisted, ripe)?;
    let GcOptions { compression, threads } = *options;
    let kept = match copy::copy(session, &plan.groups, compression, threads, problems) {
        Ok(Copied { kept, unread, bytes }) => {
            done.repacked_bytes = bytes;
            if !kept.is_empty() {
                plan.hold_copies(&unread);
            }
            kept
        }
        Err(error) if error.cause() == Cause::Full => {
            done.full = Some(error);
            plan.repacked()
        }
        Err(error) => return Err(error),
    };
    let still: HashSet<PackId> = plan.dropped().map(|row| row.id).collect();
    let later = later.into_iter().filter(|row| still.contains(&row.id)).collect();
    done.delete(session, &plan.superseded, later)?;
    let gone: HashSet<PackId> = done.deleted.iter().map(|row| row.id).collect();
    let is_left = |row: &PackRow| !gone.contains(&row.id);
    let doomed: Vec<PackRow> = plan.doomed(&kept).filter(is_left).take(CONDEMNED_MAX).collect();
    let dropped: HashSet<PackId> =
        plan.dropped().filter(is_left).take(CONDEMNED_MAX).map(|row| row.id).collect();
    let mut condemn = || condemnation.condemn(session, &doomed, |pack| dropped.contains(pack));
    match condemn() {
        Err(error) if error.cause() == Cause::Full && done.make_room(session, &doomed)? => {
            condemn()?;
        }
        condemned => condemned?,
    }
    if doomed.is_empty() {
        let is_first = done.full.is_none() && done.deleted.is_empty();
        if plan.unlists && is_first && !plan.superseded.is_empty() {
            done.unlist(session, plan)?;
        }
    } else if !condemnation.is_alone(&session)? {
        done.waiting = doomed;
    } else if plan.knows_archives(&session)? {
        done.delete(session, &plan.superseded, doomed)?;
        condemnation.condemn(session, &[], |_| false)?;
    } else {
        done.has_news = true;
        done.waiting = doomed;
    }
    Ok(done)
}

impl Collected {
    /// Deletes packs, after an index that does not list them is in place of the one that does.
    fn delete(
        &mut self,
        session: Deleting<'_>,
        superseded: &HashSet<(ChunkId, PackId)>,
        doomed: Vec<PackRow>,
    ) -> Result<()> {
        if doomed.is_empty() {
            return Ok(());
        }
        let ids: HashSet<PackId> = doomed.iter().map(|row| row.id).collect();
        match swap::swap(session, &ids, superseded, true) {
            Err(error) if error.cause() == Cause::Full && self.make_room(session, &doomed)? => {}
            swapped => swapped?,
        }
        delete::packs(session, ids.iter())?;
        self.deleted.extend(doomed);
        Ok(())
    }

    /// Puts an index in place that lists no copies that nobody needs, where no pack goes. Where there is no room a later gc
    /// does it.
    fn unlist(&mut self, session: Deleting<'_>, plan: &GcPlan) -> Result<()> {
        self.has_unlisted = true;
        match swap::swap(session, &HashSet::new(), &plan.superseded, true) {
            Err(error) if error.cause() == Cause::Full => Ok(()),
            swapped => swapped,
        }
    }

    /// Gives up the index, if it follows from the packs: it is made anew when there is room. Whether that was done.
    fn make_room(&mut self, session: Deleting<'_>, doomed: &[PackRow]) -> Result<bool> {
        let ids: HashSet<PackId> = doomed.iter().map(|row| row.id).collect();
        if doomed.is_empty() || !swap::follows(&session, |id| ids.contains(id), false) {
            return Ok(false);
        }
        swap::forget(session)?;
        self.forgot_index = true;
        Ok(true)
    }
}
