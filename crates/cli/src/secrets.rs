//! Passphrases: where they come from, and what they open.
//!
//! In: `--passphrase-file`, `GARRET_PASSPHRASE`, `GARRET_PASSCOMMAND`, `ATTIC_PASSPHRASE`, `GARRET_NEW_PASSPHRASE`, the
//! terminal, key files. Out: keys.
//! Promises: nothing is asked without a terminal and nothing more than three times; a wrong passphrase that was given ends
//! the command at once; no command is run and no file read for a repository that needs no passphrase; passphrases are wiped
//! from memory.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use garret_core::{Cause, Error, Keys, Locked, Opened, Secret, message};
use garret_format::config::KeyMode;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::key_file::{self, SecretFile};
use crate::location::Location;
use crate::pipes;
use crate::prompt::{self, Typed};
use crate::render::one_line;
use crate::ui::{SecretPlaces, Ui};

/// How often the terminal is asked.
const ATTEMPTS: u32 = 3;

/// The longest passphrase in a file or from a command, in bytes: whoever gives an image by mistake shall hear so.
pub const PASSPHRASE_LEN_MAX: usize = 64 << 10;

/// What a passphrase for an existing key is looked for in, after the file that was named.
/// How long a command may take that prints it, as a hook may: somebody may have to allow it, and a night must not wait for
/// ever.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(10 * 60);

const PASSPHRASE: &str = "GARRET_PASSPHRASE";
const PASSCOMMAND: &str = "GARRET_PASSCOMMAND";
const OF_ATTIC: &str = "ATTIC_PASSPHRASE";

/// A passphrase that is wiped when dropped.
pub type Passphrase = Zeroizing<Vec<u8>>;

/// Whether a passphrase is given and not empty, as far as can be told without reading a file or running a command.
pub fn is_given(ui: &Ui) -> bool {
    let has = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_set = env::var_os(PASSPHRASE).is_some();
    is_placed(ui) || has(PASSPHRASE) || !is_set && (has(PASSCOMMAND) || has(OF_ATTIC))
}

/// Whether one is given, empty or not, in a way that attic does not have.
pub fn is_given_to_garret(ui: &Ui) -> bool {
    let has_command = env::var_os(PASSCOMMAND).is_some_and(|value| !value.is_empty());
    is_placed(ui) || env::var_os(PASSPHRASE).is_some() || has_command
}

/// Whether the user named a file or a command for it.
fn is_placed(ui: &Ui) -> bool {
    let SecretPlaces { passphrase_file, passphrase_command, .. } = ui.secrets();
    passphrase_file.is_some() || passphrase_command.is_some()
}

/// The passphrase that is given: in the file that was named, by the command that was, else in the environment, else by the
/// command there.
///
/// # Errors
/// The file cannot be read, or is open to others; the command failed; there is none in them.
pub fn given(ui: &Ui) -> Result<Option<Passphrase>, Failure> {
    let places = ui.secrets();
    if let Some(path) = places.passphrase_file {
        let read = SecretFile::read(&path, "passphrase file", PASSPHRASE_LEN_MAX);
        let file = read.map_err(no_passphrase)?;
        file.tell(ui);
        return match line(file.bytes) {
            empty if empty.is_empty() => {
                let text = format!("{}: there is no passphrase in it", path.display());
                Err(Failure::Because(Cause::Passphrase, text))
            }
            passphrase => Ok(Some(passphrase)),
        };
    }
    if let Some(command) = places.passphrase_command {
        return from_command(&command, "passphrase-command").map(Some);
    }
    if let Some(passphrase) = from_environment(PASSPHRASE) {
        return Ok(Some(passphrase));
    }
    match env::var_os(PASSCOMMAND).filter(|command| !command.is_empty()) {
        Some(command) => from_command(&command, &format!("the command in {PASSCOMMAND}")).map(Some),
        None => Ok(from_environment(OF_ATTIC)),
    }
}

/// Why the file cannot be read: to programs as a wrong passphrase is.
fn no_passphrase(failure: Failure) -> Failure {
    match failure.problem() {
        Some(problem) => Failure::Because(Cause::Passphrase, problem.text),
        None => failure,
    }
}

