//! A session of SFTP: the program that carries it, and what is done with files in it.
//!
//! In: a [`Sftp`], whole paths, bytes. Out: what the server answers, by the library `russh-sftp`. Promises: of what the
//! server sends never more is held than was asked for and its longest packet; pieces of a file are under way side by side.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{Either, join, join3, select};
use futures_util::stream::iter;
use futures_util::{StreamExt, TryStreamExt};
use russh_sftp::client::error::Error;
use russh_sftp::client::rawsession::SftpResult;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::extensions::{FSYNC, HardlinkExtension, LIMITS};
use russh_sftp::protocol::{File, FileAttributes, FileType, OpenFlags, Packet, StatusCode};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::stream::{Known, Watched};
use crate::paces::Paces;
use crate::place::Sftp;
use crate::transport::SILENCE;

const POSIX_RENAME: &str = "posix-rename@openssh.com";
/// Bytes that a server takes and gives in one request if it does not say how many: what the draft of the protocol wants.
const PIECE_LEN: u32 = 32 << 10;
/// Fewest of them that are asked for, whatever a server says, and most: what OpenSSH takes.
const PIECE_LEN_MIN: u32 = 4 << 10;
const PIECE_LEN_MAX: u32 = 255 << 10;
/// What a packet has beside such a piece.
const AROUND_LEN: u32 = 1 << 10;
/// Pieces of one file that are under way.
const PIECES: usize = 16;
/// Parts of a list that are asked for at once; a server gives some hundred names in each.
const PARTS: usize = 4;
/// Most entries of one directory: packs of 32 TB.
const ENTRIES_MAX: usize = 1 << 20;
/// How long the program may take to end when its pipe has.
const END_TIME: Duration = Duration::from_secs(2);
/// Files are those of who put them alone, as in a directory here.
const FILE_MODE: u32 = 0o100_600;
const DIRECTORY_MODE: u32 = 0o40_700;

/// A session, and the program that carries it.
pub(crate) struct Session {
    raw: RawSftpSession,
    child: Mutex<Child>,
    stream: Arc<Known>,
    paces: Arc<Paces>,
    piece_len: u32,
    /// Which one it is.
    pub number: u64,
    /// Whether the server knows how to make a file durable.
    pub can_sync: bool,
}

/// What is in a directory.
pub(crate) struct Entry {
    pub name: String,
    pub kind: FileType,
    /// In bytes.
    pub len: u64,
    /// When it was written last, by the server's clock, since 1970.
    pub put: Option<Duration>,
}

/// Why nothing comes any more.
pub(crate) enum Lost {
    Ended,
    Silent,
}

/// Why there is no session.
pub(crate) enum Trouble {
    /// The program cannot be started.
    Start(io::Error),
    /// It ended, or nothing came from it; how it ended.
    Ended(Option<ExitStatus>),
    /// The server lacks something, by its name in the protocol.
    Lacks(&'static str),
}

impl Session {
    /// Starts the program, and says hello. Inside a runtime.
    pub(crate) async fn start(
        place: &Sftp,
        paces: Arc<Paces>,
        number: u64,
    ) -> Result<Self, Trouble> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(Trouble::Start)?;
        let mut command = place.command();
        command.stdin(OwnedFd::from(theirs.try_clone().map_err(Trouble::Start)?));
        command.stdout(OwnedFd::from(theirs)).stderr(Stdio::inherit());
        let child = command.spawn().map_err(Trouble::Start)?;
        // It holds the other end too, and with it the end of the stream would never come.
        drop(command);
        ours.set_nonblocking(true).map_err(Trouble::Start)?;
        let stream = UnixStream::from_std(ours).map_err(Trouble::Start)?;
        let known = Arc::<Known>::default();
        let config = Config {
            max_packet_len: PIECE_LEN_MAX + AROUND_LEN,
            // None: what does not move is seen below.
            request_timeout_secs: u64::MAX,
            ..Config::default()
        };
        let watched = Watched { stream, known: Arc::clone(&known) };
        let raw = RawSftpSession::new_with_config(watched, config);
        let (piece_len, can_sync) = (PIECE_LEN, false);
        let child = Mutex::new(child);
        let mut session = Session { raw, child, stream: known, paces, piece_len, number, can_sync };
        let Ok(Ok(version)) = session.in_time(session.raw.init()).await else {
            return Err(Trouble::Ended(session.end()));
        };
        let knows = |extension| version.extensions.contains_key(extension);
        if !knows(POSIX_RENAME) {
            return Err(Trouble::Lacks(POSIX_RENAME));
        }
        session.can_sync = knows(FSYNC);
        if knows(LIMITS) {
            let Ok(Ok(limits)) = session.in_time(session.raw.limits()).await else {
                return Err(Trouble::Ended(session.end()));
            };
            let least = [limits.max_read_len, limits.max_write_len].into_iter().min();
            let least = least.filter(|len| *len > 0).and_then(|len| u32::try_from(len).ok());
            session.piece_len =
                least.map_or(PIECE_LEN, |len| len.clamp(PIECE_LEN_MIN, PIECE_LEN_MAX));
        }
        Ok(session)
    }

