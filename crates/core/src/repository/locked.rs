//! A repository that is not open yet: made by [`init`], found by [`Locked::find`], its keys found by [`Locked::unlock`].
//!
//! In: a store, a passphrase or key file, what the client knows of the repository. Out: keys. Promises: no slot makes us
//! spend more than its bounds allow, whoever wrote it; a passphrase is changed so that at every moment one of the two opens.

use std::sync::Arc;
use std::time::Duration;

use garret_format::config::{Config, Features, KeyMode, Seal};
use garret_format::slot::{Kdf, Slot};
use garret_format::{ConfigHash, KeyId, RepositoryId};
use zeroize::Zeroizing;

use crate::error::{Error, Result, message};
use crate::keys::{KDF_DEFAULT, Keys, MasterKey, create_slot, open_slot, random, wipe_stack};
use crate::limits::{KDF_FLOOR, SLOTS_MAX, SLOTS_READ_MAX, SMALL_OBJECT_LEN_MAX};
use crate::store::{Area, Key, Store, StoreErrorKind, get_whole};

/// How long opening a repository waits for other programs, unless it is told: the longest gc or night is over by then.
pub const LOCK_WAIT_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);

/// A repository whose keys are not known yet.
pub struct Locked {
    pub(super) store: Arc<dyn Store>,
    pub(super) patience: Duration,
    expected: Option<KeyId>,
    pub(super) config: Config,
    config_bytes: Vec<u8>,
}

impl std::fmt::Debug for Locked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Locked").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What tells a repository from another one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name, which is no secret.
    pub id: RepositoryId,
    /// Where its key is.
    pub mode: KeyMode,
    /// The hash of its file `config`.
    pub config_hash: ConfigHash,
    /// Which master key it has; none in mode none.
    pub key_id: Option<KeyId>,
}

/// What opens a repository.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Secret<'a> {
    /// Nothing: an unencrypted repository.
    None,
    /// The passphrase of a slot in the repository.
    Passphrase(&'a [u8]),
    /// A key file and its passphrase, which may be empty.
    Keyfile {
        /// Where it is, for messages.
        path: &'a str,
        /// Its content.
        bytes: &'a [u8],
        /// Its passphrase.
        passphrase: &'a [u8],
    },
}

/// What init decides.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InitOptions {
    /// How the repository is protected.
    pub mode: KeyMode,
    /// Passphrase of the first key slot or of the key file.
    pub passphrase: Zeroizing<Vec<u8>>,
    /// How the passphrase is made into a key.
    pub kdf: Kdf,
    /// When, in seconds since 1970.
    pub now: i64,
}

impl InitOptions {
    /// With [`KDF_DEFAULT`].
    pub fn new(mode: KeyMode, passphrase: Zeroizing<Vec<u8>>, now: i64) -> Self {
        InitOptions { mode, passphrase, kdf: KDF_DEFAULT, now }
    }
}

/// The repository in a store, its keys not known yet. [`Locked::find`] for a store that is boxed already.
///
/// # Errors
/// `NotARepository`; `Unsupported` for one of a newer garret; a store that cannot be read.
pub fn open(store: impl Store + 'static) -> Result<Locked> {
    Locked::find(Box::new(store))
}

/// Makes a repository in an empty store. For mode keyfile, `keep` must have stored the key file durably when it returns: it
/// is called before anything can be put into the repository. Gives what tells it from others, and its keys.
pub fn init(
    store: &dyn Store,
    options: &InitOptions,
    keep: &mut dyn FnMut(RepositoryId, &[u8]) -> Result<()>,
) -> Result<(Identity, Keys)> {
    let config = Config {
        repository: RepositoryId::from_bytes(random()?),
        features: Features::default(),
        seal: if options.mode == KeyMode::None { Seal::None } else { Seal::XChaCha20Poly1305 },
        key_mode: options.mode,
        chunk_min: 16 << 10,
        chunk_target: 64 << 10,
        chunk_max: 256 << 10,
        group_len: 1 << 20,
        pack_len: 32 << 20,
        created: options.now,
    };
    let bytes = config.encode();
    let mut keys = Keys::none();
    if options.mode != KeyMode::None {
        let master = MasterKey::random()?;
        keys = Keys::derive(&master)?;
        let passphrase = &options.passphrase;
        let slot = create_slot(&master, config.repository, &bytes, passphrase, options.kdf)?;
        match options.mode {
            KeyMode::Keyfile => keep(config.repository, &slot.encode())?,
            _ if passphrase.is_empty() => {
                return Err(Error::BadOption("the passphrase must not be empty".to_owned()));
            }
            _ => store.put_new(&Key::Slot(slot.id), &slot.encode())?,
        }
    }
    store.sync()?;
    store.put_new(&Key::Config, &bytes)?;
    store.sync()?;
    let (id, mode, config_hash) = (config.repository, options.mode, hash_config(&bytes));
    Ok((Identity { id, mode, config_hash, key_id: keys.id() }, keys))
}

