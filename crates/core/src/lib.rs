//! garret's core: backs up files and disk images into a deduplicating repository, and restores them.
//!
//! # How it is used
//!
//! ```
//! use garret_core::{
//!     BackupOptions, Destination, InitOptions, Input, KeyMode, LocalStore, RestoreOptions, Secret, Selection,
//!     Sharing, Silent,
//! };
//! use std::time::{SystemTime, UNIX_EPOCH};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! # let (place, image) = (home.path().join("repository"), home.path().join("vm.img"));
//! # let target = home.path().join("restored");
//! # std::fs::write(&image, "a disk")?;
//! // Once: make a repository.
//! let store = LocalStore::create(&place, Sharing::Private)?;
//! let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
//! // Without encryption; `KeyMode::Passphrase` and `Secret::Passphrase` are for who wants it.
//! let options = InitOptions::new(KeyMode::None, Default::default(), now);
//! garret_core::init(&store, &options, &mut |_, _| Ok(()))?;
//!
//! // Every night: open it to write, and make an archive.
//! let locked = garret_core::open(LocalStore::open(&place)?)?;
//! let keys = locked.unlock(Secret::None)?;
//! let mut writer = locked.with(keys).writer(&Silent)?;
//! let mut options = BackupOptions::default();
//! options.threads = 2;
//! writer.backup("monday", vec![Input::Path(image.clone())], &options, &Silent)?;
//!
//! // One day: restore it. What writes can read as well.
//! let archive = writer.archive("monday")?;
//! let to = Destination::Directory(target.clone());
//! writer.restore(&archive, &mut Selection::default(), to, &RestoreOptions::default(), &Silent)?;
//! # let stored = garret_core::Selection::stored(image.as_os_str().as_encoded_bytes());
//! # let restored = target.join(std::str::from_utf8(&stored)?);
//! assert_eq!(std::fs::read(&restored)?, std::fs::read(&image)?);
//! # Ok(())
//! # }
//! ```
//!
//! What a session may do is its type: [`Repository`] reads, [`Writer`] adds, [`Checker`] checks, [`Pruner`] deletes,
//! [`Exclusive`] repairs. The library prints nothing, reads no environment and no home directory; it reports through
//! [`Progress`]. `examples/` of this crate has a backup of one image, one of an image with a map of what changed in it,
//! reading a range of a stored image, and a list with a prune.
//!
//! Whatever fails is an [`Error`]; [`Error::cause`] says of what kind, for programs, and [`message`] all of it, for people.
//! What is wrong with one file ends nothing: it is a [`Problem`] that [`Progress`] is told, and counted in the report. To
//! open waits for who has the repository for himself, for a day unless [`Locked::with_patience`] says otherwise. Memory is
//! bounded, whatever the lengths of images and repository; `docs/design.md` says by what. Linux only.
//!
//! What is backed up need not be a file here: [`Input::Source`] takes any [`image::Source`], and what that says to be as in
//! an older archive ([`image::Extent::Same`], [`Base`]) is not read.
//!
//! Options, reports and choices may get more fields and variants in any version: options are made by `default` or `new`, and
//! their fields set.
//!
//! # How it is built
//!
//! ```text
//! backup   Source -> Cutter -> ChunkHasher -> Dedup -> GroupBuilder -> Sealer -> PackBuilder -> Store
//!          window    cutters   chunk          write    group           seal      pack           store
//!            |                                  |
//!            +-- zero runs --> RecipeWriter <---+           IndexWriter -> Store, then last of all: publish
//!                              recipe                       index                                   archive
//!
//! restore  archive -> RecipeReader -> ReadPlan -> Groups -> Store -> PackReader -> Sealer -> OpenGroup -> verify -> Target
//! ```
//!
//! Each station has the file of its name; what else lies on the way, and what is in each room, is said in `docs/design.md`.
//!
//! Modules import only from rows above their own, and no two files import each other (`tests/tidy.rs` checks both):
//!
//! ```text
//! buffers limits pattern store | error select | keys pipeline progress | objects | read write | repository
//! backup restore maintain compare bench
//! ```

#![warn(clippy::indexing_slicing)]

mod backup;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod buffers;
mod compare;
mod error;
mod keys;
mod limits;
mod maintain;
mod objects;
mod pattern;
mod pipeline;
mod progress;
mod read;
mod repository;
mod restore;
mod select;
mod store;
mod write;

/// The types of what is stored.
pub use garret_format as format;
/// The types of what is read and written beside the repository.
pub use garret_image as image;

pub use backup::BackupReport;
pub use backup::cutters::CutterChoice;
pub use backup::options::{BackupOptions, Base, Input, ReadErrors, SourceItem};
pub use compare::changes::{Held, Stretch};
pub use compare::diff::{Change, Contents, DiffReport, Difference, kind_name};
pub use compare::history::{Added, History};
pub use compare::info::FileInfo;
pub use error::{Cause, Error, Hint, Result, message};
pub use garret_format::archive::{Archive, Item, ItemKind};
pub use garret_format::config::KeyMode;
pub use garret_format::seen::{Deletions, SEEN_MAX, Seen, SeenArchive};
pub use garret_format::{ChunkId, RepositoryId};
pub use keys::seal::fastest_cipher;
pub use keys::{KDF_DEFAULT, Keys, NewKey};
pub use limits::{KEPT_LEN_DEFAULT, total_len};
pub use maintain::check::report::{CheckReport, Incomplete};
pub use maintain::check::{CheckOptions, CheckedPacks};
pub use maintain::compact::{CompactOptions, CompactPlan, CompactReport};
pub use maintain::gc::plan::GcPlan;
pub use maintain::gc::{GcOptions, GcReport};
pub use maintain::prune::{Decision, KeepRules, KeptBy, plan_prune};
pub use maintain::repair::RepairReport;
pub use maintain::scrub::{Part, ScrubOptions, ScrubReport};
pub use maintain::seen::{Look, Rollback, open_seen, seal_seen};
pub use maintain::transfer::TransferReport;
pub use maintain::verified::VerifiedReport;
pub use objects::archive::NamedArchive;
pub use objects::codec::Compression;
pub use objects::tags::{TagChange, Tags};
pub use pattern::Patterns;
pub use progress::{Note, Phase, Problem, ProblemKind, Progress, Silent, Task, Unit, cutter_name};
pub use read::file::{StoredFile, unreadable};
pub use repository::{
    Checker, ChunkSize, Exclusive, Identity, InitOptions, Items, LOCK_WAIT_DEFAULT, Locked, Opened,
    Pruner, Repository, Right, Secret, Sight, Unlocked, Writer, init, open,
};
pub use restore::cold::ColdPacks;
pub use restore::options::{
    AllocationMode, Destination, FileMetadata, Form, RestoreOptions, RestoreReport,
};
pub use restore::preview::Preview;
pub use select::Selection;
pub use store::{
    Area, Clock, Guard, Key, LEASE_TIME, LeaseTable, Leases, Limit, LimitOptions, LocalStore,
    LockMode, MemoryStore, Pace, Properties, Retry, RetryOptions, Sharing, Split, Store,
    StoreError, StoreErrorKind, SystemClock, Traffic,
};
pub use write::Written;
