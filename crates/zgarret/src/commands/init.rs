//! `zgarret init`: makes a repository.

use std::ffi::OsString;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use garret_cli::failure::Failure;
use garret_cli::secrets::{self, Passphrase};
use garret_cli::state;
use garret_core::{InitOptions, LocalStore, Progress, Sharing, StoreErrorKind};
use garret_format::config::KeyMode;

use super::context::{Context, wrong_use};
use crate::location;
use crate::password::Password;

pub(super) fn run(context: &Context<'_>, words: &[OsString]) -> Result<(), Failure> {
    let [path] = words else { return Err(wrong_use("init")) };
    let path = Path::new(path);
    // Before anything is made: without a passphrase there is to be no half of a repository.
    let phrase = phrase(context)?;
    refuse_what_is_there(path)?;
    for name in &context.line.storable.names {
        context
            .ui
            .notice(&format!("note: {name} is not stored: give it to the commands that write"));
    }
    let store = LocalStore::create(path, Sharing::Private).map_err(|error| match error.kind {
        StoreErrorKind::AlreadyExists if path.is_dir() => Failure::Fatal(format!(
            "{} is not empty: choose an empty or new directory",
            path.display()
        )),
        StoreErrorKind::AlreadyExists => no_directory(path),
        _ => Failure::Engine(error.into()),
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mode = if phrase.is_some() { KeyMode::Passphrase } else { KeyMode::None };
    let options = InitOptions::new(mode, phrase.unwrap_or_default(), now);
    let made = garret_core::init(&store, &options, &mut |_, _| Ok(()));
    if made.is_err() {
        // All that is in it was made here; init can be tried again.
        let _left = store.undo_create();
    }
    let (identity, keys) = made?;
    state::remember(&identity, &keys, &path.into(), state::Use::Writes, context.ui);
    Ok(())
}

/// The passphrase, or none if there is to be no encryption. That has to be said: it cannot be found out.
fn phrase(context: &Context<'_>) -> Result<Option<Passphrase>, Failure> {
    let phrase = match context.passwords.first() {
        Some(Password::None) => return Ok(None),
        Some(Password::Phrase(phrase)) => phrase.clone(),
        None => secrets::given(context.ui)?.ok_or_else(|| {
            Failure::Fatal("Specify either --password-file or --non-encrypted".to_owned())
        })?,
    };
    match phrase.is_empty() {
        true => Err(empty()),
        false => Ok(Some(phrase)),
    }
}

/// zbackup takes an empty password for none, without a word.
pub(super) fn empty() -> Failure {
    Failure::Fatal(
        "The password must not be empty: --non-encrypted makes a repository without one".to_owned(),
    )
}

fn refuse_what_is_there(path: &Path) -> Result<(), Failure> {
    // `info` is what zbackup's have and ours have not.
    for name in ["config", "info"] {
        let file = path.join(name);
        if file.symlink_metadata().is_ok() {
            return Err(Failure::Fatal(format!(
                "Won't overwrite existing file {}",
                file.display()
            )));
        }
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent.is_none_or(Path::is_dir) {
        true => Ok(()),
        false => Err(no_directory(path)),
    }
}

fn no_directory(path: &Path) -> Failure {
    let why = location::why_not_here(path);
    Failure::Fatal(format!("Can't create directory {}{why}", path.display()))
}
