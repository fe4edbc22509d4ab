//! What a server takes from a client whom it need not trust.
//!
//! In: a store and [`Rules`]. Out: a store. Promises: what has a name by its bytes has these bytes, and nothing begins as
//! something else than its kind does; as far as the rules say so, nothing that is there is removed, replaced or hidden, and
//! the repository gets no longer than it may be. It holds for any client: who has a passphrase and an altered program gains
//! nothing.

use std::collections::HashMap;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garret_core::{
    Area, Guard, Key, LocalStore, LockMode, Properties, Retry, Split, Store, StoreError,
    StoreErrorKind, Traffic,
};
use garret_format::object::Kind;

/// Bytes that may be put before what there is is measured again, where that has a bound: a part of what is left of it, for
/// others may put at the same time; and between which it is, for to measure is to look at every file.
const UNMEASURED_PART: u64 = 64;
const UNMEASURED: [u64; 2] = [4 << 20, 256 << 20];
/// What the smallest file takes of a disk.
const BLOCK_LEN: u64 = 4096;
/// More objects than a repository has when it was made, or is made as a copy: a config and its copy, each key twice.
const INIT_OBJECTS: usize = 64;
/// More bytes than an archive's file has.
const ARCHIVE_LEN_MAX: u64 = 64 << 20;

/// What a client may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Nothing is removed or replaced: archives are added, and read.
    pub append_only: bool,
    /// Nothing is written.
    pub read_only: bool,
    /// Bytes of the disk that the repository may take at most. Clients that write at the same time may each go beyond it by a
    /// part of what is left.
    pub quota: Option<u64>,
}

/// A store that can be removed as a whole.
pub trait Removable: Store {
    /// Removes the repository, all of it. Only for the holder of its exclusive lock.
    ///
    /// # Errors
    /// There is more in its directory; it cannot be written.
    fn remove(&self) -> Result<(), StoreError>;
    /// Removes what this made of a repository.
    ///
    /// # Errors
    /// It was there before; it cannot be written.
    fn undo_create(&self) -> Result<(), StoreError>;
    /// Bytes that the repository takes, with all that is under way or was left over.
    ///
    /// # Errors
    /// It cannot be looked at.
    fn taken_len(&self) -> Result<u64, StoreError>;
}

/// The hot one first: what is left when it is cut short is packs, which are nothing by themselves. Neither stays for what is
/// in the way of the other.
impl Removable for Split<Box<dyn Removable>> {
    fn remove(&self) -> Result<(), StoreError> {
        let removed = self.hot().remove();
        removed.and(self.cold().remove())
    }

    fn undo_create(&self) -> Result<(), StoreError> {
        let undone = self.hot().undo_create();
        undone.and(self.cold().undo_create())
    }

    fn taken_len(&self) -> Result<u64, StoreError> {
        Ok(self.hot().taken_len()?.saturating_add(self.cold().taken_len()?))
    }
}

/// Whoever removes a repository is told at once what is in the way.
impl<S: Removable> Removable for Retry<S> {
    fn remove(&self) -> Result<(), StoreError> {
        self.inner().remove()
    }

    fn undo_create(&self) -> Result<(), StoreError> {
        self.inner().undo_create()
    }

    fn taken_len(&self) -> Result<u64, StoreError> {
        self.inner().taken_len()
    }
}

/// A store behind rules.
pub struct Gate<S> {
    inner: S,
    rules: Rules,
    /// Whether this connection makes the repository, and nobody else can be in it.
    is_new: Mutex<bool>,
    /// Archives that this connection made, by the hash of their bytes: whoever lost his lock meanwhile takes them back.
    made: Mutex<HashMap<Key, blake3::Hash>>,
    quota: Mutex<Quota>,
}

impl Removable for LocalStore {
    fn remove(&self) -> Result<(), StoreError> {
        LocalStore::remove(self)
    }

    fn undo_create(&self) -> Result<(), StoreError> {
        LocalStore::undo_create(self)
    }

    fn taken_len(&self) -> Result<u64, StoreError> {
        LocalStore::taken_len(self)
    }
}

