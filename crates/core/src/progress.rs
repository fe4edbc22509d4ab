//! The one seam through which the library speaks while it works.
//!
//! An operation counts the bytes it has dealt with, names what it is at, and reports what went wrong without ending it.
//! Programs draw bars, print lines, or do nothing. Calls come from any thread; they are cheap and must not block.

use std::fmt;

use garret_image::SourceError;

use crate::error::{Error, Hint, message};

/// How much a [`Problem`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// Something is missing or damaged: what was done is not complete.
    Loss,
    /// Nothing is missing that there was, but somebody should look.
    Warning,
}

/// Something that went wrong with one thing while the operation went on. It decides the exit code in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Whether anything is missing for it.
    pub kind: ProblemKind,
    /// The thing: a path as it was named or is stored, or an object of the repository.
    pub subject: Option<String>,
    /// One line: the thing and what is wrong with it.
    pub text: String,
    /// What can be done.
    pub hint: Option<Hint>,
}

impl Problem {
    /// A loss that is an error.
    pub(crate) fn of(error: &Error) -> Self {
        let (subject, text) = (error.subject().map(str::to_owned), message(error));
        Problem { kind: ProblemKind::Loss, subject, text, hint: error.hint() }
    }

    /// A loss because something could not be read.
    pub(crate) fn unread(error: &SourceError) -> Self {
        let subject = Some(error.path().display().to_string());
        Problem { kind: ProblemKind::Loss, subject, text: message(error), hint: None }
    }

    /// What is lost of `subject`, in words.
    pub(crate) fn loss(subject: impl fmt::Display, what: impl fmt::Display) -> Self {
        Problem::about(ProblemKind::Loss, &subject, &what)
    }

    /// What somebody should look at, in words.
    pub(crate) fn warning(subject: impl fmt::Display, what: impl fmt::Display) -> Self {
        Problem::about(ProblemKind::Warning, &subject, &what)
    }

    fn about(kind: ProblemKind, subject: &dyn fmt::Display, what: &dyn fmt::Display) -> Self {
        let text = format!("{subject}: {what}");
        Problem { kind, subject: Some(subject.to_string()), text, hint: None }
    }
}

/// What an operation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Reading what is backed up.
    Backup,
    /// Writing what is restored.
    Restore,
    /// Reading the repository to check it.
    Check,
    /// Finding what is still needed.
    Mark,
    /// Copying what is still needed out of packs that are mostly not.
    Repack,
    /// Comparing contents.
    Compare,
    /// Reading the index.
    Index,
}

/// Receives what happens.
pub trait Progress: Sync {
    /// A phase begins; `total` is how many bytes it will deal with, if that is known.
    fn begin(&self, _phase: Phase, _total: Option<u64>) {}
    /// `bytes` more have been dealt with.
    fn advance(&self, _bytes: u64) {}
    /// The phase that began last has ended.
    fn end(&self) {}
    /// Something about one path or object, for `-v`.
    fn note(&self, _text: &str) {}
    /// Something the user should know now although nothing is wrong: waiting for a lock, files that are passed over.
    fn notice(&self, _text: &str) {}
    /// Something went wrong with one thing.
    fn problem(&self, _problem: &Problem) {}
}

/// Receives and forgets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}
