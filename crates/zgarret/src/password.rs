//! What opens a repository: the password flags, else what it needs is found out.
//!
//! In: password flags in their order. Out: keys. Promises: a passphrase is wiped from memory; one trailing newline of a
//! password file is no part of it; `--non-encrypted` never opens what is encrypted.

use std::fs::File;

use garret_cli::failure::Failure;
use garret_cli::key_file::read_secret;
use garret_cli::location::Location;
use garret_cli::secrets::{self, PASSPHRASE_LEN_MAX, Passphrase};
use garret_cli::state::Expected;
use garret_cli::ui::Ui;
use garret_core::{Error, Keys, Locked, Progress};
use garret_format::config::KeyMode;

use crate::args::PasswordFlag;
use crate::location::reason;

/// What a password flag says.
pub(crate) enum Password {
    /// There is to be no encryption.
    None,
    /// This is the passphrase; it may be empty.
    Phrase(Passphrase),
}

impl Password {
    /// Reads the file that a flag names.
    pub(crate) fn read(flag: &PasswordFlag) -> Result<Self, Failure> {
        let PasswordFlag::File(path) = flag else { return Ok(Password::None) };
        let read = File::open(path).and_then(|file| read_secret(file, PASSPHRASE_LEN_MAX));
        let mut bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => {
                let text = format!("Can't open {}: {}", path.display(), reason(&error));
                return Err(Failure::Fatal(text));
            }
        };
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok(Password::Phrase(bytes))
    }
}

/// The two of a command that works on two repositories or with two passphrases, or none at all.
///
/// # Errors
/// zbackup's text for any other number.
pub(crate) fn pair(
    passwords: &[Password],
) -> Result<(Option<&Password>, Option<&Password>), Failure> {
    match passwords {
        [] => Ok((None, None)),
        [first, second] => Ok((Some(first), Some(second))),
        _ => Err(Failure::Fatal(
            "Specify password flag (--non-encrypted or --password-file) for import/export/passwd \
             operation twice (first for source and second for destination)"
                .to_owned(),
        )),
    }
}

/// What the flag says of a repository, else the environment.
pub(crate) fn expected(password: Option<&Password>, ui: &Ui) -> Expected {
    match password {
        None => Expected::by_what_is_given(ui),
        Some(Password::None) => Expected::Any,
        Some(Password::Phrase(_)) => Expected::Encrypted,
    }
}

/// The keys of the repository at `location`: with what the flag says, else with what it turns out to need.
pub(crate) fn unlock(
    locked: &Locked,
    location: &Location,
    password: Option<&Password>,
    ui: &Ui,
) -> Result<Keys, Failure> {
    match (password, locked.key_mode()) {
        (None, _) => secrets::unlock(locked, location, ui),
        (Some(Password::None), KeyMode::None) => secrets::unlock_with(locked, location, &[], ui),
        (Some(Password::None), _) => Err(Error::WrongPassphrase.into()),
        (Some(Password::Phrase(phrase)), mode) => {
            if mode == KeyMode::None {
                // As zbackup; but whoever believes it to be encrypted should hear that it is not.
                ui.notice(&format!(
                    "note: {} is not encrypted: the password file is not used",
                    location.display()
                ));
            }
            secrets::unlock_with(locked, location, phrase, ui)
        }
    }
}
