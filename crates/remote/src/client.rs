//! The client: a store whose objects are on another host.
//!
//! In: pipes to a server, and how to find out how it ended. Out: a [`Store`]. Promises: many requests are under way at once;
//! when the connection is gone every request fails, at once and for good, with one line that says why; what the server says
//! is believed no more than any storage is.

use std::collections::HashMap;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use garret_core::{
    Area, Guard, Key, LockMode, Properties, Store, StoreError, StoreErrorKind, Traffic,
};
use garret_format::wire::Reader;
use garret_format::{DecodeError, DecodeErrorKind};

use crate::gate::Removable;
use crate::greeting::{CLOSED, Ungreeted, greet};
use crate::wire::{
    OBJECT_LEN_MAX, Opening, Request, Status, decode_entries, decode_error, decode_lines,
    decode_traffic, read_frame, write_frame,
};

/// Requests that are worth having under way: so many small ones make up for 100 ms.
const IN_FLIGHT: usize = 16;
/// Parts of an answer that wait for who asked; the server waits then.
const PARTS_WAITING: usize = 4;
/// Entries of a list that are believed: four million packs hold more than 100 TB.
const ENTRIES_MAX: usize = 1 << 22;

/// How a connection ended, asked for when the server says nothing any more: why, in words, if anybody knows.
pub type Ended = Box<dyn FnOnce() -> Option<String> + Send>;

/// A store on another host.
#[derive(Debug)]
pub struct RemoteStore {
    line: Arc<Line>,
    /// Before each path that the server names.
    host: String,
    place: String,
}

/// The connection. It ends when the last who uses it is gone: then its output is closed, and so the server ends.
struct Line {
    output: Mutex<Box<dyn Write + Send>>,
    waiting: Arc<Requests>,
    /// Bytes of requests.
    sent: AtomicU64,
}

/// Who waits for answers, and how many bytes of these came; shared with the thread that listens for them.
#[derive(Default)]
struct Requests(Mutex<Waiting>, AtomicU64);

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

#[derive(Default)]
struct Waiting {
    next: u32,
    /// Where answers go, by the ids of requests.
    requests: HashMap<u32, Sender<Vec<u8>>>,
    /// Why nothing comes any more.
    gone: Option<String>,
}

impl RemoteStore {
    /// Opens a repository over these pipes. Messages put `host` before what the server calls an object, unless it is empty.
    ///
    /// # Errors
    /// What answers is no server of this version; the server does not find or make the repository.
    pub fn open(
        input: impl Read + Send + 'static,
        output: impl Write + Send + 'static,
        ended: Ended,
        host: &str,
        opening: &Opening,
    ) -> Result<Self, StoreError> {
        let mut input = BufReader::with_capacity(1 << 16, input);
        let mut ended = Some(ended);
        if let Err(ungreeted) = greet(&mut input) {
            drop((input, output));
            let how = ended.take().and_then(|ended| ended());
            let why = match ungreeted {
                Ungreeted::Silence(why) => how.unwrap_or(why),
                Ungreeted::Other(why) => why,
            };
            return Err(failed("open", host, &why));
        }
        let output: Box<dyn Write + Send> = Box::new(BufWriter::with_capacity(1 << 16, output));
        let listener = Arc::new(Requests::default());
        let waiting = Arc::clone(&listener);
        let line = Line { output: Mutex::new(output), waiting, sent: AtomicU64::new(0) };
        let line = Arc::new(line);
        let listen = move || {
            let why = listener.listen(&mut input).err().map(|error| error.to_string());
            let how = ended.take().and_then(|ended| ended());
            let how = how.or(why).map_or(String::new(), |how| format!(": {how}"));
            listener.hang_up(format!("{CLOSED}{how}"));
        };
        std::thread::Builder::new()
            .name("remote".to_owned())
            .spawn(listen)
            .map_err(|source| StoreError::new("open", host, source))?;
        let wanted = || String::from_utf8_lossy(&opening.path).into_owned();
        let place = if host.is_empty() { wanted() } else { host.to_owned() };
        let mut store = RemoteStore { line, host: host.to_owned(), place };
        let answer = store.ask("open", &opening.encode(), &[])?;
        let place = store.understood("open", decode_lines(&answer))?;
        store.place = on(host, &place.into_iter().next().unwrap_or_default());
        Ok(store)
    }

    fn request(&self, operation: &'static str, request: &Request) -> Result<Vec<u8>, StoreError> {
        self.ask(operation, &request.encode(), &[])
    }

    /// Sends a request, the bytes behind it too, and waits for its answer, which is in one frame.
    fn ask(
        &self,
        operation: &'static str,
        request: &[u8],
        behind: &[&[u8]],
    ) -> Result<Vec<u8>, StoreError> {
        let (_, answers) = self.send(operation, request, behind)?;
        self.answer(operation, &answers, |_| Ok(()))
    }

