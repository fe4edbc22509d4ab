//! `garret key`: shows and changes what opens a repository.

mod paper;

use std::ffi::OsString;
use std::path::PathBuf;

use garret_core::{Cause, Error, Locked, Opened};
use garret_format::SlotId;
use garret_format::archive::Time;
use garret_format::config::KeyMode;
use garret_format::slot::{Kdf, Label, Slot};
use serde_json::{Value, json};

use super::info;
use crate::location;
use garret_cli::args::{LockWait, PassphraseFile, Verbose};
use garret_cli::failure::Failure;
use garret_cli::keyring::Keyring;
use garret_cli::location::Location;
use garret_cli::record::{self, Record};
use garret_cli::state::{self, Expected, Use};
use garret_cli::ui::Ui;
use garret_cli::{key_file, render, secrets, session};

/// Digits of an id that are shown: among 16 no two are the same by chance.
const ID_SHOWN: usize = 8;
/// Digits of an id that are enough to name it.
const ID_NAMED: usize = 4;

/// Arguments of `key`.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the keys in a repository, and its key file on this machine
    ///
    /// Needs no passphrase. Until a key opens, its label and date may be forged by who holds the storage.
    List(List),
    /// Add a passphrase, or make another key file
    ///
    /// The new passphrase is asked for twice, or taken from GARRET_NEW_PASSPHRASE. In a repository that had only key files,
    /// who holds the storage can guess at it from then on.
    Add(Add),
    /// Remove a key
    ///
    /// The passphrase that is given, or the key file, must be one that stays. Who has a copy of the repository from before,
    /// and the passphrase of the removed key, keeps access. Waits until nobody else uses the repository.
    Remove(Remove),
    /// Change a passphrase: that of the key which is opened with the old one
    Change(Change),
    /// Print a recovery key, to be written down
    ///
    /// It opens the repository without a passphrase, also when keys/ is lost, and cannot be taken back: keep it as safe
    /// as the data.
    Export(Export),
    /// Type in a recovery key, and make a new passphrase
    ///
    /// The groups are asked for on the terminal, or read from standard input. One wrong character in a group is put right.
    Import(Import),
}

/// The repository.
#[derive(Debug, clap::Args)]
struct Place {
    #[command(flatten)]
    lock_wait: LockWait,
    #[command(flatten)]
    verbose: Verbose,
    /// The repository
    #[arg(value_name = "REPO")]
    repository: OsString,
}

/// The same, and what opens it.
#[derive(Debug, clap::Args)]
struct Access {
    #[command(flatten)]
    passphrase: PassphraseFile,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Show them as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verbose: Verbose,
    /// The repository
    #[arg(value_name = "REPO")]
    repository: OsString,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// What to call the key; it is no secret
    #[arg(long, value_name = "LABEL", value_parser = label)]
    label: Option<Label>,
    /// Make a key file there, instead of a key in the repository
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, clap::Args)]
struct Remove {
    #[command(flatten)]
    access: Access,
    /// Its label, or its id as `key list` shows it
    #[arg(value_name = "LABEL|ID")]
    key: String,
}

#[derive(Debug, clap::Args)]
struct Change {
    /// What to call the key from now on
    #[arg(long, value_name = "LABEL", value_parser = label)]
    label: Option<Label>,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, clap::Args)]
struct Export {
    /// As groups of characters for paper
    #[arg(long, required = true)]
    paper: bool,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, clap::Args)]
