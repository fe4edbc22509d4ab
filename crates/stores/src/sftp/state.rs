//! What is known of a directory on a server of SFTP while it is used: the line, what lies aside, what is not synced.
//!
//! In: a [`Sftp`]. Out: an [`SftpService`], whose requests are in the files beside this one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use garret_core::{StoreError, StoreErrorKind};
use tokio::runtime::Runtime;

use super::session::Session;
use crate::paces::Paces;
use crate::place::Sftp;

/// Requests of one sync or list side by side.
pub(super) const SIDE_BY_SIDE: usize = 16;
/// Longest name of a file in bytes on the file systems that there are.
pub(super) const FILE_NAME_LEN_MAX: usize = 255;

/// A directory there.
pub(crate) struct SftpService {
    pub(super) place: Sftp,
    pub(super) paces: Arc<Paces>,
    pub(super) runtime: Runtime,
    pub(super) line: Mutex<Line>,
    pub(super) unsynced: Mutex<Unsynced>,
    /// Held by who syncs.
    pub(super) syncing: Mutex<()>,
    /// Paths of what lies aside.
    pub(super) asides: Mutex<BTreeSet<String>>,
}

impl SftpService {
    /// The way to `place`; nothing is asked yet.
    ///
    /// # Errors
    /// No threads.
    pub(crate) fn new(place: Sftp, paces: Arc<Paces>) -> Result<Self, StoreError> {
        let runtime =
            crate::service::runtime().map_err(|source| StoreError::new("open", &place, source))?;
        let (line, unsynced, syncing, asides) = Default::default();
        Ok(SftpService { place, paces, runtime, line, unsynced, syncing, asides })
    }

    pub(super) fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn object(&self, name: &str) -> String {
        let slash = if name.is_empty() { "" } else { "/" };
        format!("{}{slash}{}", self.place, name.trim_end_matches('/'))
    }

    /// The path of an object, or of a directory whose name ends in a slash.
    pub(super) fn path(&self, name: &str) -> String {
        let name = name.trim_end_matches('/');
        let slash = if name.is_empty() { "" } else { "/" };
        format!("{}{slash}{name}", self.place.path)
    }

    pub(super) fn asides(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.asides.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session there is, and how many there were.
#[derive(Default)]
pub(super) struct Line {
    pub(super) session: Option<Arc<Session>>,
    pub(super) count: u64,
    /// Why none could be had, and when that was.
    pub(super) failed: Option<(Instant, StoreErrorKind, String)>,
}

/// What changed since the last sync, by its name.
#[derive(Default)]
pub(super) struct Unsynced {
    pub(super) changes: BTreeMap<String, Change>,
    /// Directories in which somebody else may have changed something.
    pub(super) touched: BTreeSet<String>,
    /// Whether the repository's own directory was made.
    pub(super) is_made: bool,
    /// Why a sync failed. A system tells an error of writing once: who asks again is told that all is well.
    pub(super) failed: Option<String>,
    /// Whether directories cannot be synced there, and whether that was told.
    pub(super) is_unable: bool,
    pub(super) is_told: bool,
}

/// What was made of a name, and in which session.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) made: Made,
    pub(super) session: u64,
}

/// What was made.
#[derive(Clone, Copy)]
pub(super) enum Made {
    /// A file that is never replaced by another, by its length in bytes.
    File(u64),
    /// One that is: its length in bytes and its hash.
    Record(u64, blake3::Hash),
    Nothing,
}
