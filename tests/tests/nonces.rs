//! Nonces (T26): over many sessions, broken off, on threads, from a client or a repository that was restored from an older
//! state, no key seals two boxes under one nonce. What is counted is what the boxes open with, by the keys that
//! docs/format.md gives, so that a nonce that is made of something else than the salt and the place shows as well.
//!
//! `GARRET_SESSIONS` is how many sessions there are (1000).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which say their counts"
)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use garret_core::{Key, Locked, MemoryStore, Store, StoreError, StoreErrorKind};
use garret_format::config::KeyMode;
use garret_format::object::{Envelope, Kind};
use garret_format::slot::Slot;
use garret_testkit::{Fault, FaultStore, Forge, Lab, PASSPHRASE, Random, Verb};

/// What was handed to the storage, in order.
type Tape = Arc<Mutex<Vec<(Key, Vec<u8>)>>>;

/// Keeps every object that was handed to the storage, also when that failed: who holds it has seen the bytes.
#[derive(Clone)]
struct Taped {
    inner: FaultStore,
    tape: Tape,
}

impl Taped {
    fn keep(&self, key: &Key, bytes: Vec<u8>) {
        self.tape.lock().unwrap().push((key.clone(), bytes));
    }
}

impl Store for Taped {
    garret_testkit::through!(inner: get, len, delete, adopt, pass_over, doubtful);
    garret_testkit::through!(inner: list, sync, sweep, lock, has_sessions, notices, place);

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.keep(key, parts.concat());
        self.inner.put(key, parts)
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.keep(key, bytes.to_vec());
        self.inner.put_new(key, bytes)
    }
}

/// Every nonce that was seen, by the key it was used with.
struct Nonces {
    forge: Forge,
    objects: HashSet<blake3::Hash>,
    seen: HashMap<(&'static str, Vec<u8>), String>,
}

impl Nonces {
    /// Takes note of all nonces of an object.
    fn see(&mut self, key: &Key, bytes: &[u8], when: &str) {
        // The very same bytes again, as of a put that was tried twice, tell nothing new.
        if !self.objects.insert(blake3::hash(bytes)) {
            return;
        }
        let what = format!("{when}: {key}");
        match key {
            Key::Config | Key::ConfigCopy | Key::Cold => {}
            Key::Slot(_) | Key::SlotCopy(_) => {
                let slot = Slot::decode(bytes).unwrap();
                self.once("salt of a slot", &slot.salt, &what);
                self.once("nonce of a slot", &slot.nonce, &what);
            }
            Key::Pack(_) => {
                let boxes = self.forge.boxes(bytes);
                let boxes = boxes.unwrap_or_else(|| panic!("{what}: sealed in another way"));
                for one in boxes {
                    self.once("pack data", &one.nonce, &what);
                }
            }
            Key::Index(_) => self.envelope(Kind::Index, bytes, &what),
            Key::Archive(_) | Key::ArchiveCopy(_) => self.envelope(Kind::Archive, bytes, &what),
            Key::Quarantine(_) => {}
            Key::Damage(_) => self.envelope(Kind::Damage, bytes, &what),
            Key::Tags(_) => self.envelope(Kind::Tags, bytes, &what),
            Key::Verified => self.envelope(Kind::Verified, bytes, &what),
            Key::Condemned => self.envelope(Kind::Condemned, bytes, &what),
            Key::Tombstones | Key::TombstonesCopy => {
                self.envelope(Kind::Tombstones, bytes, &what);
            }
        }
    }

    fn envelope(&mut self, kind: Kind, bytes: &[u8], what: &str) {
        assert!(self.forge.opened(kind, bytes).is_some(), "{what}: sealed in another way");
        self.once("metadata", &Envelope::decode(bytes, kind).unwrap().nonce, what);
    }

    fn once(&mut self, key: &'static str, nonce: &[u8], what: &str) {
        let before = self.seen.insert((key, nonce.to_vec()), what.to_owned());
        assert_eq!(before, None, "{what}: a nonce again under the key of {key}: {nonce:02x?}");
    }
}

/// A repository and its client, and what both were at some time before.
struct Life {
    lab: Lab,
    store: MemoryStore,
    cache: tempfile::TempDir,
    tape: Tape,
    random: Random,
    before: BTreeMap<Key, Vec<u8>>,
}

impl Life {
    fn new() -> Self {
        let cache = tempfile::tempdir().unwrap();
        let (lab, store) = Lab::memory(KeyMode::Passphrase);
        let lab = lab.with_cache(Some(cache.path().join("now")));
        fs::create_dir(cache.path().join("before")).unwrap();
        let before = store.objects();
        let tape = Arc::default();
        Life { lab, store, cache, tape, random: Random::new(26), before }
    }

