//! Brings a copy of a repository up to date with it, or makes one.
//!
//! ```text
//! from   open, before anything is made -> archives -> what `to` lacks -> transfer
//! to     find or make                  ->                             -> what was deleted in `from` -> guard -> delete
//! ```
//!
//! A dry run goes the same way and stops before `make`, `transfer` and `delete`.
//!
//! In: where the repository is, where the copy is or is to be, which archives. Out: what came, and what went. Promises: the
//! copy is made only where there is nothing, and has the repository's id and keys; one passphrase opens both; nothing is
//! written where the repository is. In the copy nothing goes but what somebody deleted in the repository, and only if that
//! was asked for; nothing that is protected in the copy.

use std::collections::HashSet;

use garret_core::{
    Cause, Error, Keys, Locked, NamedArchive, Patterns, Pruner, Repository, Sharing,
    TransferReport, Writer,
};
use garret_format::archive::Time;

use super::delete::{Freed, remove};
use crate::failure::Failure;
use crate::location::Location;
use crate::render::plural;
use crate::secrets;
use crate::session::{self, Session};
use crate::state::{self, Admitted, Expected, Use};
use crate::ui::Ui;

/// Archives that are named in one line.
const NAMES_MAX: usize = 5;

/// What is to come, and whether anything goes.
#[derive(Clone, Debug)]
pub struct Syncing {
    /// Only archives whose names fit one of these; all if there is none.
    pub patterns: Patterns,
    /// Only archives that began then or later come.
    pub since: Option<Time>,
    /// Whether what was deleted in the repository is deleted in the copy.
    pub deletes: bool,
    /// Also if that is more than half of what is there and fits.
    pub force: bool,
    /// Whether nothing is to come or go: it is only said what would.
    pub is_dry: bool,
    /// Threads that do the work of deleting.
    pub threads: usize,
}

/// What came, and what went; of a dry run what would.
#[derive(Debug, Default)]
pub struct SyncReport {
    /// What came: of a dry run without packs.
    pub transfer: TransferReport,
    /// The names of what went.
    pub deleted: Vec<String>,
    /// How many stay although they were deleted in the repository, for they are protected.
    pub protected_count: usize,
    /// What that gave back; nothing in a dry run.
    pub freed: Freed,
    /// Why nothing went, or not all, if it should have: what came is there all the same.
    pub kept: Option<Failure>,
}

/// Brings the archives of `from` to the copy at `to`, and lets it follow what was deleted.
///
/// # Errors
/// There is no repository at `from`, or another one at `to`; either cannot be opened; what is at `to` cannot be written.
/// Archives that cannot be brought are reported.
pub fn sync(
    (from, to): (&Location, &Location),
    syncing: &Syncing,
    ui: &Ui,
) -> Result<SyncReport, Failure> {
    if from.names().iter().any(|name| to.names().contains(name)) {
        let text = "FROM and TO are one place: name another one for the copy";
        return Err(Failure::Fatal(text.to_owned()));
    }
    if let (Location::Split { cold: from, .. }, Location::Split { cold: to, .. }) = (from, to)
        && from.names().iter().any(|name| to.names().contains(name))
    {
        return Err(Failure::Fatal(format!(
            "the packs of FROM and TO would lie in one place, {}: give another one with --packs, or unset GARRET_PACKS",
            to.display()
        )));
    }
    let source = session::find(from)?;
    // Before anything is made: a passphrase is for the repository that is known here, and so is what is copied of it.
    // As one that is written to: what it has is written.
    let admitted = syncing.admit(&source, from, ui)?;
    let keys = secrets::unlock(&source, from, ui)?;
    let copy = match session::find(to) {
        Ok(copy) => Some(copy),
        Err(failure) if is_nothing(&failure) => None,
        Err(failure) => return Err(failure),
    };
    if copy.as_ref().is_some_and(|copy| copy.id() != source.id()) {
        return Err(Failure::Fatal(format!(
            "{} is another repository than {}, not a copy of it: name a copy, or a place where there is nothing",
            to.display(),
            from.display()
        )));
    }
    let copy = match copy {
        None if !syncing.is_dry => Some(make(&source, to)?),
        found => found,
    };
    let source: Session<Repository> =
        session::enter(source, keys.clone(), admitted, from, ui, |unlocked| unlocked.reader(ui))?;
    let mut names = source.archive_names()?;
    names.retain(|name| syncing.fits(name));
    // Those that are to go may be in the copy alone.
    if names.is_empty() && !syncing.patterns.is_empty() && !syncing.deletes {
        ui.complain("note: no archive has a name that fits --archives");
    }
    let Some(copy) = copy else {
        let transfer = source.plan_transfer(None, names, syncing.since, ui)?;
        return Ok(SyncReport { transfer, ..SyncReport::default() });
    };
    let admitted = syncing.admit(&copy, to, ui)?;
    if syncing.is_dry {
        let copy: Session<Repository> =
            session::enter(copy, keys, admitted, to, ui, |unlocked| unlocked.reader(ui))?;
        return syncing.preview((&source, from), (&copy, to), names, ui);
    }
    let mut copy: Session<Writer> =
        session::enter(copy, keys.clone(), admitted, to, ui, |unlocked| unlocked.writer(ui))?;
    let transfer = copy.transfer(&source, names, syncing.since, ui)?;
    copy.made(&transfer.brought, ui);
    let mut report = SyncReport { transfer, ..SyncReport::default() };
    if syncing.deletes {
        // Else who deletes would see a session that may need what goes.
        drop(copy);
        report.kept = syncing.follow((&source, from), (to, keys), &mut report, ui).err();
    }
    Ok(report)
}

