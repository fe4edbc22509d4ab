//! Makes what is old in a repository small.
//!
//! In: a repository that was opened to delete, how hard to compress, for how long. Out: what was rewritten and what came
//! back; else one line.

use std::time::Duration;

use garret_core::{CompactOptions, CompactPlan, CompactReport, Compression, Pruner, Repository};

use crate::failure::{self, Failure};
use crate::heap::Returning;
use crate::session::Session;
use crate::ui::Ui;

/// How hard what is old is compressed, unless it is said: as well as zstd can without a restore that takes longer.
pub const COMPRESSION: Compression = Compression::Zstd(19);

/// How to compact.
#[derive(Clone, Copy, Debug)]
pub struct Compacting {
    /// How what is rewritten is compressed.
    pub compression: Compression,
    /// After this time no further group is begun.
    pub max_duration: Option<Duration>,
    /// Threads that do the work.
    pub threads: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Compacted {
    /// What was done.
    pub report: CompactReport,
    /// Bytes that the repository lost; less than 0 if old copies wait for the next one.
    pub saved_len: i64,
}

impl Compacting {
    fn options(&self) -> CompactOptions {
        let mut options = CompactOptions::default();
        options.compression = self.compression;
        options.max_duration = self.max_duration;
        options.threads = self.threads;
        options
    }

    /// What would be done.
    ///
    /// # Errors
    /// As of a gc of the library.
    pub fn plan(&self, repository: &Repository, ui: &Ui) -> Result<CompactPlan, Failure> {
        Ok(repository.plan_compact(&self.options(), ui)?)
    }

    /// Does it.
    ///
    /// # Errors
    /// As of the library. Every archive is as it was.
    pub fn run(&self, repository: &mut Session<Pruner>, ui: &Ui) -> Result<Compacted, Failure> {
        let done = {
            let _returning = Returning::begin();
            repository.compact(&self.options(), ui)
        };
        let settled = repository.settle(done.is_ok(), ui);
        let report = done.map_err(|error| failure::full(error, FULL, "garret compact"))?;
        settled?;
        let signed = |len: u64| i64::try_from(len).unwrap_or(i64::MAX);
        let gone = signed(report.gc.deleted_pack_bytes);
        let came = signed(report.gc.repacked_bytes.saturating_add(report.written_len));
        Ok(Compacted { report, saved_len: gone.saturating_sub(came) })
    }
}

/// What a full disk keeps it from: new packs stand beside the old ones until these are gone.
const FULL: &str = "what had no room beside the old copies is as it was";
