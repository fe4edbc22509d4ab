//! Files that lie: each comes back byte for byte or is opaque, nothing panics, memory stays
//! bounded (this binary counts what it allocates), and no file but the given one is opened (seen
//! by strace).
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]
#![allow(unsafe_code, reason = "an allocator that counts")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::craft::{CLUSTER, Craft, hostile, packed_plain, sound};
use common::qcow2::{Memory, divide, read_all};
use common::{Random, disk_dir, path_str, run};
use garret_image::qcow2::{Doubt, Others, Outcome, others, parse, raw_view};
use garret_image::{Extents, RawFile, Source};

/// Counts the bytes that each thread holds, and the most it ever held.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    let held = HELD.get() + change;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count(len as isize);
        count(-(layout.size() as isize));
        unsafe { System.realloc(place, layout, len) }
    }
}

/// The most that `work` held beyond what was held before it, in bytes.
fn most_held<T>(work: impl FnOnce() -> T) -> (T, isize) {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    (result, MOST.get() - before)
}

const LIMIT: isize = 64 << 20;

#[test]
fn every_crafted_file_is_opaque_or_byte_for_byte_in_little_memory() {
    let crafts = hostile(Path::new("/nowhere"));
    println!("{} files", crafts.len());
    assert!(crafts.len() >= 60);
    for Craft { name, bytes, opaque } in crafts {
        println!("{name:?}");
        let file: Arc<dyn Source> = Arc::new(Memory::new(bytes.clone()));
        let (outcome, held) = most_held(|| parse(&*file).unwrap());
        assert!(held < 1 << 20, "{name}: {held} bytes");
        if let Some(opaque) = opaque {
            assert_eq!(matches!(outcome, Outcome::Opaque(_)), opaque, "{name}: {outcome:?}");
        }
        if let Outcome::Opaque(doubt) = &outcome {
            let line = doubt.to_string();
            assert!(!line.contains('\n') && line.len() < 120, "{line}");
        }
        divide(file.clone(), &bytes, &mut Random::new(1));
        let ((), held) = most_held(|| view_all(file));
        assert!(held < LIMIT, "{name}: {held} bytes");
    }
}

/// Reads all of the raw view that there is; errors are as good as bytes.
fn view_all(file: Arc<dyn Source>) {
    let Ok(view) = raw_view(file, Path::new("hostile")) else { return };
    let mut bytes = vec![0; 1 << 20];
    for extent in Extents::new(&view) {
        let extent = extent.unwrap();
        for at in (extent.offset()..extent.offset() + extent.len()).step_by(bytes.len()).take(16) {
            let _result = view.read_at(&mut bytes, at);
        }
    }
}

#[test]
fn a_bomb_fills_one_cluster_and_noise_is_an_error_with_a_place() {
    let crafts = hostile(Path::new("/nowhere"));
    for (name, fits) in [("a bomb", true), ("a bomb of zstd", true), ("the header", false)] {
        let name = format!("compressed: {name}");
        let bytes = crafts.iter().find(|craft| craft.name == name).unwrap().bytes.clone();
        let view = raw_view(Arc::new(Memory::new(bytes)), Path::new("vm.qcow2")).unwrap();
        let mut buffer = [0xee; 100];
        let read = view.read_at(&mut buffer, 101 * 4096 + 7);
        if fits {
            read.unwrap();
            assert_eq!(buffer, [0; 100], "{name}");
        } else {
            let error = read.unwrap_err().to_string();
            assert_eq!(error, "vm.qcow2: cannot inflate a cluster at offset 413696");
        }
    }
}

/// Changes a few bytes, most often where they matter.
fn mutate(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..random.below(4) + 1 {
        let end = if random.below(3) == 0 { 128 } else { bytes.len() as u64 };
        let at = random.below(end) as usize;
        let at = if random.below(2) == 0 { at } else { at - at % 8 };
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.word() as u8,
            2 => bytes[at] = 0,
            _ => {
                let from = random.below(bytes.len()) / 8 * 8;
                let len = 8.min(bytes.len() - from.max(at));
                bytes.copy_within(from..from + len, at);
            }
        }
    }
}

