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
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::join;
use futures_util::stream::{StreamExt, iter};
use garret_core::{StoreError, StoreErrorKind};
use russh_sftp::client::error::Error;
use russh_sftp::client::rawsession::SftpResult;
use russh_sftp::protocol::{FileAttributes, Status, StatusCode};
use tokio::runtime::Runtime;

use crate::object_store::LEASES;
use crate::paces::Paces;
use crate::place::Sftp;
use crate::service::{Listed, Service, ends_behind, line};
use crate::transport::SILENCE;

mod session;
mod sync;

use session::{Lost, Session, Trouble, is};
use sync::{Made, Unsynced};

/// Where what is being put lies until it has its name.
pub(crate) const TMP: &str = "tmp/";
/// Directories deep that a repository is.
const DEPTH_MAX: u32 = 3;
/// Requests of one sync or list side by side.
const SIDE_BY_SIDE: usize = 16;
/// Longest name of a file in bytes on the file systems that there are.
const FILE_NAME_LEN_MAX: usize = 255;

/// A directory there.
pub(crate) struct SftpService {
    place: Sftp,
    paces: Arc<Paces>,
    runtime: Runtime,
    line: Mutex<Line>,
    unsynced: Mutex<Unsynced>,
}

/// The session there is, and how many there were.
#[derive(Default)]
struct Line {
    session: Option<Arc<Session>>,
    count: u64,
}

impl SftpService {
    /// The way to `place`; nothing is asked yet.
    ///
    /// # Errors
    /// No threads.
    pub(crate) fn new(place: Sftp, paces: Arc<Paces>) -> Result<Self, StoreError> {
        let runtime =
            crate::service::runtime().map_err(|source| StoreError::new("open", &place, source))?;
        let (line, unsynced) = Default::default();
        Ok(SftpService { place, paces, runtime, line, unsynced })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, name: &str) -> String {
        let slash = if name.is_empty() { "" } else { "/" };
        format!("{}{slash}{}", self.place, name.trim_end_matches('/'))
    }

    /// The path of an object, or of a directory whose name ends in a slash.
    fn path(&self, name: &str) -> String {
        let name = name.trim_end_matches('/');
        let slash = if name.is_empty() { "" } else { "/" };
        format!("{}{slash}{name}", self.place.path)
    }

    /// The session, a new one if there is none.
    fn session(&self) -> Result<Arc<Session>, StoreError> {
        let mut line = self.line();
        if let Some(session) = &line.session {
            return Ok(Arc::clone(session));
        }
        let started =
            self.runtime.block_on(Session::start(&self.place, Arc::clone(&self.paces), line.count));
        let session = Arc::new(started.map_err(|trouble| self.no_session(trouble, line.count))?);
        line.count += 1;
        Ok(Arc::clone(line.session.insert(session)))
    }

    /// Ends a session in which something went wrong that the server did not say.
    fn hang_up(&self, session: &Session) -> Option<ExitStatus> {
        let mut line = self.line();
        if line.session.as_ref().is_some_and(|current| current.number == session.number) {
            line.session = None;
        }
        drop(line);
        session.end()
    }

