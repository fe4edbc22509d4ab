//! The line to a server of SFTP: one session at a time, and a new one when that has ended.
//!
//! In: requests. Out: what the server answers to them, or why it does not. Promises: whoever waited for a session that
//! could not be had is told so; what an earlier session left aside is removed before a new one is used; a disk that is full
//! is called so.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use garret_core::{StoreError, StoreErrorKind};
use russh_sftp::client::error::Error;
use russh_sftp::client::rawsession::SftpResult;
use russh_sftp::protocol::{Status, StatusCode};

use super::session::{Lost, Session, Trouble};
use super::state::{FILE_NAME_LEN_MAX, SftpService};
use crate::service::line;
use crate::transport::SILENCE;

impl SftpService {
    /// The session, a new one if there is none.
    fn session(&self) -> Result<Arc<Session>, StoreError> {
        let began = Instant::now();
        let mut line = self.line();
        if let Some(session) = &line.session {
            return Ok(Arc::clone(session));
        }
        let failed = |kind, why: &str| {
            let (object, source) = (self.place.to_string(), io::Error::other(why.to_owned()));
            StoreError { kind, operation: "connect to", object, source }
        };
        // Who has waited for one who failed has had his try.
        if let Some((_, kind, why)) = line.failed.as_ref().filter(|(at, ..)| *at >= began) {
            return Err(failed(*kind, why));
        }
        let start = Session::start(&self.place, Arc::clone(&self.paces), line.count);
        let session = match self.runtime.block_on(start) {
            Ok(session) => Arc::new(session),
            Err(trouble) => {
                let (kind, why) = self.no_session(trouble, line.count);
                let error = failed(kind, &why);
                line.failed = Some((Instant::now(), kind, why));
                return Err(error);
            }
        };
        line.count += 1;
        // Before anything is put anew: what an earlier session wanted with them finds them gone.
        let stale = std::mem::take(&mut *self.asides());
        let remove = async {
            for path in &stale {
                let _gone = session.remove(path).await;
            }
        };
        let _lost = self.runtime.block_on(session.in_time(remove));
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
    pub(super) fn ask<T, F: Future<Output = SftpResult<T>>>(
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
        self.paces.asked();
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
    fn no_session(&self, trouble: Trouble, count: u64) -> (StoreErrorKind, String) {
        let kind = if count == 0 { StoreErrorKind::Other } else { StoreErrorKind::Transient };
        let program = self.place.command().get_program().to_string_lossy().into_owned();
        match trouble {
            Trouble::Start(error) => {
                (StoreErrorKind::Other, format!("{program} cannot be run: {error}"))
            }
            Trouble::Ended(status) => {
                let how = status
                    .map_or("says nothing".to_owned(), |status| format!("ended with {status}"));
                (kind, format!("{program} {how}: why stands above, or there is no SFTP"))
            }
            Trouble::Lacks(extension) => {
                (StoreErrorKind::Other, format!("the server of SFTP does not know {extension}"))
            }
        }
    }
}
