//! `garret init`: makes a repository.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use garret_core::{Error, InitOptions, Sharing};
use garret_format::config::KeyMode;

use crate::location;
use garret_cli::args::{PassphraseFile, Verbose};
use garret_cli::failure::Failure;
use garret_cli::ui::Ui;
use garret_cli::{key_file, secrets, session, state};

/// How the repository is protected.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Encryption {
    /// not at all: damage is found, nobody is kept from reading or forging
    None,
    /// a passphrase; the key lies in the repository, wrapped under it
    Passphrase,
    /// a key file on this machine, which may have a passphrase of its own
    Keyfile,
}

/// Who may use the repository beside the user who makes it.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SharedName {
    /// the group of the directory
    Group,
    /// whoever the umask lets
    Umask,
}

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How the repository is protected [default: passphrase if one is given, but in ATTIC_PASSPHRASE, else none]
    #[arg(short, long, value_name = "MODE")]
    encryption: Option<Encryption>,
    /// Who may use the repository beside you [default: nobody]
    #[arg(long, value_name = "WHO")]
    shared: Option<SharedName>,
    /// Make missing directories above it too
    #[arg(short, long)]
    parents: bool,
    #[command(flatten)]
    verbose: Verbose,
    #[command(flatten)]
    passphrase: PassphraseFile,
    /// A new or empty directory
    #[arg(value_name = "REPO")]
    repository: OsString,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.verbose.tell(ui);
    args.passphrase.tell(ui);
    let path = location::repository(&args.repository)?;
    let (mode, name) = match args.encryption {
        Some(Encryption::Passphrase) => (KeyMode::Passphrase, "passphrase"),
        None if secrets::is_given_to_garret(ui) => (KeyMode::Passphrase, "passphrase"),
        Some(Encryption::Keyfile) => (KeyMode::Keyfile, "keyfile"),
        Some(Encryption::None) | None => (KeyMode::None, "none"),
    };
    // Before anything is made: without a passphrase there is to be no half of a repository.
    let passphrase = match mode {
        KeyMode::None => secrets::Passphrase::default(),
        _ => {
            let (given, blank) = (secrets::given(ui)?, mode == KeyMode::Keyfile);
            secrets::new_passphrase(given, "GARRET_PASSPHRASE", blank, ui)?
        }
    };
    prepare_parent(&path, args.parents)?;
    let sharing = match args.shared {
        None => Sharing::Private,
        Some(SharedName::Group) => Sharing::Group,
        Some(SharedName::Umask) => Sharing::Umask,
    };
    let store = session::create(&path, sharing)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let options = InitOptions::new(mode, passphrase, i64::try_from(now).unwrap_or(i64::MAX));
    let mut made_at = None;
    let made = garret_core::init(&store, &options, &mut |id, bytes| {
        let at = key_file::key_path(id).map_err(|failure| match failure {
            Failure::Engine(error) => error,
            Failure::Fatal(text) | Failure::Because(_, text) | Failure::Usage(text) => {
                Error::BadOption(text)
            }
            Failure::NobodyReads(_) => Error::BadOption("the output was closed".to_owned()),
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
    state::remember(&identity, &keys, &path, state::Use::Writes, ui);
    if let Some(at) = &made_at {
        key_file::tell_of(at, ui);
    }
    let shown = path.display();
    let made = format!("Encryption: {name}\nRepository id: {}\n", identity.id);
    let advice = advice(made_at.as_deref(), mode);
    ui.print(&format!("Initializing repository at \"{shown}\"\n{made}{advice}"))
}

/// What the user does about the key.
fn advice(key_file: Option<&Path>, mode: KeyMode) -> String {
    match (key_file, mode) {
        (Some(at), _) => format!(
            "Key file: {}\nKeep a copy of the key file elsewhere: nothing can be restored without it.\n",
            at.display()
        ),
        (None, KeyMode::Passphrase) => {
            "Remember the passphrase or store it safely: nothing can be restored without it.\n"
                .to_owned()
        }
        (None, _) => "Encryption NOT enabled.\n\
                      Use the \"--encryption=passphrase|keyfile\" to enable encryption.\n"
            .to_owned(),
    }
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
            "cannot create {}: {} does not exist; -p makes it too",
            path.display(),
            parent.display()
        ))),
        false => Ok(()),
    }
}
