//! A disk without a free byte: what is deleted gives its space back all the same, a pack at a time if there is no other
//! way, and nothing that is needed is lost; also when it breaks off.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which say their counts"
)]

use std::collections::BTreeMap;
use std::io;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use garret_core::{
    Cause, ChunkSize, CompactOptions, Compression, Key, MemoryStore, Store, StoreError,
};
use garret_format::config::{Config, KeyMode};
use garret_testkit::{Fault, FaultStore, Image, Lab, Random, chunk_size};

/// A store on a disk of blocks.
#[derive(Clone)]
struct SmallDisk {
    inner: MemoryStore,
    blocks: Arc<AtomicU64>,
}

const BLOCK_LEN: u64 = 4096;

fn blocks(len: u64) -> u64 {
    len.div_ceil(BLOCK_LEN)
}

impl SmallDisk {
    fn used(&self) -> u64 {
        self.inner.objects().values().map(|bytes| blocks(bytes.len() as u64)).sum()
    }

    fn fits(&self, len: usize, key: &Key) -> Result<(), StoreError> {
        match self.used() + blocks(len as u64) <= self.blocks.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(StoreError::new("write", key, io::ErrorKind::StorageFull.into())),
        }
    }
}

impl Store for SmallDisk {
    garret_testkit::through!(inner: get, len, list, delete, adopt, sync, sweep, lock, pass_over);
    garret_testkit::through!(inner: doubtful, has_sessions, notices, place);

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.fits(parts.iter().map(|part| part.len()).sum(), key)?;
        self.inner.put(key, parts)
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.fits(bytes.len(), key)?;
        self.inner.put_new(key, bytes)
    }
}

/// A repository that fills its disk, and what its archives hold.
struct Filled {
    lab: Lab,
    disk: SmallDisk,
    contents: BTreeMap<String, Vec<u8>>,
}

fn filled(seed: u64) -> Filled {
    let mut random = Random::new(seed);
    let (lab, inner) = Lab::memory(KeyMode::None);
    let disk = SmallDisk { inner, blocks: Arc::new(AtomicU64::new(u64::MAX)) };
    let shared = disk.clone();
    let mut lab = lab.with_store(move || Box::new(shared.clone()));
    lab.compression = Compression::None;
    let mut image = Image::noise(seed, 1_500_000 + random.below(1_500_000));
    let mut contents = BTreeMap::new();
    for night in 0..4 + random.below(4) as u64 {
        for _ in 0..random.below(12) {
            image.mutate(random.below(1 << 30) as u64);
        }
        let name = format!("n{night}");
        lab.backup_bytes(&name, &image.bytes).unwrap();
        contents.insert(name, image.bytes.clone());
    }
    disk.blocks.store(disk.used(), Ordering::Relaxed);
    Filled { lab, disk, contents }
}

impl Filled {
    /// Deletes some archives at random, one at least; one is left at least.
    fn delete_some(&mut self, random: &mut Random) {
        let names: Vec<String> = self.contents.keys().cloned().collect();
        for (place, name) in names.iter().enumerate() {
            let is_doomed = place == 0 || random.below(2) == 0;
            if is_doomed && self.contents.len() > 1 {
                self.lab.delete(name).unwrap();
                self.contents.remove(name);
            }
        }
    }

    fn nothing_is_lost(&self, when: &str) {
        for (name, bytes) in &self.contents {
            assert!(self.lab.restore_bytes(name).unwrap() == *bytes, "{when}: {name}");
        }
        self.lab.check();
    }

    /// Bytes of packs that a gc would give back if there were room for it.
    fn dead(&self) -> u64 {
        let plan = self.lab.reader().unwrap().plan_gc(&[], 1, &garret_core::Silent).unwrap();
        plan.freed_bytes()
    }
}

