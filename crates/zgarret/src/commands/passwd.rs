//! `zgarret passwd`: a new passphrase. The old one first, as everywhere in zbackup.

use std::ffi::OsString;

use garret_cli::failure::Failure;
use garret_cli::keyring::Keyring;
use garret_cli::secrets;
use garret_cli::state::Use;
use garret_core::Error;
use garret_format::config::KeyMode;

use super::context::{Context, wrong_use};
use super::init;
use crate::location;
use crate::password::{self, Password};

pub(super) fn run(context: &Context<'_>, words: &[OsString]) -> Result<(), Failure> {
    let (old, new) = password::pair(&context.passwords)?;
    let [path] = words else { return Err(wrong_use("passwd")) };
    let path = location::repository(path)?.as_path().into();
    let ui = context.ui;
    let keyring =
        Keyring::open(&path, Use::Writes, ui, |locked| match (locked.key_mode(), old, new) {
            (KeyMode::None, None | Some(Password::None), None | Some(Password::None)) => {
                Err(Error::NoPassphrase.into())
            }
            (KeyMode::None, ..) => Err(other_type("non-encrypted")),
            (_, Some(Password::Phrase(old)), Some(Password::Phrase(_))) => {
                secrets::open_with(locked, &path, old, ui)
            }
            (_, None, None) => secrets::open(locked, &path, ui),
            _ => Err(other_type("encrypted")),
        })?;
    // Only a key file needs no passphrase.
    let blank = keyring.opened.slot().is_none();
    let new = match new {
        Some(Password::Phrase(new)) => new.clone(),
        _ => secrets::next_passphrase(blank, ui)?,
    };
    match new.is_empty() && !blank {
        true => Err(init::empty()),
        false => keyring.change(&new, None).map(drop),
    }
}

fn other_type(current: &str) -> Failure {
    Failure::Fatal(format!(
        "Changing repo encryption type (non-encrypted to encrypted and vice versa) is possible only via \
         import/export operations. Current repo type: {current}."
    ))
}
