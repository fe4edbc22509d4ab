//! What this client knows of the repositories that it has used, so that nobody puts another in the place of one: above all
//! none without encryption in the place of one with.
//!
//! In: `GARRET_STATE_DIR`, `XDG_STATE_HOME`, `HOME`; a repository that was found; the variables
//! `..._UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK`. Out: whether it may be used; a file `ID.json` for each repository, with its
//! mode, the hash of its config, the ids of its key and of the slot that opened, and where it was seen. Promises: what
//! writes is refused before it writes, what reads goes on after one line; what was warned of is not remembered as known; a
//! file is replaced whole.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use garret_core::{Identity, Keys, Locked};
use garret_format::config::KeyMode;
use garret_format::{ConfigHash, KeyId, RepositoryId, SlotId};
use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::cache::{absolute, variable};
use crate::failure::Failure;
use crate::key_file;
use crate::location::Location;
use crate::secrets;
use crate::trust::{is_private, is_private_place};
use crate::ui::Ui;

/// Longest file that is read: one is some hundred bytes, and a path for each place.
const LEN_MAX: u64 = 4 << 20;
/// Of the places where a repository was seen, how many are remembered.
const LOCATIONS_MAX: usize = 128;
/// An unencrypted repository that was never seen is fine although a passphrase is given.
const IS_OK: [&str; 2] =
    ["GARRET_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "ATTIC_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK"];

/// What the user believes a repository to be that this client has not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// He gave a passphrase.
    Encrypted,
    /// He did not say, or said that it is not encrypted.
    Any,
}

impl Expected {
    /// Encrypted if a passphrase is given, on the command line or in the environment.
    pub fn by_what_is_given(ui: &Ui) -> Self {
        match secrets::is_given(ui) {
            true => Expected::Encrypted,
            false => Expected::Any,
        }
    }
}

/// What a command is going to do with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Nothing is written to it: what speaks against it is a warning.
    Reads,
    /// It is written to, or its keys are changed: what speaks against it ends the command.
    Writes,
}

/// A repository may be used.
#[must_use]
pub struct Admitted {
    /// What for.
    pub(crate) usage: Use,
    /// Whether nothing speaks against it, so that it may be remembered.
    pub(crate) is_trusted: bool,
    /// What is known of it.
    known: Option<Record>,
}

/// Whether the repository at `location` may be used for this.
///
/// # Errors
/// That it is to be written to, and is not what it was or what it should be.
pub fn admit(
    locked: &Locked,
    location: &Location,
    usage: Use,
    expected: Expected,
    ui: &Ui,
) -> Result<Admitted, Failure> {
    let known = directory().map(|directory| Record::load(&directory, locked.id())).transpose();
    let (known, doubt) = match known {
        Ok(known) => {
            let known = known.flatten();
            let doubt = against(locked, location, known.as_ref())?;
            (known, doubt)
        }
        Err(Failure::Fatal(doubt)) => (None, Some(doubt)),
        Err(other) => return Err(other),
    };
    let doubt = match doubt {
        Some(doubt) => doubt,
        None if known.is_some() || !is_surprise(locked, expected) => {
            return Ok(Admitted { usage, is_trusted: true, known });
        }
        None => {
            let doubt = format!(
                "Attempting to access a previously unknown unencrypted repository {}, though a passphrase is given",
                location.display()
            );
            if usage == Use::Writes && ui.can_ask() {
                return match ui.ask(&format!("{doubt}\nDo you want to continue? [yN] "))?.as_str() {
                    "y" | "Y" => Ok(Admitted { usage, is_trusted: true, known }),
                    _ => Err(Failure::Fatal(
                        "Cache initialization aborted: nothing was written".to_owned(),
                    )),
                };
            }
            format!("{doubt}; if it is to be so, set {}=yes", IS_OK[0])
        }
    };
    doubted(usage, &doubt, ui)?;
    Ok(Admitted { usage, is_trusted: false, known })
}

