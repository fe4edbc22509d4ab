//! Jobs as numbers for Prometheus: the text format that the textfile collector of its node exporter reads.
//!
//! In: jobs, and what is remembered of each. Out: a file. Promises: whoever reads it sees the old one or the new one,
//! whole; a job that has not run yet has no numbers rather than wrong ones.

use std::path::Path;

use super::history::History;
use super::job::Job;
use crate::failure::Failure;
use crate::whole::{self, Readers};

/// The name of each number in the file and where it is remembered, with what it is.
const ROWS: [(&str, &str, &str); 19] = [
    ("job_last_run_timestamp_seconds", "last_run", "When the job ended last, however it did."),
    (
        "job_last_success_timestamp_seconds",
        "last_success",
        "When it ended last without any problem.",
    ),
    (
        "job_last_complete_timestamp_seconds",
        "last_complete",
        "When it made the last archive in which nothing is missing.",
    ),
    (
        "job_last_verified_timestamp_seconds",
        "last_verified",
        "When its last check found nothing wrong.",
    ),
    ("job_exit_code", "exit_code", "The exit code of the last run, as in docs/nightly.md."),
    ("job_duration_seconds", "duration", "How long the last run took."),
    ("job_original_bytes", "original", "Bytes of all that is in the archive of the last run."),
    ("job_read_bytes", "read", "Bytes that the last run read."),
    ("job_new_bytes", "new", "Bytes that were new in the last run."),
    ("job_stored_bytes", "stored", "Bytes that these take."),
    ("job_requests", "requests", "Requests to the store by the last backup."),
    ("job_sent_bytes", "sent", "Bytes that it sent there."),
    ("job_received_bytes", "received", "Bytes that it got from there."),
    ("job_seconds_per_gigabyte", "pace", "Seconds for each gigabyte of the last archive."),
    ("job_problems", "problems", "Problems of the last run."),
    ("job_damaged", "damaged", "How many of them are damage of the repository."),
    ("repository_archives", "archives", "Archives in the repository."),
    ("repository_size_bytes", "size", "Bytes of the repository."),
    (
        "repository_verified_since_timestamp_seconds",
        "verified_since",
        "Since when every byte of the repository was read at least once.",
    ),
];

/// Writes the file.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, jobs: &[Job]) -> Result<(), Failure> {
    let known: Vec<(&Job, History)> = jobs.iter().map(|job| (job, History::load(job))).collect();
    whole::put(path, text(&known).as_bytes(), Readers::All).map_err(|error| {
        Failure::io(format!("metrics: {}: cannot be written", path.display()), &error)
    })
}

fn text(jobs: &[(&Job, History)]) -> String {
    let mut text = String::new();
    for (name, key, help) in ROWS {
        let numbers: String = jobs
            .iter()
            .filter_map(|(job, history)| {
                let number = history.get(key)?;
                let (name_, repository) =
                    (&job.name, escape(&job.repository.display().to_string()));
                Some(format!(
                    "garret_{name}{{job=\"{name_}\",repository=\"{repository}\"}} {number}\n"
                ))
            })
            .collect();
        if !numbers.is_empty() {
            text += &format!("# HELP garret_{name} {help}\n# TYPE garret_{name} gauge\n{numbers}");
        }
    }
    text
}

/// A value of a label.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