impl<S: Removable> Removable for Gate<S> {
    fn remove(&self) -> Result<(), StoreError> {
        self.may_remove("remove", &Key::Config)?;
        self.inner.remove()
    }

    fn undo_create(&self) -> Result<(), StoreError> {
        if !self.rules.append_only {
            return match *self.is_new() {
                true => self.inner.undo_create(),
                false => Err(self.refuse("remove", &Key::Config, "it was there before")),
            };
        }
        // Held until it is over: what makes it a repository that others open comes before or never.
        let Some(mut own) = self.own() else {
            return Err(self.refuse("remove", &Key::Config, APPEND_ONLY));
        };
        // What takes long could meet what others put meanwhile.
        let found = self.inner.list_all(&Area::ALL)?;
        let is_made_later =
            |key: &Key| matches!(key, Key::Pack(_) | Key::Index(_) | Key::Archive(_));
        if found.len() > INIT_OBJECTS || found.iter().any(|(key, _)| is_made_later(key)) {
            return Err(self.refuse("remove", &Key::Config, APPEND_ONLY));
        }
        *own = false;
        self.inner.undo_create()
    }

    fn taken_len(&self) -> Result<u64, StoreError> {
        self.inner.taken_len()
    }
}

/// What a repository takes, as far as it is known.
#[derive(Default)]
struct Quota {
    /// Bytes that were there when it was measured; at first it was not.
    measured: Option<u64>,
    /// Bytes that were put since.
    put: u64,
}

impl<S: Removable> Gate<S> {
    /// Puts rules before a store, which `is_new` says that its client made.
    pub fn new(inner: S, rules: Rules, is_new: bool) -> Self {
        let (made, quota) = Default::default();
        Gate { inner, rules, is_new: Mutex::new(is_new), made, quota }
    }

    fn refuse(&self, operation: &'static str, key: &Key, why: &str) -> StoreError {
        refused(operation, &format!("{}/{key}", self.inner.place()), why)
    }

    fn may_write(&self, operation: &'static str, key: &Key) -> Result<(), StoreError> {
        match self.rules.read_only {
            true => Err(self.refuse(operation, key, READ_ONLY)),
            false => Ok(()),
        }
    }

    fn may_remove(&self, operation: &'static str, key: &Key) -> Result<(), StoreError> {
        self.may_write(operation, key)?;
        if !self.rules.append_only {
            return Ok(());
        }
        // Once: what has that name later is somebody else's.
        let made = self.made().remove(key);
        let there = made.and_then(|_| self.inner.get_whole(key, ARCHIVE_LEN_MAX).ok());
        match there.is_some_and(|bytes| made == Some(blake3::hash(&bytes))) {
            true => Ok(()),
            false => Err(self.refuse(operation, key, APPEND_ONLY)),
        }
    }

