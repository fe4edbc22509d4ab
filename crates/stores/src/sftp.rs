//! A directory on a server of SFTP.
//!
//! ```text
//! put    tmp/ID: written, synced    -> renamed over NAME;  linked as NAME if it is to be new
//! sync   each directory in which something changed; after another session what changed is looked at too
//! ```
//!
//! In: a [`Sftp`], names, bytes. Out: what the server answers. Promises: those of a [`Service`]; a file has its name when all
//! of it is on the server's disk, if the server can say so; what broke off before a sync is not taken for durable after it.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::join3;
use futures_util::stream::{StreamExt, iter};
use garret_core::{Area, StoreError};
use russh_sftp::client::error::Error;
use russh_sftp::client::rawsession::SftpResult;
use russh_sftp::protocol::{FileAttributes, Status, StatusCode};

use crate::names::{LEASES, PASSING, TMP, directory_of, is_passing};
use crate::service::{Listed, Service, ends_behind};

mod line;
mod session;
mod state;
mod stream;
mod sync;

use session::{Entry, Session, is, len_of, put_time};
pub(crate) use state::SftpService;
use state::{Made, SIDE_BY_SIDE};

/// Directories deep that a repository is.
const DEPTH_MAX: u32 = 3;

impl SftpService {
    /// Looks whether it is a repository that is used so.
    async fn examine(&self, session: &Session) -> SftpResult<bool> {
        let paths = ["config", "copies", LEASES].map(|name| self.path(name));
        let [config, copies, leases] = &paths;
        let (config, copies, leases) =
            join3(session.look(config), session.look(copies), session.look(leases)).await;
        let is_there = |found: SftpResult<FileAttributes>| match found {
            Err(error) if is(&error, StatusCode::NoSuchFile) => Ok(false),
            found => found.map(|_| true),
        };
        let is_one = is_there(config)? | is_there(copies)?;
        Ok(is_there(leases)? || !is_one)
    }

    /// Puts a file aside, and gives its path. Makes the directories for that.
    async fn put_aside(&self, session: &Session, bytes: Bytes) -> SftpResult<String> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| Error::UnexpectedBehavior(error.to_string()))?;
        let path = self.path(&format!("{TMP}{:032x}", u128::from_le_bytes(id)));
        self.asides().insert(path.clone());
        let created = match session.create(&path, bytes.clone()).await {
            Err(error) if is(&error, StatusCode::NoSuchFile) => {
                self.make_directories(session, TMP).await;
                session.create(&path, bytes).await
            }
            created => created,
        };
        if created.is_err() {
            self.take_away(session, &path).await;
        }
        created.map(|()| path)
    }

    /// Removes what lies aside, if it does.
    async fn take_away(&self, session: &Session, aside: &str) {
        if !matches!(session.remove(aside).await, Err(error) if !matches!(error, Error::Status(_)))
        {
            self.asides().remove(aside);
        }
    }

    /// Makes the repository's directory, what marks it as used so, and those above `name`. Those that are there are an error
    /// that says nothing.
    async fn make_directories(&self, session: &Session, name: &str) {
        if session.make_directory(&self.path("")).await.is_ok() {
            self.note_made();
        }
        let above = name.match_indices('/').filter_map(|(at, _)| name.get(..at));
        for directory in std::iter::once(LEASES).chain(above) {
            let _there = session.make_directory(&self.path(directory)).await;
        }
    }

    /// Puts a file; whether its name was free, if it had to be.
    async fn put_once(
        &self,
        session: &Session,
        (name, bytes): (&str, Bytes),
        is_new: bool,
    ) -> SftpResult<bool> {
        let aside = self.put_aside(session, bytes).await?;
        let mut named = self.name(session, (&aside, name), is_new).await;
        if named.as_ref().is_err_and(|error| is(error, StatusCode::NoSuchFile)) {
            self.make_directories(session, name).await;
            named = self.name(session, (&aside, name), is_new).await;
        }
        // What was renamed is not there any more.
        if is_new || named.is_err() {
            self.take_away(session, &aside).await;
        } else {
            self.asides().remove(&aside);
        }
        named
    }

    /// Puts a file of which nothing counts but its name and when it was put.
    async fn mark(&self, session: &Session, name: &str) -> SftpResult<()> {
        let path = self.path(name);
        match session.mark(&path).await {
            Err(error) if is(&error, StatusCode::NoSuchFile) => {
                self.make_directories(session, name).await;
                session.mark(&path).await
            }
            marked => marked,
        }
    }

    /// Gives what was put aside its name. Whether that was free, if it had to be.
    async fn name(
        &self,
        session: &Session,
        (aside, name): (&str, &str),
        is_new: bool,
    ) -> SftpResult<bool> {
        let path = self.path(name);
        if !is_new {
            return session.rename(aside, &path).await.map(|()| true);
        }
        let linked = session.link(aside, &path).await;
        let taken = match &linked {
            // OpenSSH says of that no more than that it failed.
            Err(error) if !is(error, StatusCode::NoSuchFile) => match session.look(&path).await {
                Err(Error::Status(_)) => false,
                found => found.map(|_| true)?,
            },
            _ => false,
        };
        match linked {
            Ok(()) => Ok(true),
            Err(_) if taken => Ok(false),
            Err(Error::Status(status)) if status.status_code == StatusCode::PermissionDenied => {
                // Of a file system that knows no links.
                Err(Error::Status(Status { status_code: StatusCode::OpUnsupported, ..status }))
            }
            Err(error) => Err(error),
        }
    }

    /// Everything in a directory and, down to some depth, in those in it.
    async fn list_below(&self, session: &Session, directory: &str) -> SftpResult<Vec<Listed>> {
        let (mut listed, mut level) = (Vec::new(), vec![directory.to_owned()]);
        for _ in 0..DEPTH_MAX {
            let found = iter(std::mem::take(&mut level)).map(async |directory| {
                let found = session.list(&self.path(&directory)).await;
                let is_none = found.as_ref().is_err_and(|error| is(error, StatusCode::NoSuchFile));
                let found = if is_none { Ok(Vec::new()) } else { found };
                found.map(|found| (directory, found))
            });
            let found: Vec<_> = found.buffer_unordered(SIDE_BY_SIDE).try_collect().await?;
            for (directory, entries) in found {
                for Entry { name, kind, len, put } in entries {
                    let name = format!("{directory}{name}");
                    // What else there is, is somebody else's; by its name it is no object.
                    match kind.is_dir() && (!directory.is_empty() || is_own(&name)) {
                        true => level.push(format!("{name}/")),
                        false => listed.push(Listed { name, len, put }),
                    }
                }
            }
        }
        Ok(listed)
    }
}

