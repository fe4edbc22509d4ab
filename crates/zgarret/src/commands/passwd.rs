//! `zgarret passwd`: a new passphrase. The old one first, as everywhere in zbackup.

use std::ffi::OsString;
use std::path::Path;

use garret_cli::failure::Failure;
use garret_cli::secrets::{self, Passphrase};
use garret_cli::session;
use garret_cli::state::{self, Expected, Use};
use garret_core::{Error, KDF_DEFAULT, Locked};
use garret_format::config::KeyMode;

use super::context::{Context, wrong_use};
use super::init;
use crate::location;
use crate::password::{self, Password};

pub(super) fn run(context: &Context<'_>, words: &[OsString]) -> Result<(), Failure> {
    let (old, new) = password::pair(&context.passwords)?;
    let [path] = words else { return Err(wrong_use("passwd")) };
    let path = location::repository(path)?;
    let locked = session::find(&path)?;
    let _writes = state::admit(&locked, &path, Use::Writes, Expected::Any, context.ui)?;
    let mode = locked.key_mode();
    let (old, new) = match (mode, old, new) {
        (KeyMode::None, None | Some(Password::None), None | Some(Password::None)) => {
            return Err(Error::NoPassphrase.into());
        }
        (KeyMode::None, ..) => return Err(other_type("non-encrypted")),
        (_, Some(Password::Phrase(old)), Some(Password::Phrase(new))) => {
            if mode == KeyMode::Keyfile {
                secrets::read_key_file(locked.id(), &path)?.tell(context.ui);
            }
            (old.clone(), new.clone())
        }
        (_, None, None) => {
            let (old, _) = secrets::passphrase_and_keys(&locked, &path, context.ui)?;
            let blank = mode == KeyMode::Keyfile;
            (old, secrets::new_passphrase(&["GARRET_NEW_PASSPHRASE"], blank, context.ui)?)
        }
        _ => return Err(other_type("encrypted")),
    };
    change(&locked, &path, &old, &new)
}

fn change(locked: &Locked, path: &Path, old: &Passphrase, new: &Passphrase) -> Result<(), Failure> {
    if locked.key_mode() == KeyMode::Passphrase {
        return match new.is_empty() {
            true => Err(init::empty()),
            false => Ok(locked.change_passphrase(old, new, KDF_DEFAULT)?),
        };
    }
    let file = secrets::read_key_file(locked.id(), path)?;
    let shown = file.path.display().to_string();
    let rewrapped = locked.rewrap_keyfile(&shown, &file.bytes, old, new, KDF_DEFAULT)?;
    Ok(secrets::write_key_file(&file.path, &rewrapped)?)
}

fn other_type(current: &str) -> Failure {
    Failure::Fatal(format!(
        "Changing repo encryption type (non-encrypted to encrypted and vice versa) is possible only via \
         import/export operations. Current repo type: {current}."
    ))
}
