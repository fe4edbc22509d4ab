//! Everything that can go wrong, grouped by what the caller does next.
//!
//! Messages are one lower-case line that names the thing and, where there is something to do, says what to do; where attic
//! has a text for it, scripts may look for that, so the line begins with attic's words. Trouble with the repository, with
//! what is read ([`SourceError`](garret_image::SourceError)) and with what is written on restore
//! ([`SinkError`](garret_image::SinkError)) are different types that never convert into each other.

use garret_format::{ChunkId, DecodeError};
use garret_image::{SinkError, SinkErrorKind, SourceError, SourceErrorKind};

use crate::store::{StoreError, StoreErrorKind};

/// Why something went wrong, for programs: what they might do about it. People get the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// What is backed up, or compared, could not be read.
    Unreadable,
    /// What is restored could not be written.
    Unwritable,
    /// The repository could not be read or written.
    Storage,
    /// It is not there.
    Missing,
    /// This user may not.
    Denied,
    /// The disk or the quota is full.
    Full,
    /// Bytes in the repository are not what was written.
    Damaged,
    /// It changed while it was read.
    Changed,
    /// Something else has its name or place.
    Taken,
    /// Another program uses it.
    Busy,
    /// The passphrase opens no key.
    Passphrase,
    /// The keys are not those that the repository should have.
    Keys,
    /// A kind of thing that is not stored, or the work of a newer garret.
    Unsupported,
    /// It can be done and will not be: it would be unsafe.
    Refused,
    /// What was asked for makes no sense.
    Invalid,
    /// Anything else.
    Other,
}

/// What a user can do about an error or a problem. A program has its own words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Check every byte: more may be damaged.
    CheckData,
    /// Check: more may be missing.
    Check,
    /// List the archives: another one was meant.
    ListArchives,
    /// Look for a file in all archives: another one may hold it.
    Find,
    /// Back up what can be read of a file, with zeros for the rest.
    StoreZeros,
    /// Repair: an intact second copy, or first one, is there.
    Repair,
    /// Say where the packs of files lie.
    NamePacks,
    /// Say that a stream may be empty.
    AllowEmpty,
    /// Take the protection of the archive away.
    Unprotect,
    /// Have an image in the form that it was stored in.
    AsStored,
}