/// What a command prints. The command is not shown: there may be secrets in it.
fn from_command(command: &OsStr, what: &str) -> Result<Passphrase, Failure> {
    let failed = |why: &str| {
        let text = format!("{what} failed: {why}");
        Failure::Because(Cause::Passphrase, text)
    };
    let printed = pipes::output_of(command, PASSPHRASE_LEN_MAX, COMMAND_TIME_MAX);
    let printed = printed.map_err(|why| failed(&why))?;
    match line(printed) {
        empty if empty.is_empty() => Err(failed("it printed no passphrase")),
        passphrase => Ok(passphrase),
    }
}

/// Without the newline that ends it, of whatever system.
fn line(mut bytes: Passphrase) -> Passphrase {
    for end in [b'\n', b'\r'] {
        if bytes.last() != Some(&end) {
            break;
        }
        bytes.pop();
    }
    bytes
}

/// A passphrase in the environment, empty or not.
fn from_environment(variable: &str) -> Option<Passphrase> {
    Some(Zeroizing::new(env::var_os(variable)?.into_vec()))
}

/// The keys of a repository.
///
/// # Errors
/// Nothing that is given opens it.
pub fn unlock(locked: &Locked, location: &Location, ui: &Ui) -> Result<Keys, Failure> {
    if let Some(keys) = ui.kept_keys(locked.config_hash()) {
        return Ok(keys);
    }
    let keys = match locked.key_mode() {
        KeyMode::None => locked.unlock(Secret::None)?,
        KeyMode::Passphrase | KeyMode::Keyfile => open(locked, location, ui)?.keys()?,
    };
    ui.keep_keys(locked.config_hash(), &keys);
    Ok(keys)
}

/// The keys that a passphrase from elsewhere opens; an unencrypted repository needs none.
///
/// # Errors
/// It opens nothing.
pub fn unlock_with(
    locked: &Locked,
    location: &Location,
    passphrase: &[u8],
    ui: &Ui,
) -> Result<Keys, Failure> {
    match locked.key_mode() {
        KeyMode::None => Ok(locked.unlock(Secret::None)?),
        KeyMode::Passphrase | KeyMode::Keyfile => {
            Ok(open_with(locked, location, passphrase, ui)?.keys()?)
        }
    }
}

/// Opens an encrypted repository with a passphrase from elsewhere.
///
/// # Errors
/// It opens nothing.
pub fn open_with(
    locked: &Locked,
    location: &Location,
    passphrase: &[u8],
    ui: &Ui,
) -> Result<Opened, Failure> {
    Ok(Ways::find(locked, location, ui)?.open(passphrase)?)
}

/// Opens an encrypted repository: by a key file that needs no passphrase, else with the passphrase that is given, else with
/// what the terminal says.
///
/// # Errors
/// Nothing of that opens it.
pub fn open(locked: &Locked, location: &Location, ui: &Ui) -> Result<Opened, Failure> {
    if locked.key_mode() == KeyMode::None {
        return Err(Error::NoPassphrase.into());
    }
    let ways = Ways::find(locked, location, ui)?;
    if ways.key_file.is_some() {
        match ways.open(&[]) {
            Err(Error::WrongPassphrase) => {}
            Err(_) if ways.has_slots => {}
            opened => return Ok(opened?),
        }
    }
    if let Some(passphrase) = given(ui)? {
        return Ok(ways.open(&passphrase)?);
    }
    let prompt = format!("Enter passphrase for {}: ", location.display());
    let needed = || {
        let text = format!(
            "{} needs a passphrase and there is no terminal to ask: set {PASSPHRASE}",
            location.display()
        );
        Failure::Because(Cause::Passphrase, text)
    };
    for left in (0..ATTEMPTS).rev() {
        let passphrase = ask(&prompt, Typed::Hidden, ui)?.ok_or_else(needed)?;
        match ways.open(&passphrase) {
            Err(Error::WrongPassphrase) if left > 0 => ui.complain("wrong passphrase, try again"),
            opened => return Ok(opened?),
        }
    }
    Err(Error::WrongPassphrase.into())
}

/// What a passphrase may open: the key file, and slots in the repository.
struct Ways<'a> {
    locked: &'a Locked,
    key_file: Option<SecretFile>,
    has_slots: bool,
    ui: &'a Ui,
}

