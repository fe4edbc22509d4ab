//! An index that lies (T18): segments that are sealed as they should be and say what is not so. Who holds the storage of a
//! repository in mode none can write them; elsewhere a bug, or a bit that flips before it is sealed. `check` must say so,
//! and name every archive that cannot be restored for it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which say their counts"
)]

use std::collections::{BTreeMap, BTreeSet};

use garret_core::{Key, MemoryStore};
use garret_format::config::KeyMode;
use garret_format::index::{GroupRow, PackRow, Record, Tables, encode_segment};
use garret_format::object::{Envelope, Kind, TAG_LEN};
use garret_format::pack::PackKind;
use garret_format::{ChunkId, PackId};
use garret_testkit::{Forge, Lab, Random};

type Objects = BTreeMap<Key, Vec<u8>>;

/// The rows of a segment.
#[derive(Clone)]
struct Rows {
    packs: Vec<PackRow>,
    groups: Vec<GroupRow>,
    records: Vec<Record>,
}

/// The segments of a repository of mode none.
fn segments(objects: &Objects) -> Vec<(Key, Rows)> {
    let rows = |bytes: &[u8]| {
        let sealed = Envelope::decode(bytes, Kind::Index).unwrap().sealed;
        let (tables, _) = Tables::open(&sealed[..sealed.len() - TAG_LEN]).unwrap();
        Rows {
            packs: tables.packs().collect(),
            groups: tables.groups().collect(),
            records: tables.records().collect(),
        }
    };
    let is_segment = |(key, _): &(&Key, &Vec<u8>)| matches!(key, Key::Index(_));
    objects.iter().filter(is_segment).map(|(key, bytes)| (key.clone(), rows(bytes))).collect()
}

/// The file of a segment, sealed as mode none does it (docs/format.md, "Boxes").
fn seal(objects: &Objects, mut rows: Rows) -> (Key, Vec<u8>) {
    rows.records.sort_by_key(|record| record.id);
    let tables = encode_segment(&rows.packs, &rows.groups, &rows.records);
    Forge::plain(&objects[&Key::Config]).segment(&tables)
}

/// What a segment says of a chunk: id, place in the group, length, bytes of the rows of its group and pack.
type Said = (ChunkId, u32, u32, Vec<u8>, Vec<u8>);

fn said(rows: &Rows) -> BTreeSet<Said> {
    let of = |record: &Record| {
        let group = rows.groups.get(record.group as usize);
        let pack = group.and_then(|group| rows.packs.get(group.pack as usize));
        let group = group.map(|group| GroupRow { pack: 0, ..*group }.encode());
        let pack = pack.map(PackRow::encode);
        (record.id, record.offset, record.len, group.unwrap_or_default(), pack.unwrap_or_default())
    };
    rows.records.iter().map(of).collect()
}

/// Every segment with one field of one row altered, in words and as rows.
fn altered(rows: &Rows, packs: &[PackRow]) -> Vec<(String, Rows)> {
    let mut all = Vec::new();
    let mut alter = |what: String, change: &dyn Fn(&mut Rows)| {
        let mut rows = rows.clone();
        change(&mut rows);
        all.push((what, rows));
    };
    for n in 0..rows.packs.len() {
        for other in packs.iter().filter(|other| other.id != rows.packs[n].id) {
            alter(format!("pack {n} is another"), &|rows| rows.packs[n] = *other);
            alter(format!("id of pack {n}: another's"), &|rows| rows.packs[n].id = other.id);
        }
        alter(format!("id of pack {n}"), &|rows| rows.packs[n].id = PackId::from_bytes([9; 32]));
        alter(format!("salt of pack {n}"), &|rows| rows.packs[n].salt[3] ^= 1);
        for step in [1, u32::MAX, 1000] {
            let change = |value: &mut u32| *value = value.wrapping_add(step);
            alter(format!("length of pack {n}"), &|rows| change(&mut rows.packs[n].len));
        }
    }
    for n in 0..rows.groups.len() {
        for other in 0..rows.groups.len() as u32 {
            let same = |rows: &mut Rows| rows.groups[n] = rows.groups[other as usize];
            alter(format!("group {n} is group {other}"), &same);
        }
        for step in [1, u32::MAX, 1000] {
            let change = |value: &mut u32| *value = value.wrapping_add(step);
            alter(format!("pack of group {n}"), &|rows| change(&mut rows.groups[n].pack));
            alter(format!("offset of group {n}"), &|rows| change(&mut rows.groups[n].offset));
            alter(format!("length of group {n}"), &|rows| change(&mut rows.groups[n].sealed_len));
            alter(format!("chunks of group {n}"), &|rows| change(&mut rows.groups[n].plain_len));
        }
    }
    for n in 0..rows.records.len() {
        alter(format!("id of record {n}"), &|rows| {
            rows.records[n].id = ChunkId::from_bytes([n as u8; 32]);
        });
        alter(format!("record {n} gone"), &|rows| {
            rows.records.remove(n);
        });
        alter(format!("a record beside {n}"), &|rows| {
            let id = ChunkId::from_bytes([n as u8; 32]);
            rows.records.push(Record { id, ..rows.records[n] });
        });
        for step in [1, u32::MAX, 10, 100, 1000] {
            let change = |value: &mut u32| *value = value.wrapping_add(step);
            alter(format!("group of record {n}"), &|rows| change(&mut rows.records[n].group));
            alter(format!("offset of record {n}"), &|rows| change(&mut rows.records[n].offset));
            alter(format!("length of record {n}"), &|rows| change(&mut rows.records[n].len));
        }
    }
    all
}

