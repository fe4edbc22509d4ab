//! The object store under a repository: a handful of operations on named, immutable objects.
//!
//! What each promises is said at [`Store`].

mod clock;
mod lease;
mod limit;
mod local;
mod memory;
mod pace;
mod retry;
mod split;

use std::fmt;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use garret_format::{ArchiveHash, PackId, SegmentId, SlotId};

pub use clock::{Clock, SystemClock};
pub use lease::{LEASE_TIME, LeaseTable, Leases};
pub use limit::{Limit, LimitOptions};
pub use local::{LocalStore, Sharing};
pub use memory::MemoryStore;
pub use pace::Pace;
pub use retry::{Retry, RetryOptions};
pub use split::Split;

/// The name of an object. `Display` is its path in the repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The configuration.
    Config,
    /// A key slot.
    Slot(SlotId),
    /// A pack.
    Pack(PackId),
    /// An index segment.
    Index(SegmentId),
    /// An archive, by its name.
    Archive(String),
    /// The record that a pack is damaged.
    Damage(PackId),
    /// What a repair took away, as far as it could be read: a damaged pack by its name, all else by the hash of its bytes.
    Quarantine(PackId),
    /// The record of verified packs.
    Verified,
    /// The record of condemned packs.
    Condemned,
    /// The record of what was deleted.
    Tombstones,
    /// What an archive is tagged with, and whether it is protected, by the hash of its file.
    Tags(ArchiveHash),
    /// The mark that packs of files lie in a second place, and of that.
    Cold,
    /// The second copy of the configuration.
    ConfigCopy,
    /// The second copy of the record of what was deleted.
    TombstonesCopy,
    /// The second copy of a key slot.
    SlotCopy(SlotId),
    /// The second copy of an archive, by the hash of its file.
    ArchiveCopy(ArchiveHash),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Config => f.write_str("config"),
            Key::Slot(id) => write!(f, "keys/{id}"),
            Key::Pack(id) => {
                let [first, ..] = id.as_bytes();
                write!(f, "packs/{first:02x}/{id}")
            }
            Key::Index(id) => write!(f, "index/{id}"),
            Key::Archive(name) => write!(f, "backups/{name}"),
            Key::Damage(id) => write!(f, "damaged/{id}"),
            Key::Quarantine(id) => write!(f, "quarantine/{id}"),
            Key::Verified => f.write_str("verified"),
            Key::Condemned => f.write_str("condemned"),
            Key::Tombstones => f.write_str("tombstones"),
            Key::Cold => f.write_str("cold"),
            Key::Tags(hash) => write!(f, "tags/{hash}"),
            Key::ConfigCopy => f.write_str("copies/config"),
            Key::TombstonesCopy => f.write_str("copies/tombstones"),
            Key::SlotCopy(id) => write!(f, "copies/{id}"),
            Key::ArchiveCopy(hash) => write!(f, "copies/{hash}"),
        }
    }
}

/// The kinds of objects that can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Key slots.
    Slots,
    /// Packs.
    Packs,
    /// Index segments.
    Index,
    /// Archives.
    Archives,
    /// Records of damaged packs.
    Damage,
    /// What repairs took away.
    Quarantine,
    /// Records of tags.
    Tags,
    /// Second copies.
    Copies,
}

impl Area {
    /// All of them, in the order in which a repository is removed: packs, which are nothing by themselves, last.
    pub const ALL: [Area; 8] = [
        Area::Slots,
        Area::Copies,
        Area::Index,
        Area::Archives,
        Area::Damage,
        Area::Tags,
        Area::Quarantine,
        Area::Packs,
    ];
}

/// What the lock is for, and so who else may hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// To read, or to add: beside anybody but who is alone. The epoch is the newest of which the holder knows what was
    /// condemned, at most [`EPOCH_MAX`](garret_format::condemned::EPOCH_MAX): see [`Store::has_sessions`].
    Session(u64),
    /// To check: as a session, and nobody deletes meanwhile.
    Check,
    /// To delete: beside sessions, one at a time.
    Prune,
    /// Alone: nobody else holds it.
    Exclusive,
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// No such object.
    NotFound,
    /// `put_new` found one.
    AlreadyExists,
    /// The object is shorter than the range, or longer than its kind may be.
    WrongLength,
    /// No permission, or a read-only file system.
    Denied,
    /// The disk or quota is full, or files may not be that long.
    NoSpace,
    /// Another program holds the lock.
    Busy,
    /// The object's name belongs to something that is not a file.
    NotAFile,
    /// The way to the storage failed, not the storage: another try may find it well.
    Transient,
    /// Anything else.
    Other,
}

/// A failed operation: what, on which object, why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {object}")]
pub struct StoreError {
    /// Why, for the program.
    pub kind: StoreErrorKind,
    /// The verb.
    pub operation: &'static str,
    /// Where the object is: path of the file, or key.
    pub object: String,
    /// Why, for the user.
    pub source: io::Error,
}