struct Import {
    /// From groups of characters on paper
    #[arg(long, required = true)]
    paper: bool,
    /// What to call the new key; it is no secret
    #[arg(long, value_name = "LABEL", value_parser = label)]
    label: Option<Label>,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `change-passphrase`.
#[derive(Debug, clap::Args)]
pub(crate) struct ChangePassphrase {
    #[command(flatten)]
    access: Access,
}

fn label(text: &str) -> Result<Label, String> {
    Label::new(text).map_err(str::to_owned)
}

impl Access {
    /// Opens the repository as all commands do.
    fn keyring<R>(
        &self,
        usage: Use,
        ui: &Ui,
        work: impl FnOnce(&Keyring<'_>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        self.passphrase.tell(ui);
        self.place.keyring(usage, ui, |locked, path| secrets::open(locked, path, ui), work)
    }
}

impl Place {
    /// Has `open` open the repository.
    fn keyring<R>(
        &self,
        usage: Use,
        ui: &Ui,
        open: impl FnOnce(&Locked, &Location) -> Result<Opened, Failure>,
        work: impl FnOnce(&Keyring<'_>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        self.verbose.tell(ui);
        self.lock_wait.tell(ui);
        let path = location::repository(&self.repository)?;
        work(&Keyring::open(&path, usage, ui, |locked| open(locked, &path))?)
    }
}

pub(crate) fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    match args.action {
        Action::List(args) => list(&args, ui),
        Action::Add(args) => add(args, ui),
        Action::Remove(args) => remove(&args, ui),
        Action::Change(args) => change(&args.access, args.label, ui),
        Action::Export(args) => {
            args.access.keyring(Use::Reads, ui, |keyring| paper::print(keyring, ui))
        }
        Action::Import(args) => import(&args.place, args.label.unwrap_or_default(), ui),
    }
}

pub(crate) fn change_passphrase(args: &ChangePassphrase, ui: &Ui) -> Result<(), Failure> {
    change(&args.access, None, ui)
}

/// A key that is listed.
struct Listed {
    /// None of a key file.
    id: Option<SlotId>,
    /// Of a key file where it is.
    file: Option<PathBuf>,
    /// None of one that cannot be used.
    slot: Option<Slot>,
}

fn list(args: &List, ui: &Ui) -> Result<(), Failure> {
    args.verbose.tell(ui);
    let path = location::repository(&args.repository)?;
    let locked = session::find(&path)?;
    let _reads = state::admit(&locked, &path, Use::Reads, Expected::Any, ui)?;
    if locked.key_mode() == KeyMode::None {
        return Err(Error::NoPassphrase.into());
    }
    let mut keys = Vec::new();
    for (id, slot) in locked.slots()? {
        if let Err(error) = &slot {
            ui.report(&error.into());
        }
        keys.push(Listed { id: Some(id), file: None, slot: slot.ok() });
    }
    locked.tell(ui);
    if let Some(file) = key_file::find(&locked, ui)? {
        file.tell(ui);
        let slot = Slot::decode(&file.bytes).map_err(|error| {
            let shown = render::name(file.path.as_os_str().as_encoded_bytes());
            Failure::Because(Cause::Damaged, format!("{shown}: {error}"))
        })?;
        keys.push(Listed { id: None, file: Some(file.path.clone()), slot: Some(slot) });
    }
    if args.json {
        let repository =
            info::identity_record(&path, locked.id(), locked.protection(), locked.created());
        let keys: Vec<Value> = keys.iter().map(Listed::json).collect();
        return ui
            .print(&record::document(&json!({ "repository": repository.json(), "keys": keys })));
    }
    ui.print(&keys.iter().map(Listed::line).collect::<String>())
}

impl Listed {
    fn line(&self) -> String {
        let id = self.id.map_or("key file".to_owned(), short);
        let Some(slot) = &self.slot else { return format!("{id}  cannot be used\n") };
        let label = render::name(slot.label.as_str());
        match &self.file {
            None => row(&id, slot, &label),
            Some(file) => {
                let shown = render::name(file.as_os_str().as_encoded_bytes());
                row(&id, slot, format!("{shown} {label}").trim_end())
            }
        }
    }