/// An operation failed as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is to be backed up could not be read.
    #[error(transparent)]
    Source(#[from] garret_image::SourceError),
    /// What is restored could not be written.
    #[error(transparent)]
    Sink(#[from] garret_image::SinkError),
    /// Bytes in the repository are not what was written.
    #[error("{}", damaged(object, *offset, what))]
    Corrupt {
        /// Path in the repository.
        object: String,
        /// Offset in the file, in bytes.
        offset: u64,
        /// What was found there.
        what: String,
    },
    /// A key slot or key file is not what was written.
    #[error("{}; put back an intact copy of it", damaged(object, *offset, what))]
    DamagedKey {
        /// The key slot or key file.
        object: String,
        /// Offset in it, in bytes.
        offset: u64,
        /// What was found there.
        what: String,
    },
    /// An archive needs a chunk that no pack holds.
    #[error("{}", nowhere(id, needed_by))]
    MissingChunk {
        /// The chunk.
        id: ChunkId,
        /// What needs it.
        needed_by: String,
    },
    /// No repository there.
    #[error("{path} is not a valid repository: {why}")]
    NotARepository {
        /// As given.
        path: String,
        /// What is missing or wrong.
        why: String,
    },
    /// Half a repository: its packs of files lie in a second place.
    #[error("the packs of {path} lie in a second place")]
    PacksElsewhere {
        /// As given.
        path: String,
    },
    /// The lock of the repository cannot be taken.
    #[error("Failed to acquire {kind} lock on {place}")]
    Lock {
        /// `read` or `write`.
        kind: &'static str,
        /// Where the repository is.
        place: String,
        /// Why.
        source: StoreError,
    },
    /// A newer garret wrote it.
    #[error("{object}: {cause}; use that newer garret")]
    Unsupported {
        /// Path in the repository.
        object: String,
        /// What it needs.
        cause: DecodeError,
    },
    /// The passphrase is that of no slot, because there is none.
    #[error(
        "keys/ is empty: no passphrase can open it; copy keys/ from another copy of the repository"
    )]
    NoSlots,
    /// The same, and second copies of slots are there.
    #[error(
        "keys/ is empty: no passphrase can open it; copy keys/ from another copy of the repository, or {copy}, which is \
         the second copy of a key, into it"
    )]
    SlotsGone {
        /// One of them.
        copy: String,
    },
    /// The passphrase opens no key slot.
    #[error("wrong passphrase: it opens no key of this repository")]
    WrongPassphrase,
    /// The key belongs to another repository, or the configuration was altered.
    #[error("{object} belongs to another repository, or the repository's config was altered")]
    WrongKey {
        /// The key slot or key file.
        object: String,
    },
    /// Far more slots than passphrases, and the passphrase opens none of those that were tried.
    #[error(
        "keys/ holds {count} keys, and the passphrase opens none of the {tried} that were tried: put back keys/ from \
         another copy of the repository"
    )]
    ManySlots {
        /// How many there are.
        count: usize,
        /// How many were tried.
        tried: usize,
    },
    /// A slot would make guessing passphrases cheap.
    #[error(
        "{object} is cheaper to guess than any that garret makes, and this client has not used the repository yet: it was \
         not tried; put back keys/ from another copy of the repository"
    )]
    CheapSlot {
        /// The key slot.
        object: String,
    },
    /// The key is not the one that the caller knows.
    #[error(
        "{object} opens to another key than the one that this repository had when it was last used here: put back keys/ \
         from another copy of the repository"
    )]
    OtherKey {
        /// The key slot or key file.
        object: String,
    },
    /// The mode of the repository has no keys.
    #[error("the repository is not encrypted: it has no keys and no passphrase to change")]
    NoPassphrase,
    /// A key is not removed with itself alone.
    #[error(
        "{object} is the key that was opened: it can be removed with the passphrase or key file of one that stays"
    )]
    KeyInUse {
        /// The key slot.
        object: String,
    },
    /// More keys would not be tried.
    #[error("keys/ holds {count} keys, and of more not all would be tried: remove one first")]
    NoRoomForKeys {
        /// How many there are.
        count: usize,
    },
    /// An archive of that name is there.
    #[error("Archive {0} already exists: choose another name")]
    ArchiveExists(String),
    /// No archive of that name.
    #[error("Archive {0} does not exist")]
    ArchiveMissing(String),
    /// An archive may not be deleted.
    #[error("Archive {0} is protected, nothing was deleted")]
    Protected(String),
    /// Something that no listing of archives has may be one all the same.
    #[error("{0}; nothing is given back until then")]
    Doubtful(String),
    /// In the place of an archive is a file that is none, and the archive's second copy is there.
    #[error(
        "{0} is no archive any more, and its second copy is there: no space is freed before that is settled"
    )]
    Overwritten(String),
    /// Not a name for an archive.
    #[error("{name:?} cannot be an archive's name: {why}")]
    BadName {
        /// What was asked for.
        name: String,
        /// The limit that it does not keep.
        why: &'static str,
    },
    /// One file could not be restored.
    #[error("{why}")]
    NotRestored {
        /// What is in the way.
        why: String,
        /// The same for programs.
        cause: Cause,
        /// What can be done.
        hint: Option<Hint>,
    },
    /// Nothing of what was asked for could be read, so no archive was made.
    #[error("nothing could be read, no archive was made")]
    NothingStored,
    /// A stream had no byte, and that was not wanted.
    #[error("{0} is empty: nothing was stored")]
    EmptyStream(String),
    /// A value outside its bounds was given.
    #[error("{0}")]
    BadOption(String),
    /// The operating system refused something that is not about a file of ours.
    #[error("{what} failed")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it said.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether an image or device was not replaced because a virtual machine has it open.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Error::Sink(error) if error.kind() == garret_image::SinkErrorKind::Used)
    }

    /// What to do about it, where the message alone does not say.
    pub fn hint(&self) -> Option<Hint> {
        match self {
            Error::Corrupt { .. } => Some(Hint::CheckData),
            Error::MissingChunk { .. } => Some(Hint::Check),
            Error::ArchiveMissing(_) => Some(Hint::ListArchives),
            Error::NotRestored { hint, .. } => *hint,
            Error::PacksElsewhere { .. } => Some(Hint::NamePacks),
            Error::Overwritten(_) => Some(Hint::Repair),
            Error::Protected(_) => Some(Hint::Unprotect),
            Error::EmptyStream(_) => Some(Hint::AllowEmpty),
            _ => None,
        }
    }

    /// Why, for programs.
    pub fn cause(&self) -> Cause {
        match self {
            Error::Store(error) => error.into(),
            Error::Source(error) => error.into(),
            Error::Sink(error) => error.into(),
            Error::Lock { source, .. } => source.into(),
            Error::Corrupt { .. } | Error::MissingChunk { .. } => Cause::Damaged,
            Error::DamagedKey { .. } => Cause::Damaged,
            Error::NotARepository { .. } => Cause::Missing,
            Error::PacksElsewhere { .. } => Cause::Invalid,
            Error::NoSlots | Error::SlotsGone { .. } => Cause::Missing,
            Error::ArchiveMissing(_) | Error::EmptyStream(_) => Cause::Missing,
            Error::ArchiveExists(_) => Cause::Taken,
            Error::WrongPassphrase => Cause::Passphrase,
            Error::WrongKey { .. } | Error::OtherKey { .. } => Cause::Keys,
            Error::ManySlots { .. } | Error::CheapSlot { .. } => Cause::Keys,
            Error::KeyInUse { .. } | Error::NoRoomForKeys { .. } => Cause::Refused,
            Error::Unsupported { .. } => Cause::Unsupported,
            Error::Doubtful(_) | Error::Overwritten(_) | Error::Protected(_) => Cause::Refused,
            Error::BadName { .. } | Error::BadOption(_) | Error::NoPassphrase => Cause::Invalid,
            Error::NotRestored { cause, .. } => *cause,
            Error::NothingStored => Cause::Unreadable,
            Error::System { source, .. } => match StoreErrorKind::of(source) {
                StoreErrorKind::NoSpace => Cause::Full,
                StoreErrorKind::Denied => Cause::Denied,
                _ => Cause::Other,
            },
        }
    }

    /// One file could not be restored, for a reason of its own.
    pub(crate) fn not_restored(cause: Cause, why: impl Into<String>) -> Error {
        Error::NotRestored { why: why.into(), cause, hint: None }
    }

    /// What it is about: an object of the repository, or a path.
    pub fn subject(&self) -> Option<&str> {
        match self {
            Error::Corrupt { object, .. } | Error::DamagedKey { object, .. } => Some(object),
            Error::MissingChunk { needed_by, .. } => Some(needed_by),
            Error::Store(error) => Some(&error.object),
            Error::ArchiveMissing(name) | Error::ArchiveExists(name) => Some(name),
            Error::Protected(name) | Error::Overwritten(name) => Some(name),
            Error::PacksElsewhere { path } => Some(path),
            Error::NotARepository { path, .. } | Error::Lock { place: path, .. } => Some(path),
            Error::Unsupported { object, .. } | Error::WrongKey { object } => Some(object),
            Error::OtherKey { object } | Error::CheapSlot { object } => Some(object),
            Error::KeyInUse { object } => Some(object),
            Error::BadName { name, .. } | Error::EmptyStream(name) => Some(name),
            Error::Source(error) => error.path().to_str(),
            Error::Sink(error) => error.path().to_str(),
            _ => None,
        }
    }

    /// An error for bytes of `object` that do not decode; `base` is where in the file they started.
    pub(crate) fn decode(object: &str, base: u64, cause: DecodeError) -> Error {
        match cause.kind {
            garret_format::DecodeErrorKind::UnsupportedVersion(_)
            | garret_format::DecodeErrorKind::UnsupportedFeatures(_) => {
                Error::Unsupported { object: object.to_owned(), cause }
            }
            _ => Error::Corrupt {
                object: object.to_owned(),
                offset: base.saturating_add(cause.offset),
                what: format!("{}: {}", cause.what, cause.kind),
            },
        }
    }

    /// The same for bytes of a key slot or key file.
    pub(crate) fn decode_key(object: &str, cause: DecodeError) -> Error {
        match Error::decode(object, 0, cause) {
            Error::Corrupt { object, offset, what } => Error::DamagedKey { object, offset, what },
            other => other,
        }
    }

    /// An error for a box of `object` at `offset` that does not open.
    pub(crate) fn unsealed(object: &str, offset: u64) -> Error {
        Error::Corrupt { object: object.to_owned(), offset, what: "the seal is broken".to_owned() }
    }

    /// The same of an object that is known to be of this version: if its first bytes say otherwise they are damaged.
    pub(crate) fn of_ours(self) -> Error {
        match self {
            Error::Unsupported { object, .. } => {
                let what = "the version in its first bytes is damaged".to_owned();
                Error::Corrupt { object, offset: 0, what }
            }
            other => other,
        }
    }

    /// An error for an object whose name is not the hash of its bytes.
    pub(crate) fn misnamed(object: &str) -> Error {
        let what = "its bytes do not hash to its name".to_owned();
        Error::Corrupt { object: object.to_owned(), offset: 0, what }
    }
}