#[test]
fn what_is_deleted_gives_its_space_back_without_a_free_byte() {
    let (mut freed, mut dead, mut refused) = (0, 0, 0);
    for seed in 0..30 {
        let mut filled = filled(seed);
        filled.delete_some(&mut Random::new(seed));
        let (before, wanted) = (filled.disk.used(), filled.dead());
        match filled.lab.gc_reporting() {
            Ok((_, problems)) => assert_eq!(problems, [""; 0], "seed {seed}"),
            Err(error) => {
                assert_eq!(error.cause(), Cause::Full, "seed {seed}: {error}");
                refused += 1;
            }
        }
        filled.nothing_is_lost(&format!("seed {seed}"));
        assert!(filled.disk.used() <= before, "seed {seed}: it is not fuller than before");
        freed += (before - filled.disk.used()) * BLOCK_LEN;
        dead += wanted;
        // With room everything goes.
        filled.disk.blocks.store(u64::MAX, Ordering::Relaxed);
        filled.lab.gc().unwrap();
        filled.nothing_is_lost(&format!("seed {seed}, with room"));
    }
    println!("{freed} of {dead} dead bytes given back, {refused} of 30 had no room for all of it");
    // Of shorter chunks the index takes more of what little there is.
    let (least, most) = if chunk_size() == ChunkSize::Kib64 { (85, 10) } else { (70, 20) };
    assert!(freed * 100 >= dead * least && refused <= most, "{freed} of {dead}, {refused}");
}

/// Compact needs room for what it writes before the old copies go: with little it goes on in small steps, with too little
/// the disk is no fuller than before, but for the blocks of an index that was made anew.
#[test]
fn a_compact_with_little_room_goes_on_in_small_steps() {
    let (lab, inner) = Lab::memory(KeyMode::None);
    let disk = SmallDisk { inner, blocks: Arc::new(AtomicU64::new(u64::MAX)) };
    let shared = disk.clone();
    let lab = lab.with_store(move || Box::new(shared.clone()));
    // Packs that are small beside the image, as those of 32 MiB are.
    let mut config = Config::decode(&disk.inner.objects()[&Key::Config]).unwrap();
    (config.group_len, config.pack_len) = (1 << 20, 1 << 20);
    for key in [Key::Config, Key::ConfigCopy] {
        disk.inner.put(&key, &[&config.encode()]).unwrap();
    }
    let mut random = Random::new(1);
    let mut digits =
        |len: usize| (0..len).map(|_| b"0123456789abcdef"[random.below(16_usize)]).collect();
    let mut image: Vec<u8> = digits(40 << 20);
    let mut nights = vec![image.clone()];
    for night in 0..3 {
        for place in 0..400 {
            let row: Vec<u8> = digits(60);
            let at = place * 100_003 + night * 20_011;
            image[at..at + row.len()].copy_from_slice(&row);
        }
        nights.push(image.clone());
    }
    for (number, night) in nights.iter().enumerate() {
        lab.backup_bytes(&format!("n{number}"), night).unwrap();
    }
    let mut options = CompactOptions::default();
    options.compression = Compression::Zstd(9);
    let compact = |free: u64| {
        let inner = MemoryStore::from_objects(disk.inner.objects());
        let blocks = Arc::new(AtomicU64::new(disk.used() + free));
        let small = SmallDisk { inner, blocks };
        let shared = small.clone();
        let lab = lab.with_store(move || Box::new(shared.clone()));
        let done = lab.pruner().unwrap().compact(&options, &garret_core::Silent);
        for (number, night) in nights.iter().enumerate() {
            assert!(lab.restore_bytes(&format!("n{number}")).unwrap() == *night, "{free}");
        }
        lab.check();
        (done, small.used())
    };
    let full = disk.used();
    let (done, with_room) = compact(u64::MAX / 2);
    let least = done.unwrap().written_len / BLOCK_LEN;
    println!("{full} blocks, {with_room} with room, {least} written");
    for part in [2, 4, 8] {
        let (done, used) = compact(least / part);
        assert!(done.is_ok() && used < with_room * 9 / 8, "{part}: {done:?}, {used} of {full}");
    }
    let (done, used) = compact(least / 32);
    assert_eq!(done.unwrap_err().cause(), Cause::Full);
    assert!(used <= full + 8, "{used} of {full}");
}

