//! What has to be on the server's disk before it counts.
//!
//! In: what was put, removed and adopted, each with the session in which that was. Out: whether a sync is done. Promises: a
//! server that lost its memory between two sessions is found out: what an earlier session made is looked at, each name of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use futures_util::stream::{StreamExt, iter};
use garret_core::StoreError;
use russh_sftp::client::error::Error;
use russh_sftp::client::rawsession::SftpResult;
use russh_sftp::protocol::StatusCode;

use super::session::{Session, is};
use super::{SIDE_BY_SIDE, SftpService};
use crate::object_store::is_passing;

/// What changed since the last sync, by its name.
#[derive(Default)]
pub(super) struct Unsynced {
    changes: BTreeMap<String, Change>,
    /// Why directories cannot be synced there, and whether that was told.
    is_unable: bool,
    is_told: bool,
}

/// What was made of a name, and in which session.
#[derive(Clone, Copy)]
struct Change {
    made: Made,
    session: u64,
}

/// What was made.
#[derive(Clone, Copy)]
pub(super) enum Made {
    /// A file that is never replaced by another: of it is there what was put, or nothing.
    File,
    /// One that is: its length in bytes and its hash.
    Record(u64, blake3::Hash),
    Nothing,
}

impl Made {
    /// These bytes, under this name.
    pub(super) fn of(name: &str, bytes: &[u8]) -> Self {
        match is_replaced(name) {
            true => Made::Record(bytes.len() as u64, blake3::hash(bytes)),
            false => Made::File,
        }
    }
}

impl SftpService {
    /// Notes what a sync has to cover: all but what serves only those who are at work.
    pub(super) fn note(&self, name: &str, made: Made, session: u64) {
        if !is_passing(name) {
            self.unsynced().changes.insert(name.to_owned(), Change { made, session });
        }
    }

    /// Syncs the directories; and of what an earlier session did, whether it is still there.
    async fn sync_all(
        &self,
        session: &Session,
        changes: &BTreeMap<String, Change>,
    ) -> SftpResult<Result<(), String>> {
        let directory =
            |name: &String| name.rsplit_once('/').map_or("", |(directory, _)| directory).to_owned();
        let directories: BTreeSet<String> = changes.keys().map(directory).collect();
        if session.can_sync {
            let mut synced = iter(directories)
                .map(async |directory| session.sync(&self.path(&directory)).await)
                .buffer_unordered(SIDE_BY_SIDE);
            while let Some(synced) = synced.next().await {
                match synced {
                    // Not every server opens a directory.
                    Err(Error::Status(_)) => self.unsynced().is_unable = true,
                    synced => synced?,
                }
            }
        }
        let earlier = changes.iter().filter(|(_, change)| change.session != session.number);
        let mut looked = iter(earlier)
            .map(async |(name, change)| {
                let is_as_made = self.is_as_made(session, name, change.made).await;
                is_as_made.map(|is_as_made| (name, is_as_made))
            })
            .buffer_unordered(SIDE_BY_SIDE);
        while let Some((name, is_as_made)) = looked.next().await.transpose()? {
            if !is_as_made {
                return Ok(Err(name.clone()));
            }
        }
        Ok(Ok(()))
    }

    async fn is_as_made(&self, session: &Session, name: &str, made: Made) -> SftpResult<bool> {
        let path = self.path(name);
        let found = match made {
            Made::Record(len, hash) => {
                let found = session.read_whole(&path, len).await;
                found.map(|found| found.is_ok_and(|bytes| blake3::hash(&bytes) == hash))
            }
            Made::File | Made::Nothing => {
                session.look(&path).await.map(|_| matches!(made, Made::File))
            }
        };
        match found {
            Err(error) if is(&error, StatusCode::NoSuchFile) => Ok(matches!(made, Made::Nothing)),
            found => found,
        }
    }

    /// Has all that changed written to the disk.
    pub(super) fn sync_changes(&self) -> Result<(), StoreError> {
        let changes = std::mem::take(&mut self.unsynced().changes);
        if changes.is_empty() {
            return Ok(());
        }
        let sync = async |session: Arc<Session>| self.sync_all(&session, &changes).await;
        let synced = self.ask(("sync", ""), sync);
        let failed = match synced {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(name)) => {
                let why =
                    "it is not as it was put before the connection broke: run the command again";
                StoreError::new("sync", self.object(&name), io::Error::other(why))
            }
            Err(error) => error,
        };
        let mut unsynced = self.unsynced();
        for (name, change) in changes {
            unsynced.changes.entry(name).or_insert(change);
        }
        Err(failed)
    }

    /// That some of it cannot be, once.
    pub(super) fn notice(&self) -> Option<String> {
        let can_sync = self.line().session.as_ref().is_none_or(|session| session.can_sync);
        let mut unsynced = self.unsynced();
        if (can_sync && !unsynced.is_unable) || std::mem::replace(&mut unsynced.is_told, true) {
            return None;
        }
        Some(format!(
            "{}: the server cannot be told to write to its disk: if it loses power, what was stored last may be gone",
            self.place
        ))
    }
}

/// Whether another file may come in the place of one of this name.
fn is_replaced(name: &str) -> bool {
    let is_named_by_its_bytes =
        ["packs/", "index/", "backups/", "quarantine/"].iter().any(|area| name.starts_with(area));
    !is_named_by_its_bytes
}
