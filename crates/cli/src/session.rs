//! From a path to an open repository: find it, unlock it, open it, compare it with what was seen of it.

use std::ops::{Deref, DerefMut};
use std::path::Path;

use garret_core::{
    Cause, Checker, Error, Exclusive, Keys, LocalStore, Locked, NamedArchive, Pruner, Repository,
    Right, Sharing, Split, StoreErrorKind, Unlocked, Writer,
};
use garret_format::config::KeyMode;
use garret_remote::Removable;

use crate::failure::{Failure, say};
use crate::location::Location;
use crate::seen::Memory;
use crate::state::{self, Admitted, Expected, Use, doubted};
use crate::ui::Ui;
use crate::{cache, sandbox, secrets, ssh, stores, surroundings};

/// Bytes of opened groups that a command keeps: it reads in order, and what it reads again are recipes and lists of files.
const KEPT_LEN: u64 = 8 << 20;

/// Of the things in a directory that is not empty, how many are named.
const NAMED_MAX: usize = 3;

/// A repository that was opened for what `S` can do, and what this client remembers of it.
pub struct Session<S> {
    session: S,
    /// None of one that is doubted, or that nothing can be remembered of.
    memory: Option<Memory>,
    is_trusted: bool,
    /// Whether it is told where nothing can be remembered.
    is_told: bool,
}

impl<S> Deref for Session<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.session
    }
}

impl<S> DerefMut for Session<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.session
    }
}

impl<S: AsRef<Repository>> Session<S> {
    /// Whether nothing speaks against the repository, so that what is found may be noted there.
    pub fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// Remembers archives that were made. That it cannot be done is told of where that matters, and fails nothing.
    pub fn made(&mut self, archives: &[NamedArchive], ui: &Ui) {
        let Some(memory) = &mut self.memory else { return };
        // What is not believed any more was exchanged a moment ago; the next command speaks of it.
        if memory.add(self.session.as_ref(), archives).is_ok() {
            self.save(ui);
        }
    }

    /// Remembers what is left, for the end of what takes something away.
    ///
    /// # Errors
    /// The repository cannot be listed.
    pub fn look_again(&mut self, ui: &Ui) -> Result<(), Failure> {
        if let Some(memory) = &mut self.memory {
            // Nothing is older than a moment ago: nobody else deletes.
            let repository = self.session.as_ref();
            let _older = memory.look(repository, &repository.sight()?, ui)?;
            self.save(ui);
        }
        Ok(())
    }

    /// Says which archives are gone without a word, once.
    fn tell(&mut self, location: &Location, ui: &Ui) {
        let untold = self.memory.as_mut().and_then(Memory::untold);
        if let Some(untold) = untold {
            ui.complain(&format!("Warning: {}: {untold}", location.display()));
            self.save(ui);
        }
    }

    /// How many archives this client knows to be gone without a word.
    pub fn lost_count(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.lost().len())
    }

    fn save(&mut self, ui: &Ui) {
        let saved = self.memory.as_mut().map(Memory::save);
        if let (Some(Err(error)), true) = (saved, self.is_told) {
            self.is_told = false;
            ui.complain(&format!(
                "note: cannot remember which archives there are: {error}; set GARRET_STATE_DIR to a directory that can \
                 be written"
            ));
        }
    }
}

impl Session<Pruner> {
    /// Remembers what is left, for the end of what deletes. If all that nobody needs was given back, what is gone without a
    /// word is recorded as deleted: else it may lie where no listing shows it, and come back.
    ///
    /// # Errors
    /// The repository cannot be listed or written.
    pub fn settle(&mut self, is_collected: bool, ui: &Ui) -> Result<(), Failure> {
        self.look_again(ui)?;
        let Some(memory) = &mut self.memory else { return Ok(()) };
        if is_collected && !memory.lost().is_empty() {
            self.session.record_deleted(memory.lost())?;
            let repository = self.session.as_ref();
            let _older = memory.look(repository, &repository.sight()?, ui)?;
        }
        self.save(ui);
        Ok(())
    }
}

/// The repository at `location`, its keys still unknown.
///
/// # Errors
/// As of [`store`] and [`Locked::find`].
pub fn find(location: &Location) -> Result<Locked, Failure> {
    let locked = Locked::find(store(location)?)?;
    let (key, slot) = state::known_key(locked.id());
    Ok(locked.expecting(key).trying_first(slot))
}

