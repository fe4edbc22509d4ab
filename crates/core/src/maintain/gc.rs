//! Gc: gives back the space of what no archive needs. Runs with the repository's exclusive lock.
//!
//! ```text
//! plan  archives -> marks -> packs to drop, packs to repack
//! copy  what is needed out of those to be repacked -> new packs
//! swap  new index segments, which do not list the doomed packs -> in place of the old ones
//! delete  the doomed packs
//! ```
//!
//! Nothing is deleted before what replaces it is durable, and a segment that lists a pack goes before the pack: a crash at
//! any moment leaves packs that the next gc drops, never a gap. On a full disk it goes round again as long as it makes room.

pub(super) mod copy;
pub(super) mod delete;
pub(crate) mod plan;
pub(super) mod problems;
pub(super) mod swap;

use std::collections::HashSet;

use garret_format::PackId;
use garret_format::index::PackRow;

use crate::error::{Cause, Error, Result};
use crate::limits::total_len;
use crate::objects::damage::forget_records;
use crate::objects::group::Compression;
use crate::objects::verified::forget_gone;
use crate::progress::Progress;
use crate::repository::{Exclusive, Repository};

use plan::GcPlan;
use problems::Problems;

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
    /// Problems met, each reported: what is damaged stays.
    pub problem_count: u64,
}

impl Repository {
    /// What a gc would do if the archives `without` were not there. Neither locks nor writes anything.
    ///
    /// # Errors
    /// As of [`Exclusive::gc`].
    pub fn plan_gc(
        &self,
        without: &[String],
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<GcPlan> {
        plan::plan(self, without, threads, &mut Problems::new(progress))
    }
}

impl Exclusive {
    /// Gives back the space of what no archive needs.
    ///
    /// # Errors
    /// An archive whose structure cannot be read: what it needs is unknown. `MissingChunk` while a pack is damaged or
    /// missing: what an archive needs may lie where nobody finds it just now. Nothing is deleted then; a repair, removing
    /// the archives that were named, or backing up their sources again, lets gc go on. A chunk that is missing while all
    /// packs are there and sound is a problem. `Doubtful` if something that is listed nowhere may be an archive.
    pub fn gc(&mut self, options: &GcOptions, progress: &dyn Progress) -> Result<GcReport> {
        self.store().sweep()?;
        let mut problems = Problems::new(progress);
        let mut report = GcReport::default();
        let mut full: Option<Error> = None;
        loop {
            let mut plan = plan::plan(self, &[], options.threads, &mut problems)?;
            let mut forgot_index = false;
            if full.is_some() {
                // The smallest step that makes room, in all the room that there is.
                plan.keep_cheapest();
                forgot_index = !plan.is_empty() && swap::follows(self, |_| false);
                if forgot_index {
                    swap::forget(self.store())?;
                }
            }
            if plan.is_empty() {
                break;
            }
            let collected = collect(self, &plan, options, &mut problems);
            // Also when it was cut short: packs that the index knows may be gone.
            let reopened = self.reopen_index(progress);
            let collected = collected?;
            reopened?;
            if forgot_index || collected.forgot_index {
                swap::remake(self, progress)?;
            }
            let Collected { deleted, repacked_bytes, full: now, .. } = collected;
            report.deleted_pack_count += deleted.len() as u64;
            report.deleted_pack_bytes += total_len(deleted.iter().map(|row| u64::from(row.len)));
            report.repacked_bytes += repacked_bytes;
            full = match (full, now) {
                (None, None) => break,
                (None, Some(error)) => Some(error),
                // A step that gains nothing is the last. One that does takes away a pack with dead bytes for one without.
                (Some(error), _) if deleted.is_empty() => return Err(error),
                (Some(_), now) => now,
            };
        }
        report.problem_count = problems.count;
        forget_records(self.store(), self.metadata())?;
        forget_gone(self.store(), self.metadata())?;
        self.tell(progress);
        Ok(report)
    }
}

/// What one round did.
struct Collected {
    deleted: Vec<PackRow>,
    /// Bytes of the packs written to replace some of them.
    repacked_bytes: u64,
    /// Whether the index is to be made anew: there was no room for another beside it.
    forgot_index: bool,
    /// Why nothing was repacked, if there was no room for that: there may be now.
    full: Option<Error>,
}

/// Does what the plan says. On a full disk what needs no room comes first: packs of which nobody needs anything go before
/// others are repacked, and the index before them, if there is no room for another and it follows from the packs.
fn collect(
    repository: &Repository,
    plan: &GcPlan,
    options: &GcOptions,
    problems: &mut Problems<'_>,
) -> Result<Collected> {
    let GcOptions { compression, threads } = *options;
    let copied = copy::copy(repository, &plan.groups, compression, threads, problems);
    let (kept, repacked_bytes, full) = match copied {
        Ok((kept, bytes)) => (kept, bytes, None),
        Err(error) if error.cause() == Cause::Full => (plan.repacked(), 0, Some(error)),
        Err(error) => return Err(error),
    };
    let deleted: Vec<PackRow> = plan.doomed(&kept).collect();
    let mut forgot_index = false;
    if !deleted.is_empty() || full.is_none() {
        let doomed: HashSet<PackId> = deleted.iter().map(|row| row.id).collect();
        match swap::swap(repository, &doomed, &plan.superseded) {
            Err(error) if error.cause() == Cause::Full && !deleted.is_empty() => {
                if !swap::follows(repository, |id| doomed.contains(id)) {
                    return Err(error);
                }
                swap::forget(repository.store())?;
                forgot_index = true;
            }
            swapped => swapped?,
        }
        delete::packs(repository, doomed.iter())?;
    }
    Ok(Collected { deleted, repacked_bytes, forgot_index, full })
}
