//! From a path to an open repository: find it, unlock it, open it.

use std::path::Path;

use garret_core::{
    Cause, Checker, Error, Exclusive, Keys, LocalStore, Locked, Pruner, Repository, Sharing,
    StoreErrorKind, Unlocked, Writer,
};

use crate::failure::Failure;
use crate::state::{self, Admitted, Expected, Use};
use crate::ui::Ui;
use crate::{cache, sandbox, secrets};

/// Bytes of opened groups that a command keeps: it reads in order, and what it reads again are recipes and lists of files.
const KEPT_LEN: u64 = 8 << 20;

/// Of the things in a directory that is not empty, how many are named.
const NAMED_MAX: usize = 3;

/// The repository at `path`, its keys still unknown.
pub fn find(path: &Path) -> Result<Locked, Failure> {
    if matches!(path.try_exists(), Ok(false)) {
        let text = format!("Repository {} does not exist", path.display());
        return Err(Failure::Because(Cause::Missing, text));
    }
    if path.is_file() {
        let why = "it is a file".to_owned();
        return Err(Error::NotARepository { path: path.display().to_string(), why }.into());
    }
    let locked = Locked::find(Box::new(LocalStore::open(path).map_err(Error::from)?))?;
    let (key, slot) = state::known_key(locked.id());
    Ok(locked.expecting(key).trying_first(slot))
}

/// The repository at `path`, to be read.
pub fn reader(path: &Path, ui: &Ui) -> Result<Repository, Failure> {
    open(path, Use::Reads, ui, |unlocked, _| unlocked.reader(ui))
}

/// The same, to add archives.
pub fn writer(path: &Path, ui: &Ui) -> Result<Writer, Failure> {
    open(path, Use::Writes, ui, |unlocked, _| unlocked.writer(ui))
}

/// The same, and from before its index is opened the program is confined to that: not earlier, for what gives the passphrase
/// may be a command.
pub fn confined_writer(path: &Path, ui: &Ui) -> Result<Writer, Failure> {
    open(path, Use::Writes, ui, |unlocked, _| {
        sandbox::confine(path);
        unlocked.writer(ui)
    })
}

/// The same, to be checked; and whether nothing speaks against it, so that what is found may be noted there.
pub fn checker(path: &Path, ui: &Ui) -> Result<(Checker, bool), Failure> {
    let mut is_trusted = false;
    let checker = open(path, Use::Reads, ui, |unlocked, trusted| {
        is_trusted = trusted;
        unlocked.checker(ui)
    })?;
    Ok((checker, is_trusted))
}

/// The same, to delete.
pub fn pruner(path: &Path, ui: &Ui) -> Result<Pruner, Failure> {
    open(path, Use::Writes, ui, |unlocked, _| unlocked.pruner(ui))
}

/// The same, to repair.
pub fn exclusive(path: &Path, ui: &Ui) -> Result<Exclusive, Failure> {
    open(path, Use::Writes, ui, |unlocked, _| unlocked.exclusive(ui))
}

fn open<S>(
    path: &Path,
    usage: Use,
    ui: &Ui,
    open: impl FnOnce(Unlocked, bool) -> garret_core::Result<S>,
) -> Result<S, Failure> {
    let locked = find(path)?;
    let admitted = state::admit(&locked, path, usage, Expected::by_what_is_given(ui), ui)?;
    let keys = secrets::unlock(&locked, path, ui)?;
    enter(locked, keys, admitted, path, ui, open)
}

/// A repository that was found and admitted, with the keys that were found for it; `open` decides what may be done with it,
/// and is told whether nothing speaks against it.
pub fn enter<S>(
    locked: Locked,
    keys: Keys,
    admitted: Admitted,
    path: &Path,
    ui: &Ui,
    open: impl FnOnce(Unlocked, bool) -> garret_core::Result<S>,
) -> Result<S, Failure> {
    let locked = locked.with_patience(ui.patience());
    let identity = locked.identity(&keys);
    let admitted = state::confirm(admitted, &keys, ui)?;
    let unlocked = locked.with(keys.clone()).cache(cache::directory().as_deref()).keep(KEPT_LEN);
    let session = open(unlocked, admitted.is_trusted)?;
    if admitted.is_trusted {
        state::remember(&identity, &keys, path, admitted.usage, ui);
    }
    Ok(session)
}

/// Makes an empty directory for a repository at `path`; what is there instead, if that is why it cannot be.
pub fn create(path: &Path, sharing: Sharing) -> Result<LocalStore, Failure> {
    LocalStore::create(path, sharing).map_err(|error| match error.kind {
        StoreErrorKind::AlreadyExists => {
            let text = format!("Repository {} already exists: {}", path.display(), there(path));
            Failure::Because(Cause::Taken, text)
        }
        _ => Error::from(error).into(),
    })
}

/// What is in the way of a new repository.
fn there(path: &Path) -> String {
    let shown = path.display();
    let mut names = match std::fs::read_dir(path) {
        Ok(entries) => {
            let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
            names.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>()
        }
        Err(_) if path.is_dir() => return format!("{shown} cannot be looked into"),
        Err(_) => return format!("{shown} is no directory"),
    };
    match find(path) {
        Ok(_) => return "back up into it, or choose an empty or new directory".to_owned(),
        Err(Failure::Engine(Error::NotARepository { .. })) => {}
        Err(Failure::Engine(error)) => return crate::failure::say(&error),
        Err(_) => return format!("{shown} cannot be looked into"),
    }
    names.sort_unstable();
    let more = match names.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    names.truncate(NAMED_MAX);
    format!(
        "{shown} is not empty and is no repository: it holds {}{more}; choose an empty or new directory",
        names.join(", ")
    )
}

/// Bytes of all streams of all archives. Archives that cannot be read are reported and left out.
pub fn original_len(repository: &Repository, ui: &Ui) -> Result<u64, Failure> {
    let mut sum = 0u64;
    for name in repository.archive_names()? {
        match repository.archive(&name) {
            Ok(archive) => sum = sum.saturating_add(archive.archive.original_len),
            Err(error) => ui.report(&(&error).into()),
        }
    }
    Ok(sum)
}
