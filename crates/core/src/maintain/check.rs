//! Check: reads the repository and says what is wrong with it. Changes nothing that is there; a pack that two readings found
//! damaged is recorded as such, so that the next backup stores again what it holds, and one that was read whole as verified.
//!
//! ```text
//! slice     with `max_duration`: every byte of packs, those verified longest ago first -> which to look at closely
//! packs     segments of the index, packs -> footers, with `verify_data` every byte -> which records are right
//! copies    of `config`, key slots and archives                                    -> which of the two is wrong
//! archives  every node and chunk that an archive needs -> is its record right?     -> which archives are whole
//! ```
//!
//! The truth is in the packs. Every record of every segment of the index must be found in a footer, of every pack the index
//! must list something, and every chunk of every archive must be where a footer says that it is. With
//! `verify_data` footers are not believed either: every byte of every pack is compared with the pack's name, every group
//! opened, and a chunk is there if its bytes hash to its id. Archives and files that need anything else are named.
//!
//! Memory: two bits for each record of the index, what one segment says (at most 14 MiB, twice that after a gc), and with
//! `verify_data` a pack for each thread and request.

mod archives;
mod claims;
mod packs;
pub(crate) mod report;
mod verify;

use std::collections::HashMap;
use std::time::Duration;

use garret_format::PackId;

use super::copies;
use crate::error::{Error, Result, message};
use crate::limits::PACKS_IN_FLIGHT_MAX;
use crate::objects::{damage, tags, tombstones, verified};
use crate::pipeline::{beside, with_threads, with_workers};
use crate::progress::Progress;
use crate::read::chunks::Chunks;
use crate::read::mark::Marks;
use crate::repository::{Checker, Repository};
use crate::select::Selection;
use crate::store::Key;
use archives::Looker;
use packs::{Packs, Stored};
use report::{CheckReport, Findings};
use verify::Verified;

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
    /// After this time of reading every byte no further pack is begun; the rest of the check goes as without `verify_data`.
    /// Packs that were verified longest ago, or never, come first, and at least one is read. Those that are known to be
    /// damaged are read each time, whatever time it takes.
    pub max_duration: Option<Duration>,
    /// Whether it is recorded in the repository which packs two readings found damaged, and which were verified.
    pub records: bool,
    /// Threads; 0 is 1.
    pub threads: usize,
}

/// What who has asked for a slice should know.
const NOT_NOTED: &str = "which packs were verified is not noted in the repository, so the next check begins with the same";

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
        let (store, metadata) = (self.store(), self.metadata());
        let records = || (tombstones::damage(store, metadata), tags::load(store, metadata));
        let in_flight = store.properties().in_flight;
        let ((deletions, tags), inventory) =
            beside(in_flight, records, || self.refresh_index(progress))?;
        let inventory = inventory?;
        let stored = Stored::of(&inventory);
        let cold_count = stored.cold_count(store);
        let names = inventory.archive_names()?;
        let chunks = self.chunks();
        let sound = Marks::new(chunks.index());
        let (tells_packs, report) = (options.packs, CheckReport::default());
        let mut findings = Findings { progress, tells_packs, report };
        if let Some(error) = deletions {
            findings.pack_error(&Key::Tombstones.to_string(), &error);
        }
        let (_, wrong) = tags?;
        wrong.iter().for_each(|problem| findings.tell(problem));
        let in_flight = match options.verify_data {
            // Whole packs are in memory then.
            true => chunks.groups().in_flight().min(PACKS_IN_FLIGHT_MAX),
            false => chunks.groups().in_flight(),
        };
        let slice = options.max_duration.filter(|_| options.verify_data);
        // A newer garret may have said that nothing is to be added.
        let records = options.records && self.config().features.write == 0;
        let mut verified = Verified::default();
        with_threads(options.threads, in_flight, |threads| {
            let packs = Packs {
                repository: self,
                chunks: &chunks,
                verifies: options.verify_data,
                slice,
                records,
                threads,
                sound: &sound,
            };
            packs.read_slice(&findings, &mut verified)?;
            packs.check(stored, &mut findings, &mut verified)
        })?;
        match records {
            true => self.note_verified(&verified, slice.is_some(), progress),
            false if slice.is_some() => progress.notice(NOT_NOTED),
            false => {}
        }
        if cold_count > 0 && (slice.is_some() || !options.verify_data) {
            progress.notice(&format!(
                "note: packs in the second place that were not read: {cold_count}; a check of all data reads them, when \
                 they can be"
            ));
        }
        findings.report.verified_packs = verified.intact.len() as u64;
        let (report, threads) = (findings.report, options.threads);
        let (repository, damaged) = (Repository::clone(self), verified.confirmed);
        Ok(CheckedPacks { repository, names, chunks, sound, damaged, threads, report })
    }

    /// Records which packs are damaged of those in which this session met damage: each is read whole, twice. Gives how many
    /// are recorded.
    pub fn note_damaged(&self, progress: &dyn Progress) -> u64 {
        let chunks = self.chunks();
        let mut count = 0;
        for pack in chunks.groups().take_met() {
            let record = |error: Error| {
                damage::record(self.store(), self.metadata(), pack, false, &error, progress)
            };
            // A newer garret may have said that nothing is to be added.
            let may_record = self.config().features.write == 0;
            let confirmed = || packs::confirm(self, &chunks, pack).filter(|_| may_record);
            let is_recorded = chunks.index().is_damaged(&pack) || confirmed().is_some_and(record);
            count += u64::from(is_recorded);
        }
        count
    }

    /// Notes which packs were read, for the next slice. Where that cannot be, who has asked for a slice should know.
    fn note_verified(&self, verified: &Verified, is_slice: bool, progress: &dyn Progress) {
        let Verified { intact, damaged, .. } = verified;
        if intact.is_empty() && damaged.is_empty() {
            return;
        }
        let day = self.today();
        let noted = verified::note(self.store(), self.metadata(), intact, damaged, day);
        if let (Err(error), true) = (noted, is_slice) {
            let why = message(&error);
            progress.notice(&format!("{NOT_NOTED}: {why}"));
        }
    }
}

