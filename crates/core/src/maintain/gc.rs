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
//! any moment leaves packs that the next gc drops, never a gap.

pub(super) mod copy;
pub(super) mod delete;
pub(crate) mod plan;
pub(super) mod problems;
pub(super) mod swap;

use std::collections::HashSet;

use garret_format::PackId;

use crate::error::Result;
use crate::objects::damage::forget_records;
use crate::objects::group::Compression;
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
        plan::plan(self, without, threads, &mut Problems { progress, count: 0 })
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
        let mut problems = Problems { progress, count: 0 };
        let plan = plan::plan(self, &[], options.threads, &mut problems)?;
        let mut report = GcReport { problem_count: problems.count, ..GcReport::default() };
        if !plan.is_empty() {
            let collected = collect(self, &plan, options, &mut problems);
            // Also when it was cut short: packs that the index knows may be gone.
            let reopened = self.reopen_index(progress);
            report = collected?;
            reopened?;
        }
        forget_records(self.store(), self.metadata())?;
        self.tell(progress);
        Ok(report)
    }
}

/// Does what the plan says.
fn collect(
    repository: &Repository,
    plan: &GcPlan,
    options: &GcOptions,
    problems: &mut Problems<'_>,
) -> Result<GcReport> {
    let (kept, repacked_bytes) =
        copy::copy(repository, &plan.groups, options.compression, options.threads, problems)?;
    let doomed: HashSet<PackId> = plan.doomed(&kept).map(|row| row.id).collect();
    swap::swap(repository, &doomed, &plan.superseded)?;
    delete::packs(repository, doomed.iter())?;
    Ok(GcReport {
        deleted_pack_count: doomed.len() as u64,
        deleted_pack_bytes: plan.doomed(&kept).map(|row| u64::from(row.len)).sum(),
        repacked_bytes,
        problem_count: problems.count,
    })
}