impl Syncing {
    fn fits(&self, name: &str) -> bool {
        self.patterns.is_empty() || self.patterns.exclude(name.as_bytes())
    }

    fn admit(&self, locked: &Locked, location: &Location, ui: &Ui) -> Result<Admitted, Failure> {
        let usage = if self.is_dry { Use::Reads } else { Use::Writes };
        state::admit(locked, location, usage, Expected::by_what_is_given(ui), ui)
    }

    /// What would come to a copy that is there, and what would go.
    fn preview(
        &self,
        (source, from): (&Repository, &Location),
        (copy, to): (&Repository, &Location),
        names: Vec<String>,
        ui: &Ui,
    ) -> Result<SyncReport, Failure> {
        let transfer = source.plan_transfer(Some(copy), names, self.since, ui)?;
        let mut report = SyncReport { transfer, ..SyncReport::default() };
        if self.deletes {
            match self.doomed((source, from), (copy, to), &mut report, ui) {
                Ok(doomed) => report.deleted = doomed,
                Err(failure) => report.kept = Some(failure),
            }
        }
        Ok(report)
    }

    /// Deletes at `to` what somebody deleted at `from`.
    fn follow(
        &self,
        (source, from): (&Repository, &Location),
        (to, keys): (&Location, Keys),
        report: &mut SyncReport,
        ui: &Ui,
    ) -> Result<(), Failure> {
        let copy = session::find(to)?;
        let admitted = self.admit(&copy, to, ui)?;
        let mut copy: Session<Pruner> =
            session::enter(copy, keys, admitted, to, ui, |unlocked| unlocked.pruner(ui))?;
        let names = self.doomed((source, from), (copy.as_ref(), to), report, ui)?;
        if !names.is_empty() {
            report.freed = remove(&mut copy, &names, self.threads, false, ui)?;
            report.deleted = names;
        }
        Ok(())
    }

    /// The names of what somebody deleted at `from`, and is not protected at `to`.
    fn doomed(
        &self,
        (source, from): (&Repository, &Location),
        (copy, to): (&Repository, &Location),
        report: &mut SyncReport,
        ui: &Ui,
    ) -> Result<Vec<String>, Failure> {
        // What cannot be read stays.
        let mut names = copy.archive_names()?;
        names.retain(|name| self.fits(name));
        let here = copy.archives(names)?.into_iter().filter_map(|(_, found)| found.ok());
        let here: Vec<NamedArchive> = here.collect();
        // What would come is not here.
        let coming = if self.is_dry { report.transfer.brought.len() } else { 0 };
        let count = here.len() + coming;
        let mut doomed = source.deleted_of(here)?;
        // One that is there again was put back, also if it cannot be read.
        let (mut there, mut unread) = (HashSet::new(), HashSet::new());
        for (name, found) in source.archives(source.archive_names()?)? {
            match found {
                Ok(found) => drop(there.insert(found.fingerprint)),
                Err(_) => drop(unread.insert(name)),
            }
        }
        doomed.retain(|found| !there.contains(&found.fingerprint) && !unread.contains(&found.name));
        let tags = copy.tags(ui)?;
        let all = doomed.len();
        doomed.retain(|found| !tags.is_protected(found));
        report.protected_count = all - doomed.len();
        let names: Vec<String> = doomed.into_iter().map(|found| found.name).collect();
        if names.len() * 2 <= count || self.force {
            return Ok(names);
        }
        let more = names.len().saturating_sub(NAMES_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let shown: Vec<&str> = names.iter().take(NAMES_MAX).map(String::as_str).collect();
        Err(Failure::Fatal(format!(
            "{} of {} in {} were deleted in {}: nothing is deleted here; look whether {}{more} are to go, \
             and give --force",
            names.len(),
            plural(count as u64, "archive"),
            to.display(),
            from.display(),
            shown.join(", ")
        )))
    }
}

/// Whether nothing is there, or a directory in which there is no repository.
fn is_nothing(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Because(Cause::Missing, _) | Failure::Engine(Error::NotARepository { .. })
    )
}

/// Makes a copy without archives.
fn make(source: &Locked, to: &Location) -> Result<Locked, Failure> {
    let store = session::create(to, Sharing::Private)?;
    if let Err(error) = source.make_copy(&*store) {
        // All that is in it was made here; it can be tried again.
        let _left = store.undo_create();
        return Err(error.into());
    }
    drop(store);
    session::find(to)
}
