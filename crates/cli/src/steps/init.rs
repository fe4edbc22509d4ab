//! Makes a repository.
//!
//! In: where, how it is protected, who may use it. Out: its identity, and where its key file is. Promises: without a
//! passphrase that is needed nothing is made; what could not be finished is taken away again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use garret_core::{ChunkSize, Error, Identity, InitOptions, Sharing};
use garret_format::config::{Cipher, KeyMode};

use crate::failure::Failure;
use crate::location::Location;
use crate::ui::Ui;
use crate::{key_file, secrets, session, state};

/// A repository that was made.
#[derive(Debug)]
pub struct Initialized {
    /// Which it is.
    pub identity: Identity,
    /// What encrypts it; none if nothing does.
    pub cipher: Option<Cipher>,
    /// When, in seconds since 1970.
    pub created: i64,
    /// Where its key file is, if it has one.
    pub key_file: Option<PathBuf>,
}

/// How a repository is made.
#[derive(Clone, Copy, Debug)]
pub struct Making {
    /// Who may use it.
    pub sharing: Sharing,
    /// What encrypts it; the faster one on this machine if nobody says.
    pub cipher: Option<Cipher>,
    /// How long its chunks are.
    pub chunk: ChunkSize,
    /// Whether missing directories above it are made too.
    pub parents: bool,
}

/// Makes a repository at `location`, which is a new or an empty directory.
///
/// # Errors
/// There is no passphrase where one is needed; there is something at `location`; it cannot be written.
pub fn initialize(
    location: &Location,
    mode: KeyMode,
    how: Making,
    ui: &Ui,
) -> Result<Initialized, Failure> {
    // Before anything is made: without a passphrase there is to be no half of a repository.
    let passphrase = match mode {
        KeyMode::None => secrets::Passphrase::default(),
        _ => {
            let (given, blank) = (secrets::given(ui)?, mode == KeyMode::Keyfile);
            secrets::new_passphrase(given, "GARRET_PASSPHRASE", blank, ui)?
        }
    };
    location.directories().try_for_each(|path| prepare_parent(path, how.parents))?;
    let store = session::create(location, how.sharing)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut options = InitOptions::new(mode, passphrase, i64::try_from(now).unwrap_or(i64::MAX));
    options.cipher = how.cipher.unwrap_or(options.cipher);
    options.chunk = how.chunk;
    let mut made_at = None;
    let made = garret_core::init(&*store, &options, &mut |id, bytes| {
        let at = key_file::place(id, ui).map_err(|failure| match failure {
            Failure::Engine(error) => error,
            Failure::Fatal(text) | Failure::Because(_, text) | Failure::Usage(text) => {
                Error::BadOption(text)
            }
            Failure::Told(_) | Failure::NobodyReads(_) => {
                Error::BadOption("the output was closed".to_owned())
            }
        })?;
        key_file::write(&at, bytes)?;
        made_at = Some(at);
        Ok(())
    });
    if made.is_err() {
        // All that is in it was made here; init can be tried again.
        let _left = store.undo_create();
    }
    let (identity, keys) = made?;
    state::remember(&identity, &keys, location, state::Use::Writes, ui);
    if let Some(at) = &made_at {
        key_file::tell_of(at, ui);
    }
    let (created, cipher) = (options.now, (mode != KeyMode::None).then_some(options.cipher));
    Ok(Initialized { identity, cipher, created, key_file: made_at })
}

/// Makes the directory above the repository, or says that it is missing.
fn prepare_parent(path: &Path, make: bool) -> Result<(), Failure> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    match make {
        true => fs::create_dir_all(parent)
            .map_err(|error| Failure::io(format!("cannot create {}", parent.display()), &error)),
        false if matches!(parent.try_exists(), Ok(false)) => Err(Failure::Fatal(format!(
            "cannot create {}: {} does not exist; mount it or make it (`garret init -p` does)",
            path.display(),
            parent.display()
        ))),
        false => Ok(()),
    }
}