impl From<&StoreError> for Cause {
    fn from(error: &StoreError) -> Self {
        match error.kind {
            StoreErrorKind::NotFound => Cause::Missing,
            StoreErrorKind::AlreadyExists | StoreErrorKind::NotAFile => Cause::Taken,
            StoreErrorKind::WrongLength => Cause::Damaged,
            StoreErrorKind::Denied => Cause::Denied,
            StoreErrorKind::NoSpace => Cause::Full,
            StoreErrorKind::Busy => Cause::Busy,
            StoreErrorKind::Transient | StoreErrorKind::Other => Cause::Storage,
        }
    }
}

impl From<&SourceError> for Cause {
    fn from(error: &SourceError) -> Self {
        match error.kind() {
            SourceErrorKind::NotFound => Cause::Missing,
            SourceErrorKind::Denied => Cause::Denied,
            SourceErrorKind::NotSupported => Cause::Unsupported,
            SourceErrorKind::Io => Cause::Unreadable,
        }
    }
}

impl From<&SinkError> for Cause {
    fn from(error: &SinkError) -> Self {
        match error.kind() {
            SinkErrorKind::NoSpace => Cause::Full,
            SinkErrorKind::Denied => Cause::Denied,
            SinkErrorKind::Refused => Cause::Refused,
            SinkErrorKind::Used => Cause::Busy,
            SinkErrorKind::Io => Cause::Unwritable,
        }
    }
}

fn damaged(object: &str, offset: u64, what: &str) -> String {
    format!("Data integrity error: {object} is damaged at offset {offset}: {what}")
}

fn nowhere(id: &ChunkId, needed_by: &str) -> String {
    format!(
        "Object with key {id} not found in repository: {needed_by} needs that chunk and no pack holds it"
    )
}

/// What is wrong if one reading found damage and another did not.
pub(crate) const UNSTEADY: &str =
    "one reading found damage and another none: disk or memory do not give the same twice";

/// The whole message of an error: itself and its causes, on one line. `Display` of an error gives itself alone.
pub fn message(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What most functions here return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
