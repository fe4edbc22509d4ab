//! Bombs (T31): objects that are sealed as they should be and claim what they should not: lengths up to 4 GiB, tables of
//! 2^32 rows, frames that unfold without end or want a window of 2 GiB, recipes of any depth. Each is refused, or what it
//! says comes out, within a second of work and 64 MiB of memory more than before: what the allocator gave, and what zstd
//! took besides.
#![allow(unsafe_code, reason = "an allocator that counts cannot be written without")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which say their counts"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use garret_core::{AllocationMode, Key, LocalStore, MemoryStore};
use garret_format::archive::{Content, Item, ItemKind, Side};
use garret_format::config::KeyMode;
use garret_format::index::{GroupRow, PackRow, Record, encode_segment};
use garret_format::object::{Kind, NONCE_LEN};
use garret_format::pack::{Codec, Frame, PackKind};
use garret_format::recipe::{Child, CutterKind, Entry, Node, Recipe};
use garret_format::{PackId, SegmentId};
use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};

use garret_testkit::{
    Forge, ForgedGroup, Lab, add_copies, footer, leaf, plain_entry, plain_id, plain_item,
};

const MIB: usize = 1 << 20;
/// What one bomb may take.
const EXTRA_MAX: usize = 64 * MIB;
const NANOS_MAX: u64 = 1_000_000_000;
/// What the longest map beside an item may take: 256 MiB as it is stored and 24 bytes for each of 2^24 runs, and half as much
/// again while it grows.
const SIDE_COST_MAX: usize = 1024 * MIB;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

fn grow(len: usize) {
    let held = HELD.fetch_add(len, Ordering::Relaxed) + len;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

// SAFETY: hands everything to the system's allocator; the counters are atomics that need no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and all memory comes from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A line of /proc/self/status in bytes.
fn status(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Processor time of this thread: what a busy machine does besides is not counted.
fn nanos() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// What `work` gives, and what it took: memory, and nanoseconds of this thread.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize, u64) {
    // Resets the mark of the most memory that was resident (proc(5)).
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (held, resident, started) = (HELD.load(Ordering::Relaxed), status("VmRSS"), nanos());
    PEAK.store(held, Ordering::Relaxed);
    let result = work();
    let time = nanos() - started;
    let asked = PEAK.load(Ordering::Relaxed) - held;
    (result, asked.max(status("VmHWM").saturating_sub(resident)), time)
}

/// The most that went off at once, by name.
#[derive(Default)]
struct Tally {
    count: usize,
    memory: (usize, String),
    time: (u64, String),
    wrong: Vec<String>,
}

impl Tally {
    /// Runs everything that reads the bomb, alone in the process, and gives what that gives.
    fn measure<T>(&mut self, what: &str, work: impl FnOnce() -> T) -> T {
        let (result, memory, time) = measured(work);
        if memory > EXTRA_MAX || time > NANOS_MAX {
            self.wrong.push(format!("{what}: {} MiB, {} ms", memory / MIB, time / 1_000_000));
        }
        self.count += 1;
        self.memory = self.memory.clone().max((memory, what.to_owned()));
        self.time = self.time.clone().max((time, what.to_owned()));
        result
    }

    fn report(self) {
        println!(
            "{} bombs, most memory: {:?}, most time: {:?} ns",
            self.count, self.memory, self.time
        );
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
    }
}

/// A repository of mode none to put bombs into, with one archive that is none.
struct Ground {
    lab: Lab,
    objects: BTreeMap<Key, Vec<u8>>,
    forge: Forge,
}

impl Ground {
    fn new() -> Self {
        let (lab, store) = Lab::memory(KeyMode::None);
        lab.backup_bytes("good", b"some content of an archive that is as it should be").unwrap();
        let objects = store.objects();
        let forge = Forge::plain(&objects[&Key::Config]);
        Ground { lab, objects, forge }
    }

    /// Everything that reads what was put there: opening, listing, restoring, both checks, the next backup, gc. Whether the
    /// archive `bomb` came out, and what was said.
    fn go_off(&self, bombs: Vec<(Key, Vec<u8>)>) -> (bool, Vec<String>) {
        let mut objects = self.objects.clone();
        objects.extend(bombs);
        let store = MemoryStore::from_objects(objects);
        let lab = self.lab.with_store(move || Box::new(store.clone()));
        let mut said = Vec::new();
        let restored = lab.restore_bytes("bomb");
        let is_whole = restored.is_ok();
        said.extend(restored.err().map(|error| garret_core::message(&error)));
        for verify in [false, true] {
            match lab.check_reporting(verify) {
                Ok((_, problems)) => said.extend(problems),
                Err(error) => said.push(garret_core::message(&error)),
            }
        }
        let backup = lab.backup_bytes("next", b"something new of the next night");
        said.extend(backup.err().map(|error| garret_core::message(&error)));
        said.extend(lab.gc_reporting().err().map(|error| garret_core::message(&error)));
        (is_whole, said)
    }

    /// The file of an archive `bomb` whose list of items is this recipe.
    fn archive(&self, items: Recipe) -> (Key, Vec<u8>) {
        let (key, bytes, _) = self.forge.archive("bomb", items);
        (key, bytes)
    }
}

/// The record of a file `a` with this recipe and these maps beside it.
fn file(size: u64, recipe: Recipe, layout: Side, allocation: Side) -> Vec<u8> {
    let content = Content { recipe, layout, allocation, unreadable: Vec::new() };
    Item { size, ..plain_item(b"a", ItemKind::File(content)) }.encode()
}

/// A zstd frame by hand: a window of 2^`log` bytes, no length of the content, `blocks` blocks of 128 KiB of one byte.
fn frame(log: u8, blocks: usize) -> Vec<u8> {
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (log - 10) << 3];
    for number in 1..=blocks {
        let header = (128 << 10) << 3 | 1 << 1 | u32::from(number == blocks);
        bytes.extend(&header.to_le_bytes()[..3]);
        bytes.push(b'x');
    }
    bytes
}

