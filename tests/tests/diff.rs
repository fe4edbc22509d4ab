//! Diff against a reading byte by byte: of two archives, and of an archive and the disk.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::ops::Range;
use std::path::Path;

use garret_core::{Change, Contents, CutterChoice, DiffReport, Difference, Selection};
use garret_format::config::KeyMode;
use garret_format::recipe::CutterKind;
use garret_testkit::{Lab, Recorder};
use proptest::prelude::*;
use tempfile::TempDir;

/// What differs, in the plainest way.
fn plain(one: &[u8], two: &[u8]) -> Option<Contents> {
    let mut contents = Contents {
        from_len: one.len() as u64,
        to_len: two.len() as u64,
        bytes: 0,
        ranges: Vec::new(),
    };
    for at in 0..one.len().max(two.len()) {
        if one.get(at) != two.get(at) {
            let at = at as u64;
            contents.bytes += 1;
            match contents.ranges.last_mut() {
                Some(last) if at - last.end < 4096 => last.end = at + 1,
                _ => contents.ranges.push(at..at + 1),
            }
        }
    }
    (contents.bytes > 0).then_some(contents)
}

/// One edit: where (in thousandths of the length), how long, with what.
#[derive(Clone, Debug)]
enum Edit {
    Write(usize, usize, u8),
    Zero(usize, usize),
    Insert(usize, usize),
    Cut(usize),
    Grow(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = || 0..1000usize;
    let len = || prop_oneof![1..10usize, 3000..6000usize, 60_000..300_000usize];
    prop_oneof![
        4 => (place(), len(), any::<u8>()).prop_map(|(at, len, byte)| Edit::Write(at, len, byte)),
        2 => (place(), len()).prop_map(|(at, len)| Edit::Zero(at, len)),
        1 => (place(), 1..5000usize).prop_map(|(at, len)| Edit::Insert(at, len)),
        1 => place().prop_map(Edit::Cut),
        1 => len().prop_map(Edit::Grow),
    ]
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let place = |at: usize| bytes.len() * at / 1000;
        let range = |at: usize, len: usize| -> Range<usize> {
            place(at)..(place(at) + len).min(bytes.len())
        };
        match *edit {
            Edit::Write(at, len, byte) => {
                let range = range(at, len);
                bytes[range].iter_mut().for_each(|old| *old ^= byte);
            }
            Edit::Zero(at, len) => {
                let range = range(at, len);
                bytes[range].fill(0);
            }
            Edit::Insert(at, len) => {
                let at = place(at);
                bytes.splice(at..at, (0..len).map(|n| n as u8));
            }
            Edit::Cut(at) => bytes.truncate(bytes.len() - bytes.len() * at / 4000),
            Edit::Grow(len) => bytes.extend((0..len).map(|n| (n / 5000) as u8)),
        }
    }
    bytes
}

/// Noise with a stretch of zeros in it.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    let (from, to) = (len / 3, len / 2);
    bytes[from..to].fill(0);
    bytes
}

fn diff(lab: &Lab, from: &str, to: &str) -> DiffReport {
    let repository = lab.reader().unwrap();
    let (from, to) = (repository.archive(from).unwrap(), repository.archive(to).unwrap());
    let recorder = Recorder::default();
    let report =
        repository.diff(&from, &to, &mut Selection::default(), lab.threads, &recorder).unwrap();
    assert_eq!(recorder.problems(), [""; 0]);
    report
}

fn compare(lab: &Lab, archive: &str, base: &Path, paths: &[Vec<u8>]) -> DiffReport {
    let repository = lab.reader().unwrap();
    let archive = repository.archive(archive).unwrap();
    let recorder = Recorder::default();
    let mut selection = Selection::new(paths.iter().cloned());
    let report =
        repository.compare(&archive, base, &mut selection, lab.threads, &recorder).unwrap();
    assert_eq!(recorder.problems(), [""; 0]);
    report
}

fn of_image(contents: Option<Contents>) -> Vec<Change> {
    let change =
        |contents| Change { path: b"image".to_vec(), difference: Difference::Contents(contents) };
    contents.map(change).into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_that_differs_is_found_and_no_other(
        seed in any::<u64>(),
        len in prop_oneof![0..20_000usize, 100_000..2_000_000usize, 8_000_000..9_500_000usize],
        edits in prop::collection::vec(edit(), 0..6),
        cutters in prop::sample::select(vec![
            [CutterKind::Page, CutterKind::Page],
            [CutterKind::Fastcdc, CutterKind::Fastcdc],
            [CutterKind::Page, CutterKind::Fastcdc],
        ]),
        threads in 1..3usize,
    ) {
        let (mut lab, _) = Lab::memory(KeyMode::None);
        lab.threads = threads;
        let before = content(seed, len);
        let after = edited(before.clone(), &edits);
        for ((name, bytes), cutter) in [("a", &before), ("b", &after)].into_iter().zip(cutters) {
            lab.cutter = CutterChoice::Always(cutter);
            lab.backup_bytes(name, bytes).unwrap();
        }
        let expected = of_image(plain(&before, &after));
        prop_assert_eq!(diff(&lab, "a", "b").changes, expected.clone());
        prop_assert_eq!(diff(&lab, "b", "b").changes, vec![]);
        let temp = TempDir::new().unwrap();
        fs::write(temp.path().join("image"), &after).unwrap();
        prop_assert_eq!(compare(&lab, "a", temp.path(), &[]).changes, expected);
        prop_assert_eq!(compare(&lab, "b", temp.path(), &[]).changes, vec![]);
    }
}