/// What shows that the repository is not what it should be, and what to do, if anything does.
fn against(
    locked: &Locked,
    location: &Location,
    known: Option<&Record>,
) -> Result<Option<String>, Failure> {
    let (shown, id) = (location.display(), locked.id());
    if let Some(known) = known
        && known.config_hash != locked.config_hash()
    {
        let file = known.path.display();
        let what = match (known.mode, locked.key_mode()) {
            (KeyMode::None, _) | (_, KeyMode::Passphrase | KeyMode::Keyfile) => {
                "its config was altered since this client used it"
            }
            (_, KeyMode::None) => "it is not encrypted, and was when this client used it",
        };
        return Ok(Some(format!(
            "{shown}: {what}; put back config from another copy of it, or remove {file} if you changed it"
        )));
    }
    let is_plain = locked.key_mode() == KeyMode::None;
    if is_plain
        && let Ok(key) = key_file::key_path(id)
        && key.symlink_metadata().is_ok()
    {
        let key = key.display();
        return Ok(Some(format!(
            "{shown}: it is not encrypted, but {key} is its key; put back config from another copy of it, \
             or move that file away"
        )));
    }
    if is_plain && locked.has_slots()? {
        return Ok(Some(format!(
            "{shown}: it is not encrypted, but has keys in keys/; put back config from another copy of it"
        )));
    }
    let places = location.names();
    // An id is no secret: one that was unencrypted elsewhere says nothing about this place.
    if known.is_some_and(|known| !is_plain || known.was_seen_at(&places)) {
        return Ok(None);
    }
    let all = match Record::all() {
        Ok(all) => all,
        // Who has a key for it is not deceived.
        Err(_) if !is_plain => return Ok(None),
        Err(Failure::Fatal(doubt)) => return Ok(Some(doubt)),
        Err(other) => return Err(other),
    };
    let was = all.into_iter().find(|other| {
        other.mode != KeyMode::None
            && other.id != id
            && places.iter().any(|place| other.locations.contains(place))
    });
    let what = match is_plain {
        true => "it is not encrypted, and what this client used there was",
        false => "it is another than the encrypted one that this client used there",
    };
    Ok(was.map(|was| {
        let file = was.path.display();
        format!("{shown}: {what}; put that back, or remove {file} if it is gone for good")
    }))
}

/// Whether it is unencrypted, and somebody thinks that it has a passphrase.
fn is_surprise(locked: &Locked, expected: Expected) -> bool {
    let is_ok = || IS_OK.iter().any(|name| variable(name).is_some());
    locked.key_mode() == KeyMode::None && expected == Expected::Encrypted && !is_ok()
}

/// Remembers a repository that was made or opened at `location`. That it cannot be done is no reason to fail; who writes to
/// an encrypted one is told. Whether it was done.
pub fn remember(
    identity: &Identity,
    keys: &Keys,
    location: &Location,
    usage: Use,
    ui: &Ui,
) -> bool {
    let why = match directory().map(|directory| remember_in(&directory, identity, keys, location)) {
        Some(Ok(())) => return true,
        Some(Err(Failure::Fatal(why))) => why,
        Some(Err(_)) | None => "HOME is not set".to_owned(),
    };
    if usage == Use::Writes && identity.mode != KeyMode::None {
        ui.complain(&format!(
            "note: cannot remember that {} is encrypted: {why}; set GARRET_STATE_DIR to a directory that can be written",
            location.display()
        ));
    }
    false
}

/// Remembers it in a file below `directory`, which is made if it was missing.
///
/// # Errors
/// Why it cannot be written, or that what is there cannot be read.
pub fn remember_in(
    directory: &Path,
    identity: &Identity,
    keys: &Keys,
    location: &Location,
) -> Result<(), Failure> {
    let places = location.names();
    let mut record = Record::new(directory, identity, keys.slot());
    if let Some(known) = Record::load(directory, identity.id)? {
        // What was opened otherwise this time will be opened by a slot again.
        record.slot = record.slot.or(known.slot);
        if known.locations.ends_with(&places) && known.says(identity) && known.slot == record.slot {
            return Ok(());
        }
        record.locations = known.locations;
    }
    record.locations.retain(|known| !places.contains(known));
    record.locations.extend(places);
    let surplus = record.locations.len().saturating_sub(LOCATIONS_MAX);
    record.locations.drain(..surplus);
    key_file::write_private(&record.path, record.encode(keys).as_bytes())
        .map_err(|error| Failure::Fatal(format!("{}: {error}", directory.display())))
}

