//! Archives of divided images over the years: gc, damage, nights without a change.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use garret_core::{AllocationMode, Destination, Form, Key, MemoryStore, Store};
use garret_format::archive::{Content, ItemKind, Side};
use garret_image::qcow2::{Outcome, parse};
use garret_image::{Part, PartSource, RawFile, Source};
use garret_testkit::{Image as Disk, Lab, is_structure};

use super::common::craft::{Craft, fragmented};
use super::common::{Random, disk_dir};
use super::{files, info, items, lab, options, restore, restored, stream, with_raw};

/// A disk of 1 MiB of which no two clusters lie together in the file: its layout does not fit into an item.
fn scattered(dir: &Path, name: &str, seed: u64) -> (PathBuf, Craft, Vec<u8>) {
    let disk = Disk::noise(seed, 1 << 20).bytes;
    let craft = fragmented(&disk, &mut Random::new(seed));
    let path = dir.join(name);
    fs::write(&path, &craft.bytes).unwrap();
    (path, craft, disk)
}

fn content(lab: &Lab, name: &str) -> Content {
    let kind = items(lab, name).into_iter().find_map(|item| match item.kind {
        ItemKind::File(content) if !content.layout.is_empty() => Some(content),
        _ => None,
    });
    kind.expect("no file of it is divided")
}

fn packs(store: &MemoryStore) -> BTreeSet<Key> {
    store.objects().into_keys().filter(|key| matches!(key, Key::Pack(_))).collect()
}

/// The packs of files.
fn data_packs(store: &MemoryStore) -> BTreeSet<Key> {
    let objects = store.objects();
    packs(store).into_iter().filter(|pack| !is_structure(&objects[pack])).collect()
}

fn comes_back(lab: &Lab, name: &str, path: &Path, craft: &Craft, disk: &[u8]) {
    let (bytes, result) = stream(lab, name, path, Form::Stored);
    result.unwrap();
    assert!(bytes == craft.bytes, "{name} through a pipe");
    let target = tempfile::tempdir().unwrap();
    for form in [Form::Stored, Form::Raw] {
        let options = options(lab, AllocationMode::Sparse, form);
        let done = lab.restore_to(name, target.path(), &options).unwrap();
        assert_eq!(done.problems, [""; 0], "{name}");
    }
    let path = restored(target.path(), path);
    assert!(fs::read(&path).unwrap() == craft.bytes, "{name} as a file");
    assert!(fs::read(with_raw(&path)).unwrap() == disk, "{name} as a disk");
}

#[test]
fn a_scattered_image_comes_back_after_others_are_deleted_and_packs_rewritten() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    let (path, craft, disk) = scattered(&source, "vm.qcow2", 1);
    fs::write(source.join("big.raw"), Disk::noise(2, 3 << 20).bytes).unwrap();
    let (lab, store) = lab(2);
    // What only one archive needs and what both need lies in one pack: gc has to rewrite it.
    lab.backup_path("both", &source).unwrap();
    assert!(matches!(content(&lab, "both").layout, Side::Stream(_)), "the layout is short");
    let before = data_packs(&store);
    lab.backup_path("image", &path).unwrap();
    lab.delete("both").unwrap();
    lab.gc().unwrap();
    assert!(packs(&store).is_disjoint(&before), "nothing was rewritten");
    comes_back(&lab, "image", &path, &craft, &disk);
    lab.check();
    lab.backup_path("again", &path).unwrap();
    lab.delete("image").unwrap();
    lab.gc().unwrap();
    comes_back(&lab, "again", &path, &craft, &disk);
    lab.check();
}

