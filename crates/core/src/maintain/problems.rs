//! What goes wrong while a gc or a repair goes on.

use std::collections::HashSet;

use crate::progress::{Problem, Progress};

/// Passes on what goes wrong, each once, and counts it.
pub(in crate::maintain) struct Problems<'p> {
    pub(in crate::maintain) progress: &'p dyn Progress,
    pub(in crate::maintain) count: u64,
    /// In words: what goes round again meets it again.
    told: HashSet<String>,
}

impl<'p> Problems<'p> {
    pub(in crate::maintain) fn new(progress: &'p dyn Progress) -> Self {
        Problems { progress, count: 0, told: HashSet::new() }
    }

    pub(in crate::maintain) fn report(&mut self, problem: Problem) {
        if self.told.insert(problem.text.clone()) {
            self.count += 1;
            self.progress.problem(&problem);
        }
    }
}
