//! Two moments that are not the same: a disk that gives something once and not again, an archive that is moved while others
//! are read, a key that somebody removes while it is changed. What was whole at one of them is not lost by the other.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{self, Cursor};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use garret_core::{
    Area, Input, Key, Locked, MemoryStore, Phase, Secret, Silent, Store, StoreError, TagChange,
    Writer, message,
};
use garret_format::config::KeyMode;
use garret_testkit::{Image, Lab, PASSPHRASE, Recorder, cheap_key, is_structure};

/// What is about to be done.
#[derive(Clone, Copy, Debug)]
enum Before<'k> {
    Get(&'k Key),
    List(Area),
    Delete(&'k Key),
}

type Meanwhile = dyn FnMut(Before<'_>) -> io::Result<()> + Send;

/// A store in which something happens before it does what it is told, or in the place of that.
#[derive(Clone)]
struct Eventful {
    inner: MemoryStore,
    meanwhile: Arc<Mutex<Box<Meanwhile>>>,
}

/// The same repository, over such a store.
fn eventful(
    lab: &Lab,
    store: &MemoryStore,
    meanwhile: impl FnMut(Before<'_>) -> io::Result<()> + Send + 'static,
) -> Lab {
    let eventful = Eventful::new(store, meanwhile);
    lab.with_store(move || Box::new(eventful.clone()))
}

impl Eventful {
    fn new(
        store: &MemoryStore,
        meanwhile: impl FnMut(Before<'_>) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let meanwhile: Box<Meanwhile> = Box::new(meanwhile);
        Eventful { inner: store.clone(), meanwhile: Arc::new(Mutex::new(meanwhile)) }
    }

    fn happens(&self, before: Before<'_>) -> Result<(), StoreError> {
        let happened = (self.meanwhile.lock().unwrap())(before);
        happened.map_err(|error| StoreError::new("read", format!("{before:?}"), error))
    }
}

impl Store for Eventful {
    garret_testkit::through!(inner: put, put_new, len, adopt, sync, sweep, lock, pass_over);
    garret_testkit::through!(inner: doubtful, has_sessions, notices, place);

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.happens(Before::Get(key))?;
        self.inner.get(key, range)
    }

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        self.happens(Before::List(area))?;
        self.inner.list(area)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.happens(Before::Delete(key))?;
        self.inner.delete(key)
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

fn input(name: &str, bytes: &[u8]) -> Input {
    Input::Stream { name: name.into(), reader: Box::new(Cursor::new(bytes.to_vec())) }
}

fn backup(writer: &mut Writer, lab: &Lab, name: &str, inputs: Vec<Input>) {
    writer.backup(name, inputs, &lab.options(), &Silent).unwrap();
}

/// The packs of files, those of structure left out.
fn data_packs(store: &MemoryStore) -> Vec<Key> {
    let packs = store.list(Area::Packs).unwrap().into_iter();
    let data = packs.filter(|(key, len)| !is_structure(&store.get(key, 0..*len).unwrap()));
    data.map(|(key, _)| key).collect()
}

/// Renames the file of an archive.
fn move_archive(store: &MemoryStore, from: &str, to: &str) {
    let [from, to] = [from, to].map(|name| Key::Archive(name.to_owned()));
    let len = store.len(&from).unwrap();
    store.put(&to, &[&store.get(&from, 0..len).unwrap()]).unwrap();
    store.delete(&from).unwrap();
}

/// Two creators stored the same, each beside something that nobody needs any more: of the one that is copied into a new pack
/// the disk gives nothing when it comes to that, so the other one must not be gone.
#[test]
fn what_cannot_be_copied_a_moment_after_it_was_read_keeps_its_other_copy() {
    let (lab, store) = Lab::memory(KeyMode::None);
    let shared = Image::noise(1, 600_000).bytes;
    let mut writers = [lab.writer().unwrap(), lab.writer().unwrap()];
    for (number, writer) in writers.iter_mut().enumerate() {
        let own = Image::noise(2 + number as u64, 6_000_000).bytes;
        let inputs = vec![input("own", &own), input("shared", &shared)];
        backup(writer, &lab, &format!("both-{number}"), inputs);
    }
    drop(writers);
    lab.backup_inputs("kept", vec![input("shared", &shared)]).unwrap();
    // One that an earlier gc condemned, which goes first of all.
    lab.backup_bytes("scrap", &Image::noise(9, 500_000).bytes).unwrap();
    let reader = lab.reader().unwrap();
    lab.delete("scrap").unwrap();
    assert!(lab.gc().unwrap().waiting_pack_count > 0);
    drop(reader);
    ["both-0", "both-1"].iter().for_each(|name| lab.delete(name).unwrap());
    let packs = data_packs(&store);
    let (looked_at, mut read, mut is_copying) = (packs.clone(), None, false);
    let failing = eventful(&lab, &store, move |before| {
        match before {
            Before::Get(key) if is_copying && read.as_ref() == Some(key) => return Err(eio()),
            Before::Get(key) if looked_at.contains(key) => read = Some(key.clone()),
            // As the copies begin.
            Before::List(Area::Index) => is_copying = read.is_some(),
            _ => {}
        }
        Ok(())
    });
    let (_, problems) = failing.gc_reporting().unwrap();
    assert!(!problems.is_empty(), "nothing went wrong");
    assert_eq!(data_packs(&store).len(), 2, "both copies stay, and nothing else");
    // Where the one that was not read does not come back the other one is found.
    let objects = store.objects();
    for pack in data_packs(&store) {
        let mut bytes = objects[&pack].clone();
        bytes.iter_mut().skip(40).step_by(1000).for_each(|byte| *byte ^= 1);
        store.put(&pack, &[&bytes]).unwrap();
        assert!(lab.restore_bytes("kept").unwrap() == shared, "{pack}");
        store.put(&pack, &[&objects[&pack]]).unwrap();
    }
    lab.gc().unwrap();
    assert!(lab.restore_bytes("kept").unwrap() == shared);
    lab.check();
}

/// Nothing is built on a pack that is recorded as damaged, and no archive that hangs on it is taken for whole, be the record
/// readable or not.
#[test]
fn a_record_of_damage_that_the_disk_does_not_give_counts() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let content = Image::noise(7, 3_000_000).bytes;
    lab.backup_bytes("old", &content).unwrap();
    let [pack] = data_packs(&store).try_into().unwrap();
    let mut bytes = store.get(&pack, 0..store.len(&pack).unwrap()).unwrap();
    bytes[1_500_000] ^= 4;
    store.put(&pack, &[&bytes]).unwrap();
    lab.check_reporting(true).unwrap();
    assert_eq!(store.list(Area::Damage).unwrap().len(), 1);
    let failing = eventful(&lab, &store, |before| match before {
        Before::Get(Key::Damage(_)) => Err(eio()),
        _ => Ok(()),
    });
    let told = Recorder::default();
    let reader = failing.reader_reporting(&told).unwrap();
    let lacking = reader.lacking(&["old".to_owned()], 1, &Silent).unwrap();
    assert!(lacking.contains("old"));
    let notices = told.notices();
    assert!(notices.iter().any(|line| line.contains("counts as damaged")), "{notices:?}");
    let (made, _) = failing.backup_inputs("new", vec![input("image", &content)]).unwrap();
    assert!(made.written.chunk_count > 0, "it was built on a damaged pack");
    assert!(lab.restore_bytes("new").unwrap() == content);
    // Who does not know what is damaged stores nothing, and reads.
    let failing = eventful(&lab, &store, |before| match before {
        Before::List(Area::Damage) => Err(eio()),
        _ => Ok(()),
    });
    let refused = failing.writer().map(drop).unwrap_err();
    assert!(message(&refused).contains("Damage"), "{}", message(&refused));
    assert!(failing.restore_bytes("new").unwrap() == content);
}

/// Somebody else is there, so the gc is not alone and does not look twice.
#[test]
fn an_archive_that_is_moved_while_a_gc_reads_stays_protected() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    lab.backup_bytes("a", b"a").unwrap();
    lab.backup_bytes("b", b"b").unwrap();
    let mut change = TagChange::default();
    change.protect = Some(true);
    lab.pruner().unwrap().tag(&["a".to_owned()], &change).unwrap();
    let _reader = lab.reader().unwrap();
    let (inner, mut is_moved) = (store.clone(), false);
    let moving = eventful(&lab, &store, move |before| {
        if matches!(before, Before::Get(Key::Archive(name)) if name == "a") && !is_moved {
            is_moved = true;
            move_archive(&inner, "a", "moved");
        }
        Ok(())
    });
    moving.gc().unwrap();
    let repository = lab.reader().unwrap();
    let tags = repository.tags(&Silent).unwrap();
    assert!(tags.is_protected(&repository.archive("moved").unwrap()));
}

/// As one that `sync` brings between the reading of archives and the end of a gc.
#[test]
fn tags_of_an_archive_that_comes_while_a_gc_ends_stay() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    lab.backup_bytes("a", b"a").unwrap();
    lab.backup_bytes("b", b"b").unwrap();
    let mut change = TagChange::default();
    change.protect = Some(true);
    lab.pruner().unwrap().tag(&["a".to_owned()], &change).unwrap();
    let is_its = |key: &Key| matches!(key, Key::Tags(_)) || *key == Key::Archive("a".to_owned());
    let mut coming = store.objects();
    coming.retain(|key, _| is_its(key));
    assert_eq!(coming.len(), 2);
    coming.keys().for_each(|key| store.delete(key).unwrap());
    let inner = store.clone();
    let eventful = eventful(&lab, &store, move |before| {
        if matches!(before, Before::List(Area::Tags)) {
            coming.iter().for_each(|(key, bytes)| inner.put(key, &[bytes]).unwrap());
            coming.clear();
        }
        Ok(())
    });
    eventful.gc().unwrap();
    assert_eq!(store.list(Area::Tags).unwrap().len(), 1);
    // When it is gone they go.
    store.delete(&Key::Archive("a".to_owned())).unwrap();
    lab.gc().unwrap();
    assert_eq!(store.list(Area::Tags).unwrap(), []);
}

/// What a gc condemned beside a creator who then needs it: the next one finds it ripe, and its archive on the move.
#[test]
fn an_archive_that_is_moved_while_a_gc_reads_keeps_what_was_condemned_before() {
    let (lab, store) = Lab::memory(KeyMode::None);
    let content = Image::noise(1, 1_000_000).bytes;
    lab.backup_bytes("old", &content).unwrap();
    let mut writer = lab.writer().unwrap();
    lab.delete("old").unwrap();
    assert!(lab.gc().unwrap().waiting_pack_count > 0);
    backup(&mut writer, &lab, "new", vec![input("image", &content)]);
    drop(writer);
    let (inner, mut is_moved) = (store.clone(), false);
    let moving = eventful(&lab, &store, move |before| {
        if matches!(before, Before::Get(Key::Archive(_))) && !is_moved {
            is_moved = true;
            move_archive(&inner, "new", "moved");
        }
        Ok(())
    });
    moving.gc().unwrap();
    assert!(lab.restore_bytes("moved").unwrap() == content);
    lab.check();
}

/// A store that lists an archive that was deleted for a while yet.
#[derive(Clone)]
struct Late {
    inner: MemoryStore,
}

impl Store for Late {
    garret_testkit::through!(inner: put, put_new, get, len, delete, adopt, sync, sweep, lock, pass_over);
    garret_testkit::through!(inner: doubtful, has_sessions, notices, place);

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        let mut listed = self.inner.list(area)?;
        listed.extend((area == Area::Archives).then(|| (Key::Archive("deleted".to_owned()), 500)));
        Ok(listed)
    }
}

