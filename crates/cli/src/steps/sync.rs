//! Brings a copy of a repository up to date with it, or makes one.
//!
//! In: where the repository is, where the copy is or is to be, which archives. Out: what came. Promises: the copy is made
//! only where there is nothing, and has the repository's id and keys; one passphrase opens both; nothing is written where
//! the repository is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use garret_core::{Cause, Error, Locked, Patterns, Repository, Sharing, TransferReport, Writer};
use garret_format::archive::Time;

use crate::failure::Failure;
use crate::location::Location;
use crate::secrets;
use crate::session::{self, Session};
use crate::state::{self, Admitted, Expected, Use};
use crate::ui::Ui;

/// Brings the archives of `from` whose names fit one of `patterns`, or all if there is none, and that began at `since` or
/// later, if that is said, to the copy at `to`.
///
/// # Errors
/// There is no repository at `from`, or another one at `to`; either cannot be opened; what is at `to` cannot be written.
/// Archives that cannot be brought are reported.
pub fn sync(
    (from, to): (&Location, &Location),
    (patterns, since): (&[OsString], Option<Time>),
    ui: &Ui,
) -> Result<TransferReport, Failure> {
    let source = session::find(from)?;
    // Before anything is made: a passphrase is for the repository that is known here, and so is what is copied of it.
    // As one that is written to: what it has is written.
    let admitted = admit(&source, from, ui)?;
    let keys = secrets::unlock(&source, from, ui)?;
    let copy = match session::find(to) {
        Ok(copy) => copy,
        Err(failure) if is_nothing(&failure) => make(&source, to)?,
        Err(failure) => return Err(failure),
    };
    if copy.id() != source.id() {
        return Err(Failure::Fatal(format!(
            "{} is another repository than {}, not a copy of it: name a copy, or a place where there is nothing",
            to.display(),
            from.display()
        )));
    }
    let source: Session<Repository> =
        session::enter(source, keys.clone(), admitted, from, ui, |unlocked| unlocked.reader(ui))?;
    let admitted = admit(&copy, to, ui)?;
    let mut copy: Session<Writer> =
        session::enter(copy, keys, admitted, to, ui, |unlocked| unlocked.writer(ui))?;
    let mut names = source.archive_names()?;
    let patterns = Patterns::new(patterns.iter().cloned().map(OsStringExt::into_vec));
    names.retain(|name| patterns.is_empty() || patterns.exclude(name.as_bytes()));
    if names.is_empty() && !patterns.is_empty() {
        ui.complain("note: no archive has a name that fits --archives");
    }
    let report = copy.transfer(&source, names, since, ui)?;
    copy.made(&report.brought, ui);
    Ok(report)
}

fn admit(locked: &Locked, location: &Location, ui: &Ui) -> Result<Admitted, Failure> {
    state::admit(locked, location, Use::Writes, Expected::by_what_is_given(ui), ui)
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