/// What two archives share is not read: their packs may be gone.
#[test]
fn what_both_archives_have_is_not_read() {
    let temp = TempDir::new().unwrap();
    let root = temp.path().join("repo");
    let mut lab = Lab::local(&root, KeyMode::None);
    lab.cutter = CutterChoice::Always(CutterKind::Page);
    let before = content(1, 6_000_000);
    let mut after = before.clone();
    after[1_000_000..1_000_003].fill(7);
    lab.backup_bytes("a", &before).unwrap();
    lab.backup_bytes("b", &after).unwrap();
    // Flips a byte in the middle of the largest pack, far behind the group that holds the change.
    let pack = packs(&root).into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() * 3 / 4;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    assert!(
        lab.restore_bytes("b").is_err() || lab.check_reporting(true).unwrap().0.problem_count > 0
    );
    assert_eq!(diff(&lab, "a", "b").changes, of_image(plain(&before, &after)));
}

fn packs(root: &Path) -> Vec<std::path::PathBuf> {
    let shards = fs::read_dir(root.join("packs")).unwrap().map(|entry| entry.unwrap().path());
    let files = shards.flat_map(|shard| fs::read_dir(shard).unwrap());
    files.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn things_that_come_go_and_turn_into_others_are_named() {
    let temp = TempDir::new().unwrap();
    let tree = temp.path().join("tree");
    let at = |name: &str| tree.join(name);
    fs::create_dir_all(at("turns")).unwrap();
    for name in ["goes", "stays", "grows"] {
        fs::write(at(name), name).unwrap();
    }
    std::os::unix::fs::symlink("here", at("link")).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("a", &tree).unwrap();
    fs::remove_file(at("goes")).unwrap();
    fs::write(at("comes"), "12345").unwrap();
    fs::write(at("grows"), "grows and grows").unwrap();
    fs::remove_dir(at("turns")).unwrap();
    fs::write(at("turns"), "into a file").unwrap();
    fs::remove_file(at("link")).unwrap();
    std::os::unix::fs::symlink("there", at("link")).unwrap();
    lab.backup_path("b", &tree).unwrap();
    let prefix = tree.strip_prefix("/").unwrap().to_str().unwrap().to_owned();
    let change = |name: &str, difference| Change {
        path: format!("{prefix}/{name}").into_bytes(),
        difference,
    };
    let grown = plain(b"grows", b"grows and grows").unwrap();
    let target = Difference::Target { from: b"here".to_vec(), to: b"there".to_vec() };
    let mut expected = vec![
        change("comes", Difference::Added { len: 5 }),
        change("goes", Difference::Removed { len: 4 }),
        change("grows", Difference::Contents(grown)),
        change("link", target),
        change("turns", Difference::Kind { from: "directory".to_owned(), to: "file".to_owned() }),
    ];
    let report = diff(&lab, "a", "b");
    assert_eq!(report.changes, expected);
    assert_eq!(report.path_count, 7, "the directory, five that were there, one new");
    // The disk is as in b: what only the disk has is not looked for.
    expected.remove(0);
    assert_eq!(compare(&lab, "a", Path::new("/"), &[]).changes, expected);
    assert_eq!(compare(&lab, "b", Path::new("/"), &[]).changes, []);
    let paths = [format!("{prefix}/gro"), format!("{prefix}/link"), format!("{prefix}/goes")];
    let paths = paths.map(String::into_bytes);
    let report = compare(&lab, "a", Path::new("/"), &paths);
    assert_eq!(report.changes, [expected[0].clone(), expected[2].clone()]);
    assert_eq!(report.unmatched, [paths[0].clone()]);
    // Below a file there is nothing.
    fs::remove_dir_all(&tree).unwrap();
    fs::write(&tree, "a file").unwrap();
    let gone = compare(&lab, "a", Path::new("/"), &[]).changes;
    assert_eq!(
        gone[0].difference,
        Difference::Kind { from: "directory".to_owned(), to: "file".to_owned() }
    );
    assert!(gone[1..].iter().all(|c| matches!(c.difference, Difference::Removed { .. })));
}

/// Which of the names of a file came first, and whether it still has several, is no difference; what it holds is.
#[test]
fn hard_links_are_compared_by_what_they_hold_and_pipes_by_being_there() {
    let temp = TempDir::new().unwrap();
    let tree = temp.path().join("tree");
    let at = |name: &str| tree.join(name);
    fs::create_dir(&tree).unwrap();
    fs::write(at("a"), content(1, 100_000)).unwrap();
    fs::hard_link(at("a"), at("b")).unwrap();
    let fifo = |path: &Path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    fifo(&at("pipe"));
    fs::write(at("turns"), b"x").unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("a", &tree).unwrap();
    assert_eq!(compare(&lab, "a", Path::new("/"), &[]).changes, []);
    fs::remove_file(at("a")).unwrap();
    fs::write(at("a"), content(1, 100_000)).unwrap();
    fs::remove_file(at("turns")).unwrap();
    fifo(&at("turns"));
    lab.backup_path("b", &tree).unwrap();
    let prefix = tree.strip_prefix("/").unwrap().to_str().unwrap().to_owned();
    let path = |name: &str| format!("{prefix}/{name}").into_bytes();
    let turned = Difference::Kind { from: "file".to_owned(), to: "fifo".to_owned() };
    let turned = Change { path: path("turns"), difference: turned };
    assert_eq!(diff(&lab, "a", "b").changes, std::slice::from_ref(&turned));
    assert_eq!(compare(&lab, "a", Path::new("/"), &[]).changes, [turned]);
    // The second name alone: what it holds stands with the first.
    let mut other = content(1, 100_000);
    other[70_000] ^= 1;
    fs::write(at("b"), &other).unwrap();
    let changed = plain(&content(1, 100_000), &other).map(Difference::Contents).unwrap();
    let changed = Change { path: path("b"), difference: changed };
    assert_eq!(compare(&lab, "a", Path::new("/"), &[path("b")]).changes, [changed]);
}