impl StoreError {
    /// An error for `operation` on `object`; the kind follows from `source`.
    pub fn new(operation: &'static str, object: impl fmt::Display, source: io::Error) -> Self {
        let kind = StoreErrorKind::of(&source);
        StoreError { kind, operation, object: object.to_string(), source }
    }

    /// An object has `len` bytes, and may have `max`.
    pub fn too_long(object: impl fmt::Display, len: u64, max: u64) -> Self {
        let source = io::Error::other(format!("{len} bytes are more than the {max} it may have"));
        let kind = StoreErrorKind::WrongLength;
        StoreError { kind, operation: "read", object: object.to_string(), source }
    }
}

impl StoreErrorKind {
    /// What the system's word for it means.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => StoreErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => StoreErrorKind::AlreadyExists,
            io::ErrorKind::UnexpectedEof => StoreErrorKind::WrongLength,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StoreErrorKind::Denied
            }
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => StoreErrorKind::NoSpace,
            io::ErrorKind::WouldBlock => StoreErrorKind::Busy,
            io::ErrorKind::IsADirectory => StoreErrorKind::NotAFile,
            io::ErrorKind::TimedOut
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            // A server of files has forgotten a handle: every operation looks its object up anew.
            | io::ErrorKind::StaleNetworkFileHandle => StoreErrorKind::Transient,
            _ => StoreErrorKind::Other,
        }
    }
}

/// What a store is good at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Properties {
    /// How many requests it answers faster side by side than one after the other. 1 where a request costs no more than its
    /// bytes do: then each is made where they are needed, and for what is needed alone.
    pub in_flight: usize,
}

impl Properties {
    /// A store that wants so many requests under way.
    pub fn in_flight(in_flight: usize) -> Self {
        Properties { in_flight: in_flight.max(1) }
    }
}

impl Default for Properties {
    fn default() -> Self {
        Properties::in_flight(1)
    }
}

/// What went over the line to a store since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests, those included that were made again.
    pub requests: u64,
    /// Bytes of what was sent.
    pub sent: u64,
    /// Bytes of what came.
    pub received: u64,
}

/// A held lock. Dropping it releases.
pub trait Guard: Send + Sync {
    /// Whether it excludes whom it should. Not any more when what it was taken on is another one now.
    fn is_held(&self) -> bool {
        true
    }
}