/// Whether what is known of a repository, with these keys, was written by somebody who had them.
///
/// # Errors
/// That it was not, and the repository is to be written to.
pub fn confirm(admitted: Admitted, keys: &Keys, ui: &Ui) -> Result<Admitted, Failure> {
    let known = admitted.known.as_ref().filter(|known| !known.is_authentic(keys));
    let Some(known) = known.filter(|_| admitted.is_trusted) else { return Ok(admitted) };
    let doubt = forged(&known.path);
    doubted(admitted.usage, &doubt, ui)?;
    Ok(Admitted { is_trusted: false, ..admitted })
}

/// What speaks against a repository ends what writes, and is told to who reads.
///
/// # Errors
/// That it is to be written to.
pub(crate) fn doubted(usage: Use, doubt: &str, ui: &Ui) -> Result<(), Failure> {
    if usage == Use::Writes {
        return Err(Failure::Fatal(format!("{doubt}; nothing was written")));
    }
    ui.complain(&format!("Warning: {doubt}"));
    Ok(())
}

/// The key that a repository had when this client used it, if it did, and the slot that opened it.
pub(crate) fn known_key(id: RepositoryId) -> (Option<KeyId>, Option<SlotId>) {
    // One that cannot be read is for `admit` to speak of.
    let known = directory().and_then(|directory| Record::load(&directory, id).ok()?);
    known.map_or((None, None), |known| (known.key_id, known.slot))
}

/// Whether this client has used a repository at `location`, as far as it can tell.
pub fn is_known_at(location: &Location) -> bool {
    let places = location.names();
    let known = Record::all().unwrap_or_default();
    known.iter().any(|known| places.iter().any(|place| known.locations.contains(place)))
}

/// Where the files are.
pub(crate) fn directory() -> Option<PathBuf> {
    variable("GARRET_STATE_DIR")
        .or_else(|| absolute("XDG_STATE_HOME").map(|path| path.join("garret")))
        .or_else(|| absolute("HOME").map(|path| path.join(".local/state/garret")))
}

pub(crate) fn unreadable(path: &Path) -> Failure {
    Failure::Fatal(format!(
        "{} cannot be read, so what this client knows of repositories is not known; remove it if you trust the repository",
        path.display()
    ))
}

/// What is said of a file whose seal is not that of the repository's key.
pub(crate) fn forged(path: &Path) -> String {
    format!(
        "{}: this was not written by anybody who has the key of the repository; remove that file if you trust the \
         repository",
        path.display()
    )
}

/// A file of what this client knows, if nobody else can have written it.
pub(crate) fn open_own(directory: &Path, path: &Path) -> Result<File, Failure> {
    // Not waiting, and of what was opened: its name may be somebody else's to exchange.
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path);
    let opened = file.and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(|_| unreadable(path))?;
    if !is_private_place(directory) || !is_private(&metadata) {
        return Err(Failure::Fatal(format!(
            "{}: others can write there or own it, so what it says of repositories is not believed; make it and its \
             directory yours (`chown`, `chmod go-w`) if nobody wrote there",
            path.display()
        )));
    }
    if metadata.is_file() { Ok(file) } else { Err(unreadable(path)) }
}

/// What is known of one repository.
struct Record {
    path: PathBuf,
    id: RepositoryId,
    mode: KeyMode,
    config_hash: ConfigHash,
    key_id: Option<KeyId>,
    /// The slot in the repository that opened it last.
    slot: Option<SlotId>,
    /// Where it was seen, the last place last.
    locations: Vec<String>,
    /// What authenticates all this, if it is of an encrypted repository.
    seal: Option<blake3::Hash>,
}

