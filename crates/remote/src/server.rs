//! The server: answers one client, over a pair of pipes, until that is gone.
//!
//! In: the client's frames; a function that finds the repository that it wants, and says what it may do there. Out: answers.
//! Promises: requests are answered side by side and in any order; of objects at most [`BYTES_MAX`] are in memory; what the
//! client holds is let go when this process ends, which it should when `serve` returns.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use garret_core::{Guard, Key, LockMode, StoreError, StoreErrorKind};
use garret_format::DecodeError;

use crate::gate::Removable;
use crate::wire::{
    GREETING, LIST_MAX, OBJECT_LEN_MAX, Opening, Request, Status, VERSION, encode_entries,
    encode_error, encode_lines, encode_traffic, read_frame, write_frame,
};

/// Requests that are worked on at once: what a client over 100 ms needs for small ones.
const THREADS: usize = 16;
/// Bytes of objects that are in memory at once, on their way in or out. One object is let in whatever it needs.
const BYTES_MAX: u64 = 192 << 20;
/// What most objects that are read as a whole are no longer than, in bytes.
const SHORT: u64 = 1 << 20;
/// Objects that a client may say are none: each is remembered.
const PASSED_OVER_MAX: usize = 1000;
/// Locks that a client may hold or wait for at once; it needs two.
const LOCKS_MAX: usize = 64;

/// Serves one client. `open` finds what it wants; an error of it is told, and ends this.
///
/// # Errors
/// The pipes fail, or what comes is not of this protocol. That the client is gone is none.
pub fn serve<S: Removable + 'static>(
    input: impl Read,
    output: impl Write + Send + 'static,
    open: impl FnOnce(&Opening) -> Result<S, StoreError>,
) -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, input);
    let output = Output(Mutex::new(Box::new(output)));
    output.write_raw(&[&GREETING[..], &VERSION.to_le_bytes()].concat())?;
    let Some((id, body)) = read_frame(&mut input, |_| {})? else { return Ok(()) };
    let opening = Opening::decode(&body).map_err(invalid)?;
    let store = match open(&opening) {
        Ok(store) => store,
        Err(error) => return output.end(id, Err(error)),
    };
    output.end(id, Ok(encode_lines(&[store.place()])))?;
    let server = Arc::new(Server {
        store,
        output,
        locks: Mutex::default(),
        passed_over: AtomicUsize::new(0),
    });
    let memory = Arc::new(Memory::default());
    let (sender, requests) = bounded::<(u32, Request, Room)>(0);
    let mut workers = Vec::new();
    for _ in 0..THREADS {
        let (server, memory, requests) =
            (Arc::clone(&server), Arc::clone(&memory), requests.clone());
        let work = move || {
            for (id, request, _room) in requests {
                // Who does not read any more is gone.
                let _gone = server.answer(id, request, &memory);
            }
        };
        workers.push(std::thread::Builder::new().name("serve".to_owned()).spawn(work)?);
    }
    let heard = listen(&mut input, &memory, &sender);
    drop(sender);
    // What is being stored would be left half-written in tmp/ by a process that ends.
    for worker in workers {
        if let Err(panic) = worker.join() {
            std::panic::resume_unwind(panic);
        }
    }
    heard
}

/// Hands on requests until the client is gone.
fn listen(
    input: &mut impl Read,
    memory: &Arc<Memory>,
    sender: &Sender<(u32, Request, Room)>,
) -> io::Result<()> {
    loop {
        let mut room = None;
        let frame = match read_frame(input, |len| room = Some(memory.room(u64::from(len)))) {
            // He was killed, or his host, in the middle of a frame.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            frame => frame?,
        };
        let (Some((id, body)), Some(room)) = (frame, room) else { return Ok(()) };
        let request = Request::decode(body).map_err(invalid)?;
        if sender.send((id, request, room)).is_err() {
            return Ok(());
        }
    }
}