impl Service for SftpService {
    fn connect(&self) -> Result<(), StoreError> {
        let is_ours = self.ask(("open", ""), async |session| self.examine(&session).await)?;
        if is_ours {
            return Ok(());
        }
        let why = "it is a repository in a directory, with locks of its own: name it ssh://HOST/PATH, or sync it to another place";
        Err(StoreError::new("open", &self.place, io::Error::other(why)))
    }

    fn put(&self, name: &str, parts: &[&[u8]], is_new: bool) -> Result<(), StoreError> {
        let bytes = Bytes::from(parts.concat());
        let made = Made::of(name, &bytes);
        let operation = if is_new { "create" } else { "write" };
        let put = async |session: Arc<Session>| {
            if is_passing(name) && !is_new {
                self.mark(&session, name).await?;
                return Ok((true, session.number));
            }
            let put = self.put_once(&session, (name, bytes.clone()), is_new).await;
            let is_gone = put.as_ref().is_err_and(|error| is(error, StatusCode::NoSuchFile));
            // Who sweeps took it for one that nobody wants any more.
            let put =
                if is_gone { self.put_once(&session, (name, bytes), is_new).await } else { put };
            Ok((put?, session.number))
        };
        match self.ask((operation, name), put)? {
            (true, session) => {
                self.note(name, made, session);
                Ok(())
            }
            (false, _) => {
                let source = io::ErrorKind::AlreadyExists.into();
                Err(StoreError::new("create", self.object(name), source))
            }
        }
    }

    fn get(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let len = range.end.saturating_sub(range.start);
        let path = self.path(name);
        let read = async |session: Arc<Session>| session.read(&path, range.start, len).await;
        let bytes = self.ask(("read", name), read)?;
        match bytes.len() as u64 == len {
            true => Ok(bytes),
            false => Err(ends_behind(self.object(name), self.len(name)?, &range)),
        }
    }

    fn get_whole(&self, name: &str, max: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.path(name);
        let read = async |session: Arc<Session>| session.read_whole(&path, max).await;
        let whole = self.ask(("read", name), read)?;
        whole.map_err(|len| StoreError::too_long(self.object(name), len, max))
    }

    fn len(&self, name: &str) -> Result<u64, StoreError> {
        let path = self.path(name);
        let len = async |session: Arc<Session>| len_of(&session.look(&path).await?);
        self.ask(("read", name), len)
    }

    fn put_time(&self, name: &str) -> Result<Option<Duration>, StoreError> {
        let path = self.path(name);
        let look = async |session: Arc<Session>| session.look(&path).await;
        Ok(put_time(&self.ask(("read", name), look)?))
    }

    fn list(&self, directory: &str, max: usize) -> Result<Vec<Listed>, StoreError> {
        let list = async |session: Arc<Session>| self.list_below(&session, directory).await;
        let mut listed = self.ask(("list", directory), list)?;
        listed.truncate(max);
        Ok(listed)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        let remove = async |session: Arc<Session>| {
            session.remove(&path).await?;
            Ok(session.number)
        };
        let session = self.ask(("remove", name), remove)?;
        self.note(name, Made::Nothing, session);
        Ok(())
    }

    fn adopt(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        let adopt = async |session: Arc<Session>| {
            let len = len_of(&session.look(&path).await?)?;
            if session.can_sync {
                session.sync(&path).await?;
            }
            Ok((len, session.number))
        };
        let (len, session) = self.ask(("read", name), adopt)?;
        self.note(name, Made::File(len), session);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.sync_changes()
    }

    fn clear(&self) {
        let clear = async |session: Arc<Session>| {
            let found = session.list(&self.path("")).await?;
            for directory in found.iter().filter(|found| found.kind.is_dir() && is_own(&found.name))
            {
                let _kept = session.remove_directory(&self.path(&directory.name)).await;
            }
            session.remove_directory(&self.path("")).await
        };
        // What is not empty stays.
        let _kept = self.ask(("remove", ""), clear);
    }

    fn touch(&self, directory: &str) {
        SftpService::touch(self, directory);
    }

    fn lists_late(&self) -> bool {
        false
    }

    fn lists_in_order(&self) -> bool {
        false
    }

    fn notices(&self) -> Vec<String> {
        self.notice().into_iter().collect()
    }

    fn place(&self) -> String {
        self.place.to_string()
    }
}

/// Whether a directory of this name is a repository's.
fn is_own(name: &str) -> bool {
    let passing = PASSING.iter().copied();
    let mut own = Area::ALL.into_iter().map(directory_of).chain(passing);
    own.any(|directory| directory.trim_end_matches('/') == name)
}
