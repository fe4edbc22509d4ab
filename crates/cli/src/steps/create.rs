//! Makes an archive.
//!
//! In: what to store, and how. Out: what became of it. Promises: where no command is to be started while it is made, the
//! thread that makes it is confined first.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use garret_core::{
    BackupOptions, BackupReport, Error, Input, Repository, StoreError, StoreErrorKind, Writer,
};

use crate::failure::{self, Failure};
use crate::location::Location;
use crate::names;
use crate::pipes::producer_failure;
use crate::session::{self, Session};
use crate::ui::Ui;

/// What is to be made.
pub struct Creation<'a> {
    /// Where.
    pub repository: &'a Location,
    /// The name of the archive.
    pub name: &'a str,
    /// Of what.
    pub inputs: Vec<Input>,
    /// The line for the shell whose output is one of them.
    pub command: Option<OsString>,
    /// How.
    pub options: BackupOptions,
}

/// An archive that was made.
pub struct Made {
    /// What became of it.
    pub report: BackupReport,
    /// How long it took until here, from before the repository was opened.
    pub duration: Duration,
    repository: Session<Writer>,
}

/// What statistics say beside the report of a backup.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// How long it took.
    pub seconds: f64,
    /// Bytes of all archives.
    pub original: u64,
    /// Bytes of the repository.
    pub stored: u64,
}

impl Creation<'_> {
    /// Makes it. From here on this thread can do little else, unless a command is to be started: see [`crate::sandbox`].
    ///
    /// # Errors
    /// No archive was made.
    pub fn run(self, ui: &Ui) -> Result<Made, Failure> {
        let started = Instant::now();
        let Creation { repository: location, name, inputs, command, options } = self;
        let mut repository = match &command {
            None => session::confined_writer(location, ui)?,
            Some(_) => session::writer(location, ui)?,
        };
        let made = repository.backup(name, inputs, &options, ui);
        let report = made.map_err(|error| match error {
            Error::Store(StoreError { kind: StoreErrorKind::NoSpace, .. }) => {
                failure::full(error, "no archive made", "garret prune")
            }
            Error::Store(_) | Error::ArchiveExists(_) => {
                names::in_the_way(&repository, name, error)
            }
            error => producer_failure(command.as_deref(), error),
        })?;
        repository.made(std::slice::from_ref(&report.archive), ui);
        Ok(Made { report, duration: started.elapsed(), repository })
    }
}

impl Made {
    /// Where it is.
    pub fn repository(&self) -> &Repository {
        self.repository.as_ref()
    }

    /// What the repository is now.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn totals(&self, ui: &Ui) -> Result<Totals, Failure> {
        Ok(Totals {
            seconds: self.duration.as_secs_f64(),
            original: session::original_len(&self.repository, ui)?,
            stored: self.repository.stored_len()?,
        })
    }
}
