//! What has to be on the server's disk before it counts.
//!
//! In: what was put, removed and adopted, each with the session in which that was. Out: whether a sync is done. Promises: a
//! server that lost its memory between two sessions is found out: what an earlier session made is looked at, each name of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, PoisonError};

use futures_util::stream::{StreamExt, iter};
use garret_core::{StoreError, StoreErrorKind};
use russh_sftp::client::rawsession::SftpResult;
use russh_sftp::protocol::StatusCode;

use super::session::{Session, is, len_of};
use super::state::{Change, Made, SIDE_BY_SIDE, SftpService};
use crate::names::is_passing;

impl Made {
    /// These bytes, under this name.
    pub(super) fn of(name: &str, bytes: &[u8]) -> Self {
        match is_replaced(name) {
            true => Made::Record(bytes.len() as u64, blake3::hash(bytes)),
            false => Made::File(bytes.len() as u64),
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

    /// Makes the next sync cover what others did in a directory.
    pub(super) fn touch(&self, directory: &str) {
        self.unsynced().touched.insert(directory.trim_end_matches('/').to_owned());
    }

    /// Notes that the repository's own directory was made.
    pub(super) fn note_made(&self) {
        self.unsynced().is_made = true;
    }

    /// Syncs the directories; and of what an earlier session did, whether it is still there.
    async fn sync_all(
        &self,
        session: &Session,
        changes: &BTreeMap<String, Change>,
    ) -> SftpResult<Result<(), String>> {
        let directory =
            |name: &String| self.path(name.rsplit_once('/').map_or("", |(directory, _)| directory));
        let mut directories: BTreeSet<String> = changes.keys().map(directory).collect();
        // In it are those that were made for what changed.
        directories.insert(self.path(""));
        {
            let unsynced = self.unsynced();
            directories.extend(unsynced.touched.iter().map(|directory| self.path(directory)));
            let above = self.place.path.rsplit_once('/').filter(|_| unsynced.is_made);
            directories.extend(above.map(|(above, _)| format!("{above}/")));
        }
        if session.can_sync {
            let mut synced = iter(&directories)
                .map(async |directory| session.sync_directory(directory).await)
                .buffer_unordered(SIDE_BY_SIDE);
            while let Some(can) = synced.next().await.transpose()? {
                self.unsynced().is_unable |= !can;
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
            Made::File(len) => {
                session.look(&path).await.and_then(|found| Ok(len_of(&found)? == len))
            }
            Made::Nothing => session.look(&path).await.map(|_| false),
        };
        match found {
            Err(error) if is(&error, StatusCode::NoSuchFile) => Ok(matches!(made, Made::Nothing)),
            found => found,
        }
    }

    /// Has all that changed written to the disk.
    pub(super) fn sync_changes(&self) -> Result<(), StoreError> {
        // Whoever comes meanwhile waits: what is being synced for another is not durable for him yet.
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let (changes, touched) = {
            let mut unsynced = self.unsynced();
            if let Some(failed) = &unsynced.failed {
                let error = io::Error::other(format!("it failed before: {failed}"));
                return Err(StoreError::new("sync", &self.place, error));
            }
            (std::mem::take(&mut unsynced.changes), unsynced.touched.clone())
        };
        if changes.is_empty() && touched.is_empty() {
            return Ok(());
        }
        let sync = async |session: Arc<Session>| self.sync_all(&session, &changes).await;
        let synced = self.ask(("sync", ""), sync);
        let failed = match synced {
            Ok(Ok(())) => {
                let mut unsynced = self.unsynced();
                unsynced.touched.retain(|directory| !touched.contains(directory));
                unsynced.is_made = false;
                return Ok(());
            }
            Ok(Err(name)) => {
                let why =
                    "it is not as it was put before the connection broke: run the command again";
                StoreError::new("sync", self.object(&name), io::Error::other(why))
            }
            Err(error) => error,
        };
        let mut unsynced = self.unsynced();
        if failed.kind != StoreErrorKind::Transient {
            unsynced.failed = Some(failed.source.to_string());
        }
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