/// It is no archive that came meanwhile, for which all would have to be marked again.
#[test]
fn a_listing_that_is_late_keeps_no_space_from_coming_back() {
    let (lab, store) = Lab::memory(KeyMode::None);
    lab.backup_bytes("deleted", &Image::noise(1, 1_000_000).bytes).unwrap();
    lab.backup_bytes("kept", b"kept").unwrap();
    lab.delete("deleted").unwrap();
    let late = lab.with_store(move || Box::new(Late { inner: store.clone() }));
    let heard = Recorder::default();
    let done = late.pruner().unwrap().gc(&late.gc_options(), &heard).unwrap();
    assert!(done.deleted_pack_bytes > 1_000_000 && done.waiting_pack_count == 0, "{done:?}");
    let tasks = heard.tasks().into_iter();
    let marks = tasks.filter(|task| task.phase == Phase::Mark && task.total == Some(2));
    assert_eq!(marks.count(), 1, "all archives are marked once");
}

/// A segment of the index that was read well is not dropped because it is read wrong once.
#[test]
fn a_segment_that_is_read_wrong_once_is_not_lost() {
    let (lab, store) = Lab::memory(KeyMode::None);
    let contents = [1, 2].map(|seed| Image::noise(seed, 500_000).bytes);
    lab.backup_bytes("a", &contents[0]).unwrap();
    lab.backup_bytes("b", &contents[1]).unwrap();
    lab.delete("a").unwrap();
    let before = store.list(Area::Index).unwrap();
    let (inner, names, mut read, mut good) = (store.clone(), before.clone(), 0, None);
    let failing = eventful(&lab, &store, move |event| {
        if let Some((key, bytes)) = good.take() {
            let bytes: Vec<u8> = bytes;
            inner.put(&key, &[&bytes]).unwrap();
        }
        if let Before::Get(key) = event
            && let Some((segment, len)) = names.iter().find(|(segment, _)| segment == key)
        {
            read += 1;
            if read == names.len() + 1 {
                let bytes = inner.get(segment, 0..*len).unwrap();
                let mut wrong = bytes.clone();
                *wrong.last_mut().unwrap() ^= 1;
                inner.put(segment, &[&wrong]).unwrap();
                good = Some((segment.clone(), bytes));
            }
        }
        Ok(())
    });
    failing.gc().unwrap_err();
    for (key, _) in before {
        store.len(&key).unwrap();
    }
    lab.gc().unwrap();
    lab.check();
    assert!(lab.restore_bytes("b").unwrap() == contents[1]);
}