#[test]
fn damaged_images_are_opaque_or_byte_for_byte_in_little_memory() {
    let dir = disk_dir();
    let mut originals: Vec<Vec<u8>> = hostile(Path::new("/nowhere"))
        .into_iter()
        .filter(|craft| craft.opaque == Some(false) && craft.bytes.len() < 1 << 20)
        .map(|craft| craft.bytes)
        .collect();
    for (index, options) in ["cluster_size=512", "cluster_size=4k,compat=0.10", "extended_l2=on"]
        .into_iter()
        .enumerate()
    {
        let path = dir.path().join(index.to_string());
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, path_str(&path), "1M"]);
        let write = ["-c", "write -P 7 3k 40k", "-c", "write -z 9k 5k", "-c", "write -c 512k 64k"];
        run("qemu-io", &[&["-f", "qcow2"], &write[..], &[path_str(&path)]].concat());
        run("qemu-img", &["snapshot", "-c", "s", path_str(&path)]);
        originals.push(std::fs::read(&path).unwrap());
    }
    let mut counts = [0; 2];
    let rounds = std::env::var("GARRET_QCOW2_ROUNDS").map_or(2000, |text| text.parse().unwrap());
    for seed in 0..rounds {
        let mut random = Random::new(seed);
        let mut bytes = originals[random.below(originals.len())].clone();
        mutate(&mut bytes, &mut random);
        let file: Arc<dyn Source> = Arc::new(Memory::new(bytes.clone()));
        let (outcome, held) = most_held(|| parse(&*file).unwrap());
        assert!(held < 4 << 20, "seed {seed}: {held} bytes");
        if let Outcome::Qcow2(map) = &outcome
            && map.layout.len(garret_image::Part::Guest) > 64 << 20
        {
            continue;
        }
        counts[usize::from(matches!(outcome, Outcome::Qcow2(_)))] += 1;
        assert!(
            divide(file.clone(), &bytes, &mut random).is_some()
                == matches!(outcome, Outcome::Qcow2(_))
        );
        view_all(file);
    }
    println!("opaque, image: {counts:?}");
    assert!(counts.iter().all(|count| *count > rounds / 10), "{counts:?}");
}

/// The largest L1 table there is, 2^22 entries at 2 MiB, in a file of 2^60 bytes.
fn huge(entry: impl Fn(u64) -> u64) -> Craft {
    const CLUSTER: u64 = 2 << 20;
    let mut craft = sound();
    craft.bytes[112..].fill(0);
    craft.be32(20, 21);
    craft.be64(24, 1 << 60);
    craft.be32(36, 1 << 22);
    craft.be64(40, 2 * CLUSTER);
    craft.be64(48, CLUSTER);
    craft.put(2 * CLUSTER + (32 << 20) - 1, &[0]);
    (0..1 << 22).for_each(|at| craft.be64(2 * CLUSTER + 8 * at, entry(at)));
    craft
}

#[test]
fn a_sparse_file_of_2_to_the_60_bytes_costs_what_it_stores() {
    let parse_huge = |entry: &dyn Fn(u64) -> u64| {
        let craft = huge(entry);
        let file = Memory { bytes: craft.bytes, len: 1 << 60, hole: true };
        let (outcome, held) = most_held(|| parse(&file).unwrap());
        assert!(held < LIMIT, "{held} bytes");
        outcome
    };
    // Every table in the hole, in an order of its own.
    let spread = |at: u64| (1 << 50) + ((at * 0x9e37_79b1) % (1 << 22)) * (2 << 20);
    let Outcome::Qcow2(map) = parse_huge(&spread) else { panic!("it is sound") };
    assert_eq!((map.layout.run_count(), map.layout.encode().len()), (0, 9));
    let same = parse_huge(&|_| 1 << 50);
    assert!(matches!(same, Outcome::Opaque(Doubt::Overlap { .. })), "{same:?}");
    let outside = parse_huge(&|_| 1 << 55);
    assert!(matches!(outside, Outcome::Opaque(Doubt::Overlap { .. })), "{outside:?}");
}

/// What the traced process is told: a directory of files to read.
const CHILD: &str = "GARRET_QCOW2_CHILD";

/// Runs under strace, in the test below; otherwise does nothing.
#[test]
fn child_that_is_traced() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let list = Path::new(&dir).join("list");
    for name in std::fs::read_to_string(list).unwrap().lines() {
        let path = Path::new(&dir).join(name);
        let file: Arc<dyn Source> = Arc::new(RawFile::open(&path, false).unwrap());
        let _outcome = parse(&*file).unwrap();
        view_all(file);
    }
}

/// All that a run of the child opened.
fn traced(dir: &Path, list: &[String]) -> BTreeSet<String> {
    std::fs::write(dir.join("list"), list.join("\n")).unwrap();
    let log = dir.join("log");
    let calls = "trace=open,openat,openat2,creat,connect,execve";
    let output = Command::new("strace")
        .args(["-f", "-qq", "-s", "4096", "-e", calls, "-o", path_str(&log)])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_traced", "--test-threads=1"])
        .env(CHILD, dir)
        .output()
        .expect("this test needs strace");
    assert!(output.status.success(), "{output:?}");
    // Without the number of the process and what the call gave.
    let text = std::fs::read_to_string(log).unwrap();
    let call = |line: &str| {
        let (_, call) = line.split_once(' ').unwrap();
        call.rsplit_once(" = ").map_or(call, |(call, _)| call).trim().to_owned()
    };
    text.lines().filter(|line| !line.contains("execve")).map(call).collect()
}