/// Where the objects of the repository at `location` are.
///
/// # Errors
/// There is none, or a file in its place; it cannot be opened, or does not answer; two places that do not belong together.
pub fn store(location: &Location) -> Result<Box<dyn Removable>, Failure> {
    let path = match location {
        Location::Remote(remote) => return Ok(Box::new(ssh::connect(remote, None)?)),
        Location::Store(url) => return Ok(Box::new(stores::connect(url, None)?)),
        Location::Split { hot, cold } => {
            return Ok(Box::new(Split::open(store(hot)?, store(cold)?).map_err(Error::from)?));
        }
        Location::Directory(path) => path,
    };
    if matches!(path.try_exists(), Ok(false)) {
        let text = format!("Repository {} does not exist", path.display());
        return Err(Failure::Because(Cause::Missing, text));
    }
    if path.is_file() {
        let why = "it is a file".to_owned();
        return Err(Error::NotARepository { path: path.display().to_string(), why }.into());
    }
    Ok(Box::new(LocalStore::open(path).map_err(Error::from)?))
}

/// The repository at `location`, to be read.
///
/// # Errors
/// As of [`find`]; nothing that is given opens it; as of [`Unlocked::reader`].
pub fn reader(location: &Location, ui: &Ui) -> Result<Session<Repository>, Failure> {
    open(location, Right::Read, ui, |unlocked| unlocked.reader(ui))
}

/// The same, to be looked into for long and at any place: it keeps about so many bytes of opened groups.
///
/// # Errors
/// As of [`reader`].
pub fn viewer(location: &Location, kept_len: u64, ui: &Ui) -> Result<Session<Repository>, Failure> {
    open(location, Right::Read, ui, |unlocked| unlocked.keep(kept_len).reader(ui))
}

/// The same, to add archives.
///
/// # Errors
/// As of [`reader`]; it is not what it was or should be, or is older than it was.
pub fn writer(location: &Location, ui: &Ui) -> Result<Session<Writer>, Failure> {
    open(location, Right::Write, ui, |unlocked| unlocked.writer(ui))
}

/// The same, and from before its index is opened the program is confined to that: not earlier, for what gives the passphrase
/// may be a command.
///
/// # Errors
/// As of [`writer`].
pub fn confined_writer(location: &Location, ui: &Ui) -> Result<Session<Writer>, Failure> {
    open(location, Right::Write, ui, |unlocked| {
        sandbox::confine(&location.directories().collect::<Vec<_>>());
        unlocked.writer(ui)
    })
}

/// The same, to be checked.
///
/// # Errors
/// As of [`reader`]; `Lock` if somebody deletes in it for longer than is waited.
pub fn checker(location: &Location, ui: &Ui) -> Result<Session<Checker>, Failure> {
    open(location, Right::Check, ui, |unlocked| unlocked.checker(ui))
}

/// The same, to delete.
///
/// # Errors
/// As of [`writer`]; `Lock` if somebody else deletes or checks for longer than is waited.
pub fn pruner(location: &Location, ui: &Ui) -> Result<Session<Pruner>, Failure> {
    open(location, Right::Prune, ui, |unlocked| unlocked.pruner(ui))
}

/// The same, to repair.
///
/// # Errors
/// As of [`writer`]; `Lock` if anybody has it open for longer than is waited.
pub fn exclusive(location: &Location, ui: &Ui) -> Result<Session<Exclusive>, Failure> {
    open(location, Right::Alone, ui, |unlocked| unlocked.exclusive(ui))
}

fn open<S: AsRef<Repository>>(
    location: &Location,
    right: Right,
    ui: &Ui,
    open: impl FnOnce(Unlocked) -> garret_core::Result<S>,
) -> Result<Session<S>, Failure> {
    let locked = find(location)?.meant_for(right);
    let usage = if right.writes() { Use::Writes } else { Use::Reads };
    let admitted = state::admit(&locked, location, usage, Expected::by_what_is_given(ui), ui)?;
    let keys = secrets::unlock(&locked, location, ui)?;
    let mut session = enter(locked, keys, admitted, location, ui, open)?;
    session.tell(location, ui);
    Ok(session)
}

/// A repository that was found and admitted, with the keys that were found for it; `open` decides what may be done with it.
/// What is gone without a word is not told of.
///
/// # Errors
/// It does not open; it is to be written to, and is not what it was, or is older than it was.
pub fn enter<S: AsRef<Repository>>(
    locked: Locked,
    keys: Keys,
    admitted: Admitted,
    location: &Location,
    ui: &Ui,
    open: impl FnOnce(Unlocked) -> garret_core::Result<S>,
) -> Result<Session<S>, Failure> {
    let locked = locked.with_patience(ui.patience());
    let identity = locked.identity(&keys);
    let Admitted { usage, is_trusted, .. } = state::confirm(admitted, &keys, ui)?;
    let memory = match is_trusted.then(|| Memory::load(identity.id, &keys, location)) {
        Some(Err(Failure::Fatal(doubt))) => doubted(usage, &doubt, ui).map(|()| None)?,
        memory => memory.transpose()?,
    };
    let unlocked = locked.with(keys.clone()).cache(cache::directory().as_deref()).keep(KEPT_LEN);
    let session = open(unlocked)?;
    let memory = compare(memory, session.as_ref(), (location, usage), ui)?;
    let (is_trusted, is_encrypted) = (memory.is_some(), identity.mode != KeyMode::None);
    let is_told = is_trusted
        && state::remember(&identity, &keys, location, usage, ui)
        && (usage == Use::Writes && is_encrypted);
    let mut session = Session { session, memory, is_trusted, is_told };
    session.save(ui);
    Ok(session)
}

