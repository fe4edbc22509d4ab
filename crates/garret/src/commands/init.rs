//! `garret init`: makes a repository.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use garret_core::{ChunkSize, Sharing};
use garret_format::config::{Cipher, KeyMode};

use super::info;
use crate::location;
use garret_cli::args::{PassphraseFile, Verbose};
use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::record::{self, Record};
use garret_cli::render;
use garret_cli::secrets;
use garret_cli::steps::init::{Initialized, Making, initialize};
use garret_cli::ui::Ui;

/// How the repository is protected.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Encryption {
    /// not at all: damage is found, nobody is kept from reading or forging
    None,
    /// a passphrase; the key lies in the repository, wrapped under it
    Passphrase,
    /// a key file on this machine, which may have a passphrase of its own
    Keyfile,
}

impl From<Encryption> for KeyMode {
    fn from(name: Encryption) -> Self {
        match name {
            Encryption::None => KeyMode::None,
            Encryption::Passphrase => KeyMode::Passphrase,
            Encryption::Keyfile => KeyMode::Keyfile,
        }
    }
}

/// What encrypts the repository.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum CipherName {
    /// the faster one on this machine: AES if its processor has instructions for it
    Auto,
    /// fast on any processor
    #[value(name = "xchacha20-poly1305")]
    XChaCha20Poly1305,
    /// fastest where the processor has instructions for it
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
}

impl CipherName {
    /// None if the machine is to decide.
    fn said(self) -> Option<Cipher> {
        match self {
            CipherName::Auto => None,
            CipherName::XChaCha20Poly1305 => Some(Cipher::XChaCha20Poly1305),
            CipherName::Aes256Gcm => Some(Cipher::Aes256Gcm),
        }
    }
}

/// Who may use the repository beside the user who makes it.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SharedName {
    /// the group of the directory
    Group,
    /// whoever the umask lets
    Umask,
}

/// How long chunks are, about.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ChunkName {
    /// finds most of what is the same; four times the index
    #[value(name = "16k")]
    Kib16,
    /// between the two
    #[value(name = "32k")]
    Kib32,
    /// as fast as it gets
    #[value(name = "64k")]
    Kib64,
}

impl From<ChunkName> for ChunkSize {
    fn from(name: ChunkName) -> Self {
        match name {
            ChunkName::Kib16 => ChunkSize::Kib16,
            ChunkName::Kib32 => ChunkSize::Kib32,
            ChunkName::Kib64 => ChunkSize::Kib64,
        }
    }
}

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How the repository is protected [default: passphrase if one is given, but in ATTIC_PASSPHRASE, else none]
    #[arg(short, long, value_name = "MODE")]
    encryption: Option<Encryption>,
    /// What encrypts it; it cannot be changed later. Machines without instructions for AES are faster with xchacha20-poly1305
    #[arg(long, value_name = "CIPHER", default_value = "auto")]
    cipher: CipherName,
    /// Who may use the repository beside you [default: nobody]
    #[arg(long, value_name = "WHO")]
    shared: Option<SharedName>,
    /// How long its chunks are, about; it cannot be changed later
    #[arg(long, value_name = "SIZE", default_value = "64k")]
    chunk: ChunkName,
    /// Make missing directories above it too
    #[arg(short, long)]
    parents: bool,
    /// Show what was made as JSON, and nothing else
    #[arg(long)]
    json: bool,
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
    let cipher = args.cipher.said();
    if cipher.is_some() && mode == KeyMode::None {
        return Err(Failure::Usage(
            "--cipher is for encrypted repositories: give --encryption passphrase or keyfile too"
                .to_owned(),
        ));
    }
    let sharing = match args.shared {
        None => Sharing::Private,
        Some(SharedName::Group) => Sharing::Group,
        Some(SharedName::Umask) => Sharing::Umask,
    };
    if args.shared.is_some() && matches!(path.hot(), Location::Store(_)) {
        let text = "--shared is for directories: who may use a store, or a directory by SFTP, is said there";
        return Err(Failure::Usage(text.to_owned()));
    }
    if args.parents && path.directories().next().is_none() {
        let text = "--parents is for directories here: make those on another host by hand";
        return Err(Failure::Usage(text.to_owned()));
    }
    let how = Making { sharing, cipher, chunk: args.chunk.into(), parents: args.parents };
    let made = initialize(&path, mode, how, ui)?;
    let Initialized { identity, cipher, created, key_file } = made;
    if args.json {
        let repository = info::identity_record(&path, identity.id, (mode, cipher), created).json();
        let file = key_file.as_deref().map(|file| file.as_os_str().as_bytes());
        let file = record::path_or_null(["key_file", "key_file_hex"], file);
        let all = Record::default().with("repository", repository).and(&file);
        return ui.print(&record::document(&all.json()));
    }
    let shown = path.display();
    let cipher = cipher.map(|cipher| format!("Cipher: {}\n", render::cipher(cipher)));
    let cipher = cipher.unwrap_or_default();
    let made = format!("Encryption: {name}\n{cipher}Repository id: {}\n", identity.id);
    let advice = advice(key_file.as_deref(), mode);
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