    /// The right of a client that may only add to what it makes: until the repository has a config, which others want to see
    /// before they store anything in it. What is done by it is over when it is given back.
    fn own(&self) -> Option<MutexGuard<'_, bool>> {
        if !self.rules.append_only {
            return None;
        }
        let mut is_new = self.is_new();
        if *is_new {
            let config = self.inner.len(&Key::Config);
            *is_new = config.is_err_and(|error| error.kind == StoreErrorKind::NotFound);
        }
        is_new.then_some(is_new)
    }

    /// After this was put the repository is not only this connection's any more.
    fn settle(&self, key: &Key, own: Option<MutexGuard<'_, bool>>) {
        let is_opened = self.rules.append_only && *key == Key::Config;
        if is_opened || matches!(key, Key::Archive(_)) {
            *own.unwrap_or_else(|| self.is_new()) = false;
        }
    }

    fn is_new(&self) -> MutexGuard<'_, bool> {
        self.is_new.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self) -> MutexGuard<'_, HashMap<Key, blake3::Hash>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an object is there with exactly these bytes.
    fn has(&self, key: &Key, parts: &[&[u8]]) -> bool {
        let len = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        if self.inner.len(key).ok() != Some(len) {
            return false;
        }
        let there = self.inner.get(key, 0..len).unwrap_or_default();
        let mut rest = there.as_slice();
        let is_same = |part: &&[u8]| {
            let same = rest.strip_prefix(*part);
            rest = same.unwrap_or_default();
            same.is_some()
        };
        parts.iter().all(is_same)
    }

    /// Refuses what is not what its name says, or begins as something else.
    fn examine(
        &self,
        operation: &'static str,
        key: &Key,
        parts: &[&[u8]],
    ) -> Result<(), StoreError> {
        let named = match key {
            Key::Pack(id) => Some(*id.as_bytes()),
            Key::Index(id) => Some(*id.as_bytes()),
            Key::ArchiveCopy(hash) => Some(*hash.as_bytes()),
            _ => None,
        };
        if named.is_some_and(|named| *hash(parts).as_bytes() != named) {
            let why = "its bytes are not what its name says";
            return Err(wrong(operation, &format!("{}/{key}", self.inner.place()), why));
        }
        let start = parts.first().copied().unwrap_or_default();
        let kinds = kinds_of(key);
        if !kinds.is_empty() && kinds.iter().all(|kind| !start.starts_with(&kind.header())) {
            let why = "it does not begin as its kind does";
            return Err(wrong(operation, &format!("{}/{key}", self.inner.place()), why));
        }
        Ok(())
    }

    /// Makes room in the quota for so many bytes.
    fn account(&self, operation: &'static str, key: &Key, len: u64) -> Result<(), StoreError> {
        let Some(quota) = self.rules.quota else { return Ok(()) };
        let len = len.next_multiple_of(BLOCK_LEN);
        // Held while it is measured: that is done once for all who wait.
        let mut known = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        let [least, most] = UNMEASURED;
        let is_old = |measured: u64| {
            let room = quota.saturating_sub(measured);
            known.put.saturating_add(len) > (room / UNMEASURED_PART).clamp(least, most)
        };
        if known.measured.is_none_or(is_old) {
            *known = Quota { measured: Some(self.inner.taken_len()?), put: 0 };
        }
        known.put = known.put.saturating_add(len);
        let taken = known.measured.unwrap_or_default().saturating_add(known.put);
        if taken <= quota {
            return Ok(());
        }
        known.put = known.put.saturating_sub(len);
        let used = taken.saturating_sub(len);
        let source = io::Error::new(
            io::ErrorKind::QuotaExceeded,
            format!(
                "the server's quota for this repository is {quota} bytes, and {used} are taken"
            ),
        );
        let object = format!("{}/{key}", self.inner.place());
        Err(StoreError { kind: StoreErrorKind::NoSpace, operation, object, source })
    }
}

const READ_ONLY: &str = "the server lets this client only read";
const APPEND_ONLY: &str = "the server lets this client add archives and remove or replace nothing; do that on the server, \
                           or with a key that may";

fn hash(parts: &[&[u8]]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    parts.iter().for_each(|part| _ = hasher.update(part));
    hasher.finalize()
}

fn refused(operation: &'static str, object: &str, why: &str) -> StoreError {
    let source = io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned());
    StoreError { kind: StoreErrorKind::Denied, operation, object: object.to_owned(), source }
}

fn wrong(operation: &'static str, object: &str, why: &str) -> StoreError {
    let source = io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    StoreError { kind: StoreErrorKind::Other, operation, object: object.to_owned(), source }
}

/// What the file of an object may begin as; nothing is said of what a repair sets aside.
fn kinds_of(key: &Key) -> &'static [Kind] {
    match key {
        Key::Config | Key::ConfigCopy => &[Kind::Config],
        Key::Slot(_) | Key::SlotCopy(_) => &[Kind::Slot],
        Key::Pack(_) => &[Kind::Pack, Kind::StructurePack],
        Key::Index(_) => &[Kind::Index],
        Key::Archive(_) | Key::ArchiveCopy(_) => &[Kind::Archive],
        Key::Damage(_) => &[Kind::Damage],
        Key::Verified => &[Kind::Verified],
        Key::Condemned => &[Kind::Condemned],
        Key::Cold => &[Kind::Cold],
        Key::Tombstones | Key::TombstonesCopy => &[Kind::Tombstones],
        Key::Tags(_) => &[Kind::Tags],
        Key::Quarantine(_) => &[],
    }
}