    /// Waits for something as long as anything moves. What is asked as the stream ends the library would never answer.
    pub(crate) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Lost> {
        let mut work = pin!(work);
        let mut end = self.stream.is_ended.subscribe();
        let mut end = pin!(end.wait_for(|is_ended| *is_ended));
        let mut seen = self.stream.moved.load(Ordering::Relaxed);
        loop {
            match timeout(SILENCE, select(&mut work, &mut end)).await {
                Ok(Either::Left((done, _))) => return Ok(done),
                Ok(Either::Right(_)) => return Err(Lost::Ended),
                Err(_) => match self.stream.moved.load(Ordering::Relaxed) {
                    now if now == seen => return Err(Lost::Silent),
                    now => seen = now,
                },
            }
        }
    }

    /// Waits for one's turn, which is no silence.
    async fn wait(&self, mut time: Duration) {
        const STEP: Duration = Duration::from_secs(10);
        while !time.is_zero() {
            let step = time.min(STEP);
            sleep(step).await;
            self.stream.moved.fetch_add(1, Ordering::Relaxed);
            time -= step;
        }
    }

    /// Whether nothing can come any more.
    pub(crate) fn has_ended(&self) -> bool {
        *self.stream.is_ended.borrow()
    }

    /// Ends the program, and says how it ended if it did so by itself.
    pub(crate) fn end(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        while start.elapsed() < END_TIME {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _gone = child.kill();
        let _reaped = child.wait();
        None
    }

    /// Makes a file of these bytes where none is, and has them written to the disk.
    pub(crate) async fn create(&self, path: &str, bytes: Bytes) -> SftpResult<()> {
        let attributes = mode(FILE_MODE);
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUDE | OpenFlags::WRITE;
        let handle = self.raw.open(path, flags, attributes).await?.handle;
        let starts: Vec<usize> = (0..bytes.len()).step_by(self.piece_len as usize).collect();
        // What waits for its turn would be sent behind what is to follow it.
        let last = if self.paces.holds_up() { 0 } else { PIECES };
        let (first, last) = starts.split_at(starts.len().saturating_sub(last));
        let written = self.write(&handle, &bytes, first).await;
        // Requests for one file are done in the order in which they were sent: the last pieces, and what follows them, are
        // under way at once.
        let last = self.write(&handle, &bytes, last);
        let synced = async {
            // Nobody loses anything with a file that has nothing.
            match self.can_sync && !bytes.is_empty() && written.is_ok() {
                true => self.raw.fsync(&handle).await.map(drop),
                false => Ok(()),
            }
        };
        let closed = self.raw.close(&handle);
        let (last, synced, closed) = join3(last, synced, closed).await;
        written.and(last).and(synced).and(closed.map(drop))
    }

    /// Writes the pieces that start there.
    async fn write(&self, handle: &str, bytes: &Bytes, starts: &[usize]) -> SftpResult<()> {
        let pieces = iter(starts).map(async |start| {
            let piece = bytes.slice(*start..bytes.len().min(start + self.piece_len as usize));
            self.wait(self.paces.up(piece.len())).await;
            self.raw.write(handle, *start as u64, piece.to_vec()).await
        });
        pieces.buffer_unordered(PIECES).try_for_each(async |_| Ok(())).await
    }

    /// The `len` bytes of a file from `start` on; fewer if it ends before.
    pub(crate) async fn read(&self, path: &str, start: u64, len: u64) -> SftpResult<Vec<u8>> {
        let handle = self.raw.open(path, OpenFlags::READ, FileAttributes::empty()).await?.handle;
        let bytes = self.read_open(&handle, start, len).await;
        self.close_later(handle).await;
        bytes
    }

    /// A whole file as it is at one moment, if it has at most `max` bytes; else how many it has.
    pub(crate) async fn read_whole(
        &self,
        path: &str,
        max: u64,
    ) -> SftpResult<Result<Vec<u8>, u64>> {
        let handle = self.raw.open(path, OpenFlags::READ, FileAttributes::empty()).await?.handle;
        let first = u64::from(self.piece_len).min(max);
        // Who replaces it renames another file over it: of the one that is open nothing changes.
        let (found, bytes) = join(self.raw.fstat(&handle), self.read_open(&handle, 0, first)).await;
        let whole = async {
            let (len, mut bytes) = (len_of(&found?.attrs)?, bytes?);
            if len > max {
                return Ok(Err(len));
            }
            if let Some(left @ 1..) = len.checked_sub(first) {
                bytes.extend(self.read_open(&handle, first, left).await?);
            }
            match bytes.len() as u64 == len {
                true => Ok(Ok(bytes)),
                false => {
                    Err(Error::UnexpectedBehavior("it has not as many bytes as it says".to_owned()))
                }
            }
        };
        let whole = whole.await;
        self.close_later(handle).await;
        whole
    }

    async fn read_open(&self, handle: &str, start: u64, len: u64) -> SftpResult<Vec<u8>> {
        let end = start.saturating_add(len);
        let starts = (start..end).step_by(self.piece_len as usize);
        let pieces = iter(starts).map(async |start| {
            let len = end.saturating_sub(start).min(u64::from(self.piece_len));
            let piece = self.read_piece(handle, start, len).await?;
            Ok::<_, Error>((piece.len() as u64 == len, piece))
        });
        let mut bytes = Vec::new();
        let mut pieces = pin!(pieces.buffered(PIECES));
        while let Some((is_whole, piece)) = pieces.next().await.transpose()? {
            bytes.extend(piece);
            if !is_whole {
                break;
            }
        }
        Ok(bytes)
    }

    /// A server may give less than was asked for, but for the end of the file.
    async fn read_piece(&self, handle: &str, start: u64, len: u64) -> SftpResult<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let had = bytes.len() as u64;
            let left = u32::try_from(len.saturating_sub(had)).unwrap_or(u32::MAX);
            if left == 0 {
                return Ok(bytes);
            }
            match self.raw.read(handle, start.saturating_add(had), left).await {
                Ok(piece) if piece.data.is_empty() || piece.data.len() > left as usize => {
                    let why = "it gives another number of bytes than it may";
                    return Err(Error::UnexpectedBehavior(why.to_owned()));
                }
                Ok(piece) => {
                    self.wait(self.paces.down(piece.data.len())).await;
                    bytes.extend(piece.data);
                }
                Err(error) if is(&error, StatusCode::Eof) => return Ok(bytes),
                Err(error) => return Err(error),
            }
        }
    }

    /// What is there, not following a link.
    pub(crate) async fn look(&self, path: &str) -> SftpResult<FileAttributes> {
        Ok(self.raw.lstat(path).await?.attrs)
    }

    /// What is in a directory, but for itself and the one above.
    pub(crate) async fn list(&self, path: &str) -> SftpResult<Vec<Entry>> {
        let handle = self.raw.opendir(path).await?.handle;
        let listed = async {
            let mut listed = Vec::new();
            let odd = |why: &str| Err(Error::UnexpectedBehavior(why.to_owned()));
            // Without an end of their own, for only an answer says that it was the last.
            let parts = iter(std::iter::repeat(())).map(|()| self.raw.readdir(&handle));
            let mut parts = pin!(parts.buffered(PARTS));
            loop {
                match parts.next().await {
                    Some(Ok(part)) if part.files.is_empty() => {
                        return odd("it lists nothing, and not the end");
                    }
                    Some(Ok(_)) if listed.len() > ENTRIES_MAX => return odd("it lists too much"),
                    Some(Ok(part)) => listed.extend(part.files.into_iter().map(Entry::of)),
                    Some(Err(error)) if !is(&error, StatusCode::Eof) => return Err(error),
                    _ => return Ok(listed),
                }
            }
        };
        let listed = listed.await;
        self.close_later(handle).await;
        let mut listed = listed?;
        listed.retain(|entry| entry.name != "." && entry.name != "..");
        Ok(listed)
    }

    /// Renames a file over what may be there.
    pub(crate) async fn rename(&self, from: &str, to: &str) -> SftpResult<()> {
        let paths = HardlinkExtension { oldpath: from.to_owned(), newpath: to.to_owned() };
        match self.raw.extended(POSIX_RENAME, paths.try_into()?).await? {
            Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
            Packet::Status(status) => Err(Error::Status(status)),
            _ => Err(Error::UnexpectedPacket),
        }
    }

    /// Gives a file another name, if none has that.
    pub(crate) async fn link(&self, from: &str, to: &str) -> SftpResult<()> {
        self.raw.hardlink(from, to).await.map(drop)
    }

    /// Removes a file, if it is there.
    pub(crate) async fn remove(&self, path: &str) -> SftpResult<()> {
        match self.raw.remove(path).await {
            Err(error) if !is(&error, StatusCode::NoSuchFile) => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes a directory. That it is there is no error that a server tells apart.
    pub(crate) async fn make_directory(&self, path: &str) -> SftpResult<()> {
        self.raw.mkdir(path, mode(DIRECTORY_MODE)).await.map(drop)
    }

    pub(crate) async fn remove_directory(&self, path: &str) -> SftpResult<()> {
        self.raw.rmdir(path).await.map(drop)
    }

    /// Has a file written to the disk.
    pub(crate) async fn sync(&self, path: &str) -> SftpResult<()> {
        let handle = self.raw.open(path, OpenFlags::READ, FileAttributes::empty()).await?.handle;
        let synced = self.raw.fsync(&handle).await;
        self.close_later(handle).await;
        synced.map(drop)
    }

    /// Has a directory written to the disk, if it is there; whether the server can do that.
    pub(crate) async fn sync_directory(&self, path: &str) -> SftpResult<bool> {
        let handle = match self.raw.open(path, OpenFlags::READ, FileAttributes::empty()).await {
            Ok(handle) => handle.handle,
            Err(Error::Status(status)) => return Ok(status.status_code == StatusCode::NoSuchFile),
            Err(error) => return Err(error),
        };
        let synced = self.raw.fsync(&handle).await;
        self.close_later(handle).await;
        match synced {
            // What OpenSSH says of a file system that cannot is the second.
            Err(Error::Status(status))
                if matches!(
                    status.status_code,
                    StatusCode::OpUnsupported | StatusCode::BadMessage
                ) =>
            {
                Ok(false)
            }
            synced => synced.map(|_| true),
        }
    }

    /// Makes or touches a file of which nothing counts but its name and when it was written. Not by renaming: some file
    /// systems do not list what is renamed meanwhile.
    pub(crate) async fn mark(&self, path: &str) -> SftpResult<()> {
        let flags = OpenFlags::CREATE | OpenFlags::WRITE | OpenFlags::TRUNCATE;
        let handle = self.raw.open(path, flags, mode(FILE_MODE)).await?.handle;
        let (written, closed) =
            join(self.raw.write(handle.as_str(), 0, vec![b'\n']), self.raw.close(handle.as_str()))
                .await;
        written.and(closed).map(drop)
    }

    /// Bytes that there is room for in a directory.
    pub(crate) async fn room(&self, path: &str) -> SftpResult<u64> {
        let found = self.raw.statvfs(path).await?;
        Ok(found.blocks_avail.saturating_mul(found.fragment_size))
    }

    /// Gives a handle back. Nobody waits for the answer, which says nothing that anybody needs.
    async fn close_later(&self, handle: String) {
        let mut closed = pin!(self.raw.close(handle));
        // The first poll sends it.
        let _unheard = futures_util::poll!(&mut closed);
    }
}

/// Whoever is done has nothing under way.
impl Drop for Session {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _gone = child.kill();
        let _reaped = child.wait();
    }
}

impl Entry {
    fn of(file: File) -> Self {
        let (kind, len) = (file.attrs.file_type(), file.attrs.len());
        Entry { name: file.filename, kind, len, put: put_time(&file.attrs) }
    }
}

/// A file's length in bytes.
pub(crate) fn len_of(found: &FileAttributes) -> SftpResult<u64> {
    let unsaid = || Error::UnexpectedBehavior("it does not say how long a file is".to_owned());
    found.size.ok_or_else(unsaid)
}

pub(crate) fn put_time(found: &FileAttributes) -> Option<Duration> {
    found.mtime.map(|seconds| Duration::from_secs(seconds.into()))
}

/// Whether the server said this.
pub(crate) fn is(error: &Error, code: StatusCode) -> bool {
    matches!(error, Error::Status(status) if status.status_code == code)
}

/// What a file or directory is made with.
fn mode(mode: u32) -> FileAttributes {
    FileAttributes { permissions: Some(mode), ..FileAttributes::empty() }
}
