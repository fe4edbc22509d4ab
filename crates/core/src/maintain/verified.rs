//! How much of a repository was verified, and when.

use std::collections::HashMap;

use garret_format::ChunkId;
use garret_format::verified::short_id;

use crate::error::Result;
use crate::objects::archive::NamedArchive;
use crate::objects::index::Location;
use crate::objects::verified::load_or_tell;
use crate::pipeline::with_workers;
use crate::progress::{Phase, Progress};
use crate::read::mark::{Marks, Visitor, mark_archive};
use crate::repository::Repository;
use crate::store::list_packs;

/// What counts as verified lately.
const RECENT_DAYS: u32 = 30;

/// Of which packs checks have read every byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedReport {
    /// Packs that there are.
    pub pack_count: u64,
    /// Those that were never verified.
    pub never_count: u64,
    /// Those that were in the last 30 days.
    pub recent_count: u64,
    /// The day on which the one was that was verified longest ago, as seconds since 1970.
    pub oldest: Option<i64>,
}

impl Repository {
    /// What checks that read every byte have noted, each by its own clock.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn verified(&self, progress: &dyn Progress) -> Result<VerifiedReport> {
        let rows = load_or_tell(self.store(), self.metadata(), progress);
        let days: HashMap<[u8; 8], u32> = rows.iter().map(|row| (row.pack, row.day)).collect();
        let today = self.today();
        // Clocks differ; what is of the future says nothing about its age.
        let recent = today.saturating_sub(RECENT_DAYS)..=today.saturating_add(1);
        let mut report = VerifiedReport::default();
        for (id, _) in list_packs(self.store())? {
            report.pack_count += 1;
            let Some(day) = days.get(&short_id(&id)) else {
                report.never_count += 1;
                continue;
            };
            report.recent_count += u64::from(recent.contains(day));
            let start = i64::from(*day) * 24 * 60 * 60;
            report.oldest = Some(report.oldest.map_or(start, |oldest| oldest.min(start)));
        }
        Ok(report)
    }

    /// Since when every byte of the packs that each of these archives needs was read at least once, as seconds since 1970:
    /// the day of the pack that was verified longest ago. None for one of which some were never read, or something is
    /// missing.
    ///
    /// # Errors
    /// The index cannot be brought up to date.
    pub fn verified_archives(
        &self,
        archives: &[NamedArchive],
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<Vec<Option<i64>>> {
        self.refresh_index(progress)?;
        let rows = load_or_tell(self.store(), self.metadata(), progress);
        let days: HashMap<[u8; 8], u32> = rows.iter().map(|row| (row.pack, row.day)).collect();
        let chunks = self.chunks();
        let task = progress.begin(Phase::Mark, Some(archives.len() as u64));
        with_workers(threads, |workers| {
            let look = |archive: &NamedArchive| {
                let mut oldest = Oldest { days: &days, day: Some(u32::MAX) };
                let marks = Marks::new(chunks.index());
                let is_whole = mark_archive(&chunks, archive, &marks, &mut oldest).is_ok();
                // None without a chunk is an archive of nothing: there is nothing to verify.
                let day = oldest.day.filter(|day| is_whole && *day != u32::MAX);
                Ok(day.map(|day| i64::from(day) * 24 * 60 * 60))
            };
            let mut found = Vec::with_capacity(archives.len());
            for day in workers.map(archives.iter().map(Ok), look) {
                found.push(day?);
                task.advance(1);
            }
            Ok(found)
        })
    }
}

/// The day of what was verified longest ago of what was met; none once something was met that never was.
struct Oldest<'d> {
    days: &'d HashMap<[u8; 8], u32>,
    day: Option<u32>,
}

impl Visitor for Oldest<'_> {
    fn chunk(&mut self, _: &[u8], _: &ChunkId, location: Option<&Location>) {
        let day = location.and_then(|found| self.days.get(&short_id(&found.pack.id)));
        self.day = self.day.zip(day.copied()).map(|(oldest, day)| oldest.min(day));
    }
}
