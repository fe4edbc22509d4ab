//! What goes wrong while a gc or a repair goes on.

use crate::progress::{Problem, Progress};

/// Passes on what goes wrong, and counts it.
pub(in crate::maintain) struct Problems<'p> {
    pub(in crate::maintain) progress: &'p dyn Progress,
    pub(in crate::maintain) count: u64,
}

impl Problems<'_> {
    pub(in crate::maintain) fn report(&mut self, problem: Problem) {
        self.count += 1;
        self.progress.problem(&problem);
    }
}
