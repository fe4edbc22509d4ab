//! A connection to another host, of which one side says whatever it likes.
//!
//! In: which side that is, then what it says: bodies of frames, each behind its length in two bytes. Promises that are held:
//! a server that lets archives only be added keeps each byte of what was there, stays within its quota, and answers each
//! request once at most; a client ends or goes on, takes no more than it asked for, and neither waits without end.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Cursor, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use garret_core::{Area, Guard, Key, LockMode, MemoryStore, Store, StoreError};
use garret_format::object::Kind;
use garret_format::{ArchiveHash, PackId, SegmentId, SlotId};
use garret_remote::{Gate, Opening, RemoteStore, Removable, Rules, VERSION, serve};

/// Longest repository: what is there at first takes half of it.
const QUOTA: u64 = 20 * BLOCK_LEN;
/// What an answer begins with that another frame follows.
const MORE: u8 = 1;
/// What a request for a lock begins with.
const LOCK: u8 = 12;
/// What a file takes at least.
const BLOCK_LEN: u64 = 4096;

/// Whoever says these bytes.
pub fn frames(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, said)) => any_client(said),
        Some((_, said)) => any_server(said),
        None => {}
    }
}

/// A store in memory that nobody removes, and in which nobody waits for a lock.
struct Kept {
    inner: MemoryStore,
}

impl Store for Kept {
    garret_testkit::through!(inner: put, put_new, get, len, list, delete, adopt, sync, sweep);
    garret_testkit::through!(inner: pass_over, has_sessions, notices, place, doubtful);
    fn lock(
        &self,
        mode: LockMode,
        _patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn Guard>, StoreError> {
        self.inner.lock(mode, Duration::ZERO, waiting)
    }
}

impl Removable for Kept {
    fn remove(&self) -> Result<(), StoreError> {
        panic!("a client that may only add removed the repository");
    }

    fn undo_create(&self) -> Result<(), StoreError> {
        panic!("a client undid what it had not made");
    }

    fn taken_len(&self) -> Result<u64, StoreError> {
        Ok(taken(&self.inner.objects()))
    }
}

fn taken(objects: &BTreeMap<Key, Vec<u8>>) -> u64 {
    objects.values().map(|bytes| (bytes.len() as u64).next_multiple_of(BLOCK_LEN)).sum()
}

/// What the repository has at first: one of each kind, named as it must be.
fn objects() -> Vec<(Key, Vec<u8>)> {
    let body = |kind: Kind| [&kind.header()[..], b"of a repository that was there before"].concat();
    let hash = |kind| *blake3::hash(&body(kind)).as_bytes();
    let (slot, archive) =
        (SlotId::from_bytes([7; 16]), ArchiveHash::from_bytes(hash(Kind::Archive)));
    vec![
        (Key::Config, body(Kind::Config)),
        (Key::Slot(slot), body(Kind::Slot)),
        (Key::Pack(PackId::from_bytes(hash(Kind::Pack))), body(Kind::Pack)),
        (Key::Index(SegmentId::from_bytes(hash(Kind::Index))), body(Kind::Index)),
        (Key::Archive("monday".to_owned()), body(Kind::Archive)),
        (Key::ArchiveCopy(archive), body(Kind::Archive)),
        (Key::Tags(archive), body(Kind::Tags)),
        (Key::Tombstones, body(Kind::Tombstones)),
        (Key::Verified, body(Kind::Verified)),
    ]
}

/// What is written, for somebody else to look at.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bodies, each behind its length; the last one as long as there are bytes.
fn bodies(mut said: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = said.split_first_chunk()?;
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (body, rest) = rest.split_at(len);
        said = rest;
        Some(body)
    })
}

fn frame(id: u32, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &id.to_le_bytes(), body].concat()
}

fn any_client(said: &[u8]) {
    let before: BTreeMap<Key, Vec<u8>> = objects().into_iter().collect();
    let store = MemoryStore::from_objects(before.clone());
    let requests: Vec<u8> =
        (0..).zip(bodies(said)).flat_map(|(id, body)| frame(id, body)).collect();
    let answers = Written::default();
    let rules = Rules { append_only: true, quota: Some(QUOTA), ..Rules::default() };
    let inside = store.clone();
    let open = move |_: &Opening| Ok(Gate::new(Kept { inner: inside }, rules, false));
    let _ended = serve(Cursor::new(requests), answers.clone(), open);
    let after = store.objects();
    for (key, bytes) in &before {
        assert_eq!(after.get(key), Some(bytes), "{key}");
    }
    assert!(taken(&after) <= QUOTA, "{} bytes are taken", taken(&after));
    let answers = answers.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut rest = answers.strip_prefix(b"garret serve\n").and_then(|rest| rest.get(4..)).unwrap();
    let mut ended = HashSet::new();
    while let Some((head, behind)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, id @ ..] = *head;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some((body, behind)) = behind.split_at_checked(len) else {
            // Who waits for a lock may be saying so just now.
            assert!(bodies(said).any(|body| body.first() == Some(&LOCK)), "half a frame");
            break;
        };
        rest = behind;
        let is_last = body.first() != Some(&MORE);
        assert!(!is_last || ended.insert(id), "two answers to {}", u32::from_le_bytes(id));
    }
}

