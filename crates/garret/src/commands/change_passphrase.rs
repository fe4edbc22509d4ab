//! `garret change-passphrase`: a new passphrase for a repository or for its key file.

use std::ffi::OsString;

use garret_core::{Error, KDF_DEFAULT};
use garret_format::config::KeyMode;

use crate::location;
use garret_cli::args::Verbose;
use garret_cli::failure::Failure;
use garret_cli::state::{self, Expected, Use};
use garret_cli::ui::Ui;
use garret_cli::{secrets, session};

/// Arguments of `change-passphrase`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    verbose: Verbose,
    /// The repository
    #[arg(value_name = "REPO")]
    repository: OsString,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.verbose.tell(ui);
    let path = location::repository(&args.repository)?;
    let locked = session::find(&path)?;
    let _writes = state::admit(&locked, &path, Use::Writes, Expected::Any, ui)?;
    let mode = locked.key_mode();
    if mode == KeyMode::None {
        return Err(Error::NoPassphrase.into());
    }
    let (old, _) = secrets::passphrase_and_keys(&locked, &path, ui)?;
    let new = secrets::new_passphrase(&["GARRET_NEW_PASSPHRASE"], mode == KeyMode::Keyfile, ui)?;
    if mode == KeyMode::Passphrase {
        locked.change_passphrase(&old, &new, KDF_DEFAULT)?;
        return ui.print("Passphrase changed\n");
    }
    let file = secrets::read_key_file(locked.id(), &path)?;
    let shown = file.path.display().to_string();
    let rewrapped = locked.rewrap_keyfile(&shown, &file.bytes, &old, &new, KDF_DEFAULT)?;
    secrets::write_key_file(&file.path, &rewrapped)?;
    ui.print(&format!("Key file \"{shown}\" updated\n"))
}