    /// Sends a request; its id, and where its answer comes.
    fn send(
        &self,
        operation: &'static str,
        request: &[u8],
        behind: &[&[u8]],
    ) -> Result<(u32, Receiver<Vec<u8>>), StoreError> {
        let (sender, answers) = bounded(PARTS_WAITING);
        let id = {
            let mut waiting = self.line.waiting.lock();
            if let Some(gone) = &waiting.gone {
                return Err(failed(operation, &self.place, gone));
            }
            let id = waiting.next;
            waiting.next = id.wrapping_add(1);
            waiting.requests.insert(id, sender);
            id
        };
        let mut parts = vec![request];
        parts.extend(behind);
        let len = parts.iter().map(|part| part.len() as u64).sum();
        self.line.sent.fetch_add(len, Ordering::Relaxed);
        let mut output = self.line.output.lock().unwrap_or_else(PoisonError::into_inner);
        match write_frame(&mut *output, id, &parts) {
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                self.line.waiting.lock().requests.remove(&id);
                Err(StoreError::too_long(&self.place, len, u64::from(OBJECT_LEN_MAX)))
            }
            Err(_) => {
                // Half of a frame is in it. The server ends when it is closed, and the listener hears why.
                *output = Box::new(io::sink());
                Ok((id, answers))
            }
            Ok(()) => Ok((id, answers)),
        }
    }

    /// Waits for the last part of an answer; `more` gets those before.
    fn answer(
        &self,
        operation: &'static str,
        answers: &Receiver<Vec<u8>>,
        mut more: impl FnMut(&[u8]) -> Result<(), DecodeError>,
    ) -> Result<Vec<u8>, StoreError> {
        loop {
            let Ok(mut body) = answers.recv() else {
                let gone = self.line.waiting.lock().gone.clone().unwrap_or_default();
                return Err(failed(operation, &self.place, &gone));
            };
            match Status::split(&body) {
                Some((Status::Done, _)) => {
                    body.drain(..1);
                    return Ok(body);
                }
                Some((Status::More, part)) => self.understood(operation, more(part))?,
                Some((Status::Failed, error)) => {
                    let mut error = self.understood(operation, decode_error(error))?;
                    error.object = on(&self.host, &error.object);
                    return Err(error);
                }
                None => {
                    return Err(failed(
                        operation,
                        &self.place,
                        "the server's answer makes no sense",
                    ));
                }
            }
        }
    }

    fn understood<T>(
        &self,
        operation: &'static str,
        decoded: Result<T, DecodeError>,
    ) -> Result<T, StoreError> {
        decoded.map_err(|error| {
            failed(operation, &self.place, &format!("the server's answer makes no sense: {error}"))
        })
    }

    fn entries(&self, request: &Request) -> Result<Vec<(Key, u64)>, StoreError> {
        let (_, answers) = self.send("list", &request.encode(), &[])?;
        let mut entries = Vec::new();
        self.answer("list", &answers, |part| {
            entries.extend(decode_entries(part)?);
            match entries.len() > ENTRIES_MAX {
                true => Err(too_many()),
                false => Ok(()),
            }
        })?;
        Ok(entries)
    }

    /// An answer that is a number.
    fn number(&self, operation: &'static str, request: &Request) -> Result<u64, StoreError> {
        let answer = self.request(operation, request)?;
        let number = answer.first_chunk().map(|number| u64::from_le_bytes(*number));
        number.ok_or_else(|| failed(operation, &self.place, "the server's answer makes no sense"))
    }

    /// An answer that is yes or no.
    fn flag(&self, operation: &'static str, request: &Request) -> Result<bool, StoreError> {
        Ok(self.request(operation, request)?.first() == Some(&1))
    }
}

/// What an object is called here.
fn on(host: &str, object: &str) -> String {
    match host {
        "" => object.to_owned(),
        host => format!("{host}:{object}"),
    }
}

fn too_many() -> DecodeError {
    Reader::new(&[], "list").error(DecodeErrorKind::OutOfRange)
}

fn failed(operation: &'static str, object: &str, why: &str) -> StoreError {
    StoreError {
        kind: StoreErrorKind::Transient,
        operation,
        object: object.to_owned(),
        source: io::Error::other(why.to_owned()),
    }
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out answers until the server is gone.
    fn listen(&self, input: &mut impl Read) -> io::Result<()> {
        while let Some((id, body)) = read_frame(input, |_| {})? {
            self.1.fetch_add(body.len() as u64, Ordering::Relaxed);
            let is_last = !matches!(Status::split(&body), Some((Status::More, _)));
            let sender = {
                let mut waiting = self.lock();
                match is_last {
                    true => waiting.requests.remove(&id),
                    false => waiting.requests.get(&id).cloned(),
                }
            };
            // Whoever asked may have gone on after an error.
            sender.map(|sender| sender.send(body));
        }
        Ok(())
    }

    fn hang_up(&self, why: String) {
        let mut waiting = self.lock();
        waiting.gone = Some(why);
        waiting.requests.clear();
    }
}

/// A lock that the server holds.
struct RemoteGuard {
    store: RemoteStore,
    lock: u32,
}

