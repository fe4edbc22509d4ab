//! What a job says when something goes wrong: what, where, what to do, on one line each.
//!
//! In: failures, problems. Out: texts; the name of the job is put before them by who shows them.

use std::io;
use std::path::Path;

use garret_core::{Cause, KeyMode, Problem};

use super::job::Job;
use super::window::Window;
use crate::failure::Failure;
use crate::location::Location;

/// A step did not come to its end.
pub(super) fn failed(job: &Job, failure: &Failure) -> Problem {
    let none = || Problem::new(Cause::Other, None, "nobody reads the output".to_owned());
    let mut problem = failure.problem().unwrap_or_else(none);
    let place = job.repository.display().to_string();
    if !problem.text.contains(&place) {
        problem.text = format!("{place}: {}", problem.text);
    }
    if problem.hint.is_none() {
        problem.text += match problem.cause {
            Cause::Busy => "; run it again when that has ended, or give `lock-wait` more",
            Cause::Passphrase if problem.text.contains("no terminal to ask") => {
                ", or give this job `passphrase-file`"
            }
            Cause::Passphrase => "; correct `passphrase-file` or `passphrase-command` of this job",
            Cause::Missing if problem.text.ends_with("does not exist") => {
                "; mount it, or make it with garret init"
            }
            Cause::Denied => "; run it as a user who may, or change the rights",
            Cause::Storage => "; see whether the disk of the repository is there and sound",
            _ => "",
        };
    }
    problem
}

/// Whether it may go better in a while.
pub(super) fn may_pass(failure: &Failure) -> bool {
    let cause = failure.problem().map(|problem| problem.cause);
    cause.is_some_and(|cause| {
        matches!(
            cause,
            Cause::Busy | Cause::Storage | Cause::Missing | Cause::Unreadable | Cause::Changed
        )
    })
}

/// Whether there is an archive of that name.
pub(super) fn is_taken(failure: &Failure) -> bool {
    failure.problem().is_some_and(|problem| problem.cause == Cause::Taken)
}

/// What to do about something that could not be backed up.
pub(super) fn in_create(problem: &Problem) -> &'static str {
    match problem.cause {
        Cause::Missing => "; put it back, or take it out of this job",
        Cause::Denied => "; run it as a user who may read it, or exclude it",
        Cause::Changed => "; take a snapshot first, if it matters (docs/nightly.md)",
        _ => "",
    }
}

/// The same of all else: the texts say it.
pub(super) fn in_other(_: &Problem) -> &'static str {
    ""
}

/// Another one is at it.
pub(super) fn taken(by: Option<u32>) -> String {
    let by = by.map_or(String::new(), |by| format!(" (process {by})"));
    format!("another garret nightly{by} is doing this job; nothing was done")
}

/// It is too late, or too early.
pub(super) fn closed(window: Window) -> String {
    format!(
        "nothing was backed up: the `window` {window} is closed; start it earlier, or give the window more"
    )
}

/// What to do about a hook that took longer than `timeout`.
pub(super) const HOOK_TOO_LONG: &str = "see what it waits for, or give `timeout` of the hooks more";
/// What to do about one that kept a guest frozen.
pub(super) const FROZEN_TOO_LONG: &str =
    "freeze and snapshot have 30 s together, for the guest stands still; see what it waits for";

/// An archive was made, and there is nothing in it that could be restored.
pub(super) fn no_files(archive: &str) -> String {
    format!(
        "{archive} holds no files; see what `paths` names and `exclude` leaves out, and whether it is mounted"
    )
}

/// A hook failed.
pub(super) fn hook(name: &str, why: &str) -> String {
    let what = match name {
        "before" | "freeze" | "snapshot" => "; nothing was backed up",
        "thaw" => "; the guest may stand still: run it by hand",
        "cleanup" => "; what the snapshot took is still there: run it by hand",
        _ => "; the backup is not concerned",
    };
    format!("{name} hook: {why}{what}")
}

/// A repository is not where it was.
pub(super) fn gone(location: &Location) -> String {
    format!(
        "{}: the repository that was there is gone, and a new one is not made in its place; mount it, or run garret init by \
         hand",
        location.display()
    )
}

/// A repository was made.
pub(super) fn initialized(location: &Location, mode: KeyMode, key_file: Option<&Path>) -> String {
    let keep = match (mode, key_file) {
        (_, Some(at)) => {
            format!("keep a copy of {} elsewhere: nothing can be restored without it", at.display())
        }
        (KeyMode::None, None) => "it is not encrypted".to_owned(),
        _ => "keep its passphrase elsewhere too: nothing can be restored without it".to_owned(),
    };
    format!("note: made the repository {}; {keep}", location.display())
}

/// Somebody ended us.
pub(super) fn signalled(signal: u8) -> String {
    format!("ended by signal {signal}; what was stored so far is used by the next run")
}

/// There is no shell that could run what is owed.
pub(super) fn not_handed_over(error: &io::Error) -> String {
    format!("the hooks of the end were not run: /bin/sh: {error}; run cleanup by hand")
}