fn invalid(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// How many bytes of objects are in memory.
#[derive(Default)]
struct Memory {
    bytes: Mutex<u64>,
    fewer: Condvar,
}

/// Bytes that are in memory until it is dropped.
struct Room {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    /// Waits until there is room for so many bytes more. One request gets all that it needs.
    fn room(self: &Arc<Self>, bytes: u64) -> Room {
        let used = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |used: &mut u64| *used > 0 && used.saturating_add(bytes) > BYTES_MAX;
        let mut used = self.fewer.wait_while(used, is_full).unwrap_or_else(PoisonError::into_inner);
        *used = used.saturating_add(bytes);
        Room { memory: Arc::clone(self), bytes }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut used = self.memory.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.saturating_sub(self.bytes);
        self.memory.fewer.notify_all();
    }
}

/// Where answers go, one frame at a time.
struct Output(Mutex<Box<dyn Write + Send>>);

impl Output {
    fn lock(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_raw(&self, bytes: &[u8]) -> io::Result<()> {
        let mut output = self.lock();
        output.write_all(bytes)?;
        output.flush()
    }

    fn say(&self, id: u32, status: Status, body: &[u8]) -> io::Result<()> {
        write_frame(&mut *self.lock(), id, &[&[status.encode()], body])
    }

    /// The last of an answer.
    fn end(&self, id: u32, result: Result<Vec<u8>, StoreError>) -> io::Result<()> {
        match result {
            Ok(body) => self.say(id, Status::Done, &body),
            Err(error) => self.say(id, Status::Failed, &encode_error(&error)),
        }
    }
}

struct Server<S> {
    store: S,
    output: Output,
    /// By the ids of the requests for them; none of one that is still waited for.
    locks: Mutex<HashMap<u32, Option<Arc<dyn Guard>>>>,
    passed_over: AtomicUsize,
}

impl<S: Removable + 'static> Server<S> {
    fn locks(&self) -> MutexGuard<'_, HashMap<u32, Option<Arc<dyn Guard>>>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is asked for, and says what came of it.
    fn answer(self: &Arc<Self>, id: u32, request: Request, memory: &Arc<Memory>) -> io::Result<()> {
        let store = &self.store;
        let max = u64::from(OBJECT_LEN_MAX);
        match request {
            Request::Get { key, range } => {
                let len = range.end.saturating_sub(range.start);
                if len > max {
                    return self.output.end(id, Err(StoreError::too_long(&key, len, max)));
                }
                let _room = memory.room(len);
                self.output.end(id, store.get(&key, range))
            }
            Request::GetWhole { key, max: wanted } => {
                let max = max.min(wanted);
                // Most are short, and to ask for the length first is a request more where the store is far away itself.
                let short = max.min(SHORT);
                let room = memory.room(short);
                match store.get_whole(&key, short) {
                    Err(error) if error.kind == StoreErrorKind::WrongLength && short < max => {}
                    answer => return self.output.end(id, answer),
                }
                drop(room);
                let _room = memory.room(store.len(&key).unwrap_or_default().min(max));
                self.output.end(id, store.get_whole(&key, max))
            }
            Request::List(areas) => self.list(id, store.list_all(&areas)),
            Request::Strangers => self.list(id, store.strangers()),
            Request::Lock { mode, patience_ms } => {
                self.lock(id, mode, Duration::from_millis(patience_ms))
            }
            request => self.output.end(id, self.perform(request)),
        }
    }

    /// Does what has a short answer.
    fn perform(&self, request: Request) -> Result<Vec<u8>, StoreError> {
        let store = &self.store;
        let nothing = |()| Vec::new();
        match request {
            Request::Put { key, is_new: true, bytes } => store.put_new(&key, &bytes).map(nothing),
            Request::Put { key, is_new: false, bytes } => store.put(&key, &[&bytes]).map(nothing),
            Request::Len(key) => store.len(&key).map(|len| len.to_le_bytes().to_vec()),
            Request::Delete(key) => store.delete(&key).map(nothing),
            Request::Adopt(key) => store.adopt(&key).map(nothing),
            Request::Sync => store.sync().map(nothing),
            Request::Doubtful => store.doubtful().map(|lines| encode_lines(&lines)),
            Request::Sweep => store.sweep().map(nothing),
            Request::HasSessions(first, last) => {
                store.has_sessions(first..=last).map(|has| vec![u8::from(has)])
            }
            Request::PassOver(key) => {
                if self.passed_over.fetch_add(1, Ordering::Relaxed) < PASSED_OVER_MAX {
                    store.pass_over(&key);
                }
                Ok(Vec::new())
            }
            Request::Notices => Ok(encode_lines(&store.notices())),
            Request::Unlock(lock) => {
                let guard = {
                    let mut locks = self.locks();
                    // One that is waited for keeps its place, and its thread.
                    let is_held = locks.get(&lock).is_some_and(Option::is_some);
                    if is_held { locks.remove(&lock) } else { None }
                };
                // To let go may take time.
                drop(guard);
                Ok(Vec::new())
            }
            Request::IsHeld(lock) => {
                // It may have to be asked for across a line, and others take and give back locks meanwhile.
                let guard = self.locks().get(&lock).cloned().flatten();
                Ok(vec![u8::from(guard.is_some_and(|guard| guard.is_held()))])
            }
            Request::Remove => store.remove().map(nothing),
            Request::UndoCreate => store.undo_create().map(nothing),
            Request::Traffic => Ok(encode_traffic(store.traffic())),
            Request::IsExclusive => {
                let flags = |is: Option<bool>| is.map(u8::from).into_iter().collect();
                store.is_exclusive().map(flags)
            }
            Request::TakenLen => store.taken_len().map(|len| len.to_le_bytes().to_vec()),
            // These are answered where they come in.
            Request::Get { .. }
            | Request::GetWhole { .. }
            | Request::List(_)
            | Request::Strangers
            | Request::Lock { .. } => Ok(Vec::new()),
        }
    }

    /// Says a list, in several frames if it is long.
    fn list(&self, id: u32, listed: Result<Vec<(Key, u64)>, StoreError>) -> io::Result<()> {
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => return self.output.end(id, Err(error)),
        };
        for entries in listed.chunks(LIST_MAX) {
            self.output.say(id, Status::More, &encode_entries(entries))?;
        }
        self.output.end(id, Ok(Vec::new()))
    }

    /// Takes a lock, in a thread of its own: it may wait for hours.
    fn lock(self: &Arc<Self>, id: u32, mode: LockMode, patience: Duration) -> io::Result<()> {
        let is_one_too_many = {
            let mut locks = self.locks();
            let is_full = locks.len() >= LOCKS_MAX || locks.contains_key(&id);
            if !is_full {
                locks.insert(id, None);
            }
            is_full
        };
        if is_one_too_many {
            let source = io::Error::other(format!("more than {LOCKS_MAX} locks, or one id twice"));
            let error = StoreError::new("lock", self.store.place(), source);
            return self.output.end(id, Err(error));
        }
        let server = Arc::clone(self);
        let wait = move || {
            let mut waiting = |who: &str| {
                let _gone = server.output.say(id, Status::More, &encode_lines(&[who.to_owned()]));
            };
            let taken = server.store.lock(mode, patience, &mut waiting);
            let result = match taken {
                Ok(guard) => {
                    server.locks().insert(id, Some(Arc::from(guard)));
                    Ok(Vec::new())
                }
                Err(error) => {
                    server.locks().remove(&id);
                    Err(error)
                }
            };
            let _gone = server.output.end(id, result);
        };
        std::thread::Builder::new().name("lock".to_owned()).spawn(wait).map(drop)
    }
}
