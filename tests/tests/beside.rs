//! Gc beside sessions that are open: nobody waits, nothing is built on what it condemns, nothing goes that somebody may need.
//!
//! In: sessions that begin before a gc and after it; a record that cannot be stored at first, is damaged or put back.
//! Promises: those of docs/design.md, "Why gc is safe", in the code; every state of the protocol is looked at in
//! `protocol.rs`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use garret_core::{Area, Error, Input, Key, MemoryStore, Silent, Store, StoreError, Writer};
use garret_format::condemned::Condemned;
use garret_format::config::KeyMode;
use garret_format::object::{Envelope, Kind};
use garret_testkit::{Image, Lab, Recorder};

fn store_as(lab: &Lab, writer: &mut Writer, name: &str, bytes: &[u8]) -> u64 {
    let reader = Box::new(io::Cursor::new(bytes.to_vec()));
    let input = Input::Stream { name: b"image".to_vec(), reader };
    let made = writer.backup(name, vec![input], &lab.options(), &Silent).unwrap();
    made.written.chunk_bytes
}

fn pack_count(store: &MemoryStore) -> usize {
    store.list(Area::Packs).unwrap().len()
}

#[test]
fn what_a_session_that_began_before_builds_on_stays() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let image = Image::noise(1, 900_000).bytes;
    lab.backup_bytes("a", &image).unwrap();
    let mut writer = lab.writer().unwrap();
    lab.delete("a").unwrap();
    let packs = pack_count(&store);
    let collected = lab.gc().unwrap();
    assert_eq!(collected.deleted_pack_count, 0);
    assert_eq!(collected.waiting_pack_count, packs as u64);
    assert_eq!(store_as(&lab, &mut writer, "b", &image), 0, "it has all of it");
    drop(writer);
    lab.gc().unwrap();
    assert!(lab.restore_bytes("b").unwrap() == image);
    lab.check();
    assert_eq!(lab.backup_bytes("c", &image).unwrap().written.chunk_bytes, 0, "it counts again");
    ["b", "c"].iter().for_each(|name| lab.delete(name).unwrap());
    lab.gc().unwrap();
    assert_eq!(pack_count(&store), 0);
    assert!(!store.objects().contains_key(&Key::Condemned), "nothing is condemned");
}

#[test]
fn nothing_is_built_on_what_is_condemned() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let image = Image::noise(2, 900_000).bytes;
    lab.backup_bytes("a", &image).unwrap();
    let reader = lab.reader().unwrap();
    lab.delete("a").unwrap();
    lab.gc().unwrap();
    let condemned = store.list(Area::Packs).unwrap();
    let mut writer = lab.writer().unwrap();
    assert_eq!(store_as(&lab, &mut writer, "b", &image), image.len() as u64);
    // The reader began before; the writer after, so it holds nothing up.
    assert!(lab.gc().unwrap().waiting_pack_count > 0);
    drop(reader);
    assert_eq!(lab.gc().unwrap().deleted_pack_count, condemned.len() as u64);
    assert!(store.list(Area::Packs).unwrap().iter().all(|pack| !condemned.contains(pack)));
    assert_eq!(store_as(&lab, &mut writer, "c", &image), 0);
    for name in ["b", "c"] {
        assert!(lab.restore_bytes(name).unwrap() == image, "{name}");
    }
    lab.check();
}

/// Between gc's new index and the end of its deletions condemned packs are there that no segment lists: whoever begins then
/// does not list them again, and does not mind when they go.
#[test]
fn condemned_packs_that_no_segment_lists_go_beside_a_session_that_has_seen_them() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let image = Image::noise(6, 900_000).bytes;
    lab.backup_bytes("a", &image).unwrap();
    let reader = lab.reader().unwrap();
    lab.delete("a").unwrap();
    assert!(lab.gc().unwrap().waiting_pack_count > 0);
    drop(reader);
    let remove = |area| {
        let objects = store.list(area).unwrap();
        assert_ne!(objects, []);
        objects.iter().for_each(|(key, _)| store.delete(key).unwrap());
    };
    remove(Area::Index);
    let mut writer = lab.writer().unwrap();
    remove(Area::Packs);
    assert_eq!(store_as(&lab, &mut writer, "b", &image), image.len() as u64);
    assert!(lab.restore_bytes("b").unwrap() == image);
    drop(writer);
    lab.check();
}

/// Who reads goes on reading what was there when he began, although what he reads is repacked and the rest deleted.
#[test]
fn who_reads_goes_on_reading_while_packs_are_repacked() {
    let (lab, _) = Lab::memory(KeyMode::Passphrase);
    let (kept, dead) = (Image::noise(3, 600_000).bytes, Image::noise(4, 600_000).bytes);
    lab.backup_bytes("both", &[&kept[..], &dead].concat()).unwrap();
    lab.backup_bytes("kept", &kept).unwrap();
    let before = lab.reader().unwrap();
    lab.delete("both").unwrap();
    assert!(lab.gc().unwrap().repacked_bytes > 0);
    let after = lab.reader().unwrap();
    for _ in 0..2 {
        for reader in [&before, &after] {
            let archive = reader.archive("kept").unwrap();
            assert!(lab.restore_from(reader, &archive).unwrap() == kept);
        }
        lab.gc().unwrap();
    }
    drop(before);
    assert!(lab.gc().unwrap().deleted_pack_count > 0);
    let archive = after.archive("kept").unwrap();
    assert!(lab.restore_from(&after, &archive).unwrap() == kept, "from where it was copied to");
}

