//! A repository that is not open yet: made by [`init`], found by [`Locked::find`]. Its keys are found in `slots`.
//!
//! In: a store, what the client knows of the repository. Out: what is known without a key.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use garret_format::cold::MARK_LEN;
use garret_format::config::{Cipher, Config, Features, KeyMode};
use garret_format::slot::{Kdf, Label};
use garret_format::{ConfigHash, KeyId, PackId, RepositoryId, SlotId};
use zeroize::Zeroizing;

use super::entry::{Ahead, Right};
use crate::error::{Error, Result, message};
use crate::keys::seal::{Sealer, fastest_cipher};
use crate::keys::{KDF_DEFAULT, Keys, MasterKey, NewKey, create_slot, random};
use crate::limits::{GROUP_LEN_MOST, SMALL_OBJECT_LEN_MAX};
use crate::objects::copies::{self, Served};
use crate::pipeline::beside;
use crate::progress::Progress;
use crate::store::{Area, Guard, Key, LockMode, Store, StoreErrorKind};

/// How long opening a repository waits for other programs, unless it is told: the longest gc or night is over by then.
pub const LOCK_WAIT_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);

/// A repository whose keys are not known yet.
pub struct Locked {
    pub(super) store: Arc<dyn Store>,
    pub(super) patience: Duration,
    pub(super) expected: Option<KeyId>,
    pub(super) first: Option<SlotId>,
    pub(super) config: Config,
    pub(super) config_bytes: Vec<u8>,
    /// Whether the file `config` is damaged, so that this is of its second copy.
    pub(super) is_config_damaged: bool,
    pub(super) served: Arc<Served>,
    pub(super) meant_for: Option<Right>,
    pub(super) ahead: Mutex<Option<Ahead>>,
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
    /// Where its first key was put.
    pub mode: KeyMode,
    /// The hash of its file `config`.
    pub config_hash: ConfigHash,
    /// Which master key it has; none in mode none.
    pub key_id: Option<KeyId>,
}

/// What opens a repository.
#[derive(Clone, Copy)]
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

impl std::fmt::Debug for Secret<'_> {
    /// Which kind it is, and nothing of it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Secret::None => "None",
            Secret::Passphrase(_) => "Passphrase(..)",
            Secret::Keyfile { .. } => "Keyfile(..)",
        })
    }
}

/// What init decides.
#[derive(Clone)]
#[non_exhaustive]
pub struct InitOptions {
    /// How the repository is protected.
    pub mode: KeyMode,
    /// Passphrase of the first key slot or of the key file.
    pub passphrase: Zeroizing<Vec<u8>>,
    /// How the passphrase is made into a key.
    pub kdf: Kdf,
    /// What the user calls the first key.
    pub label: Label,
    /// What encrypts it, if it is protected: the faster one on this machine, unless the user said another.
    pub cipher: Cipher,
    /// How long its chunks are, about.
    pub chunk: ChunkSize,
    /// When, in seconds since 1970.
    pub now: i64,
}

/// How long the chunks of a repository are, about: between a quarter of it and four times as much. Shorter ones find more
/// that is the same, and cost more: 44 bytes of index each, in the memory of who prunes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChunkSize {
    /// 16 KiB: a repository is some 7 % smaller than with 64 KiB, and its index four times as long.
    Kib16,
    /// 32 KiB.
    Kib32,
    /// 64 KiB.
    #[default]
    Kib64,
}

impl ChunkSize {
    /// What cutters aim at, in bytes.
    pub fn target(self) -> u32 {
        match self {
            ChunkSize::Kib16 => 16 << 10,
            ChunkSize::Kib32 => 32 << 10,
            ChunkSize::Kib64 => 64 << 10,
        }
    }
}

