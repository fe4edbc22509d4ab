//! Why a command ended early.

use std::io;

use garret_core::{Cause, Hint, Problem, StoreError, StoreErrorKind};

/// What ends a command.
#[derive(Debug)]
pub enum Failure {
    /// It could not be done. One line.
    Fatal(String),
    /// The same, where programs can be told why.
    Because(Cause, String),
    /// The core could not do it. Kept as it is, so that a program can say it in words of its own.
    Engine(garret_core::Error),
    /// It was asked for in a way that makes no sense. One line.
    Usage(String),
    /// What went wrong was told of already. The exit code.
    Told(u8),
    /// Nobody reads our output any more: a reason to stop, none to complain. The exit code: 0 for a text of which enough
    /// was read, 1 for restored data that is not complete.
    NobodyReads(u8),
}

impl Failure {
    /// Something about our own output or surroundings failed.
    pub fn io(what: impl std::fmt::Display, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::NobodyReads(0),
            _ => Failure::Fatal(format!("{what}: {error}")),
        }
    }

    /// The same as a problem that is to be told of; none where nothing is to be said.
    pub fn problem(&self) -> Option<Problem> {
        let said = |cause, text: &String| Some(Problem::new(cause, None, text.clone()));
        match self {
            Failure::Fatal(text) => said(Cause::Other, text),
            Failure::Because(cause, text) => said(*cause, text),
            Failure::Usage(text) => said(Cause::Invalid, text),
            Failure::Engine(error) => Some(error.into()),
            Failure::Told(_) | Failure::NobodyReads(_) => None,
        }
    }
}

/// The whole message of an error, and what to do.
pub fn say(error: &garret_core::Error) -> String {
    garret_core::message(error) + advice(error.hint())
}

/// What to do, in the words of `garret`: it has every command.
pub fn advice(hint: Option<Hint>) -> &'static str {
    match hint {
        Some(Hint::CheckData) => "; run `garret check --verify-data`",
        Some(Hint::Check) => "; run `garret check`",
        Some(Hint::ListArchives) => ": `garret list` shows what does",
        Some(Hint::Find) => "; `garret find` says which archives hold a file",
        Some(Hint::StoreZeros) => ": `garret create --read-errors zero` stores what can be read",
        Some(Hint::Repair) => ": garret check --repair puts it back",
        Some(Hint::NamePacks) => {
            ": name that with --packs or GARRET_PACKS (of sync, for FROM: --from-packs)"
        }
        Some(Hint::AllowEmpty) => "; --allow-empty stores it",
        Some(Hint::Unprotect) => ": garret unprotect lets it go",
        Some(Hint::AsStored) => "; leave out --as to get the image as it was",
        _ => "",
    }
}

/// Why something was not done: if there was no room, in which words, and that `collect` is to be run when there is some.
pub fn full(error: garret_core::Error, undone: &str, collect: &str) -> Failure {
    let garret_core::Error::Store(StoreError { kind: StoreErrorKind::NoSpace, source, .. }) =
        &error
    else {
        return error.into();
    };
    let full = match source.kind() {
        io::ErrorKind::QuotaExceeded => "quota used up",
        io::ErrorKind::FileTooLarge => "no file may be that long here (see ulimit -f)",
        _ => "disk full",
    };
    let message = garret_core::message(&error);
    let text = format!("{message}: {full}, {undone}; make room, then run {collect}");
    Failure::Because(Cause::Full, text)
}

impl From<garret_core::Error> for Failure {
    fn from(error: garret_core::Error) -> Self {
        match &error {
            garret_core::Error::System { source, .. }
                if source.kind() == io::ErrorKind::BrokenPipe =>
            {
                Failure::NobodyReads(1)
            }
            _ => Failure::Engine(error),
        }
    }
}
