//! What this client remembers of a job from night to night, for the metrics: also of nights on which the repository was not
//! there.
//!
//! In: reports. Out: a small file of JSON for each job. Promises: one that cannot be read counts as none.

use std::fs;

use serde_json::{Map, Value};

use super::job::Job;
use super::once::place;
use super::report::{Archived, Report};
use crate::failure::Failure;
use crate::key_file::write_private;

/// The longest file that is read.
const LEN_MAX: u64 = 64 << 10;

/// Numbers by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct History(Map<String, Value>);

impl History {
    /// What is remembered of a job.
    pub(super) fn load(job: &Job) -> Self {
        let read = || {
            let path = place(job, "json").ok()?;
            let is_short = path.metadata().ok()?.len() <= LEN_MAX;
            let bytes = fs::read(path).ok().filter(|_| is_short)?;
            serde_json::from_slice(&bytes).ok()
        };
        read().map_or_else(History::default, History)
    }

    /// Remembers it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn save(&self, job: &Job) -> Result<(), Failure> {
        let path = place(job, "json")?;
        let text = format!("{:#}\n", Value::Object(self.0.clone()));
        write_private(&path, text.as_bytes())
            .map_err(|error| Failure::io(format!("{}: cannot be written", path.display()), &error))
    }

    /// The number of that name.
    pub(super) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    /// What came after that is now.
    pub(super) fn add(&mut self, report: &Report) {
        let end = report.start as f64 + report.duration.as_secs_f64().ceil();
        let made = report.archive.as_ref();
        let complete = made.filter(|made| made.is_complete);
        let verified = report.verified.filter(|verified| verified.never_count == 0);
        let of = |bytes: fn(&Archived) -> u64| made.map_or(0.0, |made| bytes(made) as f64);
        let traffic = made.and_then(|made| made.traffic);
        let rows = [
            ("last_run", Some(end)),
            ("last_success", (report.outcome.code() == 0).then_some(end)),
            ("last_complete", complete.map(|made| made.end as f64)),
            ("last_verified", report.is_checked.then_some(end)),
            ("verified_since", verified.and_then(|verified| Some(verified.oldest? as f64))),
            ("exit_code", Some(f64::from(report.outcome.code()))),
            ("duration", Some(report.duration.as_secs_f64())),
            ("original", Some(of(|made| made.original_bytes))),
            ("read", Some(of(|made| made.read_bytes))),
            ("new", Some(of(|made| made.new_bytes))),
            ("stored", Some(of(|made| made.stored_bytes))),
            ("requests", traffic.map(|traffic| traffic.requests as f64)),
            ("sent", traffic.map(|traffic| traffic.sent as f64)),
            ("received", traffic.map(|traffic| traffic.received as f64)),
            ("pace", made.and_then(Archived::pace)),
            ("problems", Some(report.problems as f64)),
            ("damaged", Some(report.damage as f64)),
            ("archives", report.size.map(|size| size.archives as f64)),
            ("size", report.size.map(|size| size.stored_bytes as f64)),
        ];
        for (name, number) in rows {
            if let Some(number) = number {
                self.0.insert(name.to_owned(), Value::from(number));
            }
        }
    }
}