/// Gives a frame for each that was written, and what follows one that says that more does.
struct Paced {
    frames: Vec<Vec<u8>>,
    at: Cursor<Vec<u8>>,
    waits: bool,
    written: Receiver<()>,
}

impl Read for Paced {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let len = self.at.read(buffer)?;
            if len > 0 || self.frames.is_empty() || (self.waits && self.written.recv().is_err()) {
                return Ok(len);
            }
            let next = self.frames.remove(0);
            self.waits = next.get(8) != Some(&MORE);
            self.at = Cursor::new(next);
        }
    }
}

/// Tells of each frame that was written.
struct Told(Sender<()>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.send(()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn any_server(said: &[u8]) {
    let (told, written) = channel();
    // Ids are those of the requests: of one that is not answered a client waits for the answer, as long as the line holds.
    let mut id = 0;
    let frames = bodies(said).map(|body| {
        let answer = frame(id, body);
        id += u32::from(body.first() != Some(&MORE));
        answer
    });
    let frames = frames.collect();
    let greeting = [&b"garret serve\n"[..], &VERSION.to_le_bytes()].concat();
    let input = Paced { frames, at: Cursor::new(greeting), waits: true, written };
    let opening = Opening { path: b"x".to_vec(), create: None };
    let Ok(store) = RemoteStore::open(input, Told(told), Box::new(|| None), "host", &opening)
    else {
        return;
    };
    asked(&store);
}

/// Everything that can be asked for.
fn asked(store: &RemoteStore) {
    let key = Key::Archive("monday".to_owned());
    let _len = store.len(&key);
    if let Ok(bytes) = store.get(&key, 2..42) {
        assert_eq!(bytes.len(), 40);
    }
    if let Ok(bytes) = store.get_whole(&key, 100) {
        assert!(bytes.len() <= 100);
    }
    let _list = store.list_all(&[Area::Archives, Area::Packs]);
    let _strangers = store.strangers();
    let _lines = store.doubtful();
    let _has = store.has_sessions(0..=1);
    let _put = store.put(&key, &[b"x"]);
    let _new = store.put_new(&key, b"x");
    let lock = store.lock(LockMode::Check, Duration::ZERO, &mut |_| {});
    let _held = lock.map(|guard| guard.is_held());
    let _traffic = (store.traffic(), store.is_exclusive(), store.taken_len());
    let _gone = (store.delete(&key), store.adopt(&key), store.sync(), store.sweep());
    store.pass_over(&key);
    let _notices = store.notices();
}

/// What an honest client and an honest server say, as seeds.
pub fn seeds() -> [(&'static str, Vec<u8>); 2] {
    let store = Kept { inner: MemoryStore::from_objects(objects()) };
    let (requests, to_server) = io::pipe().unwrap();
    let (from_server, answers) = io::pipe().unwrap();
    let (heard, said) = (Written::default(), Written::default());
    let output = Both(answers, said.clone());
    let open = move |_: &Opening| Ok(Gate::new(store, Rules::default(), false));
    let server = std::thread::spawn(move || serve(requests, output, open));
    let opening = Opening { path: b"x".to_vec(), create: None };
    let output = Both(to_server, heard.clone());
    let client = RemoteStore::open(from_server, output, Box::new(|| None), "", &opening).unwrap();
    asked(&client);
    drop(client);
    server.join().unwrap().unwrap();
    let bodies = |side: u8, written: &Written, greeting: usize| {
        let written = written.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut seed, mut rest) = (vec![side], &written[greeting..]);
        while let Some((head, behind)) = rest.split_first_chunk::<8>() {
            let [a, b, c, d, ..] = *head;
            let (body, behind) = behind.split_at(u32::from_le_bytes([a, b, c, d]) as usize);
            seed.extend((body.len() as u16).to_le_bytes());
            seed.extend(body);
            rest = behind;
        }
        seed
    };
    [("hear_frames/client", bodies(0, &heard, 0)), ("hear_frames/server", bodies(1, &said, 17))]
}

/// Writes twice.
struct Both<W>(W, Written);

impl<W: Write> Write for Both<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