    /// A request in a session.
    fn ask<T, F: Future<Output = SftpResult<T>>>(
        &self,
        (operation, name): (&'static str, &str),
        request: impl FnOnce(Arc<Session>) -> F,
    ) -> Result<T, StoreError> {
        let file = name.rsplit('/').next().unwrap_or(name);
        if file.len() > FILE_NAME_LEN_MAX {
            let why = format!(
                "the name of its file there has {} bytes, and may have {FILE_NAME_LEN_MAX}: choose a shorter one",
                file.len()
            );
            let source = io::Error::new(io::ErrorKind::InvalidFilename, why);
            return Err(StoreError::new(operation, self.object(name), source));
        }
        let session = self.session()?;
        let answer = self.runtime.block_on(session.in_time(request(Arc::clone(&session))));
        let lost = |why: String| {
            let source = io::Error::new(io::ErrorKind::ConnectionAborted, why);
            StoreError::new(operation, self.object(name), source)
        };
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(Error::Status(status))) => return Err(self.refused((operation, name), &status)),
            Ok(Err(error)) if !session.has_ended() => line(&error.to_string()),
            Err(Lost::Silent) => {
                format!("the server did not answer within {} s", SILENCE.as_secs())
            }
            _ => "the connection broke".to_owned(),
        };
        let how = self.hang_up(&session);
        let how = how.map_or(String::new(), |status| format!(", and ssh ended with {status}"));
        Err(lost(format!("{error}{how}")))
    }

    /// What the server said, as a repository takes it.
    fn refused(&self, (operation, name): (&'static str, &str), status: &Status) -> StoreError {
        let kind = match status.status_code {
            StatusCode::NoSuchFile => StoreErrorKind::NotFound,
            StatusCode::PermissionDenied => StoreErrorKind::Denied,
            StatusCode::NoConnection | StatusCode::ConnectionLost => StoreErrorKind::Transient,
            StatusCode::Failure if operation == "create" || operation == "write" => {
                self.full().unwrap_or(StoreErrorKind::Other)
            }
            _ => StoreErrorKind::Other,
        };
        let source = match kind {
            StoreErrorKind::NotFound if operation == "create" || operation == "write" => {
                let why = "the directory that it is to be made in is not there: make it first";
                io::Error::new(io::ErrorKind::NotFound, why)
            }
            StoreErrorKind::NotFound => io::ErrorKind::NotFound.into(),
            StoreErrorKind::NoSpace => io::Error::new(
                io::ErrorKind::StorageFull,
                "there is no room left on the disk there",
            ),
            _ => {
                let words = match status.error_message.as_str() {
                    "" => status.status_code.to_string(),
                    message => line(message),
                };
                io::Error::other(format!("the server says \"{words}\""))
            }
        };
        StoreError { kind, operation, object: self.object(name), source }
    }

    /// Whether the disk is full, which servers of SFTP have no word for.
    fn full(&self) -> Option<StoreErrorKind> {
        const FULL: u64 = 1 << 20;
        let session = self.session().ok()?;
        let room = session.room(&self.place.path);
        let room = self.runtime.block_on(session.in_time(room)).ok()?.ok()?;
        (room < FULL).then_some(StoreErrorKind::NoSpace)
    }

    /// Why there is no session. The first time the user has something to mend; later the line is waited for.
    fn no_session(&self, trouble: Trouble, count: u64) -> StoreError {
        let kind = if count == 0 { StoreErrorKind::Other } else { StoreErrorKind::Transient };
        let program = self.place.command().get_program().to_string_lossy().into_owned();
        let (kind, source) = match trouble {
            Trouble::Start(error) => {
                let why = format!("{program} cannot be run: {error}");
                (StoreErrorKind::Other, io::Error::new(error.kind(), why))
            }
            Trouble::Ended(status) => {
                let how = status
                    .map_or("says nothing".to_owned(), |status| format!("ended with {status}"));
                (
                    kind,
                    io::Error::other(format!(
                        "{program} {how}: why stands above, or there is no SFTP"
                    )),
                )
            }
            Trouble::Lacks(extension) => {
                let why = format!("the server of SFTP does not know {extension}");
                (StoreErrorKind::Other, io::Error::other(why))
            }
        };
        StoreError { kind, operation: "connect to", object: self.place.to_string(), source }
    }

    /// Looks whether it is a repository that is used so.
    async fn examine(&self, session: &Session) -> SftpResult<bool> {
        let (config, leases) = (self.path("config"), self.path(LEASES));
        match join(session.look(&config), session.look(&leases)).await {
            (Ok(_), Err(error)) if is(&error, StatusCode::NoSuchFile) => Ok(false),
            (Err(error), _) if !is(&error, StatusCode::NoSuchFile) => Err(error),
            (_, Err(error)) if !is(&error, StatusCode::NoSuchFile) => Err(error),
            _ => Ok(true),
        }
    }

    /// Puts a file aside, and gives its path. Makes the directories for that.
    async fn put_aside(&self, session: &Session, bytes: Bytes) -> SftpResult<String> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| Error::UnexpectedBehavior(error.to_string()))?;
        let path = self.path(&format!("{TMP}{:032x}", u128::from_le_bytes(id)));
        let created = match session.create(&path, bytes.clone()).await {
            Err(error) if is(&error, StatusCode::NoSuchFile) => {
                // Those that are there are an error that says nothing.
                for directory in ["", LEASES, TMP] {
                    let _there = session.make_directory(&self.path(directory)).await;
                }
                session.create(&path, bytes).await
            }
            created => created,
        };
        if created.is_err() {
            let _left = session.remove(&path).await;
        }
        created.map(|()| path)
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
            for (directory, files) in found {
                for file in files {
                    let name = format!("{directory}{}", file.filename);
                    let (len, put) = (file.attrs.len(), put_time(&file.attrs));
                    match file.attrs.file_type() {
                        kind if kind.is_dir() => level.push(format!("{name}/")),
                        kind if kind.is_file() => listed.push(Listed { name, len, put }),
                        _ => {}
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
        let why = "it is a repository in a directory, with locks of its own: name it ssh://HOST/PATH, or copy it by garret sync";
        Err(StoreError::new("open", &self.place, io::Error::other(why)))
    }

    fn put(&self, name: &str, parts: &[&[u8]], is_new: bool) -> Result<(), StoreError> {
        let bytes = Bytes::from(parts.concat());
        let made = Made::of(name, &bytes);
        let operation = if is_new { "create" } else { "write" };
        let put = async |session: Arc<Session>| {
            let aside = self.put_aside(&session, bytes).await?;
            let named = match self.name(&session, (&aside, name), is_new).await {
                Err(error) if is(&error, StatusCode::NoSuchFile) => {
                    for (at, _) in name.match_indices('/') {
                        let directory = self.path(name.get(..at).unwrap_or_default());
                        let _there = session.make_directory(&directory).await;
                    }
                    self.name(&session, (&aside, name), is_new).await
                }
                named => named,
            };
            // What was renamed is not there any more.
            if is_new || named.is_err() {
                let _left = session.remove(&aside).await;
            }
            Ok((named?, session.number))
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
        let look = async |session: Arc<Session>| session.look(&path).await;
        Ok(self.ask(("read", name), look)?.len())
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
            session.look(&path).await?;
            if session.can_sync {
                session.sync(&path).await?;
            }
            Ok(session.number)
        };
        let session = self.ask(("read", name), adopt)?;
        self.note(name, Made::File, session);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.sync_changes()
    }

    fn clear(&self) {
        let clear = async |session: Arc<Session>| {
            let found = session.list(&self.path("")).await?;
            for directory in found.iter().filter(|found| found.attrs.file_type().is_dir()) {
                let _kept = session.remove_directory(&self.path(&directory.filename)).await;
            }
            session.remove_directory(&self.path("")).await
        };
        // What is not empty stays.
        let _kept = self.ask(("remove", ""), clear);
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

fn put_time(found: &FileAttributes) -> Option<Duration> {
    found.mtime.map(|seconds| Duration::from_secs(seconds.into()))
}
