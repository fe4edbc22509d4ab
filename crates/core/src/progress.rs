//! The one seam through which the library speaks while it works.
//!
//! An operation opens a task for each stretch of work and counts in it, names what it is at, and reports what went wrong
//! without ending it. Programs draw bars, print lines, or do nothing. Calls come from any thread; they are cheap and must
//! not block. Nothing is put into words for a receiver that does not listen. Promises: a task ends however the work ends;
//! it never counts beyond its total but where a source grew while it was read, and after work without problems to it.

use std::fmt;
use std::ops::Range;

use garret_format::recipe::CutterKind;
use garret_image::SourceError;

use crate::error::{Cause, Error, Hint, message};

/// Stretches of a file that one line names: nobody reads more of them.
const STRETCHES_SHOWN: usize = 10;

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
    /// Why, for programs.
    pub cause: Cause,
    /// The thing: a path as it was named or is stored, or an object of the repository.
    pub subject: Option<String>,
    /// One line for people: the thing and what is wrong with it.
    pub text: String,
    /// What can be done.
    pub hint: Option<Hint>,
    /// Of a file: which bytes are lost, in order, as far as that is known. The text names the first of them.
    pub lost: Vec<Range<u64>>,
}

impl Problem {
    /// A loss, in one line that says all of it.
    pub fn new(cause: Cause, subject: Option<String>, text: String) -> Self {
        Problem { kind: ProblemKind::Loss, cause, subject, text, hint: None, lost: Vec::new() }
    }

    /// A loss because something could not be read.
    pub(crate) fn unread(error: &SourceError) -> Self {
        Problem::new(error.into(), Some(error.path().display().to_string()), message(error))
    }

    /// What is lost of `subject`, in words.
    pub(crate) fn loss(cause: Cause, subject: impl fmt::Display, what: impl fmt::Display) -> Self {
        let text = format!("{subject}: {what}");
        Problem::new(cause, Some(subject.to_string()), text)
    }

    /// What somebody should look at, in words.
    pub(crate) fn warning(
        cause: Cause,
        subject: impl fmt::Display,
        what: impl fmt::Display,
    ) -> Self {
        Problem { kind: ProblemKind::Warning, ..Problem::loss(cause, subject, what) }
    }
}

/// Stretches of a file in words: the first of them, and how many more there are, `unknown` of them besides these.
pub(crate) fn ranges_in_words(ranges: &[Range<u64>], unknown: u64) -> String {
    let shown = ranges.iter().take(STRETCHES_SHOWN);
    let shown: Vec<String> =
        shown.map(|range| format!("{} to {}", range.start, range.end)).collect();
    let more = (ranges.len() - shown.len()) as u64;
    match more.saturating_add(unknown) {
        0 => shown.join(", "),
        1 => format!("{} and 1 more stretch", shown.join(", ")),
        more => format!("{} and {more} more stretches", shown.join(", ")),
    }
}

/// A loss that is an error.
impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let subject = error.subject().map(str::to_owned);
        Problem { hint: error.hint(), ..Problem::new(error.cause(), subject, message(error)) }
    }
}

/// What a task does.
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
    /// Bringing packs from another copy of the repository.
    Transfer,
}

/// What a task counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Archives.
    Archives,
    /// Packs.
    Packs,
}

impl Phase {
    /// What is counted in it.
    pub fn unit(self) -> Unit {
        match self {
            Phase::Mark => Unit::Archives,
            Phase::Index => Unit::Packs,
            _ => Unit::Bytes,
        }
    }
}

/// Something about one path or object, for `-v`. Shown, it is what stands behind the path in a line, if anything does.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Note<'n> {
    /// It is stored: a directory, a link, a node, or another name of a file.
    Stored,
    /// It is stored with the content that the archive before has of it.
    Untouched,
    /// It is read, and cut in this way.
    Read {
        /// By what.
        cutter: CutterKind,
        /// In how many sections, each cut as a stream of its own.
        sections: usize,
        /// Why so, in words.
        why: &'n dyn fmt::Display,
    },
    /// It is being restored, or verified.
    Restored,
    /// It is an archive that could not be read: files are not compared with those of it.
    Skipped(&'n Error),
}

impl fmt::Display for Note<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Stored | Note::Restored => Ok(()),
            Note::Untouched => f.write_str("untouched"),
            Note::Read { cutter, sections, why } => {
                let partitions = if *sections > 1 { ", partition by partition" } else { "" };
                write!(f, "cutter {}{partitions} ({why})", cutter_name(*cutter))
            }
            Note::Skipped(error) => {
                write!(f, "files are not compared with those of this archive: {}", message(*error))
            }
        }
    }
}

/// The name of a cutter, as options have it.
pub fn cutter_name(cutter: CutterKind) -> &'static str {
    match cutter {
        CutterKind::Page => "page",
        CutterKind::Fastcdc => "fastcdc",
    }
}

/// A stretch of work that is going on; dropped, it has ended, however the work did.
#[must_use = "a task ends when it is dropped"]
pub trait Task: Send + Sync {
    /// So many more have been dealt with, of what [`Phase::unit`] says.
    fn advance(&self, _count: u64) {}
}

/// Receives what happens.
pub trait Progress: Sync {
    /// A task begins; `total` is how much it will deal with, if that is known. Any number of them may be going on at once.
    #[must_use = "a task ends when it is dropped"]
    fn begin(&self, _phase: Phase, _total: Option<u64>) -> Box<dyn Task + '_> {
        Box::new(Silent)
    }
    /// Something about one path or object.
    fn note(&self, _path: &[u8], _note: &Note<'_>) {}
    /// Something the user should know now although nothing is wrong: files that are passed over.
    fn notice(&self, _text: &str) {}
    /// The same of what ends by itself: waiting for a lock.
    fn waiting(&self, text: &str) {
        self.notice(text);
    }
    /// Something went wrong with one thing.
    fn problem(&self, _problem: &Problem) {}
}

/// Receives and forgets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}

impl Task for Silent {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_stretches_a_line_names_the_first_and_how_many_more_there_are() {
        let of = |count: u64| -> Vec<Range<u64>> {
            (0..count).map(|number| number * 10..number * 10 + 4).collect()
        };
        assert_eq!(ranges_in_words(&of(0), 0), "");
        assert_eq!(ranges_in_words(&of(2), 0), "0 to 4, 10 to 14");
        assert_eq!(ranges_in_words(&of(1), 1), "0 to 4 and 1 more stretch");
        assert!(ranges_in_words(&of(1000), 5).ends_with(", 90 to 94 and 995 more stretches"));
        assert!(ranges_in_words(&of(1000), 5).len() < 200);
    }
}
