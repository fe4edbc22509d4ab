//! What a check found, as a JSON document.

use garret_core::{CheckReport, RepairReport, Repository};
use serde_json::{Value, json};

use crate::commands::info;
use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::record;
use garret_cli::ui::Ui;

/// What was checked, and what came of it.
#[derive(Default)]
pub(super) struct Document {
    /// Whether every byte was read, of all that was checked.
    pub(super) verify_data: bool,
    /// What was found; none if archives were read as for a restore.
    pub(super) report: Option<CheckReport>,
    /// How many archives were looked at.
    pub(super) archives: u64,
    /// Those that cannot be restored whole, and how many of their files, if that can be told.
    pub(super) incomplete: Vec<(String, Option<u64>)>,
    /// What is wrong and what to do, if anything is.
    pub(super) verdict: Option<String>,
    /// What was mended.
    pub(super) repair: Option<RepairReport>,
}

impl Document {
    /// Of a report as the library gives it.
    pub(super) fn of(report: CheckReport, verify_data: bool, verdict: Option<String>) -> Self {
        let incomplete = report.incomplete.iter().map(|one| (one.name.clone(), one.file_count));
        Document {
            verify_data,
            archives: report.archive_count,
            incomplete: incomplete.collect(),
            verdict,
            repair: None,
            report: Some(report),
        }
    }

    pub(super) fn print(
        self,
        repository: &Repository,
        path: &Location,
        ui: &Ui,
    ) -> Result<(), Failure> {
        let of = |number: fn(&CheckReport) -> u64| self.report.as_ref().map(number);
        let incomplete = |(name, files): &(String, Option<u64>)| -> Value {
            json!({ "archive": name, "files": files })
        };
        let repair = self.repair.as_ref().map(|repaired| {
            json!({
                "quarantined_packs": repaired.quarantined_packs,
                "quarantined_size": repaired.quarantined_bytes,
                "saved_size": repaired.saved_bytes,
                "made_index": repaired.made_index,
                "mended_files": repaired.mended_files,
                "made_copies": repaired.made_copies,
            })
        });
        ui.print(&record::document(&json!({
            "repository": info::sizes(info::repository_record(repository, path), repository, ui)?.json(),
            "verify_data": self.verify_data,
            "packs": of(|report| report.pack_count),
            "packs_size": of(|report| report.pack_bytes),
            "verified_packs": of(|report| report.verified_packs),
            "damaged_packs": of(|report| report.damaged_packs),
            "missing_packs": of(|report| report.missing_packs),
            "damaged_segments": of(|report| report.damaged_segments),
            "damaged_copies": of(|report| report.damaged_copies),
            "lonely_parts": of(|report| report.lonely_parts),
            "archives": self.archives,
            "incomplete": self.incomplete.iter().map(incomplete).collect::<Vec<Value>>(),
            "problems": ui.problem_count(),
            "verdict": self.verdict,
            "repair": repair,
        })))
    }
}