impl std::fmt::Debug for InitOptions {
    /// Without the passphrase.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("InitOptions");
        shown.field("mode", &self.mode).field("kdf", &self.kdf).field("label", &self.label);
        shown
            .field("cipher", &self.cipher)
            .field("chunk", &self.chunk)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl InitOptions {
    /// With [`KDF_DEFAULT`], without a label, the fastest cipher, and chunks of the usual size.
    pub fn new(mode: KeyMode, passphrase: Zeroizing<Vec<u8>>, now: i64) -> Self {
        let (label, chunk) = Default::default();
        let (kdf, cipher) = (KDF_DEFAULT, fastest_cipher());
        InitOptions { mode, passphrase, kdf, label, cipher, chunk, now }
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
///
/// # Errors
/// A store that cannot be written, or has a repository; what `keep` says; no random numbers.
pub fn init(
    store: &dyn Store,
    options: &InitOptions,
    keep: &mut dyn FnMut(RepositoryId, &[u8]) -> Result<()>,
) -> Result<(Identity, Keys)> {
    let config = Config {
        repository: RepositoryId::from_bytes(random()?),
        features: Features::default(),
        cipher: (options.mode != KeyMode::None).then_some(options.cipher),
        key_mode: options.mode,
        chunk_min: options.chunk.target() / 4,
        chunk_target: options.chunk.target(),
        chunk_max: options.chunk.target() * 4,
        group_len: GROUP_LEN_MOST,
        pack_len: 32 << 20,
        created: options.now,
    };
    let bytes = config.encode();
    let mut keys = Keys::none();
    if options.mode != KeyMode::None {
        let master = MasterKey::random()?;
        keys = Keys::derive(&master, options.cipher)?;
        let (passphrase, kdf, now) = (&options.passphrase, options.kdf, options.now);
        let new = NewKey { kdf, label: options.label.clone(), ..NewKey::new(passphrase, now) };
        let slot = create_slot(&master, config.repository, &bytes, &new)?;
        match options.mode {
            KeyMode::Keyfile => keep(config.repository, &slot.encode())?,
            _ if passphrase.is_empty() => {
                return Err(Error::BadOption("the passphrase must not be empty".to_owned()));
            }
            _ => {
                store.put(&Key::SlotCopy(slot.id), &[&slot.encode()])?;
                store.put_new(&Key::Slot(slot.id), &slot.encode())?;
                keys = keys.found_by(Some(slot.id));
            }
        }
    }
    store.put(&Key::ConfigCopy, &[&bytes])?;
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
    /// Finds the repository in `store`, as [`open`].
    ///
    /// # Errors
    /// Those of [`open`].
    pub fn find(store: Box<dyn Store>) -> Result<Self> {
        let store: Arc<dyn Store> = store.into();
        let not_one = |why: String| Error::NotARepository { path: store.place(), why };
        let decode = |bytes: Vec<u8>| match Config::decode(&bytes) {
            Ok(config) => Ok((config, bytes)),
            Err(error) if error.kind == garret_format::DecodeErrorKind::BadMagic => {
                Err(not_one("its file config is not garret's".to_owned()))
            }
            Err(error) => Err(Error::decode("config", 0, error)),
        };
        // In a repository that is whole no pack is cold.
        let is_whole = !store.is_cold(&Key::Pack(PackId::from_bytes([0; 32])));
        let has_mark = || match store.get_whole(&Key::Cold, MARK_LEN as u64) {
            _ if !is_whole => Ok(false),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(false),
            Err(error) if error.kind != StoreErrorKind::WrongLength => Err(error),
            _ => Ok(true),
        };
        let config = || store.get_whole(&Key::Config, SMALL_OBJECT_LEN_MAX);
        let (has_mark, config) = beside(store.properties().in_flight, has_mark, config)?;
        let has_mark = has_mark?;
        let first = match config {
            Ok(_) if has_mark => return Err(Error::PacksElsewhere { path: store.place() }),
            Ok(bytes) => decode(bytes),
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                if has_mark {
                    let why =
                        "only packs lie there, of a repository elsewhere, or an init was cut short";
                    return Err(not_one(why.to_owned()));
                }
                let has_copy = store.len(&Key::ConfigCopy).is_ok();
                let hint =
                    if has_copy { "; copies/config is the same: copy it to config" } else { "" };
                return Err(not_one(format!("it has no file config{hint}")));
            }
            Err(error) if error.kind == StoreErrorKind::WrongLength => {
                Err(not_one(message(&error)))
            }
            Err(error) => Err(error.into()),
        };
        let (is_config_damaged, served) = (first.is_err(), Arc::new(Served::default()));
        let (config, config_bytes) =
            first.or_else(|error| copies::config(&*store, error, &served))?;
        let (patience, expected, first) = (LOCK_WAIT_DEFAULT, None, None);
        let (meant_for, ahead) = Default::default();
        Ok(Locked {
            store,
            patience,
            expected,
            first,
            config,
            config_bytes,
            is_config_damaged,
            served,
            meant_for,
            ahead,
        })
    }

    /// Makes an empty store another copy of this repository, with its id, configuration and key slots, and without archives.
    ///
    /// # Errors
    /// The slots cannot be read; the store cannot be written.
    pub fn make_copy(&self, store: &dyn Store) -> Result<()> {
        for (id, slot) in self.slots()? {
            // One that is damaged opens nowhere.
            if let Ok(slot) = slot {
                store.put(&Key::SlotCopy(id), &[&slot.encode()])?;
                store.put_new(&Key::Slot(id), &slot.encode())?;
            }
        }
        store.put(&Key::ConfigCopy, &[&self.config_bytes])?;
        store.sync()?;
        store.put_new(&Key::Config, &self.config_bytes)?;
        Ok(store.sync()?)
    }

    /// Passes on which second copies were used since it was called last. A session does it when it is opened.
    pub fn tell(&self, progress: &dyn Progress) {
        self.served.take().iter().for_each(|problem| progress.problem(problem));
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

    /// The slot that opened it when it was used before: it is tried first.
    pub fn trying_first(self, first: Option<SlotId>) -> Self {
        Locked { first, ..self }
    }

    /// That a second copy of `config` which is used is this repository's. Where there is a passphrase its slot says so.
    pub(super) fn prove_config(&self, metadata: &Sealer) -> Result<()> {
        if !self.is_config_damaged || copies::opens_any(&*self.store, metadata)? {
            return Ok(());
        }
        let what = "nothing that is stored here opens with it, so it is another repository's, and config is damaged: copy \
                    config from another copy of this repository";
        let object = Key::ConfigCopy.to_string();
        Err(Error::Corrupt { object, offset: 0, what: what.to_owned() })
    }

    /// Puts `config` back from its second copy. Only for the holder of the exclusive lock, who has to take it anew.
    pub(super) fn mend_config(&self) -> Result<()> {
        copies::set_aside(&*self.store, &Key::Config)?;
        self.store.put(&Key::Config, &[&self.config_bytes])?;
        Ok(self.store.sync()?)
    }

    /// The repository's name in caches and of key files.
    pub fn id(&self) -> RepositoryId {
        self.config.repository
    }

    /// When it was made, in seconds since 1970.
    pub fn created(&self) -> i64 {
        self.config.created
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

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Whether there are key slots in the repository: none without encryption has any.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn has_slots(&self) -> Result<bool> {
        Ok(!self.store.list(Area::Slots)?.is_empty())
    }

    /// Where its first key was put. There may be more, in either place.
    pub fn key_mode(&self) -> KeyMode {
        self.config.key_mode
    }

    /// The same, and what encrypts it; none if nothing does.
    pub fn protection(&self) -> (KeyMode, Option<Cipher>) {
        (self.config.key_mode, self.config.cipher)
    }

    /// Takes the lock, to write.
    pub(super) fn lock_to_write(
        &self,
        mode: LockMode,
        progress: &dyn Progress,
    ) -> Result<Box<dyn Guard>> {
        self.permit(self.config.features.write)?;
        self.lock("write", mode, progress)
    }

    /// Takes the lock; who is waited for is said.
    pub(crate) fn lock(
        &self,
        kind: &'static str,
        mode: LockMode,
        progress: &dyn Progress,
    ) -> Result<Box<dyn Guard>> {
        let place = self.store.place();
        let mut waiting =
            |who: &str| progress.waiting(&format!("waiting for {who} to finish with {place}"));
        let lock = self.store.lock(mode, self.patience, &mut waiting);
        lock.map_err(|source| Error::Lock { kind, place: place.clone(), source })
    }

    /// That this garret knows all of these features, which what is going to be done needs: it knows none.
    pub(super) fn permit(&self, features: u32) -> Result<()> {
        if features == 0 {
            return Ok(());
        }
        let kind = garret_format::DecodeErrorKind::UnsupportedFeatures(features);
        let error = garret_format::DecodeError { what: "config", offset: 40, kind };
        Err(Error::decode("config", 0, error))
    }
}