/// What is remembered, if the repository is not older than that, or is to be taken as it is.
fn compare(
    memory: Option<Memory>,
    repository: &Repository,
    (location, usage): (&Location, Use),
    ui: &Ui,
) -> Result<Option<Memory>, Failure> {
    let Some(mut memory) = memory else { return Ok(None) };
    let mut look = || -> garret_core::Result<_> {
        let before = memory.clone();
        let now = repository.first_sight()?;
        if memory.look(repository, &now, ui)?.is_none() && !memory.has_untold() {
            return Ok(None);
        }
        // That listing may be of before another process of this client made what is remembered.
        memory = before;
        let now = repository.sight()?;
        Ok(memory.look(repository, &now, ui)?.map(|doubt| (doubt, now)))
    };
    let doubt = match look() {
        Ok(None) => return Ok(Some(memory)),
        Ok(Some((_, now))) if ui.accepts_state() => {
            memory.accept(repository, &now, ui)?;
            return Ok(Some(memory));
        }
        Ok(Some((doubt, _))) => doubt,
        Err(error) if usage == Use::Writes => return Err(error.into()),
        Err(error) => say(&error),
    };
    doubted(usage, &format!("{}: {doubt}", location.display()), ui)?;
    Ok(None)
}

/// Makes an empty directory for a repository at `location`.
///
/// # Errors
/// What is there instead, if that is why; `Usage` for two places that are in each other; it cannot be made.
pub fn create(location: &Location, sharing: Sharing) -> Result<Box<dyn Removable>, Failure> {
    let path = match location {
        Location::Remote(remote) => return Ok(Box::new(ssh::connect(remote, Some(sharing))?)),
        Location::Store(url) => return Ok(Box::new(stores::connect(url, Some(sharing))?)),
        Location::Split { hot, cold } => return create_split(hot, cold, sharing),
        Location::Directory(path) => path,
    };
    let store = LocalStore::create(path, sharing).map_err(|error| match error.kind {
        StoreErrorKind::AlreadyExists => {
            let text = format!("Repository {} already exists: {}", path.display(), there(path));
            Failure::Because(Cause::Taken, text)
        }
        _ => Error::from(error).into(),
    })?;
    Ok(Box::new(store))
}

/// Makes both, or none.
fn create_split(
    hot: &Location,
    cold: &Location,
    sharing: Sharing,
) -> Result<Box<dyn Removable>, Failure> {
    let is_inside = |one: &Location, other: &Location| {
        let places = one.directory().zip(other.directory());
        places.is_some_and(|(one, other)| surroundings::is_in(one, other))
    };
    if hot == cold || is_inside(hot, cold) || is_inside(cold, hot) {
        let (hot, cold) = (hot.display(), cold.display());
        return Err(Failure::Usage(format!(
            "{cold} and {hot} are in each other: name a second place outside"
        )));
    }
    let hot = create(hot, sharing)?;
    let made = create(cold, sharing).and_then(|cold| match Split::mark(&hot, &cold) {
        Ok(()) => Ok(cold),
        Err(error) => {
            let _left = cold.undo_create();
            Err(Error::from(error).into())
        }
    });
    match made {
        Ok(cold) => Ok(Box::new(Split::open(hot, cold).map_err(Error::from)?)),
        Err(failure) => {
            let _left = hot.undo_create();
            Err(failure)
        }
    }
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
    match find(&path.into()) {
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
///
/// # Errors
/// The store cannot be listed; there are no threads to read archives with.
pub fn original_len(repository: &Repository, ui: &Ui) -> Result<u64, Failure> {
    let mut sum = 0u64;
    for (_, found) in repository.archives(repository.archive_names()?)? {
        match found {
            Ok(archive) => sum = sum.saturating_add(archive.archive.original_len),
            Err(error) => ui.report(&(&error).into()),
        }
    }
    repository.tell(ui);
    Ok(sum)
}