/// Three archives; the first segment lists two packs, the second one.
fn repository() -> (Lab, Objects, BTreeMap<&'static str, Vec<u8>>) {
    let (lab, store) = Lab::memory(KeyMode::None);
    let mut random = Random::new(1);
    let contents: BTreeMap<_, _> =
        ["one", "two", "three"].map(|name| (name, random.bytes(100_000))).into();
    lab.backup_bytes("one", &contents["one"]).unwrap();
    lab.backup_bytes("two", &contents["two"]).unwrap();
    let mut objects = store.objects();
    objects.retain(|key, _| !matches!(key, Key::Index(_)));
    let store = MemoryStore::from_objects(objects);
    let opened = store.clone();
    let lab = lab.with_store(move || Box::new(opened.clone()));
    lab.backup_bytes("three", &contents["three"]).unwrap();
    (lab, store.objects(), contents)
}

#[test]
fn check_names_every_archive_that_a_lying_index_costs_and_no_other() {
    let (lab, objects, contents) = repository();
    let segments = segments(&objects);
    let packs: Vec<PackRow> = segments.iter().flat_map(|(_, rows)| rows.packs.clone()).collect();
    assert_eq!((segments.len(), packs.len()), (2, 9));
    let (mut trials, mut lost, mut wrong) = (0, 0, Vec::new());
    let truth: BTreeSet<_> = segments.iter().flat_map(|(_, rows)| said(rows)).collect();
    for (key, rows) in &segments {
        let original = seal(&objects, rows.clone());
        for (what, rows) in altered(rows, &packs) {
            // One of the two copies of structure is not listed, and nothing that is said is wrong.
            let is_true = said(&rows).is_subset(&truth);
            let forged = seal(&objects, rows);
            if forged == original {
                continue;
            }
            let mut objects = objects.clone();
            objects.remove(key);
            objects.insert(forged.0, forged.1);
            let store = MemoryStore::from_objects(objects);
            let lab = lab.with_store(move || Box::new(store.clone()));
            for verify in [false, true] {
                trials += 1;
                let what = format!("{key}: {what}, verify {verify}");
                let (report, problems) = lab.check_reporting(verify).unwrap();
                if !is_true && (problems.is_empty() || report.problem_count == 0) {
                    wrong.push(format!("{what}: nothing is found"));
                }
                for (name, content) in &contents {
                    let restores = lab.restore_bytes(name).is_ok_and(|bytes| bytes == *content);
                    let named = report.incomplete.iter().any(|archive| archive.name == *name);
                    let line = format!("backups/{name}: ");
                    let told = problems.iter().any(|text| text.starts_with(&line));
                    lost += usize::from(!restores);
                    if named == restores || told == restores {
                        wrong.push(format!("{what}: {name}: restores {restores}, {problems:?}"));
                    }
                }
            }
        }
    }
    println!("{trials} checks, {lost} archives lost, {} wrong", wrong.len());
    assert!(trials > 100 && lost > 100);
    assert!(wrong.is_empty(), "{} wrong, first: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

/// The index says that data is in a pack where it is not, so a backup of that data stores nothing. Who believes the index
/// finds every chunk.
#[test]
fn an_archive_that_was_never_stored_is_named() {
    for verify in [false, true] {
        let (lab, store) = Lab::memory(KeyMode::None);
        let mut random = Random::new(2);
        let (kept, data) = (random.bytes(100_000), random.bytes(300_000));
        lab.backup_bytes("kept", &kept).unwrap();
        let before = store.objects();
        lab.backup_bytes("seed", &data).unwrap();
        let is_data = |pack: &&PackRow| pack.kind == PackKind::Data;
        let pack = *segments(&before)[0].1.packs.iter().find(is_data).unwrap();
        let is_new = |(key, _): &(Key, Rows)| !before.contains_key(key);
        let (_, mut rows) = segments(&store.objects()).into_iter().find(is_new).unwrap();
        for row in &mut rows.packs {
            (row.id, row.salt, row.len) = (pack.id, pack.salt, pack.len);
        }
        rows.groups.iter_mut().for_each(|group| (group.offset, group.sealed_len) = (24, 1000));
        let (key, bytes) = seal(&before, rows);
        let mut objects = before.clone();
        objects.insert(key.clone(), bytes);
        let store = MemoryStore::from_objects(objects);
        let opened = store.clone();
        let lab = lab.with_store(move || Box::new(opened.clone()));
        // A sample of what is stored would find that out.
        let mut lab = lab;
        lab.skip_sample = true;
        assert_eq!(lab.backup_bytes("night", &data).unwrap().written.chunk_count, 0);
        assert!(lab.restore_bytes("night").is_err());
        let (report, problems) = lab.check_reporting(verify).unwrap();
        let names: Vec<&str> = report.incomplete.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["night"], "{problems:?}");
        assert!(problems.iter().any(|text| text.starts_with("backups/night: image: ")));
        assert_eq!((report.damaged_segments, report.damaged_packs), (1, 0), "{problems:?}");
        assert!(problems[0].starts_with(&key.to_string()), "{problems:?}");
        // What check says to do: the index is made again from the packs, and the next backup stores what never was.
        let mut objects = store.objects();
        objects.retain(|key, _| !matches!(key, Key::Index(_)));
        let store = MemoryStore::from_objects(objects);
        let lab = lab.with_store(move || Box::new(store.clone()));
        lab.backup_bytes("again", &data).unwrap();
        for (name, content) in [("night", &data), ("again", &data), ("kept", &kept)] {
            assert!(lab.restore_bytes(name).unwrap() == *content, "{name}");
        }
        lab.check();
    }
}
