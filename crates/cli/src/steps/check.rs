//! Checks a repository.
//!
//! In: what is to be checked, and how long. Out: what was found, in one line, and how much is verified; each problem is told
//! of when it is found.

use std::time::Duration;

use garret_core::{CheckOptions, CheckReport, Checker, VerifiedReport};

use super::verdict::closing;
use crate::failure::Failure;
use crate::location::Location;
use crate::session::{self, Session};
use crate::ui::Ui;

/// What is to be checked.
#[derive(Clone, Debug)]
pub struct Checking {
    /// The packs, and what the index says of them.
    pub packs: bool,
    /// What archives need.
    pub archives: bool,
    /// Every byte of the packs.
    pub verify_data: bool,
    /// Of that so much as can be read in this time, beginning with what was verified longest ago.
    pub max_duration: Option<Duration>,
    /// Threads that do the work.
    pub threads: usize,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The packs come next.
    Packs,
    /// Nothing is wrong with them.
    PacksFine,
    /// The archives come next.
    Archives,
    /// Nothing is wrong with them.
    ArchivesFine,
}

/// What a check found.
pub struct Checked {
    /// Where.
    pub repository: Session<Checker>,
    /// In numbers.
    pub report: CheckReport,
    /// What is wrong and what to do, if anything is.
    pub found: Option<String>,
    /// After a slice: how much of the repository was read whole by this check and those before.
    pub verified: Option<VerifiedReport>,
}

impl Checking {
    /// Of packs and archives, without reading every byte.
    pub fn new(threads: usize) -> Self {
        Checking { packs: true, archives: true, verify_data: false, max_duration: None, threads }
    }

    /// Checks the repository at `location`; `reached` hears how far it is.
    ///
    /// # Errors
    /// It does not open, or cannot be listed; what `reached` says.
    pub fn run(
        &self,
        location: &Location,
        ui: &Ui,
        reached: &mut dyn FnMut(Stage) -> Result<(), Failure>,
    ) -> Result<Checked, Failure> {
        let repository = session::checker(location, ui)?;
        let mut options = CheckOptions::default();
        options.packs = self.packs;
        options.archives = self.archives;
        options.verify_data = self.verify_data;
        options.records = repository.is_trusted();
        options.max_duration = self.max_duration;
        options.threads = self.threads;
        if options.packs {
            reached(Stage::Packs)?;
            keys(location, ui)?;
        }
        let checked = repository.check_packs(&options, ui)?;
        if options.packs && ui.problem_count() == 0 {
            reached(Stage::PacksFine)?;
        }
        let report = match options.archives {
            true => {
                reached(Stage::Archives)?;
                let before = ui.problem_count();
                let report = checked.check_archives(ui)?;
                if ui.problem_count() == before && report.problem_count == 0 {
                    reached(Stage::ArchivesFine)?;
                }
                report
            }
            false => checked.report().clone(),
        };
        let found = (report.problem_count > 0).then(|| closing(&report, &options));
        let verified = self.max_duration.map(|_| repository.verified(ui)).transpose()?;
        Ok(Checked { repository, report, found, verified })
    }
}

/// Tells of keys that are damaged. One that nobody uses is needed on the day on which the others are lost: its damage is
/// to be known before.
///
/// # Errors
/// They cannot be listed.
pub fn keys(location: &Location, ui: &Ui) -> Result<(), Failure> {
    let slots = session::find(location)?.slots()?;
    slots
        .iter()
        .filter_map(|(_, slot)| slot.as_ref().err())
        .for_each(|error| ui.report(&error.into()));
    Ok(())
}