impl<S: Removable> Store for Gate<S> {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.may_write("write", key)?;
        let own = self.own();
        let only_appends = self.rules.append_only && own.is_none();
        // Named by their bytes, so what is there is the same or damaged.
        let is_named = matches!(key, Key::Pack(_) | Key::Index(_) | Key::ArchiveCopy(_));
        if only_appends && !is_named {
            return Err(self.refuse("write", key, APPEND_ONLY));
        }
        self.examine("write", key, parts)?;
        // The files of a day stay those of that day.
        if only_appends && self.has(key, parts) {
            return self.inner.adopt(key);
        }
        self.account("write", key, parts.iter().map(|part| part.len() as u64).sum())?;
        self.inner.put(key, parts)?;
        if matches!(key, Key::ArchiveCopy(_)) {
            self.made().insert(key.clone(), hash(parts));
        }
        self.settle(key, own);
        Ok(())
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.may_write("create", key)?;
        let own = self.own();
        // Another key of his would open what he could not any more when his is taken away.
        if self.rules.append_only && own.is_none() && !matches!(key, Key::Archive(_)) {
            return Err(self.refuse("create", key, APPEND_ONLY));
        }
        self.examine("create", key, &[bytes])?;
        self.account("create", key, bytes.len() as u64)?;
        self.inner.put_new(key, bytes)?;
        if matches!(key, Key::Archive(_)) {
            self.made().insert(key.clone(), hash(&[bytes]));
        }
        self.settle(key, own);
        Ok(())
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.inner.get(key, range)
    }

    fn get_whole(&self, key: &Key, max: u64) -> Result<Vec<u8>, StoreError> {
        self.inner.get_whole(key, max)
    }

    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        self.inner.len(key)
    }

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        self.inner.list(area)
    }

    fn list_all(&self, areas: &[Area]) -> Result<Vec<(Key, u64)>, StoreError> {
        self.inner.list_all(areas)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.may_remove("remove", key)?;
        self.inner.delete(key)
    }

    fn adopt(&self, key: &Key) -> Result<(), StoreError> {
        self.inner.adopt(key)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.inner.sync()
    }

    fn doubtful(&self) -> Result<Vec<String>, StoreError> {
        self.inner.doubtful()
    }

    fn strangers(&self) -> Result<Vec<(Key, u64)>, StoreError> {
        self.inner.strangers()
    }

    fn sweep(&self) -> Result<(), StoreError> {
        self.may_remove("clean", &Key::Config)?;
        self.inner.sweep()
    }

    fn lock(
        &self,
        mode: LockMode,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn Guard>, StoreError> {
        let place = self.inner.place();
        match mode {
            LockMode::Session(_) | LockMode::Check => {}
            LockMode::Prune | LockMode::Exclusive if self.rules.read_only => {
                return Err(refused("lock", &place, READ_ONLY));
            }
            LockMode::Prune | LockMode::Exclusive if self.rules.append_only => {
                return Err(refused("lock", &place, APPEND_ONLY));
            }
            LockMode::Prune | LockMode::Exclusive => {}
        }
        self.inner.lock(mode, patience, waiting)
    }

    fn has_sessions(&self, epochs: RangeInclusive<u64>) -> Result<bool, StoreError> {
        self.inner.has_sessions(epochs)
    }

    fn pass_over(&self, key: &Key) {
        self.inner.pass_over(key);
    }

    fn traffic(&self) -> Option<Traffic> {
        self.inner.traffic()
    }

    fn is_exclusive(&self) -> Result<Option<bool>, StoreError> {
        self.inner.is_exclusive()
    }

    fn notices(&self) -> Vec<String> {
        self.inner.notices()
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}