/// Many small packs are merged where there is room; where there is some and not enough, that comes to an end.
#[test]
fn small_packs_that_have_no_room_to_be_merged_stay_small() {
    for free in [0, 60, 400, 800, 1600, 2400] {
        let (lab, inner) = Lab::memory(KeyMode::None);
        let disk = SmallDisk { inner, blocks: Arc::new(AtomicU64::new(u64::MAX)) };
        let shared = disk.clone();
        let mut lab = lab.with_store(move || Box::new(shared.clone()));
        lab.compression = Compression::None;
        let images: Vec<Vec<u8>> =
            (0..10).map(|seed| Image::noise(seed, 1_000_000).bytes).collect();
        for (number, image) in images.iter().enumerate() {
            lab.backup_bytes(&format!("x{number}"), image).unwrap();
        }
        let kept: Vec<u8> = images.iter().flat_map(|image| &image[..600_000]).copied().collect();
        lab.backup_bytes("kept", &kept).unwrap();
        disk.blocks.store(disk.used() + free, Ordering::Relaxed);
        (0..10).for_each(|number| lab.delete(&format!("x{number}")).unwrap());
        let collected = lab.gc_reporting();
        let is_little = free <= 60 && chunk_size() != ChunkSize::Kib64;
        assert!(collected.is_ok() || free == 0 || is_little, "{free} blocks free: {collected:?}");
        assert!(lab.restore_bytes("kept").unwrap() == kept, "{free} blocks free");
        lab.check();
    }
}

/// Of a pack without its footer the index may know what nobody else does: it stays, also where it takes the last room.
#[test]
fn an_index_that_alone_knows_what_a_damaged_pack_holds_is_not_given_up() {
    for repairs in [false, true] {
        let (lab, inner) = Lab::memory(KeyMode::None);
        let disk = SmallDisk { inner: inner.clone(), blocks: Arc::new(AtomicU64::new(u64::MAX)) };
        let shared = disk.clone();
        let mut lab = lab.with_store(move || Box::new(shared.clone()));
        lab.compression = Compression::None;
        let kept = Image::noise(1, 5_000_000).bytes;
        lab.backup_bytes("kept", &kept).unwrap();
        let packs: Vec<Key> =
            inner.objects().into_keys().filter(|key| matches!(key, Key::Pack(_))).collect();
        let segments: Vec<Key> =
            inner.objects().into_keys().filter(|key| matches!(key, Key::Index(_))).collect();
        lab.backup_bytes("other", &Image::noise(2, 900_000).bytes).unwrap();
        for pack in &packs {
            let mut bytes = inner.objects()[pack].clone();
            let len = bytes.len();
            bytes[24..40].fill(7);
            bytes[len - 200..].fill(7);
            inner.put(pack, &[&bytes]).unwrap();
        }
        if repairs {
            let is_other = |key: &&Key| matches!(key, Key::Index(_)) && !segments.contains(key);
            let other = inner.objects().into_keys().find(|key| is_other(&key)).unwrap();
            let mut bytes = inner.objects()[&other].clone();
            bytes[100] ^= 1;
            inner.put(&other, &[&bytes]).unwrap();
        }
        let lost = || {
            let (report, problems) = lab.check_reporting(true).unwrap();
            assert_eq!(report.incomplete.len(), 1, "{problems:?}");
            problems.into_iter().find(|line| line.contains("backups/kept")).unwrap()
        };
        let before = lost();
        disk.blocks.store(disk.used(), Ordering::Relaxed);
        match repairs {
            true => assert!(lab.exclusive().unwrap().repair(1, &garret_core::Silent).is_err()),
            false => {
                lab.delete("other").unwrap();
                drop(lab.gc_reporting());
            }
        }
        assert_eq!(lost(), before, "what could be read can be read");
        disk.blocks.store(u64::MAX, Ordering::Relaxed);
        lab.exclusive().unwrap().repair(1, &garret_core::Silent).unwrap();
        assert_eq!(lost(), before, "and after a repair that has room");
    }
}

#[test]
fn a_gc_on_a_full_disk_that_breaks_off_loses_nothing() {
    for seed in [1, 4] {
        let mut after = 0;
        loop {
            let mut filled = filled(seed);
            filled.delete_some(&mut Random::new(seed));
            let store = FaultStore::new(filled.disk.clone());
            let inside = store.clone();
            let lab = filled.lab.with_store(move || Box::new(inside.clone()));
            let kind = garret_core::StoreErrorKind::Other;
            store.arm(Fault { verbs: Vec::new(), after, times: Fault::FOR_GOOD, kind });
            let broken = lab.gc_reporting();
            let is_through = store.fired() == 0;
            filled.nothing_is_lost(&format!("seed {seed}, operation {after}"));
            drop(broken);
            if is_through {
                break;
            }
            after += 3;
        }
    }
}
