//! garret's core: backs up files and disk images into a deduplicating repository, and restores them.
//!
//! ```text
//! backup   Source -> Cutter -> ChunkHasher -> Dedup -> GroupBuilder -> Sealer -> PackBuilder -> Store
//!          window    cutters   chunk          write    group           seal      pack           store
//!            |                                  |
//!            +-- zero runs --> RecipeWriter <---+           IndexWriter -> Store, then last of all: publish
//!                              recipe                       index                                   archive
//!
//! restore  archive -> RecipeReader -> ReadPlan -> Store -> PackReader -> Sealer -> OpenGroup -> verify -> Target
//! ```
//!
//! Each station has the file of its name (below it, where the path is one of several), with both directions in it. The
//! operations are [`backup()`], [`restore()`], [`check()`], [`diff()`], [`gc()`] with [`plan_prune`]; they never call each
//! other. The library prints nothing, reads no environment and no home directory; it reports through [`Progress`].
//!
//! Modules import only from rows above their own (`tests/tidy.rs` checks it):
//!
//! ```text
//! limits pattern store | error select | progress keys | chunk group seal cutters walk pipeline | pack | index
//! repository | fetch | recipe | write | stream window | file | archive | mark
//! backup restore check prune gc info diff bench
//! ```

mod archive;
mod backup;
#[doc(hidden)]
pub mod bench;
mod check;
mod chunk;
mod cutters;
mod diff;
mod error;
mod fetch;
mod file;
mod gc;
mod group;
mod index;
mod info;
mod keys;
mod limits;
mod mark;
mod pack;
mod pattern;
mod pipeline;
mod progress;
mod prune;
mod recipe;
mod repository;
mod restore;
mod seal;
mod select;
mod store;
mod stream;
mod walk;
mod window;
mod write;

pub use archive::NamedArchive;
pub use backup::{BackupOptions, BackupReport, Input, ReadErrors, backup};
pub use check::{CheckOptions, CheckReport, Incomplete, check};
pub use cutters::CutterChoice;
pub use diff::{Change, Contents, DiffReport, Difference, compare, diff, kind_name};
pub use error::{Error, Result, message};
pub use file::StoredFile;
pub use gc::{GcOptions, GcPlan, GcReport, delete, gc, plan_gc};
pub use group::Compression;
pub use info::{FileInfo, archive_packs, file_info};
pub use keys::{KDF_DEFAULT, Keys, MasterKey};
pub use limits::total_len;
pub use pattern::Patterns;
pub use progress::{Phase, Problem, ProblemKind, Progress, Silent};
pub use prune::{Decision, KeepRules, KeptBy, plan_prune};
pub use repository::{
    Access, Identity, InitOptions, LOCK_WAIT_DEFAULT, Locked, Repository, Secret, init,
};
pub use restore::{
    AllocationMode, Destination, FileMetadata, Form, Preview, RestoreOptions, RestoreReport,
    preview_restore, restore,
};
pub use select::Selection;
pub use store::{
    Area, Guard, Key, LocalStore, LockMode, MemoryStore, Sharing, Store, StoreError, StoreErrorKind,
};
pub use write::Written;