/// One changes his passphrase; another one, who knows the old one, removes the new one before that goes.
#[test]
fn a_key_that_is_changed_while_another_removes_it_leaves_one_that_opens() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let find = |store: Box<dyn Store>| Locked::find(store).unwrap().expecting(lab.keys.id());
    let other = find(Box::new(store.clone())).with_patience(Duration::ZERO);
    let opened = other.open(Secret::Passphrase(PASSPHRASE)).unwrap();
    let old = opened.slot().unwrap();
    let mut has_removed = None;
    let eventful = Eventful::new(&store, move |before| {
        if matches!(before, Before::Delete(Key::Slot(_))) && has_removed.is_none() {
            let slots = other.slots().unwrap();
            let new = slots.iter().find(|(id, _)| *id != old).unwrap().0;
            has_removed = Some(other.remove_key(&opened, new, &Silent).is_ok());
        }
        Ok(())
    });
    let changing = find(Box::new(eventful));
    let own = changing.open(Secret::Passphrase(PASSPHRASE)).unwrap();
    let changed = changing.change_key(&own, &cheap_key(b"new"), &Silent);
    let left = find(Box::new(store));
    let known: &[u8] = if changed.is_ok() { b"new" } else { PASSPHRASE };
    left.open(Secret::Passphrase(known)).unwrap();
}
