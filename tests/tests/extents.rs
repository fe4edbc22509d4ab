//! Sources from anyone, of which parts are as in a base: what is stored is what reading everything gives, to the last node
//! of the recipe, and only what is near to what is said to be new is read. `GARRET_MAPS=2000` is the long run.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../crates/image/tests/common/mod.rs"]
mod common;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use garret_core::image::{AllocationMap, Extent, Source, SourceError};
use garret_core::{
    Area, BackupReport, Base, CutterChoice, Error, Input, Item, ItemKind, SourceItem, Store,
};
use garret_format::archive::{Content, Time};
use garret_format::config::KeyMode;
use garret_format::recipe::CutterKind;
use garret_testkit::{Image, Lab, Random, Recorder};

use common::images::mbr;

const PAGE: usize = 4096;
/// What a window shows behind its own part, at default sizes.
const LOOKAHEAD: u64 = 320 << 10;
/// What is taken or read at a time where a source is as its base.
const SAME_LEN: u64 = 1 << 20;
/// What is read to see what the stream is.
const LOOK_LEN: u64 = 128 << 10;

/// A stream with a map of what it is, which notes what is read of it.
struct Mapped {
    bytes: Vec<u8>,
    extents: Vec<Extent>,
    reads: Mutex<Vec<Range<u64>>>,
}

impl Mapped {
    fn new(bytes: &[u8], kinds: impl IntoIterator<Item = (Kind, Range<usize>)>) -> Arc<Self> {
        let extents = kinds.into_iter().filter(|(_, range)| !range.is_empty());
        let extents = extents.map(|(kind, range)| kind.extent(range)).collect();
        Arc::new(Mapped { bytes: bytes.to_vec(), extents, reads: Mutex::default() })
    }

    /// All of one kind.
    fn all(bytes: &[u8], kind: Kind) -> Arc<Self> {
        Mapped::new(bytes, [(kind, 0..bytes.len())])
    }

    /// Data, with these holes.
    fn with_holes(bytes: &[u8], holes: &AllocationMap) -> Arc<Self> {
        let extents = holes.extents(0..bytes.len() as u64).collect();
        Arc::new(Mapped { bytes: bytes.to_vec(), extents, reads: Mutex::default() })
    }