impl<'a> Ways<'a> {
    fn find(locked: &'a Locked, location: &Location, ui: &'a Ui) -> Result<Self, Failure> {
        let key_file = key_file::find(locked, ui)?;
        if let Some(file) = &key_file {
            file.tell(ui);
        }
        // Without a key file only slots can open it, and who tries them finds whether there are any.
        let is_asked = key_file.is_some() || locked.key_mode() == KeyMode::Keyfile;
        let has_slots = !is_asked || locked.has_slots()?;
        if key_file.is_none() && !has_slots {
            return Err(key_file::missing(location, ui));
        }
        Ok(Ways { locked, key_file, has_slots, ui })
    }

    /// The key file first: it is tried once, and slots each.
    fn open(&self, passphrase: &[u8]) -> garret_core::Result<Opened> {
        let by_slot = || self.locked.open(Secret::Passphrase(passphrase));
        let Some(file) = &self.key_file else { return by_slot() };
        let path = &file.path.display().to_string();
        match self.locked.open(Secret::Keyfile { path, bytes: &file.bytes, passphrase }) {
            Ok(opened) => Ok(opened),
            Err(error) if passphrase.is_empty() || !self.has_slots => Err(error),
            Err(Error::WrongPassphrase) => by_slot(),
            Err(error) => {
                let opened = by_slot();
                match &opened {
                    Ok(_) => self.ui.complain(&format!("Warning: {}", message(&error))),
                    Err(_) => return Err(error),
                }
                opened
            }
        }
    }
}

/// The new passphrase of a key: from the environment, or asked for.
///
/// # Errors
/// As of [`new_passphrase`].
pub fn next_passphrase(blank: bool, ui: &Ui) -> Result<Passphrase, Failure> {
    const VARIABLE: &str = "GARRET_NEW_PASSPHRASE";
    new_passphrase(from_environment(VARIABLE), VARIABLE, blank, ui)
}

/// A passphrase for a new key: the one that is given, else asked for twice; `variable` is named where nobody can be asked.
///
/// # Errors
/// It is empty, and may not be; nobody can be asked.
pub fn new_passphrase(
    given: Option<Passphrase>,
    variable: &str,
    blank: bool,
    ui: &Ui,
) -> Result<Passphrase, Failure> {
    if let Some(passphrase) = given {
        return match passphrase.is_empty() && !blank {
            true => Err(Failure::Fatal("the passphrase must not be empty".to_owned())),
            false => Ok(passphrase),
        };
    }
    let needed = || {
        let empty = if blank { " (empty for none)" } else { "" };
        let text = format!(
            "a passphrase is needed and there is no terminal to ask: set {variable}{empty}"
        );
        Failure::Because(Cause::Passphrase, text)
    };
    let prompt = match blank {
        true => "Enter new passphrase (blank for none): ",
        false => "Enter new passphrase: ",
    };
    let ask = |prompt: &str| ask(prompt, Typed::Hidden, ui)?.ok_or_else(needed);
    for left in (0..ATTEMPTS).rev() {
        let first = ask(prompt)?;
        let wrong = if first.is_empty() && !blank {
            "the passphrase must not be empty"
        } else if ask("Enter same passphrase again: ")? != first {
            "the passphrases are not the same"
        } else {
            return Ok(first);
        };
        match left {
            0 => return Err(Failure::Fatal(wrong.to_owned())),
            _ => ui.complain(&format!("{wrong}, try again")),
        }
    }
    Err(needed())
}

/// Asks the terminal for a secret that is shown while it is typed, because nobody types it blindly; `None` without one.
///
/// # Errors
/// The terminal cannot be read.
pub fn ask_shown(prompt: &str, ui: &Ui) -> Result<Option<Passphrase>, Failure> {
    ask(prompt, Typed::Shown, ui)
}

/// Asks the terminal; `None` without one. A controlling terminal alone is not enough: with stdin and stderr both
/// redirected somebody runs a script and is not looking.
fn ask(prompt: &str, typed: Typed, ui: &Ui) -> Result<Option<Passphrase>, Failure> {
    if ui.is_of_job() || !io::stdin().is_terminal() && !io::stderr().is_terminal() {
        return Ok(None);
    }
    match prompt::ask(&one_line(prompt), typed) {
        Ok(line) => Ok(Some(line)),
        Err(error) => Err(Failure::Fatal(format!("cannot read from the terminal: {error}"))),
    }
}