    fn nonces(&self) -> Nonces {
        let objects = self.store.objects();
        let slot = objects.iter().find(|(key, _)| matches!(key, Key::Slot(_))).unwrap();
        let forge = Forge::unlock(&objects[&Key::Config], slot.1, PASSPHRASE);
        let mut nonces = Nonces { forge, objects: HashSet::new(), seen: HashMap::new() };
        objects.iter().for_each(|(key, bytes)| nonces.see(key, bytes, "init"));
        nonces
    }

    /// What the client keeps is what it was, and now and then so is the repository.
    fn restore(&mut self, repository_too: bool) {
        let (now, before) = (self.cache.path().join("now"), self.cache.path().join("before"));
        drop(fs::remove_dir_all(&now));
        copy(&before, &now);
        if repository_too {
            self.store = MemoryStore::from_objects(self.before.clone());
        }
    }

    fn remember(&mut self) {
        let (now, before) = (self.cache.path().join("now"), self.cache.path().join("before"));
        drop(fs::remove_dir_all(&before));
        copy(&now, &before);
        self.before = self.store.objects();
    }

    /// One session, with storage that fails if `broken`; whether it came to its end.
    fn session(&mut self, number: usize, broken: bool) -> bool {
        let store = FaultStore::new(self.store.clone());
        if broken {
            let verbs = vec![Verb::Put, Verb::PutNew, Verb::Sync, Verb::Delete];
            let (after, times) = (self.random.below(7) as u64, Fault::FOR_GOOD);
            store.arm(Fault { verbs, after, times, kind: StoreErrorKind::Other });
        }
        let taped = Taped { inner: store, tape: self.tape.clone() };
        let mut lab = self.lab.with_store(move || Box::new(taped.clone()));
        lab.threads = 1 + number % 2;
        let names = lab.reader().unwrap().archive_names().unwrap();
        if number % 20 == 7 {
            let locked = Locked::find(Box::new(Taped {
                inner: FaultStore::new(self.store.clone()),
                tape: self.tape.clone(),
            }));
            let locked = locked.unwrap().expecting(lab.keys.id());
            garret_testkit::change_key(&locked, PASSPHRASE).unwrap();
        }
        if names.len() > 4 {
            let deleted = names[..3].iter().try_for_each(|name| lab.delete(name));
            return deleted.and_then(|()| lab.gc_reporting()).is_ok();
        }
        // The same few contents again and again with something new: what is sealed again must not be so in the same way.
        let len = if number.is_multiple_of(40) { 3 << 20 } else { 1 + self.random.below(90_000) };
        let mut bytes = Random::new(number as u64 % 3).bytes(70_000);
        bytes.extend(self.random.bytes(len));
        lab.backup_bytes(&format!("{number}"), &bytes).is_ok()
    }
}

/// Copies a tree of directories and files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).into_iter().flatten().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn no_nonce_is_used_twice_in_a_thousand_sessions() {
    let count = std::env::var("GARRET_SESSIONS");
    let sessions: usize = count.map_or(1000, |count| count.parse().unwrap());
    let mut life = Life::new();
    let mut nonces = life.nonces();
    let (mut broken, mut restored, mut rolled_back) = (0, 0, 0);
    for number in 0..sessions {
        if number % 5 == 3 {
            restored += 1;
            rolled_back += usize::from(number % 25 == 3);
            life.restore(number % 25 == 3);
        }
        let is_broken = number % 2 == 1;
        let ended = life.session(number, is_broken);
        assert!(ended || is_broken, "session {number} fails without a reason");
        broken += usize::from(!ended);
        if number % 50 == 10 {
            life.remember();
        }
        let tape = std::mem::take(&mut *life.tape.lock().unwrap());
        tape.iter().for_each(|(key, bytes)| nonces.see(key, bytes, &format!("session {number}")));
    }
    let count = |key| nonces.seen.keys().filter(|(found, _)| *found == key).count();
    let (data, metadata, slots) = (count("pack data"), count("metadata"), count("nonce of a slot"));
    println!(
        "{sessions} sessions, {broken} broken off, {restored} of a restored client, {rolled_back} of a restored \
         repository: {data} boxes of packs, {metadata} of index and archives, {slots} slots, none twice"
    );
    assert!(broken >= sessions / 5 && restored >= sessions / 6 && rolled_back >= sessions / 30);
    assert!(data > 3 * sessions && metadata > sessions && slots > sessions / 25);
}