    fn read_len(&self) -> u64 {
        self.reads.lock().unwrap().iter().map(|range| range.end - range.start).sum()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Hole,
    Same,
}

impl Kind {
    fn extent(self, range: Range<usize>) -> Extent {
        let (offset, len) = (range.start as u64, range.len() as u64);
        match self {
            Kind::Data => Extent::Data { offset, len },
            Kind::Hole => Extent::Hole { offset, len },
            Kind::Same => Extent::Same { offset, len },
        }
    }
}

impl Source for Mapped {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, SourceError> {
        let covers = |extent: &&Extent| extent.offset() + extent.len() > offset;
        let extent = self.extents.iter().find(covers).unwrap();
        let range = offset as usize..(extent.offset() + extent.len()) as usize;
        Ok(match extent {
            Extent::Data { .. } => Kind::Data.extent(range),
            Extent::Hole { .. } => Kind::Hole.extent(range),
            Extent::Same { .. } => Kind::Same.extent(range),
        })
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        self.reads.lock().unwrap().push(offset..offset + buf.len() as u64);
        buf.copy_from_slice(&self.bytes[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn changed(&self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

/// What a backup of one source gave.
struct Made {
    report: BackupReport,
    notices: Vec<String>,
    item: Item,
}

impl Made {
    fn content(&self) -> &Content {
        let ItemKind::File(content) = &self.item.kind else { panic!("a source is a file") };
        content
    }
}

/// Backs up a source as `disk`; problems are a failure.
fn back_up(lab: &Lab, name: &str, source: &Arc<Mapped>, base: Option<Base>) -> Made {
    let recorder = Recorder::default();
    let mut writer = lab.writer().unwrap();
    let item = SourceItem::new(*b"disk");
    let input = Input::Source { item, source: source.clone(), base };
    let report = writer.backup(name, vec![input], &lab.options(), &recorder).unwrap();
    assert_eq!(recorder.problems(), [""; 0], "backup {name}");
    let item = writer.items(&report.archive).next().unwrap().unwrap();
    Made { report, notices: recorder.notices(), item }
}

fn base(name: &str) -> Option<Base> {
    Some(Base::new(name, *b"disk"))
}

/// The stream is stored, and as it is when all of it is read.
fn assert_as_read(lab: &Lab, made: &Made, name: &str, bytes: &[u8], what: &str) {
    let read = back_up(lab, &format!("{name}-read"), &Mapped::all(bytes, Kind::Data), None);
    assert!(made.content().recipe == read.content().recipe, "{what}: another recipe");
    assert_eq!(read.report.written.chunk_count, 0, "{what}: not all was stored before");
    assert!(lab.restore_bytes(name).unwrap() == bytes, "{what}: other bytes");
}

/// Where two states of a stream differ, byte by byte, in blocks of `block` bytes.
fn differs(old: &[u8], new: &[u8], block: usize) -> Vec<bool> {
    let blocks = new.chunks(block).enumerate();
    blocks.map(|(n, part)| old.get(n * block..n * block + part.len()) != Some(part)).collect()
}

/// A map of `new` that is true: what differs from `old` is data, or a hole if it is zeros; of the rest some is, too.
fn map(random: &mut Random, old: &[u8], new: &[u8]) -> Vec<(Kind, Range<usize>)> {
    let block = [512, 1000, PAGE, 65_536][random.below(4)];
    // How many blocks in a row are of one kind, where they may be of any; and how often that is not `Same`.
    let (run, others) = (1 + random.below(400), random.below(4));
    let mut kinds: Vec<(Kind, Range<usize>)> = Vec::new();
    let (mut left, mut wanted) = (0, Kind::Same);
    for (n, differs) in differs(old, new, block).into_iter().enumerate() {
        if left == 0 {
            left = 1 + random.below(run);
            wanted = match random.below(12) {
                0 if others > 0 => Kind::Hole,
                1..4 if others > 1 => Kind::Data,
                _ => Kind::Same,
            };
        }
        left -= 1;
        let range = n * block..new.len().min((n + 1) * block);
        let is_zero = new[range.clone()].iter().all(|byte| *byte == 0);
        let kind = match (wanted, differs, is_zero) {
            (Kind::Hole, _, true) => Kind::Hole,
            (Kind::Same, false, _) => Kind::Same,
            (Kind::Hole, false, _) => Kind::Same,
            _ => Kind::Data,
        };
        match kinds.last_mut() {
            Some((last, before)) if *last == kind && random.below(50) > 0 => before.end = range.end,
            _ => kinds.push((kind, range)),
        }
    }
    kinds
}

/// Some places of an image get other bytes: often zeros, often near each other, often at the edges of zero runs.
fn change(random: &mut Random, bytes: &mut [u8]) {
    for _ in 0..random.below(6) {
        if bytes.is_empty() {
            return;
        }
        let mut at = random.below(bytes.len());
        if random.below(3) == 0 {
            let zeros = bytes[at..].windows(PAGE).step_by(PAGE);
            at += zeros.take_while(|page| page.iter().any(|byte| *byte != 0)).count() * PAGE;
            at = at.min(bytes.len() - 1);
        }
        for _ in 0..1 + random.below(3) {
            let most = [1, PAGE, 70_000, 600_000][random.below(4)];
            let end = bytes.len().min(at + 1 + random.below(most));
            let new = match random.below(3) {
                0 => vec![0; end - at],
                1 => random.text(end - at),
                _ => random.bytes(end - at),
            };
            bytes[at..end].copy_from_slice(&new);
            at = (end + random.below(200_000)).min(bytes.len() - 1);
        }
    }
}

/// Everything that was read is near something that had to be, or was a look at what the stream is.
fn assert_near(source: &Mapped, what: &str) {
    let news: Vec<Range<u64>> = source
        .extents
        .iter()
        .filter(|extent| !extent.is_same())
        .map(|extent| extent.offset()..extent.offset() + extent.len())
        .collect();
    let len = source.bytes.len() as u64;
    // Cuts meet again within two stretches, in bytes of no pattern; the last one has a lookahead.
    let (before, behind) = (LOOKAHEAD + 4096, 2 * LOOKAHEAD + 4096 + 2 * SAME_LEN);
    for read in source.reads.lock().unwrap().iter() {
        let is_near = |new: &Range<u64>| {
            read.start + before >= new.start && read.start <= new.end + behind - LOOKAHEAD
        };
        let is_look = read.end - read.start <= LOOK_LEN;
        // Behind the end of a shorter base, or before that of a longer one, nothing can be taken.
        let is_end = read.end + 2 * LOOKAHEAD + 4096 >= len;
        assert!(is_look || is_end || news.iter().any(is_near), "{what}: {read:?} was read");
    }
}

/// The holes of a source, with those of its base where it is the same.
fn allocation(source: &Mapped, base: &AllocationMap) -> AllocationMap {
    let mut holes = AllocationMap::new();
    for extent in &source.extents {
        let range = extent.offset()..extent.offset() + extent.len();
        match extent.is_same() {
            true => base.extents(range).for_each(|extent| holes.push(extent)),
            false => holes.push(*extent),
        }
    }
    holes
}

fn rounds() -> u64 {
    std::env::var("GARRET_MAPS").ok().and_then(|count| count.parse().ok()).unwrap_or(40)
}

#[test]
fn any_true_map_gives_what_reading_everything_gives() {
    for seed in 0..rounds() {
        let mut random = Random::new(seed);
        let (mut lab, _) = Lab::memory(KeyMode::None);
        lab.threads = [1, 2, 4][random.below(3)];
        lab.cutter = match random.below(3) {
            0 => CutterChoice::Auto,
            1 => CutterChoice::Always(CutterKind::Page),
            _ => CutterChoice::Always(CutterKind::Fastcdc),
        };
        let len = [0, 1, 5000, 300_000, 4 << 20, 9_000_000, 14_000_000][random.below(7)];
        let mut image = Image::generate(random.word(), len + random.below(1 + len / 3));
        let mut holes = AllocationMap::new();
        for hole in &image.holes {
            holes.push(Kind::Data.extent(holes.len() as usize..hole.start));
            holes.push(Kind::Hole.extent(hole.clone()));
        }
        holes.push(Kind::Data.extent(holes.len() as usize..image.bytes.len()));
        let mut older = (Mapped::with_holes(&image.bytes, &holes), holes);
        back_up(&lab, "night-0", &older.0, None);
        for night in 1..3 {
            let what = format!("seed {seed}, night {night}");
            change(&mut random, &mut image.bytes);
            match random.below(5) {
                0 => image.resize(image.bytes.len() / 2 + random.below(1 + len)),
                1 => image.resize(image.bytes.len() + random.below(2_000_000)),
                _ => {}
            }
            let source = Mapped::new(&image.bytes, map(&mut random, &older.0.bytes, &image.bytes));
            let name = format!("night-{night}");
            let made = back_up(&lab, &name, &source, base(&format!("night-{}", night - 1)));
            assert_eq!(made.notices, [""; 0], "{what}");
            assert_as_read(&lab, &made, &name, &image.bytes, &what);
            assert_near(&source, &what);
            let holes = allocation(&source, &older.1);
            let settled = Mapped::with_holes(&image.bytes, &holes);
            let settled = back_up(&lab, &format!("{name}-holes"), &settled, None);
            assert!(made.content() == settled.content(), "{what}: other holes");
            older = (source, holes);
        }
    }
}

/// A disk of 48 MiB with some zeros, and what a day changed of it.
fn disk() -> (Vec<u8>, Vec<u8>, Range<usize>) {
    let mut old = Image::noise(1, 48 << 20).bytes;
    old[20 << 20..26 << 20].fill(0);
    let mut new = old.clone();
    let changed = (33 << 20)..(33 << 20) + 65_536;
    new[changed.clone()].copy_from_slice(&Random::new(2).bytes(changed.len()));
    (old, new, changed)
}

fn around(changed: Range<usize>, len: usize) -> [(Kind, Range<usize>); 3] {
    let Range { start, end } = changed;
    [(Kind::Same, 0..start), (Kind::Data, start..end), (Kind::Same, end..len)]
}

#[test]
fn one_change_costs_what_lies_around_it() {
    let (old, new, changed) = disk();
    for kind in [CutterKind::Page, CutterKind::Fastcdc] {
        let (mut lab, _) = Lab::memory(KeyMode::Passphrase);
        (lab.cutter, lab.threads) = (CutterChoice::Always(kind), 2);
        let first = back_up(&lab, "old", &Mapped::all(&old, Kind::Data), None);
        let source = Mapped::new(&new, around(changed.clone(), new.len()));
        let mut from = Base::new("old", *b"disk");
        from.fingerprint = Some(first.report.archive.fingerprint);
        let made = back_up(&lab, "new", &source, Some(from));
        assert!(source.read_len() < 3 << 20, "{kind:?}: {} bytes were read", source.read_len());
        assert!(made.report.same_bytes > 40 << 20, "{kind:?}: {}", made.report.same_bytes);
        assert!(made.report.written.chunk_bytes < 1 << 20);
        assert_as_read(&lab, &made, "new", &new, "one change");
        lab.check();
    }
}

#[test]
fn what_is_the_same_all_over_is_not_read_and_costs_no_chunk() {
    let (old, ..) = disk();
    let (lab, _) = Lab::memory(KeyMode::None);
    let first = back_up(&lab, "old", &Mapped::all(&old, Kind::Data), None);
    let source = Mapped::all(&old, Kind::Same);
    let made = back_up(&lab, "new", &source, base("old"));
    assert!(source.read_len() <= LOOK_LEN, "{} bytes were read", source.read_len());
    assert_eq!(made.report.written.chunk_count, 0);
    assert!(made.content() == first.content());
    assert!(lab.restore_bytes("new").unwrap() == old);
}

#[test]
fn a_file_gets_what_is_known_of_it() {
    let (lab, _) = Lab::memory(KeyMode::None);
    let mut item = SourceItem::new(*b"machines/db.raw");
    (item.mode, item.uid, item.gid) = (0o100_640, 5, 6);
    item.mtime = Some(Time { secs: 7, nanos: 4_000_000_000 });
    let source = Mapped::all(b"a disk", Kind::Data);
    lab.backup_inputs("x", vec![Input::Source { item, source, base: None }]).unwrap();
    let reader = lab.reader().unwrap();
    let archive = reader.archive("x").unwrap();
    assert_eq!(archive.archive.sources, [b"machines/db.raw".to_vec()]);
    let item = reader.items(&archive).next().unwrap().unwrap();
    assert_eq!((item.mode, item.uid, item.gid, item.size), (0o640, 5, 6, 6));
    assert_eq!(item.mtime, Time { secs: 7, nanos: 999_999_999 });
    lab.check();
}

/// What cannot be looked at is read, one line says so, and nothing is wrong.
#[test]
fn without_a_base_that_can_be_used_everything_is_read() {
    let mut old = Image::noise(3, 3 << 20).bytes;
    old[..4096].fill(7);
    let (mut lab, _) = Lab::memory(KeyMode::None);
    back_up(&lab, "old", &Mapped::all(&old, Kind::Data), None);
    lab.cutter = CutterChoice::Always(CutterKind::Page);
    back_up(&lab, "page", &Mapped::all(&old, Kind::Data), None);
    lab.cutter = CutterChoice::Auto;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("disk")).unwrap();
    lab.backup_path("tree", dir.path()).unwrap();
    let reader = lab.reader().unwrap();
    let items = reader.items(&reader.archive("tree").unwrap());
    let stored = items.last().unwrap().unwrap().path;
    drop(reader);
    let mut other = Base::new("old", *b"disk");
    other.fingerprint = Some([9; 32]);
    let cases = [
        (None, "none was named"),
        (Some(Base::new("gone", *b"disk")), "gone"),
        (Some(Base::new("old", *b"other")), "there is no other of archive old"),
        (Some(Base::new("tree", stored)), "is no file"),
        (Some(Base::new("page", *b"disk")), "was cut in another way"),
        (Some(other), "archive old is another one than the base"),
    ];
    for (n, (base, why)) in cases.into_iter().enumerate() {
        let halves = [
            (Kind::Same, 0..1 << 20),
            (Kind::Data, 1 << 20..2 << 20),
            (Kind::Same, 2 << 20..3 << 20),
        ];
        let source = Mapped::new(&old, halves);
        let made = back_up(&lab, &format!("new-{n}"), &source, base);
        let [notice] = made.notices.as_slice() else { panic!("{why}: {:?}", made.notices) };
        assert!(notice.starts_with("disk: ") && notice.contains(why), "{why}: {notice}");
        assert!(source.read_len() >= old.len() as u64, "{why}");
        assert_eq!(made.report.same_bytes, 0);
        assert_as_read(&lab, &made, &format!("new-{n}"), &old, why);
    }
    // Of what is all new nobody needs a base.
    let made = back_up(&lab, "new", &Mapped::all(&old, Kind::Data), Some(Base::new("gone", *b"x")));
    assert_eq!(made.notices, [""; 0]);
}

#[test]
fn what_is_the_same_as_behind_the_end_of_the_base_is_read() {
    let long = Image::noise(4, 6 << 20).bytes;
    let (lab, _) = Lab::memory(KeyMode::None);
    back_up(&lab, "short", &Mapped::all(&long[..(3 << 20) + 77], Kind::Data), None);
    let source = Mapped::all(&long, Kind::Same);
    let made = back_up(&lab, "long", &source, base("short"));
    let [notice] = made.notices.as_slice() else { panic!("{:?}", made.notices) };
    assert!(notice.contains("disk of archive short ends before"), "{notice}");
    assert!(made.report.same_bytes > 2 << 20);
    assert_as_read(&lab, &made, "long", &long, "longer");
    // And the other way round: a shorter one.
    let source = Mapped::all(&long[..5_000_001], Kind::Same);
    let made = back_up(&lab, "cut", &source, base("long"));
    assert_eq!(made.notices, [""; 0]);
    assert!(made.report.same_bytes > 4 << 20);
    assert_as_read(&lab, &made, "cut", &long[..5_000_001], "shorter");
}

#[test]
fn chunks_that_the_repository_has_lost_are_read_again() {
    let bytes = Image::noise(5, 16 << 20).bytes;
    let (mut lab, store) = Lab::memory(KeyMode::None);
    lab.threads = 2;
    // The second archive has the first third of its chunks in the pack of the first, and its recipe in its own.
    let third = bytes.len() / 6;
    back_up(&lab, "part", &Mapped::all(&bytes[..third], Kind::Data), None);
    let lost: Vec<_> = store.list(Area::Packs).unwrap();
    back_up(&lab, "old", &Mapped::all(&bytes, Kind::Data), None);
    lost.iter().for_each(|(key, _)| store.delete(key).unwrap());
    let source = Mapped::all(&bytes, Kind::Same);
    let made = back_up(&lab, "new", &source, base("old"));
    let [notice] = made.notices.as_slice() else { panic!("{:?}", made.notices) };
    assert!(notice.contains("no pack holds it"), "{notice}");
    let most = (third as u64) + 3 * SAME_LEN + 4 * LOOKAHEAD;
    assert!(source.read_len() >= third as u64 - SAME_LEN, "{} were read", source.read_len());
    assert!(source.read_len() <= most, "{} were read", source.read_len());
    assert!(made.report.written.chunk_bytes > third as u64 / 2);
    assert_as_read(&lab, &made, "new", &bytes, "lost chunks");
    assert!(lab.restore_bytes("old").unwrap() == bytes, "it healed");
}

/// Pages are counted from the start of each partition, in the base as in the source.
#[test]
fn partitions_off_the_grid_of_pages_are_taken_one_by_one() {
    let [first, second, len] = [63, 9001, 20_000].map(|sectors| sectors * 512);
    let mut old = Image::noise(6, len).bytes;
    old[..512].copy_from_slice(&mbr(&[(63, 9001 - 63), (9001, 20_000 - 9001)]));
    old[second - 300_000..second + 200_000].fill(0);
    old[first..first + 512].fill(1);
    let mut new = old.clone();
    let changed = 3_000_000..3_004_096;
    new[changed.clone()].copy_from_slice(&Random::new(7).bytes(changed.len()));
    let (mut lab, _) = Lab::memory(KeyMode::None);
    back_up(&lab, "old", &Mapped::all(&old, Kind::Data), None);
    let source = Mapped::new(&new, around(changed.clone(), len));
    let made = back_up(&lab, "new", &source, base("old"));
    assert_eq!(made.notices, [""; 0]);
    assert!(made.report.same_bytes > 6 << 20, "{}", made.report.same_bytes);
    assert_as_read(&lab, &made, "new", &new, "sections");
    // One that was cut as one is none that this can be taken from, nor the other way round.
    lab.cutter = CutterChoice::Always(CutterKind::Page);
    let source = Mapped::new(&new, around(changed.clone(), len));
    let made = back_up(&lab, "whole", &source, base("new"));
    assert!(made.notices[0].contains("was cut in another way"), "{:?}", made.notices);
    assert_as_read(&lab, &made, "whole", &new, "as one");
    lab.cutter = CutterChoice::Auto;
    let source = Mapped::new(&new, around(changed, len));
    let made = back_up(&lab, "again", &source, base("whole"));
    assert!(made.notices[0].contains("was cut in another way"), "{:?}", made.notices);
    assert_as_read(&lab, &made, "again", &new, "sections again");
}

/// Says of itself what cannot be.
struct Liar {
    extent: Extent,
    len: u64,
}

impl Source for Liar {
    fn len(&self) -> u64 {
        self.len
    }

    fn extent_at(&self, _: u64) -> Result<Extent, SourceError> {
        Ok(self.extent)
    }

    fn read_at(&self, buf: &mut [u8], _: u64) -> Result<(), SourceError> {
        buf.fill(1);
        Ok(())
    }

    fn changed(&self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

#[test]
fn a_source_that_makes_no_sense_is_a_problem_and_not_a_loop() {
    let (lab, _) = Lab::memory(KeyMode::None);
    let input = |path: &[u8], extent, len| {
        let source = Arc::new(Liar { extent, len });
        vec![Input::Source { item: SourceItem::new(path), source, base: None }]
    };
    for extent in [
        Extent::Data { offset: 0, len: 0 },
        Extent::Hole { offset: 4096, len: 5 },
        Extent::Same { offset: u64::MAX, len: u64::MAX },
    ] {
        let mut inputs = input(b"disk", extent, 9_000_000);
        let source = Mapped::all(b"good", Kind::Data);
        inputs.push(Input::Source { item: SourceItem::new(*b"good"), source, base: None });
        let name = format!("{:?}", extent.len());
        let (report, problems) = lab.backup_inputs(&name, inputs).unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("disk: cannot tell the extents"), "{problems:?}");
        assert_eq!(report.archive.archive.file_count, 1);
    }
    let long = Extent::Data { offset: 0, len: u64::MAX };
    let (report, problems) = lab.backup_inputs("long", input(b"disk", long, 100)).unwrap();
    assert_eq!((report.archive.archive.original_len, problems.len()), (100, 0));
    for (path, len) in [(&b"../disk"[..], 100), (b"/disk", 100), (b"disk", u64::MAX)] {
        let refused = lab.backup_inputs("bad", input(path, long, len));
        assert!(matches!(refused, Err(Error::BadOption(_))), "{path:?} {len}");
    }
    // A path that is taken.
    let inputs = input(b"disk", long, 100).into_iter().chain(input(b"disk", long, 100)).collect();
    let (report, problems) = lab.backup_inputs("twice", inputs).unwrap();
    assert_eq!((report.archive.archive.file_count, problems.len()), (1, 1));
}
