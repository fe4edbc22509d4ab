//! What goes wrong while a gc goes on.

use crate::progress::{Problem, Progress};

/// Passes on what goes wrong, and counts it.
pub(super) struct Problems<'p> {
    pub(super) progress: &'p dyn Progress,
    pub(super) count: u64,
}

impl Problems<'_> {
    pub(super) fn report(&mut self, problem: Problem) {
        self.count += 1;
        self.progress.problem(&problem);
    }
}