impl Guard for RemoteGuard {
    fn is_held(&self) -> bool {
        self.store.flag("lock", &Request::IsHeld(self.lock)).unwrap_or(false)
    }
}

impl Drop for RemoteGuard {
    fn drop(&mut self) {
        // Where the connection is gone it is not held any more.
        let _gone = self.store.request("lock", &Request::Unlock(self.lock));
    }
}

impl Removable for RemoteStore {
    fn remove(&self) -> Result<(), StoreError> {
        self.request("remove", &Request::Remove).map(drop)
    }

    fn undo_create(&self) -> Result<(), StoreError> {
        self.request("remove", &Request::UndoCreate).map(drop)
    }

    fn taken_len(&self) -> Result<u64, StoreError> {
        self.number("list", &Request::TakenLen)
    }
}

impl Store for RemoteStore {
    fn properties(&self) -> Properties {
        Properties::in_flight(IN_FLIGHT)
    }

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        let head = Request::Put { key: key.clone(), is_new: false, bytes: Vec::new() };
        self.ask("write", &head.encode(), parts).map(drop)
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        let head = Request::Put { key: key.clone(), is_new: true, bytes: Vec::new() };
        self.ask("create", &head.encode(), &[bytes]).map(drop)
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let len = range.end.saturating_sub(range.start);
        let bytes = self.request("read", &Request::Get { key: key.clone(), range })?;
        match bytes.len() as u64 == len {
            true => Ok(bytes),
            false => {
                let why = format!("{} bytes came, and {len} were asked for", bytes.len());
                let object = format!("{}/{key}", self.place);
                let mut error = failed("read", &object, &why);
                error.kind = StoreErrorKind::WrongLength;
                Err(error)
            }
        }
    }

    fn get_whole(&self, key: &Key, max: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = self.request("read", &Request::GetWhole { key: key.clone(), max })?;
        match bytes.len() as u64 <= max {
            true => Ok(bytes),
            false => Err(StoreError::too_long(key, bytes.len() as u64, max)),
        }
    }

    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        self.number("read", &Request::Len(key.clone()))
    }

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        self.entries(&Request::List(vec![area]))
    }

    fn list_all(&self, areas: &[Area]) -> Result<Vec<(Key, u64)>, StoreError> {
        self.entries(&Request::List(areas.to_vec()))
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.request("remove", &Request::Delete(key.clone())).map(drop)
    }

    fn adopt(&self, key: &Key) -> Result<(), StoreError> {
        self.request("sync", &Request::Adopt(key.clone())).map(drop)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.request("sync", &Request::Sync).map(drop)
    }

    fn doubtful(&self) -> Result<Vec<String>, StoreError> {
        let answer = self.request("list", &Request::Doubtful)?;
        self.understood("list", decode_lines(&answer))
    }

    fn strangers(&self) -> Result<Vec<(Key, u64)>, StoreError> {
        self.entries(&Request::Strangers)
    }

    fn sweep(&self) -> Result<(), StoreError> {
        self.request("clean", &Request::Sweep).map(drop)
    }

    fn lock(
        &self,
        mode: LockMode,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn Guard>, StoreError> {
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Lock { mode, patience_ms };
        let (lock, answers) = self.send("lock", &request.encode(), &[])?;
        let mut is_told = false;
        self.answer("lock", &answers, |part| {
            let who = decode_lines(part)?.into_iter().next().unwrap_or_default();
            // Once, however often it is said.
            if !std::mem::replace(&mut is_told, true) {
                waiting(&who);
            }
            Ok(())
        })?;
        let RemoteStore { line, host, place } = self;
        let store =
            RemoteStore { line: Arc::clone(line), host: host.clone(), place: place.clone() };
        Ok(Box::new(RemoteGuard { store, lock }))
    }

    fn has_sessions(&self, epochs: RangeInclusive<u64>) -> Result<bool, StoreError> {
        let (first, last) = epochs.into_inner();
        self.flag("lock", &Request::HasSessions(first, last))
    }

    fn pass_over(&self, key: &Key) {
        let _gone = self.request("list", &Request::PassOver(key.clone()));
    }

    fn traffic(&self) -> Option<Traffic> {
        let answer = self.request("use", &Request::Traffic).ok()?;
        let theirs = decode_traffic(&answer).ok()?;
        // Where the server is the storage itself the line is this one.
        let Line { waiting, sent, .. } = &*self.line;
        let ours = || Traffic {
            requests: waiting.lock().next.into(),
            sent: sent.load(Ordering::Relaxed),
            received: waiting.1.load(Ordering::Relaxed),
        };
        Some(theirs.unwrap_or_else(ours))
    }

    fn is_exclusive(&self) -> Result<Option<bool>, StoreError> {
        let answer = self.request("create", &Request::IsExclusive)?;
        Ok(answer.first().map(|is| *is == 1))
    }

    fn notices(&self) -> Vec<String> {
        let notices = self.request("list", &Request::Notices);
        notices.ok().and_then(|answer| decode_lines(&answer).ok()).unwrap_or_default()
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}