    fn json(&self) -> Value {
        let slot = self.slot.as_ref();
        let cost = slot.and_then(|slot| match slot.kdf {
            Kdf::Blank => None,
            Kdf::Argon2id { memory_kib, passes, .. } => {
                Some((u64::from(memory_kib) * 1024, passes))
            }
        });
        let file = self.file.as_deref().map(|file| file.as_os_str().as_encoded_bytes());
        Record::default()
            .with("id", self.id.map(|id| id.to_string()))
            .and(&record::path_or_null(["file", "file_hex"], file))
            .with("usable", slot.is_some())
            .with("label", slot.map(|slot| slot.label.as_str()))
            .with(
                "created",
                slot.map(|slot| render::iso_time(Time { secs: slot.created, nanos: 0 })),
            )
            .with("memory", cost.map(|(memory, _)| memory))
            .with("passes", cost.map(|(_, passes)| passes))
            .json()
    }
}

fn row(id: &str, slot: &Slot, rest: &str) -> String {
    let made = render::long_time(Time { secs: slot.created, nanos: 0 });
    let cost = match slot.kdf {
        Kdf::Blank => "no passphrase".to_owned(),
        Kdf::Argon2id { memory_kib, passes, .. } if memory_kib % 1024 == 0 => {
            format!("{} MiB, {passes} passes", memory_kib / 1024)
        }
        Kdf::Argon2id { memory_kib, passes, .. } => format!("{memory_kib} KiB, {passes} passes"),
    };
    format!("{id}  {made}  {cost:<18}  {rest}").trim_end().to_owned() + "\n"
}

fn short(id: SlotId) -> String {
    id.to_string().chars().take(ID_SHOWN).collect()
}

fn add(args: Add, ui: &Ui) -> Result<(), Failure> {
    let label = args.label.unwrap_or_default();
    args.access.keyring(Use::Writes, ui, |keyring| {
        let Some(file) = &args.key_file else { return add_slot(keyring, label, ui) };
        let passphrase = secrets::next_passphrase(true, ui)?;
        let new = keyring.new_key(&passphrase, label);
        key_file::write_new(file, &keyring.locked.key_file(&keyring.opened, &new)?)?;
        key_file::tell_of(file, ui);
        let (file, id) = (file.display(), keyring.locked.id());
        ui.print(&format!(
            "Key file: {file}\nOn the machine that is to use it, it is {id}.key in the directory for key files \
             (GARRET_KEYS_DIR).\n"
        ))
    })
}

fn import(place: &Place, label: Label, ui: &Ui) -> Result<(), Failure> {
    let open = |locked: &Locked, _: &Location| paper::open(locked, ui);
    place.keyring(Use::Writes, ui, open, |keyring| add_slot(keyring, label, ui))
}

fn add_slot(keyring: &Keyring<'_>, label: Label, ui: &Ui) -> Result<(), Failure> {
    refuse_twin(&keyring.locked, &label)?;
    let passphrase = secrets::next_passphrase(false, ui)?;
    keyring.add(&passphrase, label)?;
    ui.print("Key added\n")
}

/// By its label a key is to be removed one day.
fn refuse_twin(locked: &Locked, label: &Label) -> Result<(), Failure> {
    let text = label.as_str();
    let is_twin = |slot: &Slot| !text.is_empty() && slot.label == *label;
    match locked.slots()?.iter().any(|(_, slot)| slot.as_ref().is_ok_and(is_twin)) {
        true => {
            let text = format!("a key is called {} already: choose another", render::name(text));
            Err(Failure::Because(Cause::Taken, text))
        }
        false => Ok(()),
    }
}

fn remove(args: &Remove, ui: &Ui) -> Result<(), Failure> {
    args.access.keyring(Use::Writes, ui, |keyring| {
        let id = named(&keyring.locked, &args.key)?;
        keyring.locked.remove_key(&keyring.opened, id, ui)?;
        keyring.remember(&keyring.opened)?;
        ui.print(&format!(
            "Key {} removed\nWho has a copy of it, and its passphrase, keeps access.\n",
            short(id)
        ))
    })
}

/// The one slot that is called so, or whose id begins so.
fn named(locked: &Locked, word: &str) -> Result<SlotId, Failure> {
    let is_it = |id: SlotId, slot: Option<&Slot>| {
        let is_id = word.len() >= ID_NAMED && id.to_string().starts_with(word);
        is_id || slot.is_some_and(|slot| slot.label.as_str() == word)
    };
    let slots = locked.slots()?;
    let found: Vec<SlotId> = slots
        .iter()
        .filter(|(id, slot)| is_it(*id, slot.as_ref().ok()))
        .map(|(id, _)| *id)
        .collect();
    let shown = render::name(word);
    match found.as_slice() {
        [id] => Ok(*id),
        [] => {
            let text = format!("no key is called {shown}: `garret key list` shows them");
            Err(Failure::Because(Cause::Missing, text))
        }
        several => {
            let ids: Vec<String> = several.iter().map(|id| id.to_string()).collect();
            let text = format!("{} keys are called {shown}: {}", ids.len(), ids.join(", "));
            Err(Failure::Because(Cause::Invalid, text))
        }
    }
}

fn change(access: &Access, label: Option<Label>, ui: &Ui) -> Result<(), Failure> {
    access.keyring(Use::Writes, ui, |keyring| {
        if let Some(label) = label.as_ref().filter(|label| *label != keyring.opened.label()) {
            refuse_twin(&keyring.locked, label)?;
        }
        // Only a key file needs no passphrase.
        let blank = keyring.opened.slot().is_none();
        let passphrase = secrets::next_passphrase(blank, ui)?;
        match keyring.change(&passphrase, label)? {
            None => ui.print("Passphrase changed\n"),
            Some(path) => ui.print(&format!("Key file \"{}\" updated\n", path.display())),
        }
    })
}