fn hash_config(bytes: &[u8]) -> ConfigHash {
    ConfigHash::from_bytes(*blake3::hash(bytes).as_bytes())
}

impl Locked {
    /// Finds the repository in `store`.
    pub fn find(store: Box<dyn Store>) -> Result<Self> {
        let store: Arc<dyn Store> = store.into();
        let not_one = |why: String| Error::NotARepository { path: store.place(), why };
        let config_bytes = match get_whole(&*store, &Key::Config, SMALL_OBJECT_LEN_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                return Err(not_one("it has no file config".to_owned()));
            }
            Err(error) if error.kind == StoreErrorKind::WrongLength => {
                return Err(not_one(message(&error)));
            }
            Err(error) => return Err(error.into()),
        };
        let config = Config::decode(&config_bytes).map_err(|error| match error.kind {
            garret_format::DecodeErrorKind::BadMagic => {
                not_one("its file config is not garret's".to_owned())
            }
            _ => Error::decode("config", 0, error),
        })?;
        Ok(Locked { store, patience: LOCK_WAIT_DEFAULT, expected: None, config, config_bytes })
    }

    /// Opening it will wait for other programs as long as this, and then fail; not at all if it is zero.
    pub fn with_patience(self, patience: Duration) -> Self {
        Locked { patience, ..self }
    }

    /// The master key that it had when it was used before, if that is known: no other will open it, and slots are tried
    /// whatever they cost. Otherwise those that are cheap to guess are refused.
    pub fn expecting(self, expected: Option<KeyId>) -> Self {
        Locked { expected, ..self }
    }

    /// The repository's name in caches and of key files.
    pub fn id(&self) -> RepositoryId {
        self.config.repository
    }

    /// The hash of its file `config`.
    pub fn config_hash(&self) -> ConfigHash {
        hash_config(&self.config_bytes)
    }

    /// What tells it from others, when these are its keys.
    pub fn identity(&self, keys: &Keys) -> Identity {
        let (id, mode, config_hash) = (self.id(), self.key_mode(), self.config_hash());
        Identity { id, mode, config_hash, key_id: keys.id() }
    }

    /// Whether there are key slots in the repository: none without encryption has any.
    pub fn has_slots(&self) -> Result<bool> {
        Ok(!self.store.list(Area::Slots)?.is_empty())
    }

    /// Where its key is.
    pub fn key_mode(&self) -> KeyMode {
        self.config.key_mode
    }

    /// Finds the keys.
    ///
    /// # Errors
    /// `WrongPassphrase` if no slot opens, `NoSlots` if there is none, `ManySlots` if not all were tried; `WrongKey`,
    /// `OtherKey`, `CheapSlot`, `Corrupt` if a slot is not this repository's, not to be tried or damaged, and no other opens.
    pub fn unlock(&self, secret: Secret<'_>) -> Result<Keys> {
        let keys = self.find_keys(secret);
        wipe_stack();
        keys
    }

    // Not inlined: what it leaves lies below the stack of its caller, who wipes that.
    #[inline(never)]
    fn find_keys(&self, secret: Secret<'_>) -> Result<Keys> {
        match (self.config.key_mode, secret) {
            (KeyMode::None, _) => Ok(Keys::none()),
            (KeyMode::Keyfile, Secret::Keyfile { path, bytes, passphrase }) => {
                let slot = Slot::decode(bytes).map_err(|error| Error::decode_key(path, error))?;
                let master = self.open_slot(&slot, passphrase, path)?;
                Keys::derive(&master)
            }
            (KeyMode::Passphrase, Secret::Passphrase(passphrase)) => {
                let (_, master) = self.find_slot(passphrase)?;
                Keys::derive(&master)
            }
            _ => Err(Error::WrongPassphrase),
        }
    }

    /// Replaces the slot that `old` opens by one under `new`. The new one is stored, read again and opened before the old one
    /// goes, so at every moment one of the two opens.
    pub fn change_passphrase(&self, old: &[u8], new: &[u8], kdf: Kdf) -> Result<()> {
        if self.config.key_mode != KeyMode::Passphrase {
            return Err(Error::NoPassphrase);
        }
        if new.is_empty() {
            return Err(Error::BadOption("the passphrase must not be empty".to_owned()));
        }
        let (old_slot, master) = self.find_slot(old)?;
        let slot = create_slot(&master, self.config.repository, &self.config_bytes, new, kdf)?;
        let key = Key::Slot(slot.id);
        self.store.put_new(&key, &slot.encode())?;
        self.store.sync()?;
        let stored = self.read_slot(&key)?;
        self.open_slot(&stored, new, &key.to_string())?;
        self.store.delete(&Key::Slot(old_slot.id))?;
        Ok(self.store.sync()?)
    }

    /// The key file under another passphrase; the caller stores it.
    pub fn rewrap_keyfile(
        &self,
        path: &str,
        bytes: &[u8],
        old: &[u8],
        new: &[u8],
        kdf: Kdf,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let slot = Slot::decode(bytes).map_err(|error| Error::decode_key(path, error))?;
        let master = self.open_slot(&slot, old, path)?;
        let slot = create_slot(&master, self.config.repository, &self.config_bytes, new, kdf)?;
        Ok(slot.encode())
    }

    /// Tries the slots, the cheapest first.
    fn find_slot(&self, passphrase: &[u8]) -> Result<(Slot, MasterKey)> {
        let keys = self.store.list(Area::Slots)?;
        let count = keys.len();
        let mut worst = match count {
            0 => Error::NoSlots,
            _ => Error::WrongPassphrase,
        };
        let mut slots = Vec::new();
        for (key, _) in keys.into_iter().take(SLOTS_READ_MAX) {
            match self.read_slot(&key) {
                Ok(slot) if self.expected.is_none() && is_cheap(&slot) => {
                    worst = Error::CheapSlot { object: key.to_string() };
                }
                Ok(slot) => slots.push((key, slot)),
                Err(error) => worst = error,
            }
        }
        if slots.len() > SLOTS_MAX || count > SLOTS_READ_MAX {
            worst = Error::ManySlots { count, tried: slots.len().min(SLOTS_MAX) };
        }
        slots.sort_by_key(|(_, slot)| cost(slot));
        for (key, slot) in slots.into_iter().take(SLOTS_MAX) {
            match self.open_slot(&slot, passphrase, &key.to_string()) {
                Ok(master) => return Ok((slot, master)),
                Err(Error::WrongPassphrase) => {}
                Err(error) => worst = error,
            }
        }
        Err(worst)
    }

    fn read_slot(&self, key: &Key) -> Result<Slot> {
        let bytes = get_whole(&*self.store, key, SMALL_OBJECT_LEN_MAX)?;
        let slot =
            Slot::decode(&bytes).map_err(|error| Error::decode_key(&key.to_string(), error))?;
        match slot.kdf {
            // A slot without passphrase in the repository would open to anybody.
            Kdf::Blank => Err(Error::WrongKey { object: key.to_string() }),
            Kdf::Argon2id { .. } => Ok(slot),
        }
    }

    fn open_slot(&self, slot: &Slot, passphrase: &[u8], object: &str) -> Result<MasterKey> {
        let master = open_slot(slot, &self.config, &self.config_bytes, passphrase, object)?;
        match self.expected.is_none_or(|expected| expected == master.id()) {
            true => Ok(master),
            false => Err(Error::OtherKey { object: object.to_owned() }),
        }
    }
}

/// Memory times passes of a guess.
fn cost(slot: &Slot) -> u64 {
    match slot.kdf {
        Kdf::Blank => 0,
        Kdf::Argon2id { memory_kib, passes, .. } => u64::from(memory_kib) * u64::from(passes),
    }
}

/// Whether a guess costs less than with any slot that garret makes.
fn is_cheap(slot: &Slot) -> bool {
    let (memory_floor, passes_floor) = KDF_FLOOR;
    let Kdf::Argon2id { memory_kib, passes, .. } = slot.kdf else { return true };
    memory_kib < memory_floor || passes < passes_floor
}

#[cfg(test)]
mod tests;
