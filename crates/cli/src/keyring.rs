//! A repository that was opened to show or change what opens it.
//!
//! In: where it is, and how it is to be opened. Out: the same repository with other keys; what the client knows of it.
//! Promises: a repository that is not what it was is refused before it is written to.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use garret_core::{Locked, NewKey, Opened};
use garret_format::slot::Label;

use crate::failure::Failure;
use crate::location::Location;
use crate::state::{self, Expected, Use};
use crate::ui::Ui;
use crate::{key_file, session};

/// A repository, and the master key that something opened.
pub struct Keyring<'a> {
    /// The repository.
    pub locked: Locked,
    /// What was opened.
    pub opened: Opened,
    path: &'a Location,
    is_trusted: bool,
    ui: &'a Ui,
}

impl<'a> Keyring<'a> {
    /// The repository at `path`, which `open` opens.
    ///
    /// # Errors
    /// It is not what it was, and is to be written to; it does not open.
    pub fn open(
        path: &'a Location,
        usage: Use,
        ui: &'a Ui,
        open: impl FnOnce(&Locked) -> Result<Opened, Failure>,
    ) -> Result<Self, Failure> {
        let locked = session::find(path)?.with_patience(ui.patience());
        let admitted = state::admit(&locked, path, usage, Expected::Any, ui)?;
        let opened = open(&locked)?;
        locked.tell(ui);
        let is_trusted = state::confirm(admitted, &opened.keys()?, ui)?.is_trusted;
        Ok(Keyring { locked, opened, path, is_trusted, ui })
    }

    /// Adds a slot to the repository.
    ///
    /// # Errors
    /// It cannot be stored, or there are too many.
    pub fn add(&self, passphrase: &[u8], label: Label) -> Result<(), Failure> {
        let new = self.new_key(passphrase, label);
        let added = self.locked.add_key(&self.opened, &new, self.ui)?;
        // The passphrase that was just given is the one that this client uses; without one, the new one is.
        match self.opened.slot() {
            Some(_) => self.remember(&self.opened),
            None => self.remember(&added),
        }
    }

    /// Puts another passphrase in the place of the one that opened: in the repository, or in the key file, whose path it
    /// gives then. It keeps its label unless it gets a new one.
    ///
    /// # Errors
    /// It cannot be stored; then the old one still opens.
    pub fn change(
        &self,
        passphrase: &[u8],
        label: Option<Label>,
    ) -> Result<Option<PathBuf>, Failure> {
        let label = label.unwrap_or_else(|| self.opened.label().clone());
        let new = self.new_key(passphrase, label);
        if self.opened.slot().is_some() {
            let changed = self.locked.change_key(&self.opened, &new, self.ui)?;
            self.remember(&changed)?;
            return Ok(None);
        }
        let path = key_file::key_path(self.locked.id())?;
        key_file::write(&path, &self.locked.key_file(&self.opened, &new)?)?;
        self.remember(&self.opened)?;
        Ok(Some(path))
    }

    /// Keeps in mind what opened the repository.
    ///
    /// # Errors
    /// There is no memory for its keys.
    pub fn remember(&self, opened: &Opened) -> Result<(), Failure> {
        if self.is_trusted {
            let keys = opened.keys()?;
            let identity = self.locked.identity(&keys);
            state::remember(&identity, &keys, self.path, Use::Writes, self.ui);
        }
        Ok(())
    }

    /// A key that is made now.
    pub fn new_key<'p>(&self, passphrase: &'p [u8], label: Label) -> NewKey<'p> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut new = NewKey::new(passphrase, i64::try_from(now).unwrap_or(i64::MAX));
        new.label = label;
        new
    }
}