/// Packs that were checked, so that archives can be. A gc of the same session makes what it knows out of date.
pub struct CheckedPacks {
    repository: Repository,
    /// The archives that there were before.
    names: Vec<String>,
    chunks: Chunks,
    /// The records of the index that are right.
    sound: Marks,
    /// Packs that two readings found damaged, now or before, and their lengths in bytes.
    damaged: HashMap<PackId, u64>,
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

    /// The packs that two readings found damaged, now or before, and their lengths in bytes. Whether that could be recorded
    /// makes no difference.
    pub(super) fn damaged(&self) -> &HashMap<PackId, u64> {
        &self.damaged
    }

    /// What was found so far.
    pub fn report(&self) -> &CheckReport {
        &self.report
    }

    /// The second part, of the archives that there were when the first began. The report is that of both.
    ///
    /// # Errors
    /// As of [`Checker::check`].
    pub fn check_archives(mut self, progress: &dyn Progress) -> Result<CheckReport> {
        let report = std::mem::take(&mut self.report);
        let mut findings = Findings { progress, tells_packs: false, report };
        copies::check(&self.repository, &mut findings)?;
        self.report = findings.report;
        let names = std::mem::take(&mut self.names);
        self.check_some(names, &Selection::default(), progress)
    }

    /// The same for the archives of these names, and what is selected in them. They must be older than the first part.
    ///
    /// # Errors
    /// As of [`Checker::check`].
    pub fn check_some(
        self,
        names: Vec<String>,
        selection: &Selection,
        progress: &dyn Progress,
    ) -> Result<CheckReport> {
        let CheckedPacks { repository, chunks, sound, threads, report, .. } = self;
        let [whole, lonely] = [(); 2].map(|()| Marks::new(chunks.index()));
        let (repository, chunks) = (&repository, &chunks);
        let (sound, whole, lonely) = (&sound, &whole, &lonely);
        let looker = Looker { repository, chunks, selection, sound, whole, lonely };
        let mut findings = Findings { progress, tells_packs: false, report };
        // Looking waits for recipes more than it computes.
        let threads = threads.max(chunks.groups().in_flight());
        with_workers(threads, |workers| archives::check(names, looker, workers, &mut findings))?;
        findings.report.lonely_parts = lonely.count();
        if findings.report.lonely_parts > 0 {
            let count = findings.report.lonely_parts;
            progress.notice(&format!(
                "warning: of what the archives are made of, {count} of the parts are in one pack only, instead of two: \
                 the next prune stores them in another"
            ));
        }
        repository.tell(progress);
        Ok(findings.report)
    }
}