#[test]
fn a_lost_layout_is_told_and_no_wrong_byte_is_restored() {
    let dir = disk_dir();
    let (path, craft, disk) = scattered(dir.path(), "vm.qcow2", 3);
    let (lab, store) = lab(2);
    // Everything but the layout is known from elsewhere.
    lab.backup_bytes("disk", &disk).unwrap();
    let raw = dir.path().join("disk.raw");
    fs::write(&raw, &disk).unwrap();
    lab.backup_path("raw", &raw).unwrap();
    let file = RawFile::open(&path, false).unwrap();
    let Outcome::Qcow2(map) = parse(&file).unwrap() else { panic!("it is sound") };
    let residue = PartSource::new(file, map.layout.into(), Part::Residue);
    let mut bytes = vec![0; residue.len() as usize];
    residue.read_at(&mut bytes, 0).unwrap();
    lab.backup_bytes("residue", &bytes).unwrap();
    let before = packs(&store);
    let new = lab.backup_path("first", &path).unwrap().written;
    assert_eq!(new.chunk_count, 0, "not all of it was known");
    let lost = &packs(&store) - &before;
    // A list of files that lies elsewhere.
    let second = dir.path().join("second/vm.qcow2");
    fs::create_dir(second.parent().unwrap()).unwrap();
    fs::copy(&path, &second).unwrap();
    let path = second;
    lab.backup_path("second", &path).unwrap();
    lost.iter().for_each(|pack| store.delete(pack).unwrap());

    let (_, problems) = lab.check_reporting(true).unwrap();
    let is_told = |text: &String| {
        text.starts_with("backups/second: ")
            && text.contains("vm.qcow2: ")
            && text.ends_with("missing or damaged")
    };
    assert!(problems.iter().any(is_told), "{problems:#?}");
    let target = dir.path().join("target");
    for form in [Form::Stored, Form::Raw] {
        for allocation in [AllocationMode::Sparse, AllocationMode::Exact, AllocationMode::Full] {
            let options = options(&lab, allocation, form);
            let done = lab.restore_to("second", &target, &options).unwrap();
            assert_eq!((done.report.file_count, done.report.problem_count), (0, 1));
            assert!(done.problems[0].contains("chunk"), "{:?}", done.problems);
            assert_eq!(files(&target), [""; 0].map(PathBuf::from), "something was left behind");
        }
        let (streamed, result) = stream(&lab, "second", &path, form);
        assert!(streamed.is_empty() && result.is_err());
    }
    let nowhere = options(&lab, AllocationMode::Sparse, Form::Stored);
    let done = restore(&lab, "second", None, Destination::Nowhere, &nowhere, &garret_core::Silent);
    assert_eq!(done.unwrap().problem_count, 1, "a restore to nowhere");
    // The next backup heals.
    lab.backup_path("third", &path).unwrap();
    comes_back(&lab, "second", &path, &craft, &disk);
    comes_back(&lab, "third", &path, &craft, &disk);
}

/// An image that has not changed for long: part of the project.
fn settled() -> PathBuf {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/parse_qcow2");
    fs::canonicalize(corpus.join("extended")).unwrap()
}

#[test]
fn an_untouched_image_is_not_read_and_comes_back() {
    let path = settled();
    let bytes = fs::read(&path).unwrap();
    let (lab, store) = lab(2);
    lab.backup_path("first", &path).unwrap();
    let again = lab.backup_path("second", &path).unwrap();
    assert_eq!(again.untouched_bytes, bytes.len() as u64, "the file is not settled");
    assert_eq!(content(&lab, "first"), content(&lab, "second"));
    assert!(info(&lab, "second", &path).is_container);
    lab.delete("first").unwrap();
    lab.gc().unwrap();
    assert!(stream(&lab, "second", &path, Form::Stored).0 == bytes);
    let target = tempfile::tempdir().unwrap();
    let options = options(&lab, AllocationMode::Exact, Form::Stored);
    assert_eq!(lab.restore_to("second", target.path(), &options).unwrap().problems, [""; 0]);
    assert!(fs::read(restored(target.path(), &path)).unwrap() == bytes);
    lab.check();
    // With its chunks lost it is read again.
    packs(&store).iter().for_each(|pack| store.delete(pack).unwrap());
    assert_eq!(lab.backup_path("third", &path).unwrap().untouched_bytes, 0);
    assert!(lab.restore_bytes("third").unwrap() == bytes);
}
