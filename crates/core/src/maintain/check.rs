//! Check: reads the repository and says what is wrong with it. Changes nothing that is there; a pack that two readings found
//! damaged is recorded as such, so that the next backup stores again what it holds.
//!
//! ```text
//! packs     segments of the index, packs -> footers, with `verify_data` every byte -> which records are right
//! archives  every node and chunk that an archive needs -> is its record right?     -> which archives are whole
//! ```
//!
//! The truth is in the packs. Every record of every segment of the index must be found in a footer, everything that a footer
//! lists must be found through the index, and every chunk of every archive must be where a footer says that it is. With
//! `verify_data` footers are not believed either: every byte of every pack is compared with the pack's name, every group
//! opened, and a chunk is there if its bytes hash to its id. Archives and files that need anything else are named.
//!
//! Memory: two bits for each record of the index, what one segment says (at most 14 MiB, twice that after a gc), and with
//! `verify_data` a pack for each thread and request.

mod archives;
mod packs;
pub(crate) mod report;

use crate::error::Result;
use crate::limits::PACKS_IN_FLIGHT_MAX;
use crate::pipeline::{with_threads, with_workers};
use crate::progress::Progress;
use crate::read::chunks::Chunks;
use crate::read::mark::Marks;
use crate::repository::{Checker, Repository};
use archives::Looker;
use packs::Packs;
use report::{CheckReport, Findings};

/// What to check.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CheckOptions {
    /// Whether packs and index are checked. What an archive needs is looked for in packs all the same.
    pub packs: bool,
    /// Whether archives are checked.
    pub archives: bool,
    /// Whether every byte of every pack is read.
    pub verify_data: bool,
    /// Whether packs that two readings found damaged are recorded as such in the repository.
    pub record_damage: bool,
    /// Threads; 0 is 1.
    pub threads: usize,
}

impl Checker {
    /// Checks what the options say.
    ///
    /// # Errors
    /// The store cannot be listed. What is found is reported instead.
    pub fn check(&self, options: &CheckOptions, progress: &dyn Progress) -> Result<CheckReport> {
        let packs = self.check_packs(options, progress)?;
        match options.archives {
            true => packs.check_archives(progress),
            false => Ok(packs.report),
        }
    }

    /// The first part, for whoever has something to say in between.
    ///
    /// # Errors
    /// As of [`check`](Self::check).
    pub fn check_packs(
        &self,
        options: &CheckOptions,
        progress: &dyn Progress,
    ) -> Result<CheckedPacks> {
        let chunks = self.chunks();
        let sound = Marks::new(chunks.index());
        let (tells_packs, report) = (options.packs, CheckReport::default());
        let mut findings = Findings { progress, tells_packs, report };
        let in_flight = match options.verify_data {
            // Whole packs are in memory then.
            true => chunks.groups().in_flight().min(PACKS_IN_FLIGHT_MAX),
            false => chunks.groups().in_flight(),
        };
        with_threads(options.threads, in_flight, |threads| {
            let packs = Packs {
                repository: self,
                chunks: &chunks,
                verifies: options.verify_data,
                // A newer garret may have said that nothing is to be added.
                records: options.record_damage && self.config().features.write == 0,
                threads,
                sound: &sound,
            };
            packs.check(&mut findings)
        })?;
        let (report, threads) = (findings.report, options.threads);
        Ok(CheckedPacks { repository: Repository::clone(self), chunks, sound, threads, report })
    }
}

/// Packs that were checked, so that archives can be. A gc of the same session makes what it knows out of date.
pub struct CheckedPacks {
    repository: Repository,
    chunks: Chunks,
    /// The records of the index that are right.
    sound: Marks,
    threads: usize,
    report: CheckReport,
}

impl std::fmt::Debug for CheckedPacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckedPacks").field("report", &self.report).finish_non_exhaustive()
    }
}

impl CheckedPacks {
    /// The chunks that it went by.
    pub(super) fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// The records of their index that are right.
    pub(super) fn sound(&self) -> &Marks {
        &self.sound
    }

    /// What was found so far.
    pub fn report(&self) -> &CheckReport {
        &self.report
    }

    /// The second part. The report is that of both.
    ///
    /// # Errors
    /// As of [`Checker::check`].
    pub fn check_archives(self, progress: &dyn Progress) -> Result<CheckReport> {
        let CheckedPacks { repository, chunks, sound, threads, report } = self;
        let whole = Marks::new(chunks.index());
        let looker =
            Looker { repository: &repository, chunks: &chunks, sound: &sound, whole: &whole };
        let mut findings = Findings { progress, tells_packs: false, report };
        // Looking waits for recipes more than it computes.
        let threads = threads.max(chunks.groups().in_flight());
        with_workers(threads, |workers| archives::check(looker, workers, &mut findings))?;
        Ok(findings.report)
    }
}
