//! What a server takes from a client whom it need not trust.
//!
//! In: a store and [`Rules`]. Out: a store. Promises: what has a name by its bytes has these bytes, and nothing begins as
//! something else than its kind does; as far as the rules say so, nothing that is there is removed, replaced or hidden, and
//! the repository gets no longer than it may be. It holds for any client: who has a passphrase and an altered program gains
//! nothing.

use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use garret_core::{
    Area, Guard, Key, LocalStore, LockMode, Properties, Store, StoreError, StoreErrorKind,
};
use garret_format::object::Kind;

use crate::wire::AREAS;

/// Bytes that may be put before what there is is measured again, where that has a bound.
const UNMEASURED_MAX: u64 = 4 << 20;

/// What a client may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Nothing is removed or replaced: archives are added, and read.
    pub append_only: bool,
    /// Nothing is written.
    pub read_only: bool,
    /// Bytes that the repository may have at most. Clients that write at the same moment may each put an object more.
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
}

/// A store behind rules.
pub struct Gate<S> {
    inner: S,
    rules: Rules,
    /// Whether this connection made the repository, so that all of it is its own until an archive is there.
    is_new: bool,
    /// Bytes that were there when it was last measured, and that were put since; at first, none was measured.
    measured: AtomicU64,
    put: AtomicU64,
}

impl Removable for LocalStore {
    fn remove(&self) -> Result<(), StoreError> {
        LocalStore::remove(self)
    }

    fn undo_create(&self) -> Result<(), StoreError> {
        LocalStore::undo_create(self)
    }
}

impl<S: Removable> Removable for Gate<S> {
    fn remove(&self) -> Result<(), StoreError> {
        self.may_remove("remove", &Key::Config)?;
        self.inner.remove()
    }

    fn undo_create(&self) -> Result<(), StoreError> {
        match self.is_new {
            true => self.inner.undo_create(),
            false => Err(self.refuse("remove", &Key::Config, "it was there before")),
        }
    }
}

impl<S: Store> Gate<S> {
    /// Puts rules before a store, which `is_new` says that its client made.
    pub fn new(inner: S, rules: Rules, is_new: bool) -> Self {
        let put = AtomicU64::new(UNMEASURED_MAX);
        Gate { inner, rules, is_new, measured: AtomicU64::new(0), put }
    }

    /// The store behind it.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
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
        match self.rules.append_only && !self.is_new {
            true => Err(self.refuse(operation, key, APPEND_ONLY)),
            false => Ok(()),
        }
    }

    /// Whether a `put`, which may replace, of these bytes is one that only adds.
    fn only_adds(&self, key: &Key) -> bool {
        match key {
            // Named by their bytes, so what is there is the same or damaged.
            Key::Pack(_) | Key::Index(_) | Key::ArchiveCopy(_) => true,
            _ => !self.rules.append_only || self.is_new,
        }
    }

    /// Refuses what is not what its name says, or longer than its kind may be.
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
        if let Some(named) = named {
            let mut hasher = blake3::Hasher::new();
            parts.iter().for_each(|part| _ = hasher.update(part));
            if *hasher.finalize().as_bytes() != named {
                let why = "its bytes are not what its name says";
                return Err(wrong(operation, &format!("{}/{key}", self.inner.place()), why));
            }
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
        let put = self.put.fetch_add(len, Ordering::Relaxed).saturating_add(len);
        if put > UNMEASURED_MAX {
            self.put.store(len, Ordering::Relaxed);
            self.measured.store(self.used()?, Ordering::Relaxed);
        }
        let used = self.measured.load(Ordering::Relaxed);
        let put = self.put.load(Ordering::Relaxed);
        match used.saturating_add(put) > quota {
            true => {
                let source = io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    format!(
                        "the server's quota for this repository is {quota} bytes, and {used} are used"
                    ),
                );
                let object = format!("{}/{key}", self.inner.place());
                Err(StoreError { kind: StoreErrorKind::NoSpace, operation, object, source })
            }
            false => Ok(()),
        }
    }

    /// Bytes of all objects.
    fn used(&self) -> Result<u64, StoreError> {
        let mut used = 0u64;
        for area in AREAS {
            let listed = self.inner.list(area)?;
            used = listed.iter().fold(used, |sum, (_, len)| sum.saturating_add(*len));
        }
        Ok(used)
    }
}

const READ_ONLY: &str = "the server lets this client only read";
const APPEND_ONLY: &str = "the server lets this client add archives and remove or replace nothing; do that on the server, \
                           or with a key that may";

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
        Key::Tombstones | Key::TombstonesCopy => &[Kind::Tombstones],
        Key::Tags(_) => &[Kind::Tags],
        Key::Quarantine(_) => &[],
    }
}

impl<S: Store> Store for Gate<S> {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.may_write("write", key)?;
        if !self.only_adds(key) {
            return Err(self.refuse("write", key, APPEND_ONLY));
        }
        self.examine("write", key, parts)?;
        self.account("write", key, parts.iter().map(|part| part.len() as u64).sum())?;
        self.inner.put(key, parts)
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.may_write("create", key)?;
        // Another key of his would open what he could not any more when his is taken away.
        if self.rules.append_only && !self.is_new && !matches!(key, Key::Archive(_)) {
            return Err(self.refuse("create", key, APPEND_ONLY));
        }
        self.examine("create", key, &[bytes])?;
        self.account("create", key, bytes.len() as u64)?;
        self.inner.put_new(key, bytes)
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
            LockMode::Prune | LockMode::Exclusive if self.rules.append_only && !self.is_new => {
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

    fn notices(&self) -> Vec<String> {
        self.inner.notices()
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}