const MODES: [(KeyMode, &str); 3] =
    [(KeyMode::None, "none"), (KeyMode::Passphrase, "passphrase"), (KeyMode::Keyfile, "keyfile")];

impl Record {
    fn new(directory: &Path, identity: &Identity, slot: Option<SlotId>) -> Self {
        let Identity { id, mode, config_hash, key_id } = *identity;
        let path = directory.join(format!("{id}.json"));
        Record { path, id, mode, config_hash, key_id, slot, locations: Vec::new(), seal: None }
    }

    fn says(&self, identity: &Identity) -> bool {
        let Identity { id, mode, config_hash, key_id } = *identity;
        (self.id, self.mode, self.config_hash, self.key_id) == (id, mode, config_hash, key_id)
    }

    /// What is known of a repository, if it is.
    fn load(directory: &Path, id: RepositoryId) -> Result<Option<Self>, Failure> {
        let path = directory.join(format!("{id}.json"));
        // Where nobody may look, nothing was remembered.
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let record = Self::believe(directory, &path)?;
        match record.id == id {
            true => Ok(Some(record)),
            false => Err(unreadable(&path)),
        }
    }

    /// All that is known.
    fn all() -> Result<Vec<Self>, Failure> {
        let Some(directory) = directory().filter(|directory| directory.symlink_metadata().is_ok())
        else {
            return Ok(Vec::new());
        };
        let entries = fs::read_dir(&directory).map_err(|_| unreadable(&directory))?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let records = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
        records.map(|path| Self::believe(&directory, &path)).collect()
    }

    /// What a file says, if nobody else can have written it.
    fn believe(directory: &Path, path: &Path) -> Result<Self, Failure> {
        Self::read(path, open_own(directory, path)?).ok_or_else(|| unreadable(path))
    }

    fn read(path: &Path, file: File) -> Option<Self> {
        let mut bytes = Vec::new();
        file.take(LEN_MAX).read_to_end(&mut bytes).ok()?;
        let value: Value = serde_json::from_slice(&bytes).ok()?;
        let text = |name: &str| value.get(name)?.as_str();
        let mode = text("mode")?;
        let locations = value.get("locations")?.as_array()?.iter();
        Some(Record {
            path: path.to_owned(),
            id: RepositoryId::from_hex(text("id")?)?,
            mode: MODES.iter().find(|(_, name)| *name == mode)?.0,
            config_hash: ConfigHash::from_hex(text("config")?)?,
            key_id: match value.get("key")? {
                Value::Null => None,
                key => Some(KeyId::from_hex(key.as_str()?)?),
            },
            slot: match value.get("slot")? {
                Value::Null => None,
                slot => Some(SlotId::from_hex(slot.as_str()?)?),
            },
            locations: locations
                .map(|path| path.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
            seal: match value.get("seal")? {
                Value::Null => None,
                seal => Some(blake3::Hash::from_hex(seal.as_str()?).ok()?),
            },
        })
    }

    /// Whether it was seen at all of these places, which are names of one.
    fn was_seen_at(&self, places: &[String]) -> bool {
        places.iter().all(|place| self.locations.contains(place))
    }

    /// Whether somebody who had the keys wrote it; without encryption everybody has them.
    fn is_authentic(&self, keys: &Keys) -> bool {
        keys.authenticate(self.body().to_string().as_bytes()) == self.seal
    }

    fn encode(&self, keys: &Keys) -> String {
        let mut value = self.body();
        let seal = keys.authenticate(value.to_string().as_bytes());
        if let Value::Object(fields) = &mut value {
            fields.insert("seal".to_owned(), json!(seal.map(|seal| seal.to_hex().to_string())));
        }
        format!("{value:#}\n")
    }

    /// All but the seal.
    fn body(&self) -> Value {
        let mode = MODES.iter().find(|(mode, _)| *mode == self.mode).map(|(_, name)| *name);
        json!({
            "id": self.id.to_string(),
            "mode": mode,
            "config": self.config_hash.to_string(),
            "key": self.key_id.map(|id| id.to_string()),
            "slot": self.slot.map(|id| id.to_string()),
            "locations": self.locations,
        })
    }
}
