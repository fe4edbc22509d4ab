//! Passphrases and key files.
//!
//! In: `GARRET_PASSPHRASE`, `ATTIC_PASSPHRASE`, `GARRET_NEW_PASSPHRASE`, the terminal, the key directory (`GARRET_KEYS_DIR`,
//! `ATTIC_KEYS_DIR`). Out: keys.
//! Promises: nothing is asked without a terminal and nothing more than three times; a wrong passphrase in the environment
//! ends the command at once; passphrases are wiped from memory; a key file is on disk, whole, before anything depends on it.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use garret_core::{Keys, Locked, Secret, StoreError};
use garret_format::RepositoryId;
use garret_format::config::KeyMode;
use garret_format::slot::SLOT_LEN;
use zeroize::Zeroizing;

use crate::cache::{absolute, variable};
use crate::failure::Failure;
use crate::prompt;
use crate::trust::{WRITABLE, is_settled, is_trusted};
use crate::ui::Ui;

/// How often the terminal is asked.
const ATTEMPTS: u32 = 3;

/// A passphrase that is wiped when dropped.
pub type Passphrase = Zeroizing<Vec<u8>>;

/// The keys of a repository.
pub fn unlock(locked: &Locked, path: &Path, ui: &Ui) -> Result<Keys, Failure> {
    match locked.key_mode() {
        KeyMode::None => Ok(locked.unlock(Secret::None)?),
        KeyMode::Passphrase | KeyMode::Keyfile => Ok(passphrase_and_keys(locked, path, ui)?.1),
    }
}

/// The keys that a passphrase from elsewhere opens; an unencrypted repository needs none.
pub fn unlock_with(
    locked: &Locked,
    path: &Path,
    passphrase: &[u8],
    ui: &Ui,
) -> Result<Keys, Failure> {
    match locked.key_mode() {
        KeyMode::None => Ok(locked.unlock(Secret::None)?),
        KeyMode::Passphrase => Ok(locked.unlock(Secret::Passphrase(passphrase))?),
        KeyMode::Keyfile => {
            let file = read_key_file(locked.id(), path)?;
            file.tell(ui);
            let shown = file.path.display().to_string();
            Ok(locked.unlock(Secret::Keyfile { path: &shown, bytes: &file.bytes, passphrase })?)
        }
    }
}

/// The passphrase that opens a repository, and what it opens.
pub fn passphrase_and_keys(
    locked: &Locked,
    path: &Path,
    ui: &Ui,
) -> Result<(Passphrase, Keys), Failure> {
    if locked.key_mode() == KeyMode::Passphrase {
        return attempt(path, false, ui, |passphrase| {
            locked.unlock(Secret::Passphrase(passphrase))
        });
    }
    let file = read_key_file(locked.id(), path)?;
    file.tell(ui);
    let shown = file.path.display().to_string();
    attempt(path, true, ui, |passphrase| {
        locked.unlock(Secret::Keyfile { path: &shown, bytes: &file.bytes, passphrase })
    })
}

/// Tries the passphrase of the environment; or none, if that may be; or what the terminal says.
fn attempt(
    path: &Path,
    blank: bool,
    ui: &Ui,
    open: impl Fn(&[u8]) -> garret_core::Result<Keys>,
) -> Result<(Passphrase, Keys), Failure> {
    if let Some(passphrase) = from_environment(&["GARRET_PASSPHRASE", "ATTIC_PASSPHRASE"]) {
        let keys = open(&passphrase)?;
        return Ok((passphrase, keys));
    }
    if blank {
        match open(&[]) {
            Err(garret_core::Error::WrongPassphrase) => {}
            opened => return Ok((Passphrase::default(), opened?)),
        }
    }
    let prompt = format!("Enter passphrase for {}: ", path.display());
    let needed = || {
        Failure::Fatal(format!(
            "{} needs a passphrase and there is no terminal to ask: set GARRET_PASSPHRASE",
            path.display()
        ))
    };
    for left in (0..ATTEMPTS).rev() {
        let passphrase = ask(&prompt)?.ok_or_else(needed)?;
        match open(&passphrase) {
            Err(garret_core::Error::WrongPassphrase) if left > 0 => {
                ui.complain("wrong passphrase, try again")
            }
            opened => return Ok((passphrase, opened?)),
        }
    }
    Err(garret_core::Error::WrongPassphrase.into())
}

