//! How much of a repository was verified, and when.

use std::collections::HashMap;

use garret_format::verified::short_id;

use crate::error::Result;
use crate::objects::verified::load_or_tell;
use crate::progress::Progress;
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
}
