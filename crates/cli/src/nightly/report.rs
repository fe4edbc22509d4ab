//! What became of a job.
//!
//! In: what its steps gave. Out: one outcome, which is an exit code; a line for a terminal; a record for programs.

use std::time::Duration;

use garret_core::{BackupReport, Traffic, VerifiedReport};

use crate::exit::Outcome;
use crate::record::Record;
use crate::render;
use crate::steps::create::Made;

/// The archive that a job made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// Its name.
    pub name: String,
    /// Whether nothing is missing in it.
    pub is_complete: bool,
    /// When it was finished, in seconds since 1970.
    pub end: i64,
    /// Bytes of all that is in it.
    pub original_bytes: u64,
    /// Bytes that were read for it.
    pub read_bytes: u64,
    /// Bytes that were new.
    pub new_bytes: u64,
    /// Bytes that these take.
    pub stored_bytes: u64,
    /// What went over the line for it, if there is one.
    pub traffic: Option<Traffic>,
    /// How long it took.
    pub duration: Duration,
}

impl Archived {
    /// What a backup says of itself.
    pub fn new(made: &Made) -> Self {
        let BackupReport { archive, written, untouched_bytes, hole_bytes, .. } = &made.report;
        let body = &archive.archive;
        let unread = untouched_bytes.saturating_add(*hole_bytes);
        Archived {
            name: archive.name.clone(),
            is_complete: body.is_complete(),
            end: body.end.secs,
            original_bytes: body.original_len,
            read_bytes: body.original_len.saturating_sub(unread),
            new_bytes: written.chunk_bytes,
            stored_bytes: written.pack_bytes,
            traffic: made.repository().traffic(),
            duration: made.duration,
        }
    }

    /// Seconds for each gigabyte of what is in it.
    pub fn pace(&self) -> Option<f64> {
        let gigabytes = self.original_bytes as f64 / 1e9;
        (self.original_bytes > 0).then(|| self.duration.as_secs_f64() / gigabytes)
    }
}

/// What a repository holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Archives.
    pub archives: u64,
    /// Bytes of the repository.
    pub stored_bytes: u64,
}

/// What became of a job, step by step.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which job.
    pub job: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, in seconds since 1970.
    pub start: i64,
    /// How long it took.
    pub duration: Duration,
    /// Lines about something that went wrong.
    pub problems: u64,
    /// How many of them are about damage.
    pub damage: u64,
    /// What it made.
    pub archive: Option<Archived>,
    /// How many archives went, and how many bytes came back.
    pub pruned: Option<(u64, u64)>,
    /// How much of the repository is verified, if that was looked at.
    pub verified: Option<VerifiedReport>,
    /// Whether a check found nothing.
    pub is_checked: bool,
    /// What the repository holds afterwards.
    pub size: Option<Size>,
}

impl Report {
    /// Of a job that begins.
    pub fn begin(job: &str, start: i64) -> Self {
        Report {
            job: job.to_owned(),
            outcome: Outcome::Fine,
            start,
            duration: Duration::ZERO,
            problems: 0,
            damage: 0,
            archive: None,
            pruned: None,
            verified: None,
            is_checked: false,
            size: None,
        }
    }

    /// It is no better than this.
    pub fn is_at_best(&mut self, outcome: Outcome) {
        self.outcome = self.outcome.max(outcome);
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        if let Some(made) = &self.archive {
            let size = render::size;
            let pace = render::seconds_per_gb(made.duration.as_secs_f64(), made.original_bytes);
            parts.push(format!(
                "{}: {} in {:.1} s ({pace} s/GB), read {}, new {}, stored in {}",
                render::name(&made.name),
                size(made.original_bytes),
                made.duration.as_secs_f64(),
                size(made.read_bytes),
                size(made.new_bytes),
                size(made.stored_bytes)
            ));
        }
        if let Some((count, bytes)) = self.pruned.filter(|(count, bytes)| count + bytes > 0) {
            let archives = render::plural(count, "archive");
            parts.push(format!("pruned {archives}, {} came back", render::size(bytes)));
        }
        if let Some(verified) = &self.verified {
            parts.push(crate::overview::verified(verified));
        }
        parts.extend((self.problems > 0).then(|| render::plural(self.problems, "problem")));
        let outcome = self.outcome.name();
        match parts.as_slice() {
            [] => format!("{}: {outcome}\n", self.job),
            parts => format!("{}: {outcome}: {}\n", self.job, parts.join("; ")),
        }
    }

    /// The same for programs.
    pub fn record(&self) -> Record {
        let time = |seconds| {
            render::iso_time(garret_core::format::archive::Time { secs: seconds, nanos: 0 })
        };
        let made = self.archive.as_ref();
        Record::default()
            .with("job", self.job.as_str())
            .with("outcome", self.outcome.name())
            .with("code", self.outcome.code())
            .with("start", time(self.start))
            .with("duration", self.duration.as_secs_f64())
            .with("problems", self.problems)
            .with("archive", made.map(|made| made.name.as_str()))
            .with("complete", made.map(|made| made.is_complete))
            .with("original_size", made.map(|made| made.original_bytes))
            .with("read", made.map(|made| made.read_bytes))
            .with("new_size", made.map(|made| made.new_bytes))
            .with("stored_size", made.map(|made| made.stored_bytes))
            .with("seconds_per_gb", made.and_then(Archived::pace))
            .with("pruned_archives", self.pruned.map(|(count, _)| count))
            .with("freed_size", self.pruned.map(|(_, bytes)| bytes))
            .with(
                "verified_since",
                self.verified.and_then(|verified| verified.oldest).map(render::date),
            )
            .with("never_verified_packs", self.verified.map(|verified| verified.never_count))
            .with("repository_archives", self.size.map(|size| size.archives))
            .with("repository_size", self.size.map(|size| size.stored_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_code_of_its_own_and_the_worst_counts() {
        use Outcome::*;
        let all = [Fine, Warning, Running, Locked, Full, Failed, Key, Damaged, Usage];
        let codes: std::collections::BTreeSet<u8> = all.iter().map(|one| one.code()).collect();
        assert_eq!(codes, (0..9).collect());
        let mut report = Report::begin("app", 0);
        report.is_at_best(Damaged);
        report.is_at_best(Warning);
        assert_eq!(report.outcome, Damaged);
    }
}