/// A passphrase for a new key: from one of `variables`, or asked twice.
pub fn new_passphrase(variables: &[&str], blank: bool, ui: &Ui) -> Result<Passphrase, Failure> {
    if let Some(passphrase) = from_environment(variables) {
        return match passphrase.is_empty() && !blank {
            true => Err(Failure::Fatal("the passphrase must not be empty".to_owned())),
            false => Ok(passphrase),
        };
    }
    let needed = || {
        let first = variables.first().copied().unwrap_or_default();
        let empty = if blank { " (empty for none)" } else { "" };
        Failure::Fatal(format!(
            "a passphrase is needed and there is no terminal to ask: set {first}{empty}"
        ))
    };
    let prompt = match blank {
        true => "Enter new passphrase (blank for none): ",
        false => "Enter new passphrase: ",
    };
    for left in (0..ATTEMPTS).rev() {
        let first = ask(prompt)?.ok_or_else(needed)?;
        let wrong = if first.is_empty() && !blank {
            "the passphrase must not be empty"
        } else if ask("Enter same passphrase again: ")?.ok_or_else(needed)? != first {
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

/// The first of these variables that is set, empty or not.
pub fn from_environment(variables: &[&str]) -> Option<Passphrase> {
    let value = variables.iter().find_map(env::var_os)?;
    Some(Zeroizing::new(value.into_vec()))
}

/// Asks the terminal; `None` without one. A controlling terminal alone is not enough: with stdin and stderr both
/// redirected somebody runs a script and is not looking.
fn ask(prompt: &str) -> Result<Option<Passphrase>, Failure> {
    if !io::stdin().is_terminal() && !io::stderr().is_terminal() {
        return Ok(None);
    }
    match prompt::ask(prompt) {
        Ok(line) => Ok(Some(line)),
        Err(error) => Err(Failure::Fatal(format!("cannot read the passphrase: {error}"))),
    }
}

/// Where key files are.
fn key_directory() -> Result<PathBuf, Failure> {
    variable("GARRET_KEYS_DIR")
        .or_else(|| variable("ATTIC_KEYS_DIR"))
        .or_else(|| absolute("XDG_CONFIG_HOME").map(|path| path.join("garret/keys")))
        .or_else(|| absolute("HOME").map(|path| path.join(".config/garret/keys")))
        .ok_or_else(|| Failure::Fatal("set GARRET_KEYS_DIR: HOME is not set either".to_owned()))
}

/// Where the key file of a repository is, or will be.
pub fn key_path(id: RepositoryId) -> Result<PathBuf, Failure> {
    Ok(key_directory()?.join(format!("{id}.key")))
}

/// A key file. Without a passphrase it is the key, so its bytes are wiped.
pub struct KeyFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Who else could have it, in words.
    doubt: Option<String>,
}

impl KeyFile {
    /// Says who else could have it, if somebody could.
    pub fn tell(&self, ui: &Ui) {
        if let Some(doubt) = &self.doubt {
            ui.complain(&format!("Warning: {}: {doubt}", self.path.display()));
        }
    }
}

/// The key file of the repository at `path`.
///
/// # Errors
/// That there is none, that it cannot be read, or that others can write to it.
pub fn read_key_file(id: RepositoryId, path: &Path) -> Result<KeyFile, Failure> {
    let key_path = key_path(id)?;
    let read = || -> io::Result<_> {
        // Looked at first, for opening a device can do something; again when open, and not waiting, for it may be another
        // one then.
        let is_file = |metadata: fs::Metadata| match metadata.is_file() {
            true => Ok(metadata),
            false => Err(io::Error::other("it is not a file")),
        };
        is_file(key_path.metadata()?)?;
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = File::options().read(true).custom_flags(nonblocking).open(&key_path)?;
        let metadata = is_file(file.metadata()?)?;
        Ok((read_secret(file, SLOT_LEN)?, metadata))
    };
    let (bytes, metadata) = read().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let directory = key_path.parent().unwrap_or(&key_path).display();
            Failure::Fatal(format!(
                "No key file for repository {} found in {directory}.",
                path.display()
            ))
        }
        _ => fatal(StoreError::new("read", key_path.display(), error)),
    })?;
    let mode = metadata.mode() & 0o777;
    if mode & WRITABLE != 0 {
        return Err(Failure::Fatal(format!(
            "{}: others can write to this key file (mode {mode:o}); if it is still yours, `chmod 600` it",
            key_path.display()
        )));
    }
    let doubt = doubt(&key_path, &metadata);
    Ok(KeyFile { path: key_path, bytes, doubt })
}

/// Who but this user and root could have a key file, or put another one in its place.
fn doubt(path: &Path, metadata: &fs::Metadata) -> Option<String> {
    let mode = metadata.mode() & 0o777;
    if !is_trusted(metadata.uid()) {
        Some(format!("this key file belongs to user {}, who can exchange it", metadata.uid()))
    } else if mode & READABLE != 0 {
        Some(format!("others can read this key file (mode {mode:o}); `chmod 600` it"))
    } else if !is_settled(path) {
        Some("others can exchange this key file: a directory that leads there is theirs or open to them".to_owned())
    } else {
        None
    }
}

/// Says of a key file that was just written who else could have it, if somebody could.
pub fn tell_of_key_file(path: &Path, ui: &Ui) {
    if let Some(doubt) = path.metadata().ok().and_then(|metadata| doubt(path, &metadata)) {
        ui.complain(&format!("Warning: {}: {doubt}", path.display()));
    }
}

/// Permissions of group and others.
const READABLE: u32 = 0o044;

/// All of a file of at most `len_max` bytes, where no copy is left behind: the room for it is there before it is read.
///
/// # Errors
/// That it cannot be read or is longer.
pub fn read_secret(file: impl Read, len_max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; len_max + 1]);
    let mut file = file.take(bytes.len() as u64);
    let mut len = 0;
    while let Some(room) = bytes.get_mut(len..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if len > len_max {
        let text = format!("it is longer than {len_max} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    bytes.truncate(len);
    Ok(bytes)
}

fn fatal(error: StoreError) -> Failure {
    garret_core::Error::from(error).into()
}

/// Writes a key file that only this user can read. It is whole and synced when this returns.
pub fn write_key_file(path: &Path, bytes: &[u8]) -> garret_core::Result<()> {
    write_private(path, bytes)
        .map_err(|error| StoreError::new("write key file", path.display(), error).into())
}

/// Writes a file that only this user can read: beside its place, synced, renamed, its directory synced.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // The crate makes it with mode 0600 and removes it unless it is renamed.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    file.persist(path)?;
    match File::open(directory)?.sync_all() {
        // The file system has no such call for directories.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        result => result,
    }
}