/// A store of a repository without encryption that gives no pack up that is not condemned, and has no room for the record
/// when it is put first.
#[derive(Clone)]
struct Judge {
    inner: MemoryStore,
    was_full: Arc<AtomicBool>,
}

impl Store for Judge {
    garret_testkit::through!(inner: put_new, get, len, list, adopt, sync, sweep, lock, has_sessions);
    garret_testkit::through!(inner: doubtful, pass_over, notices, place);

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        if *key == Key::Condemned && !self.was_full.swap(true, Ordering::SeqCst) {
            return Err(StoreError::new("write", key, io::ErrorKind::StorageFull.into()));
        }
        self.inner.put(key, parts)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        if let Key::Pack(pack) = key {
            let file = self.inner.objects().remove(&Key::Condemned).expect("there is a record");
            let sealed = Envelope::decode(&file, Kind::Condemned).unwrap().sealed;
            let record = Condemned::decode(&sealed[..sealed.len() - 16]).unwrap();
            assert!(record.packs.iter().any(|(condemned, _)| condemned == pack), "{key}");
        }
        self.inner.delete(key)
    }
}

#[test]
fn every_pack_that_goes_was_condemned_though_the_disk_was_full_at_first() {
    for was_full in [true, false] {
        let (inner, was_full) = (MemoryStore::new(), Arc::new(AtomicBool::new(was_full)));
        let judge = Judge { inner: inner.clone(), was_full };
        let lab = Lab::over(move || Box::new(judge.clone()), KeyMode::None);
        lab.backup_bytes("a", &Image::noise(5, 900_000).bytes).unwrap();
        lab.backup_bytes("b", &Image::noise(6, 900_000).bytes).unwrap();
        lab.delete("a").unwrap();
        assert!(lab.gc_reporting().unwrap().0.deleted_pack_count > 0);
        lab.check();
    }
}

#[test]
fn a_record_that_is_put_back_condemns_nothing() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let [image, other] = [8, 9].map(|seed| Image::noise(seed, 900_000).bytes);
    lab.backup_bytes("x", &image).unwrap();
    lab.backup_bytes("y", &other).unwrap();
    let (long, mut early) = (lab.reader().unwrap(), lab.writer().unwrap());
    lab.delete("x").unwrap();
    lab.gc().unwrap();
    let old = store.objects().remove(&Key::Condemned).unwrap();
    store_as(&lab, &mut early, "early", &image);
    drop(early);
    lab.delete("y").unwrap();
    lab.gc().unwrap();
    // It may build on what was condemned first, for that is needed again.
    let mut late = lab.writer().unwrap();
    drop(long);
    lab.delete("early").unwrap();
    store.put(&Key::Condemned, &[&old]).unwrap();
    lab.gc().unwrap();
    assert_eq!(store_as(&lab, &mut late, "late", &image), 0);
    drop(late);
    lab.gc().unwrap();
    assert!(lab.restore_bytes("late").unwrap() == image);
    lab.check();
}

#[test]
fn a_backup_whose_lock_was_lost_makes_no_archive() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::local(&directory.path().join("repo"), KeyMode::None);
    let image = Image::noise(10, 900_000).bytes;
    lab.backup_bytes("a", &image).unwrap();
    let mut writer = lab.writer().unwrap();
    let config = directory.path().join("repo/config");
    std::fs::copy(&config, directory.path().join("copy")).unwrap();
    std::fs::rename(directory.path().join("copy"), &config).unwrap();
    lab.delete("a").unwrap();
    lab.gc().unwrap();
    let input = Input::Stream { name: b"image".to_vec(), reader: Box::new(io::Cursor::new(image)) };
    let made = writer.backup("b", vec![input], &lab.options(), &Silent);
    assert!(matches!(made, Err(Error::Lock { .. })), "{made:?}");
    drop(writer);
    assert_eq!(lab.names(), [""; 0]);
    lab.check();
}

#[test]
fn a_record_that_is_damaged_stops_nobody_and_costs_nothing() {
    for is_removed in [false, true] {
        let (lab, store) = Lab::memory(KeyMode::Passphrase);
        let image = Image::noise(7, 900_000).bytes;
        lab.backup_bytes("a", &image).unwrap();
        let mut early = lab.writer().unwrap();
        lab.delete("a").unwrap();
        lab.gc().unwrap();
        match is_removed {
            true => store.delete(&Key::Condemned).unwrap(),
            false => store.put(&Key::Condemned, &[b"rot"]).unwrap(),
        }
        let recorder = Recorder::default();
        let mut late = lab.unlocked().unwrap().writer(&recorder).unwrap();
        assert_eq!(recorder.notices().len(), usize::from(!is_removed), "{:?}", recorder.notices());
        store_as(&lab, &mut early, "early", &image);
        store_as(&lab, &mut late, "late", &image);
        // Both are there still, and each may have built on what the lost record condemned.
        lab.gc_reporting().unwrap();
        drop((early, late));
        lab.gc().unwrap();
        for name in ["early", "late"] {
            assert!(lab.restore_bytes(name).unwrap() == image, "{name}");
            lab.delete(name).unwrap();
        }
        lab.gc().unwrap();
        assert_eq!(pack_count(&store), 0);
    }
}
