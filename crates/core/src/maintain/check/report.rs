//! What a check finds, and how it is told.

use crate::error::{Cause, Error, message};
use crate::progress::{Problem, Progress};

/// What was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Packs.
    pub pack_count: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Packs of which every byte was read, and found as it was written.
    pub verified_packs: u64,
    /// Archives.
    pub archive_count: u64,
    /// Problems found, each reported.
    pub problem_count: u64,
    /// Segments of the index that cannot be read, or say what is not so.
    pub damaged_segments: u64,
    /// Chunks that lie in packs and that the index does not list there. After a gc it lists one intact copy of each: no harm,
    /// unless that copy is lost.
    pub unlisted_chunks: u64,
    /// Packs that are there and not as they were written.
    pub damaged_packs: u64,
    /// Packs that the index lists and that are not there.
    pub missing_packs: u64,
    /// Of `config`, key slots and archives those that have one intact copy instead of two.
    pub damaged_copies: u64,
    /// Parts of what the archives are made of that lie intact in one pack only, instead of two.
    pub lonely_parts: u64,
    /// Archives that cannot be restored whole, by name.
    pub incomplete: Vec<Incomplete>,
}

/// An archive that lacks something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incomplete {
    /// Its name.
    pub name: String,
    /// How many of its files lack something; `None` if not all of them could be looked at.
    pub file_count: Option<u64>,
}

/// What was found, on its way to the user.
pub(in crate::maintain) struct Findings<'r> {
    pub(in crate::maintain) progress: &'r dyn Progress,
    /// Whether anybody wants to know what is wrong with packs and index: not who checks archives only.
    pub(super) tells_packs: bool,
    pub(in crate::maintain) report: CheckReport,
}

impl Findings<'_> {
    /// What is wrong with an object. There is no hint: a check is what to do.
    pub(super) fn problem(&mut self, cause: Cause, subject: &str, text: String) {
        self.tell(&Problem::new(cause, Some(subject.to_owned()), text));
    }

    pub(in crate::maintain) fn tell(&mut self, problem: &Problem) {
        self.report.problem_count += 1;
        self.progress.problem(problem);
    }

    pub(super) fn pack_problem(&mut self, cause: Cause, subject: &str, text: String) {
        if self.tells_packs {
            self.problem(cause, subject, text);
        }
    }

    pub(super) fn pack_error(&mut self, subject: &str, error: &Error) {
        self.pack_problem(error.cause(), subject, message(error));
    }
}