/// The same with a length in its header.
fn frame_that_says(len: u64) -> Vec<u8> {
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0xc0, (31 - 10) << 3];
    bytes.extend(len.to_le_bytes());
    bytes.extend(&frame(31, 8)[6..]);
    bytes
}

/// An xz stream of so many bytes of `x`, whose header says another window if it is given: 2 or 3 times a power of two, as the
/// format encodes it.
fn xz(len: usize, window: Option<u8>) -> Vec<u8> {
    let mut options = LzmaOptions::new_preset(0).unwrap();
    let filters = {
        let mut filters = Filters::new();
        filters.lzma2(options.dict_size(4096));
        filters
    };
    let mut stream = Stream::new_stream_encoder(&filters, Check::None).unwrap();
    let (mut bytes, part) = (Vec::with_capacity(1 << 20), vec![b'x'; 1 << 20]);
    for _ in 0..len >> 20 {
        let before = stream.total_in();
        while stream.total_in() - before < part.len() as u64 {
            let rest = &part[(stream.total_in() - before) as usize..];
            stream.process_vec(rest, &mut bytes, Action::Run).unwrap();
        }
    }
    while stream.process_vec(&[], &mut bytes, Action::Finish).unwrap() != Status::StreamEnd {
        bytes.reserve(1 << 16);
    }
    if let Some(window) = window {
        // The block header stands behind the stream's, which has 12 bytes: its size, flags, filter 21, length of its
        // properties, the window, padding, and its checksum.
        bytes[12 + 4] = window;
        let checksum = crc32(&bytes[12..20]);
        bytes[20..24].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

/// Groups whose frame header or compressed body says more than there is, in a pack whose footer lists what is claimed.
fn groups(ground: &Ground, tally: &mut Tally) {
    let lengths =
        [1, 100, 4096, 1 << 20, 4 << 20, (4 << 20) + 1, 16 << 20, 1 << 28, 1 << 31, u32::MAX];
    let bodies = [
        ("nothing", Vec::new()),
        ("a window of 2 GiB", frame(31, 8)),
        ("a window of 2 GiB and 1 GiB of content", frame(31, 8192)),
        ("4 GiB by its header", frame_that_says(1 << 32)),
        ("2^64 - 1 bytes by its header", frame_that_says(u64::MAX)),
        ("1 MiB by its header", frame_that_says(1 << 20)),
        ("an xz window of 1 GiB", xz(1 << 20, Some(38))),
        ("an xz stream of 256 MiB", xz(256 << 20, None)),
        ("lz4 of nothing but matches", [&[0x1f, b'x', 1, 0][..], &[0xff; 200_000], &[0]].concat()),
    ];
    let plain = vec![b'x'; 1 << 20];
    for (claimed, (what, compressed)) in
        lengths.iter().flat_map(|len| bodies.iter().map(move |body| (*len, body)))
    {
        for codec in [Codec::None, Codec::Zstd, Codec::Lz4, Codec::Lzma] {
            let body = [&claimed.to_le_bytes()[..], compressed].concat();
            let body_len = body.len() as u32;
            let frame = Frame { body_len, plain_len: claimed, chunk_count: 1, codec, effort: 0 };
            let group = ForgedGroup::new(frame, body);
            let name = plain_id(&plain[..plain.len().min(claimed as usize)]);
            let listed = group.listed(vec![(name, claimed)]);
            let (pack, bytes) =
                ground.forge.pack(std::slice::from_ref(&group), &footer(vec![listed]));
            let salt = *bytes[8..].first_chunk().unwrap();
            let len = bytes.len() as u32;
            let row = PackRow { id: pack, salt, len, kind: PackKind::Data };
            let sealed_len = frame.sealed_len() as u32;
            let place = GroupRow { pack: 0, offset: 24, sealed_len, plain_len: claimed, effort: 0 };
            let record = Record { id: name, group: 0, offset: 0, len: claimed };
            let segment = ground.forge.segment(&encode_segment(&[row], &[place], &[record]));
            let content = leaf(vec![Entry::Chunk { id: name, len: claimed }]);
            let item = file(claimed.into(), content, Side::Inline(vec![]), Side::Inline(vec![]));
            let items = ground.forge.pack_of(std::slice::from_ref(&item));
            let archive = ground.archive(leaf(vec![plain_entry(&item)]));
            for bombs in [
                vec![(Key::Pack(pack), bytes.clone()), segment, items.clone(), archive.clone()],
                vec![(Key::Pack(pack), bytes.clone()), items, archive],
            ] {
                let what = format!("a group of {claimed}, {codec:?}, {what}");
                let (whole, said) = tally.measure(&what, || ground.go_off(bombs));
                // One that unfolds to what it should is what it says.
                let is_true = claimed == 1 << 20 && matches!(codec, Codec::Zstd | Codec::Lzma);
                assert!(!said.is_empty() || (whole && is_true), "{what}: nothing is said");
            }
        }
    }
}

/// Sealed tables whose counts are of more than there is.
fn counts(ground: &Ground, tally: &mut Tally) {
    for number in [1, 1 << 16, 1 << 24, 1 << 31, u32::MAX] {
        let word = number.to_le_bytes();
        for place in [0, 4, 8, 12] {
            let mut tables = encode_segment(&[], &[], &[]);
            tables[place..place + 4].copy_from_slice(&word);
            let bomb = ground.forge.segment(&tables);
            let what = format!("an index that counts {number} at {place}");
            let (_, said) = tally.measure(&what, || ground.go_off(vec![bomb]));
            assert!(said.iter().any(|text| text.contains("ends too early")), "{what}: {said:?}");
        }
        for at in [0, 4, 9] {
            let mut listed = footer(vec![garret_format::pack::FooterGroup {
                body_len: 9,
                effort: 0,
                chunks: vec![(plain_id(b"x"), 1)],
            }]);
            listed[at..at + 4].copy_from_slice(&word);
            let (pack, bytes) = ground.forge.pack(&[], &listed);
            let bomb = (Key::Pack(pack), bytes);
            let what = format!("a footer that counts {number} at {at}");
            tally.measure(&what, || ground.go_off(vec![bomb]));
        }
        let (name, _, sound) = ground.forge.archive("bomb", leaf(vec![Entry::Zero { len: 1 }]));
        for at in 0..sound.len() - 3 {
            let mut content = sound.clone();
            content[at..at + 4].copy_from_slice(&word);
            let bytes = ground.forge.envelope(Kind::Archive, [8; NONCE_LEN], &content);
            let bomb = (name.clone(), bytes);
            let what = format!("an archive with {number} at {at}");
            tally.measure(&what, || ground.go_off(vec![bomb]));
        }
        // An item that says that it has so many bytes, and nothing but zeros behind it.
        for behind in [0, 1000, i64::MAX as u64 - 4] {
            let entries = match behind {
                0 => vec![plain_entry(&word)],
                len => vec![plain_entry(&word), Entry::Zero { len }],
            };
            let bombs = vec![ground.forge.pack_of(&[word.to_vec()]), ground.archive(leaf(entries))];
            let what = format!("an item of {number} bytes, and {behind} zeros");
            let (_, said) = tally.measure(&what, || ground.go_off(bombs));
            assert!(!said.is_empty(), "{what}");
        }
    }
}

/// Recipes that are deep, or wide without being long.
fn recipes(ground: &Ground, tally: &mut Tally) {
    let shapes = [(1, 1), (16, 1), (17, 1), (100, 1), (5, 512), (6, 512), (16, 2), (16, 8)];
    // What is below shared nodes may be missing: then, too, they are looked at once.
    for ((depth, width), is_there) in shapes.into_iter().flat_map(|one| [(one, true), (one, false)])
    {
        let item =
            file(3, leaf(vec![Entry::Zero { len: 3 }]), Side::Inline(vec![]), Side::Inline(vec![]));
        let mut nodes = vec![item.clone()];
        let mut node = Node::Leaf(vec![plain_entry(&item)]);
        for level in 1..=depth {
            let bytes = node.encode();
            let child = Child { id: plain_id(&bytes), span: node.span().unwrap_or(1) };
            nodes.push(bytes);
            node = Node::Inner { level, children: vec![child; width] };
        }
        // The same stream as the content of a file: shared nodes are looked at once, however often they are needed.
        let Some(span) = node.span() else { continue };
        let content = Recipe { cutter: CutterKind::Page, root: node };
        let record = file(span, content, Side::Inline(vec![]), Side::Inline(vec![]));
        nodes.push(record.clone());
        let archive = ground.archive(leaf(vec![plain_entry(&record)]));
        let what = format!("a file of {depth} levels of {width}: {span} bytes, there: {is_there}");
        if !is_there {
            nodes.remove(0);
        }
        let bombs = vec![ground.forge.pack_of(&nodes), archive];
        let refused = tally.measure(&what, || {
            let mut objects = ground.objects.clone();
            objects.extend(bombs);
            add_copies(&mut objects);
            let store = MemoryStore::from_objects(objects);
            let lab = ground.lab.with_store(move || Box::new(store.clone()));
            let (report, _) = lab.check_reporting(true).unwrap();
            lab.gc_reporting().is_err() || report.problem_count > 0
        });
        assert_eq!(refused, depth > 16 || !is_there, "{what}");
    }
}

/// Lists of files that need the same chunk again and again.
fn lists(ground: &Ground, tally: &mut Tally) {
    let none = || Side::Inline(vec![]);
    for (depth, is_whole) in [(1, true), (2, false), (3, false), (6, false)] {
        let record = file(3, leaf(vec![Entry::Zero { len: 3 }]), none(), none());
        let mut nodes = vec![record.clone()];
        let mut node = Node::Leaf(vec![plain_entry(&record)]);
        for level in 1..=depth {
            let bytes = node.encode();
            let child = Child { id: plain_id(&bytes), span: node.span().unwrap() };
            nodes.push(bytes);
            node = Node::Inner { level, children: vec![child; 512] };
        }
        let archive = ground.archive(Recipe { cutter: CutterKind::Fastcdc, root: node });
        let what = format!("a list of {depth} levels of 512");
        let bombs = vec![ground.forge.pack_of(&nodes), archive];
        let said = tally.measure(&what, || {
            let mut objects = ground.objects.clone();
            objects.extend(bombs);
            let store = MemoryStore::from_objects(objects);
            let lab = ground.lab.with_store(move || Box::new(store.clone()));
            let repository = lab.reader().unwrap();
            let items = repository.items(&repository.archive("bomb").unwrap());
            let items = items.collect::<garret_core::Result<Vec<_>>>();
            items.map(|items| items.len()).map_err(|error| garret_core::message(&error))
        });
        match said {
            Ok(count) => assert!(is_whole && count == 512, "{what}: {count} items"),
            Err(error) => {
                assert!(!is_whole && error.contains("repeats itself without end"), "{error}");
            }
        }
    }
}

/// Maps beside an item that are longer than any may be (docs/format.md: 256 MiB, which is what one can cost at most).
fn sides(ground: &Ground, tally: &mut Tally) {
    let ones = vec![1; MIB];
    for len in [(256 << 20) + 1, 1 << 40, i64::MAX as u64] {
        let zeros = leaf(vec![Entry::Zero { len }]);
        let many = leaf(vec![plain_entry(&ones); 300]);
        for (what, side) in [("zeros", zeros), ("ones", many)] {
            let (side, none) = (Side::Stream(side), Side::Inline(vec![]));
            for (layout, allocation) in [(side.clone(), none.clone()), (none, side)] {
                let part = if allocation == Side::Inline(vec![]) { "layout" } else { "allocation" };
                let content = leaf(vec![Entry::Zero { len: 3 }]);
                let record = file(3, content, layout, allocation);
                let bombs = vec![
                    ground.forge.pack_of(&[ones.clone(), record.clone()]),
                    ground.archive(leaf(vec![plain_entry(&record)])),
                ];
                let mut objects = ground.objects.clone();
                objects.extend(bombs);
                let store = MemoryStore::from_objects(objects);
                let lab = ground.lab.with_store(move || Box::new(store.clone()));
                let temp = tempfile::tempdir().unwrap();
                let mut exact = lab.restore_options();
                exact.allocation = AllocationMode::Exact;
                let what = format!("{part} of {what}, {len}");
                let problems = tally.measure(&what, || {
                    drop(lab.check_reporting(true));
                    lab.restore_to("bomb", temp.path(), &exact).unwrap().problems
                });
                assert!(
                    problems.iter().any(|text| text.contains("too long")),
                    "{what}: {problems:?}"
                );
            }
        }
    }
}

/// Maps of as many bytes as one may have, of runs of one byte: what one costs is bounded too, and as little for several files
/// as for one.
fn sides_at_the_bound(ground: &Ground) {
    let none = || Side::Inline(vec![]);
    // 2^40 bytes of the guest, in units of one; then each run leaves out a byte on both sides.
    let start = vec![0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0];
    let (ones, runs) = (vec![1; MIB], [1, 2, 1].repeat(MIB / 4));
    let holes = leaf(vec![plain_entry(&ones); 256]);
    let entries = [vec![plain_entry(&start)], vec![plain_entry(&runs); 341]].concat();
    let (holes, layout) = (Side::Stream(holes), Side::Stream(leaf(entries)));
    for (count, layout, allocation, why) in [
        (1, none(), holes.clone(), "too many holes"),
        (4, none(), holes, "too many holes"),
        (1, layout.clone(), none(), "layout has more than 16777216 runs"),
        (4, layout, none(), "layout has more than 16777216 runs"),
    ] {
        let records = (0..count).flat_map(|number| {
            let recipe = leaf(vec![Entry::Zero { len: 256 << 20 }]);
            let (layout, allocation) = (layout.clone(), allocation.clone());
            let content = Content { recipe, layout, allocation, unreadable: Vec::new() };
            let path = format!("{number}");
            Item { size: 256 << 20, ..plain_item(path.as_bytes(), ItemKind::File(content)) }
                .encode()
        });
        let records: Vec<u8> = records.collect();
        let chunks = [ones.clone(), start.clone(), runs.clone(), records.clone()];
        let mut objects = ground.objects.clone();
        objects.extend([ground.forge.pack_of(&chunks)]);
        objects.extend([ground.archive(leaf(vec![plain_entry(&records)]))]);
        let store = MemoryStore::from_objects(objects);
        let lab = ground.lab.with_store(move || Box::new(store.clone()));
        let temp = tempfile::tempdir().unwrap();
        let mut exact = lab.restore_options();
        exact.allocation = AllocationMode::Exact;
        let restore = || lab.restore_to("bomb", temp.path(), &exact).unwrap().problems;
        let (problems, memory, time) = measured(restore);
        let said = format!("{count} with {why}: {} MiB, {} ms", memory / MIB, time / 1_000_000);
        println!("{said}");
        assert_eq!(problems.len(), count, "{problems:?}");
        assert!(problems.iter().all(|text| text.contains(why)), "{problems:?}");
        assert!(memory < SIDE_COST_MAX, "{said}");
    }
}

/// Files that are longer than any of their kind, sparse: refused by their length.
fn long_files(tally: &mut Tally) {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("repo");
    let lab = Lab::local(&root, KeyMode::Passphrase);
    lab.backup_bytes("good", b"content").unwrap();
    fs::create_dir_all(root.join("packs/aa")).unwrap();
    let (segment, pack) = (SegmentId::from_bytes([0xaa; 32]), PackId::from_bytes([0xaa; 32]));
    for (place, kind) in [
        ("backups/bomb".to_owned(), Kind::Archive),
        (format!("index/{segment}"), Kind::Index),
        (format!("packs/aa/{pack}"), Kind::Pack),
        (format!("keys/{}", "a".repeat(32)), Kind::Slot),
    ] {
        for len in [(64 << 20) + 1, 1 << 32, 1 << 40] {
            let path = root.join(&place);
            fs::write(&path, kind.header()).unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
            let what = format!("{place} of {len} bytes");
            let problems = tally.measure(&what, || {
                drop(lab.restore_bytes("bomb"));
                assert!(lab.restore_bytes("good").unwrap() == b"content", "{what}");
                let store = LocalStore::open(&root).unwrap();
                let locked = garret_core::Locked::find(Box::new(store)).unwrap();
                drop(
                    locked.expecting(lab.keys.id()).unlock(garret_core::Secret::Passphrase(b"no")),
                );
                drop(lab.reader().unwrap().archive("bomb"));
                lab.check_reporting(kind != Kind::Pack).unwrap().1
            });
            assert!(kind == Kind::Slot || !problems.is_empty(), "{what}");
            fs::remove_file(&path).unwrap();
        }
    }
}

/// One test: what is measured is measured alone.
#[test]
fn bombs_are_refused_at_little_cost() {
    let (ground, mut tally) = (Ground::new(), Tally::default());
    groups(&ground, &mut tally);
    counts(&ground, &mut tally);
    recipes(&ground, &mut tally);
    lists(&ground, &mut tally);
    sides(&ground, &mut tally);
    long_files(&mut tally);
    sides_at_the_bound(&ground);
    tally.report();
}
