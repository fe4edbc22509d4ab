//! What every command is given, and what several of them do.

use std::ffi::OsString;
use std::path::Path;

use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::sandbox;
use garret_cli::session::{self, Session};
use garret_cli::state::{self, Use};
use garret_cli::ui::Ui;
use garret_core::{Error, NamedArchive, Pruner, Repository, Unlocked, Writer};
use garret_format::archive::{Item, ItemKind};

use crate::args::Line;
use crate::location::BackupPath;
use crate::password::{self, Password};
use crate::usage;

/// What every command is given.
pub(super) struct Context<'a> {
    pub(super) line: &'a Line,
    pub(super) passwords: Vec<Password>,
    pub(super) ui: &'a Ui,
}

/// The wrong number of words for a command.
pub(super) fn wrong_use(command: &str) -> Failure {
    Failure::Usage(usage::of(command))
}

/// The action before the one word of a command that may have one; `None` for any other number of words, and for an action
/// that is not among `actions`.
pub(super) fn action<'w>(
    words: &'w [OsString],
    actions: &[&'static str],
) -> Option<(&'w str, &'w OsString)> {
    match words {
        [word] => actions.first().map(|first| (*first, word)),
        [action, word] => {
            let action = action.to_str().filter(|action| actions.contains(action))?;
            Some((action, word))
        }
        _ => None,
    }
}

impl Context<'_> {
    /// The repository at `path`, open under the password of a command that takes one.
    pub(super) fn reader(&self, path: &Path) -> Result<Session<Repository>, Failure> {
        self.open(path, self.passwords.first(), Use::Reads, |unlocked| unlocked.reader(self.ui))
    }

    /// The same, to add archives; if no command is to be started any more, confined to that. Not earlier: what gives the
    /// passphrase may be one.
    pub(super) fn writer(&self, path: &Path) -> Result<Session<Writer>, Failure> {
        self.open(path, self.passwords.first(), Use::Writes, |unlocked| {
            if self.line.from_command.is_none() {
                sandbox::confine(&[path]);
            }
            unlocked.writer(self.ui)
        })
    }

    /// The same, to delete.
    pub(super) fn pruner(&self, path: &Path) -> Result<Session<Pruner>, Failure> {
        let open = |unlocked: Unlocked| unlocked.pruner(self.ui);
        self.open(path, self.passwords.first(), Use::Writes, open)
    }

    /// The same, for what `open` opens it for. Of archives that were removed by hand nothing is said: `rm` is zbackup's way.
    pub(super) fn open<S: AsRef<Repository>>(
        &self,
        path: &Path,
        password: Option<&Password>,
        usage: Use,
        open: impl FnOnce(Unlocked) -> garret_core::Result<S>,
    ) -> Result<Session<S>, Failure> {
        let path = &Location::from(path);
        let locked = session::find(path)?;
        let expected = password::expected(password, self.ui);
        let admitted = state::admit(&locked, path, usage, expected, self.ui)?;
        let keys = password::unlock(&locked, path, password, self.ui)?;
        session::enter(locked, keys, admitted, path, self.ui, open)
    }
}

/// Shows why one of several things could not be done; the others go on.
pub(super) fn report(failure: Failure, ui: &Ui) {
    // Why nothing was stored was reported when it happened.
    let is_told = matches!(failure, Failure::Engine(Error::NothingStored));
    failure.problem().iter().filter(|_| !is_told).for_each(|problem| ui.report(problem));
}

/// An archive that holds exactly one file, and that file; zbackup's are all like that.
pub(super) fn single(
    repository: &Repository,
    place: &BackupPath,
) -> Result<(NamedArchive, Item), Failure> {
    let archive = repository.archive(&place.name).map_err(|error| place.failure(error))?;
    match only_file(repository, &archive)? {
        Ok(item) => Ok((archive, item)),
        Err(count) => Err(Failure::Fatal(format!(
            "{} holds {count} files: garret extract {}::{} restores them",
            place.given.display(),
            place.repository.display(),
            place.name
        ))),
    }
}

/// The one file of an archive, else how many there are.
pub(super) fn only_file(
    repository: &Repository,
    archive: &NamedArchive,
) -> Result<Result<Item, u64>, Failure> {
    if archive.archive.file_count != 1 {
        return Ok(Err(archive.archive.file_count));
    }
    let mut files = Vec::new();
    for item in repository.items(archive) {
        let item = item?;
        if matches!(item.kind, ItemKind::File(_)) {
            files.push(item);
        }
    }
    let count = files.len() as u64;
    match (files.pop(), count) {
        (Some(item), 1) => Ok(Ok(item)),
        _ => Ok(Err(count)),
    }
}