/// Where a repository's objects are.
///
/// # Contract
///
/// Tested by one suite (`garret_testkit::store_suite`) on every implementation:
///
/// - An object is absent or whole: a reader never sees part of a `put`.
/// - `put` of a key that exists replaces it; content-addressed keys get the same bytes again. `put_new` refuses instead, and
///   of two at once exactly one succeeds.
/// - What was put, deleted or adopted is durable once a `sync` that began after that has returned. The order of durability
///   before that is undefined.
/// - `get` of a range fails when the range is not fully there. `get_whole` gives what one put put, never parts of two.
/// - `list` gives every object whose put returned before the call and that is not deleted, with its length; objects put
///   during the call may or may not be in it; it never invents one. What is no object by its name, type or, but for packs, by
///   its first bytes is passed over; the next `notices` tell of it. An area in which nothing was ever put is empty.
/// - `delete` of an absent object succeeds.
/// - What failed was done or was not, and is not done later.
/// - A lock is held until its guard is dropped or the process ends; who excludes whom is said by [`LockMode`]. Whoever waited
///   for as long as he was willing to gets `Busy`. `has_sessions` sees every session whose lock was taken before the call and
///   is still held.
pub trait Store: Send + Sync {
    /// What it is good at: does not change while it is used.
    fn properties(&self) -> Properties {
        Properties::default()
    }
    /// Whether an object may have to be brought back before it can be read, which takes hours and costs money: it is read
    /// only for who asked for what is in it.
    fn is_cold(&self, _key: &Key) -> bool {
        false
    }
    /// Stores the concatenation of `parts`.
    ///
    /// # Errors
    /// `NoSpace`; `Denied`; `NotAFile` if something else has the name; `Busy` once a lock that was taken here is lost;
    /// `Transient`; `Other`.
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError>;
    /// Stores an object that must not exist yet.
    ///
    /// # Errors
    /// `AlreadyExists` if there is anything of that name; else as of [`put`](Self::put).
    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError>;
    /// The bytes of the object in `range`.
    ///
    /// # Errors
    /// `NotFound`; `WrongLength` if the range is not fully there; `NotAFile` if something else has the name; `Denied`;
    /// `Transient`; `Other`.
    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError>;
    /// The whole object as it was at one moment, also while it is replaced. As it stands here it asks twice, which is right
    /// only for what nobody replaces.
    ///
    /// # Errors
    /// `WrongLength` if it has more than `max` bytes; else as of [`get`](Self::get).
    fn get_whole(&self, key: &Key, max: u64) -> Result<Vec<u8>, StoreError> {
        let len = self.len(key)?;
        if len > max {
            return Err(StoreError::too_long(key, len, max));
        }
        self.get(key, 0..len)
    }
    /// Length of the object in bytes.
    ///
    /// # Errors
    /// As of [`get`](Self::get), without `WrongLength`.
    fn len(&self, key: &Key) -> Result<u64, StoreError>;
    /// The objects of one kind and their lengths in bytes, in no order.
    ///
    /// # Errors
    /// `Denied`, `Transient` or `Other` if anything that may hold them cannot be listed.
    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError>;
    /// The objects of several kinds, packs among them, as [`list`](Self::list) gives them: each kind at the moment at which
    /// the one before it was listed, or later, if they are given in the order of their names in the repository. A store for
    /// which that is less work lists them all at once.
    ///
    /// # Errors
    /// As of [`list`](Self::list).
    fn list_all(&self, areas: &[Area]) -> Result<Vec<(Key, u64)>, StoreError> {
        self.list_each(areas)
    }
    /// The same kind by kind, with requests of its own for each.
    ///
    /// # Errors
    /// As of [`list`](Self::list).
    fn list_each(&self, areas: &[Area]) -> Result<Vec<(Key, u64)>, StoreError> {
        let listed: Result<Vec<_>, _> = areas.iter().map(|area| self.list(*area)).collect();
        Ok(listed?.concat())
    }
    /// Removes the object.
    ///
    /// # Errors
    /// As of [`put`](Self::put), but no `Busy` for an archive or its copy: what was published too late must be taken back.
    fn delete(&self, key: &Key) -> Result<(), StoreError>;
    /// Makes the next sync cover an object that another process put and perhaps never synced.
    ///
    /// # Errors
    /// `NotFound` if it is not there, from a store that has to look; `Denied`; else as of [`sync`](Self::sync).
    fn adopt(&self, key: &Key) -> Result<(), StoreError>;
    /// Waits until everything put, deleted or adopted before is durable.
    ///
    /// # Errors
    /// `NoSpace`, `Transient` or `Other`: some of it may never be. In a directory all later ones fail too: the kernel
    /// tells it once.
    fn sync(&self) -> Result<(), StoreError>;
    /// What is among the archives under a name that none can have, or as a link, and may be one all the same: each in words.
    /// Nothing may be deleted for not being needed while there is any. Makes the next sync cover archives that are gone,
    /// whoever removed them: before that a power cut may bring them back.
    ///
    /// # Errors
    /// As of [`list`](Self::list).
    fn doubtful(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
    /// What lies among the archives under a name that one can have, with its length, and is passed over by `list` for what it
    /// begins with.
    ///
    /// # Errors
    /// As of [`list`](Self::list).
    fn strangers(&self) -> Result<Vec<(Key, u64)>, StoreError> {
        Ok(Vec::new())
    }
    /// Removes what interrupted puts left behind, unless there are sessions, whose puts may be under way. Only for who may
    /// delete.
    ///
    /// # Errors
    /// As of [`list`](Self::list), [`has_sessions`](Self::has_sessions) and [`delete`](Self::delete).
    fn sweep(&self) -> Result<(), StoreError>;
    /// Takes the repository's lock, or waits for it up to `patience`; before that it calls `waiting` once with who holds it.
    ///
    /// # Errors
    /// `Busy` if somebody whom it excludes still holds it then; `NotFound` if there is no repository, from a store that locks
    /// a file of it; `Denied`, `Transient` or `Other` if it cannot be taken at all.
    fn lock(
        &self,
        mode: LockMode,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn Guard>, StoreError>;
    /// Whether anybody holds the lock for a session of one of these epochs.
    ///
    /// # Errors
    /// `Denied`, `Transient` or `Other` if that cannot be found out.
    fn has_sessions(&self, epochs: RangeInclusive<u64>) -> Result<bool, StoreError>;
    /// Takes back that `list` gave this: its bytes are not the repository's.
    fn pass_over(&self, key: &Key);
    /// What went over the line to it; none where there is no line.
    fn traffic(&self) -> Option<Traffic> {
        None
    }
    /// Whether the storage itself keeps a second one from creating what is there, which it is asked by creating something.
    /// None where that is no question, as of a directory.
    ///
    /// # Errors
    /// `Denied`, `NoSpace`, `Transient` or `Other` if nothing can be created there and removed again.
    fn is_exclusive(&self) -> Result<Option<bool>, StoreError> {
        Ok(None)
    }
    /// What the user should know of the storage although nothing failed: lines, each kind of thing once at most.
    fn notices(&self) -> Vec<String>;
    /// Where the repository is, for messages.
    fn place(&self) -> String;
}

/// The packs and their lengths in bytes, in no order.
pub(crate) fn list_packs(store: &dyn Store) -> Result<Vec<(PackId, u64)>, StoreError> {
    let packs = store.list(Area::Packs)?.into_iter().filter_map(|(key, len)| match key {
        Key::Pack(id) => Some((id, len)),
        _ => None,
    });
    Ok(packs.collect())
}