#[test]
fn nothing_but_the_given_file_is_opened() {
    let dir = disk_dir();
    let crafts = hostile(dir.path());
    // The image that names itself has its name.
    let names: Vec<String> = (0..crafts.len())
        .map(|at| if crafts[at].name == "itself" { "itself".into() } else { format!("{at}.img") })
        .collect();
    for (craft, name) in crafts.iter().zip(&names) {
        std::fs::write(dir.path().join(name), &craft.bytes).unwrap();
    }
    let without = traced(dir.path(), &[]);
    let with = traced(dir.path(), &names);
    let is_given = |call: &str, name: &str| {
        let path = format!("\"{}\"", path_str(&dir.path().join(name)));
        call.starts_with("open") && call.contains(&path) && call.contains("O_RDONLY")
    };
    let more: Vec<&String> = with.difference(&without).collect();
    for name in &names {
        assert!(more.iter().any(|call| is_given(call, name)), "{name} was opened");
    }
    for call in more {
        // The memory allocator of the C library looks there when it gives a heap back.
        let is_allocator = call.contains("\"/proc/sys/vm/overcommit_memory\"");
        assert!(is_allocator || names.iter().any(|name| is_given(call, name)), "{call}");
    }
}

#[test]
fn the_sound_image_is_read_whole() {
    let bytes = sound().bytes;
    let file: Arc<dyn Source> = Arc::new(Memory::new(bytes.clone()));
    let (map, guest) = divide(file.clone(), &bytes, &mut Random::new(1)).unwrap();
    assert_eq!(map.layout.data_len(), 10 * 4096);
    assert_eq!((map.compressed_count, map.has_backing), (1, false));
    let view = read_all(&raw_view(file, Path::new("x")).unwrap(), &mut Random::new(1));
    let packed = 101 * 4096..102 * 4096;
    assert!(view[packed.clone()] == packed_plain());
    assert!(guest[packed.clone()].iter().all(|byte| *byte == 0));
    assert!(
        view[..packed.start] == guest[..packed.start] && view[packed.end..] == guest[packed.end..]
    );
}

#[test]
fn the_names_of_other_files_are_those_of_the_header_and_bounded_whatever_it_says() {
    let named = |change: &dyn Fn(&mut Craft)| {
        let mut craft = sound();
        change(&mut craft);
        others(&Memory::new(craft.bytes)).unwrap()
    };
    assert_eq!(named(&|_| {}), Others::default());
    let backing = named(&|craft| {
        craft.be64(8, 512);
        craft.be32(16, 9);
        craft.put(512, b"../base\0x and more");
    });
    assert_eq!(backing, Others { backing: Some(b"../base\0x".to_vec()), data: None });
    let data = |craft: &mut Craft| {
        craft.be64(72, 4);
        // Another extension comes first.
        craft.be32(112, 7);
        craft.be32(116, 3);
        craft.put(128, b"DATA");
        craft.be32(132, 8);
        craft.put(136, b"data.raw");
    };
    assert_eq!(named(&data), Others { backing: None, data: Some(b"data.raw".to_vec()) });
    let nameless = named(&|craft| craft.be64(72, 4));
    assert_eq!(nameless, Others { backing: None, data: Some(Vec::new()) });
    let no_image = named(&|craft| {
        data(craft);
        craft.be32(0, 0);
    });
    assert_eq!(no_image, Others::default());
    let too_long = named(&|craft| {
        craft.be64(8, 512);
        craft.be32(16, 1024);
    });
    assert_eq!(too_long, Others::default());
    let dir = disk_dir();
    let mut all: Vec<Vec<u8>> = hostile(dir.path()).into_iter().map(|craft| craft.bytes).collect();
    let mut random = Random::new(5);
    all.extend((0..2000).map(|_| {
        let mut craft = sound();
        data(&mut craft);
        for _ in 0..random.below(6) + 1 {
            let (at, len) = (8 + random.below(140), random.below(8) + 1);
            let bytes = random.bytes_without_zero(len);
            craft.put(at, &bytes);
        }
        craft.bytes
    }));
    for (number, bytes) in all.into_iter().enumerate() {
        let Others { backing, data } = others(&Memory::new(bytes)).unwrap();
        let names = [backing, data];
        assert!(names.iter().flatten().all(|name| name.len() <= 1023), "{number}");
    }
}

#[test]
fn zeros_are_what_the_tables_say_is_zero() {
    let zeros = |change: &dyn Fn(&mut Craft)| {
        let mut craft = sound();
        change(&mut craft);
        match parse(&Memory::new(craft.bytes)).unwrap() {
            Outcome::Qcow2(map) => map.zero_len,
            Outcome::Opaque(doubt) => panic!("{doubt}"),
        }
    };
    assert_eq!(zeros(&|_| {}), CLUSTER);
    assert_eq!(zeros(&|craft| craft.be64(4 * CLUSTER + 8 * 200, 1)), 2 * CLUSTER);
    assert_eq!(zeros(&|craft| craft.be64(4 * CLUSTER + 8 * 100, 0)), 0);
    // The disk ends within the cluster.
    let short = |craft: &mut Craft| {
        craft.be64(24, (4 << 20) - 512);
        craft.be64(5 * CLUSTER + 8 * 511, 1);
    };
    assert_eq!(zeros(&short), 2 * CLUSTER - 512);
}
