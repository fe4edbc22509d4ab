//! Compact: versions of a place side by side, and harder compressed; whatever happens meanwhile, every archive as it was.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use garret_core::{
    Area, CompactOptions, CompactReport, Compression, CutterChoice, Key, MemoryStore, Pruner,
    Repository, Result, Silent, Store, StoreErrorKind,
};
use garret_format::config::{GROUP_LEN_MAX, KeyMode};
use garret_format::object::TAG_LEN;
use garret_format::pack::{Footer, TRAILER_LEN, decode_trailer};
use garret_format::recipe::CutterKind;
use garret_random::Random;
use garret_testkit::{FarStore, Fault, FaultStore, Lab, PowerStore, Recorder, chunk_size};

/// Bytes that compress to half.
fn text(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| b"0123456789abcdef"[random.below(16_usize)]).collect()
}

/// Bytes of an image in which a night changes a few: half as many again as a chunk has, about.
fn row_distance() -> usize {
    100_000 * chunk_size().target() as usize / (64 << 10)
}

/// Nights of an image of which each changes a few bytes in many places.
fn nights(seed: u64, count: usize, len: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed);
    let mut image = text(&mut random, len);
    let mut nights = vec![image.clone()];
    for _ in 1..count {
        for _ in 0..len / row_distance() {
            let row = text(&mut random, 60);
            let at = random.below(len - row.len());
            image[at..at + row.len()].copy_from_slice(&row);
        }
        nights.push(image.clone());
    }
    nights
}

/// The same but for one kilobyte in four: no chunk is the same.
fn next_release(random: &mut Random, release: &[u8]) -> Vec<u8> {
    let mut next = release.to_vec();
    for piece in next.chunks_mut(4 << 10) {
        let new = text(random, piece.len() / 4);
        piece[..new.len()].copy_from_slice(&new);
    }
    next
}

fn options(compression: Compression, threads: usize) -> CompactOptions {
    let mut options = CompactOptions::default();
    (options.compression, options.threads) = (compression, threads);
    options
}

/// Zstd of a level above that of backups, which finds a version that lies megabytes behind.
const HARD: Compression = Compression::Zstd(9);

fn compact_in(session: &mut Pruner, compression: Compression) -> Result<CompactReport> {
    session.compact(&options(compression, 2), &Recorder::default())
}

fn compact(lab: &Lab) -> CompactReport {
    let recorder = Recorder::default();
    let done = lab.pruner().unwrap().compact(&options(HARD, 2), &recorder).unwrap();
    assert_eq!(recorder.problems(), [""; 0]);
    done
}

fn packs(store: &dyn Store) -> BTreeSet<(Key, u64)> {
    store.list(Area::Packs).unwrap().into_iter().collect()
}

fn len(store: &dyn Store) -> u64 {
    packs(store).iter().map(|(_, len)| len).sum()
}

/// Bytes of groups that packs hold, and what one copy of each of their chunks takes of those, the shortest, by its length.
fn held_and_needed(store: &MemoryStore) -> (u64, u64) {
    let (mut held, mut needed) = (0, HashMap::new());
    for (key, bytes) in store.objects() {
        if !matches!(key, Key::Pack(_)) {
            continue;
        }
        let trailer = &bytes[bytes.len() - TRAILER_LEN..];
        let (at, len) = decode_trailer(trailer, bytes.len() as u64).unwrap();
        let footer = &bytes[at as usize..][..len as usize - TAG_LEN];
        for group in Footer::decode(footer, GROUP_LEN_MAX).unwrap().groups {
            held += group.sealed_len();
            let plain_len: u64 = group.chunks.iter().map(|(_, len)| u64::from(*len)).sum();
            for (id, len) in &group.chunks {
                let share = group.sealed_len() * u64::from(*len) / plain_len;
                let least = needed.entry(*id).or_insert(share);
                *least = share.min(*least);
            }
        }
    }
    (held, needed.values().sum())
}

fn name(number: usize) -> String {
    format!("night-{number}")
}

fn store_all(lab: &Lab, nights: &[Vec<u8>]) {
    for (number, night) in nights.iter().enumerate() {
        lab.backup_bytes(&name(number), night).unwrap();
    }
}

fn all_are(lab: &Lab, nights: &[Vec<u8>]) {
    for (number, night) in nights.iter().enumerate() {
        assert!(lab.restore_bytes(&name(number)).unwrap() == *night, "night {number}");
    }
    lab.check();
}

fn stored(nights: &[Vec<u8>]) -> (Lab, MemoryStore) {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    store_all(&lab, nights);
    (lab, store)
}

#[test]
fn later_nights_cost_a_fraction_and_all_come_back() {
    let nights = nights(1, 8, 12 << 20);
    let first = len(&stored(&nights[..1]).1);
    for cutter in [CutterKind::Page, CutterKind::Fastcdc] {
        let (mut lab, store) = Lab::memory(KeyMode::None);
        (lab.cutter, lab.compression) = (CutterChoice::Always(cutter), HARD);
        store_all(&lab, &nights);
        let before = len(&store);
        // As hard as the backup did: what is gained comes from versions alone.
        let mut session = lab.pruner().unwrap();
        let done = compact_in(&mut session, HARD).unwrap();
        drop(session);
        let after = len(&store);
        assert!(before > 3 * first, "{cutter:?}: each night stored much, {before} after {first}");
        assert!(after < first * 5 / 4, "{cutter:?}: {after} of {before}, and {first} of one");
        assert!(done.group_count > 0 && done.gc.waiting_pack_count == 0 && !done.is_cut_short);
        all_are(&lab, &nights);
    }
}

#[test]
fn a_long_group_is_opened_once_by_who_reads_piece_by_piece() {
    const PIECE: usize = 16 << 10;
    let nights = nights(6, 2, 40 << 20);
    let memory = MemoryStore::new();
    let store = FarStore::new(memory, Duration::ZERO, 1);
    let inside = store.clone();
    let lab = Lab::over(move || Box::new(inside.clone()), KeyMode::None);
    store_all(&lab, &nights);
    let group_count = compact(&lab).group_count;
    assert!((10..=20).contains(&group_count), "{group_count} groups of 4 MiB at most");
    let repository = lab.unlocked().unwrap().keep(1).reader(&Silent).unwrap();
    let archive = repository.archive(&name(1)).unwrap();
    let item = repository.items(&archive).next().unwrap().unwrap();
    let file = repository.open_file(&item).unwrap().unwrap();
    store.requests();
    for (number, expected) in nights[1].chunks(PIECE).enumerate() {
        let mut piece = vec![0; expected.len()];
        file.read(&mut piece, (number * PIECE) as u64).unwrap();
        assert!(piece == expected, "piece {number}");
    }
    // One for each, and again for some after the recipe and its groups came between.
    let requests = store.requests();
    assert!(requests <= 4 * group_count + 10, "{requests} requests for {group_count} groups");
}

/// Of a group that somebody jumps into only the beginning is opened, and all of it when somebody comes back for more.
#[test]
fn who_jumps_and_who_walks_side_by_side_read_the_image_and_each_group_twice_at_most() {
    let nights = nights(7, 2, 24 << 20);
    let store = FarStore::new(MemoryStore::new(), Duration::ZERO, 1);
    let inside = store.clone();
    let lab = Lab::over(move || Box::new(inside.clone()), KeyMode::None);
    store_all(&lab, &nights);
    compact(&lab);
    let image = &nights[0];
    let open = || {
        let repository = lab.unlocked().unwrap().keep(1 << 30).reader(&Silent).unwrap();
        let archive = repository.archive(&name(0)).unwrap();
        let item = repository.items(&archive).next().unwrap().unwrap();
        store.requests();
        repository.open_file(&item).unwrap().unwrap()
    };
    let mut all = vec![0; image.len()];
    open().read(&mut all, 0).unwrap();
    assert!(all == *image);
    let once = store.requests();
    let file = open();
    let read = |offset: usize, len: usize| {
        let expected = &image[offset..image.len().min(offset + len)];
        let mut piece = vec![0xee; expected.len()];
        file.read(&mut piece, offset as u64).unwrap();
        assert!(piece == expected, "{len} bytes at {offset}");
    };
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let read = &read;
            scope.spawn(move || {
                let mut random = Random::new(seed);
                let mut at = 0;
                for _ in 0..300 {
                    match random.below(3_usize) {
                        0 => read(random.below(image.len()), 1 + random.below(64_usize << 10)),
                        1 => read(random.below(image.len()), 1 + random.below(1_usize << 20)),
                        _ => {
                            let len = 1 + random.below(128_usize << 10);
                            read(at, len);
                            at = (at + len) % image.len();
                        }
                    }
                }
            });
        }
    });
    let mixed = store.requests();
    assert!(mixed <= 2 * once, "{mixed} requests, and {once} for all in order");
}

#[test]
fn done_again_it_changes_nothing_and_a_new_night_changes_what_it_touches() {
    let mut nights = nights(2, 5, 24 << 20);
    let (lab, store) = stored(&nights);
    let planned = lab.reader().unwrap().plan_compact(&options(HARD, 1), &Recorder::default());
    let done = compact(&lab);
    let planned = planned.unwrap();
    // What is left of what was there may be worth some more.
    let most = planned.plain_len + planned.plain_len / 8;
    assert!((planned.plain_len..most).contains(&done.plain_len), "{planned:?}, {done:?}");
    assert!(done.group_count >= planned.group_count, "{planned:?}, {done:?}");
    let before = packs(&store);
    assert_eq!(compact(&lab).group_count, 0);
    assert_eq!(packs(&store), before);
    // What little a night adds here and there is not worth it to touch what is there; what changes a stretch wholly is.
    let mut next = nights.last().unwrap().clone();
    let mut random = Random::new(3);
    for at in (0..2 << 20).step_by(row_distance() / 5 * 2) {
        let row = text(&mut random, 60);
        next[at..at + row.len()].copy_from_slice(&row);
    }
    nights.push(next);
    lab.backup_bytes(&name(5), &nights[5]).unwrap();
    let again = compact(&lab);
    assert!(again.group_count > 0 && again.plain_len < 14 << 20, "{again:?}");
    assert_eq!(compact(&lab).group_count, 0);
    all_are(&lab, &nights);
}

#[test]
fn any_number_of_threads_does_the_same_and_every_codec_comes_back() {
    let nights = nights(4, 3, 3 << 20);
    for compression in
        [Compression::Lzma(1), Compression::Lz4, Compression::None, Compression::Zstd(9)]
    {
        let lens: Vec<u64> = [1, 3]
            .map(|threads| {
                let (mut lab, store) = Lab::memory(KeyMode::None);
                lab.compression = Compression::Zstd(-7);
                store_all(&lab, &nights);
                lab.threads = threads;
                let recorder = Recorder::default();
                let mut session = lab.pruner().unwrap();
                session.compact(&options(compression, threads), &recorder).unwrap();
                drop(session);
                all_are(&lab, &nights);
                len(&store)
            })
            .into();
        // Of groups that are alike in all else the one with the lower name is preferred, and names are random.
        assert!(lens[0].abs_diff(lens[1]) < lens[0] / 100, "{compression:?}: {lens:?}");
    }
}

/// Killed, and with a power cut after that, at every operation of the store.
#[test]
fn killed_at_any_moment_it_costs_its_own_work_only() {
    let nights = nights(5, 3, 1 << 20);
    let (lab, store) = {
        let power = PowerStore::new();
        let shared = power.clone();
        (Lab::over(move || Box::new(shared.clone()), KeyMode::None), power)
    };
    store_all(&lab, &nights);
    lab.delete(&name(1)).unwrap();
    store.sync().unwrap();
    let kept = [(0, &nights[0]), (2, &nights[2])];
    let objects = store.after_kill();
    let mut after = 0;
    loop {
        for cut in [None, Some(after), Some(!after)] {
            let power = PowerStore::from_objects(objects.clone());
            let fault = FaultStore::new(power.clone());
            let shared = fault.clone();
            let victim = lab.with_store(move || Box::new(shared.clone()));
            let mut session = victim.pruner().unwrap();
            let (verbs, times) = (Vec::new(), Fault::FOR_GOOD);
            fault.arm(Fault { verbs, after, times, kind: StoreErrorKind::Other });
            let done = compact_in(&mut session, HARD);
            drop(session);
            if fault.fired() == 0 {
                done.unwrap();
                assert!(after > 20, "{after} operations are none");
                return;
            }
            let left = match cut {
                None => power.after_kill(),
                Some(seed) => power.after_random_power_cut(seed),
            };
            let power = PowerStore::from_objects(left);
            let heir = lab.with_store(move || Box::new(power.clone()));
            for (number, night) in kept {
                assert!(heir.restore_bytes(&name(number)).unwrap() == *night, "operation {after}");
            }
            compact(&heir);
            assert_eq!(compact(&heir).group_count, 0, "operation {after}");
            for (number, night) in kept {
                assert!(heir.restore_bytes(&name(number)).unwrap() == *night, "operation {after}");
            }
            heir.check();
        }
        after += 1;
    }
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let nights = nights(6, 4, 4 << 20);
    let (lab, store) = stored(&nights);
    let before = packs(&store);
    let fault = FaultStore::new(store.clone());
    let shared = fault.clone();
    let full = lab.with_store(move || Box::new(shared.clone()));
    let mut session = full.pruner().unwrap();
    let verbs = vec![garret_testkit::Verb::Put];
    fault.arm(Fault { verbs, after: 0, times: Fault::FOR_GOOD, kind: StoreErrorKind::NoSpace });
    let error = compact_in(&mut session, HARD).unwrap_err();
    assert_eq!(error.cause(), garret_core::Cause::Full);
    drop(session);
    assert_eq!(packs(&store), before);
    all_are(&lab, &nights);
}

/// Who began before goes on with what he knows: old copies wait for him.
#[test]
fn sessions_beside_it_go_on() {
    let nights = nights(7, 4, 4 << 20);
    let (lab, store) = stored(&nights[..3]);
    let mut writer = lab.writer().unwrap();
    let reader = lab.reader().unwrap();
    let done = compact(&lab);
    assert!(done.gc.waiting_pack_count > 0 && done.gc.deleted_pack_count == 0, "{done:?}");
    for (number, night) in nights[..3].iter().enumerate() {
        let archive = reader.archive(&name(number)).unwrap();
        assert!(lab.restore_from(&reader, &archive).unwrap() == *night, "night {number}");
    }
    let stream = Box::new(std::io::Cursor::new(nights[3].clone()));
    let input = garret_core::Input::Stream { name: b"image".to_vec(), reader: stream };
    writer.backup(&name(3), vec![input], &lab.options(), &Recorder::default()).unwrap();
    let full = len(&store);
    drop((writer, reader));
    all_are(&lab, &nights);
    let done = compact(&lab);
    assert!(done.gc.waiting_pack_count == 0 && len(&store) < full / 2 + full / 4, "{done:?}");
    all_are(&lab, &nights);
}

/// What cannot be read stays where it is, and is told of; the rest is done.
#[test]
fn damage_stays_where_it_is() {
    let nights = nights(8, 3, 10 << 20);
    let (lab, store) = stored(&nights);
    let (pack, bytes) = {
        let largest = packs(&store).into_iter().max_by_key(|(_, len)| *len).unwrap();
        (largest.0.clone(), store.get(&largest.0, 0..largest.1).unwrap())
    };
    let mut damaged = bytes.clone();
    damaged[100_000] ^= 1;
    store.put(&pack, &[&damaged]).unwrap();
    let recorder = Recorder::default();
    let mut session = lab.pruner().unwrap();
    let done = session.compact(&options(HARD, 2), &recorder).unwrap();
    drop(session);
    assert!(done.group_count > 0 && done.gc.problem_count > 0);
    assert!(recorder.problems().iter().any(|text| text.contains(&pack.to_string())));
    // It is there still, so that what is intact of it can be used; put right, nothing is lost.
    store.put(&pack, &[&bytes]).unwrap();
    all_are(&lab, &nights);
}

/// Versions that nobody needs stay beside the one that stays until they are half of their groups; then all of them go.
#[test]
fn a_prune_does_not_write_everything_anew_for_old_versions() {
    let nights = nights(12, 6, 8 << 20);
    let (lab, store) = stored(&nights);
    compact(&lab);
    lab.delete(&name(0)).unwrap();
    let done = lab.gc().unwrap();
    // What goes is the list of that night.
    assert!(done.repacked_bytes == 0 && done.deleted_pack_bytes < 50_000, "{done:?}");
    for number in 1..5 {
        lab.delete(&name(number)).unwrap();
    }
    let mut options = lab.gc_options();
    options.compression = None;
    lab.pruner().unwrap().gc(&options, &Recorder::default()).unwrap();
    let (alone, of_one) = Lab::memory(KeyMode::Passphrase);
    alone.backup_bytes("one", &nights[5]).unwrap();
    assert!(len(&store) < len(&of_one) * 11 / 10, "{} and {}", len(&store), len(&of_one));
    assert!(lab.restore_bytes(&name(5)).unwrap() == nights[5]);
    lab.check();
    assert_eq!(compact(&lab).group_count, 0);
}

/// Files of all sizes, of two hosts, that come, change and go.
#[test]
fn trees_of_many_files_come_back() {
    let mut random = Random::new(9);
    let dir = tempfile::tempdir().unwrap();
    let (lab, store) = Lab::memory(KeyMode::None);
    let mut trees = Vec::new();
    for night in 0..4 {
        for number in 0..150 {
            let path = dir.path().join(format!("{}/f{number}", number % 7));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let old = std::fs::read(&path).unwrap_or_default();
            match random.below(6) {
                0 => drop(std::fs::remove_file(&path)),
                1 | 2 if !old.is_empty() => {
                    let mut new = old;
                    let at = random.below(new.len());
                    new.insert(at, b'!');
                    std::fs::write(&path, new).unwrap();
                }
                _ if night > 0 => {}
                _ => {
                    let len = [10, 3000, 40_000, 300_000][random.below(4_usize)];
                    std::fs::write(&path, text(&mut random, len)).unwrap();
                }
            }
        }
        let mut options = lab.options();
        options.host = format!("host-{}", night % 2);
        let input = garret_core::Input::Path(dir.path().to_owned());
        let mut writer = lab.writer().unwrap();
        writer.backup(&name(night), vec![input], &options, &Recorder::default()).unwrap();
        trees.push(contents(dir.path(), dir.path()));
    }
    let before = len(&store);
    assert!(compact(&lab).group_count > 1);
    assert!(len(&store) < before);
    assert_eq!(compact(&lab).group_count, 0);
    for (number, tree) in trees.iter().enumerate() {
        let to = tempfile::tempdir().unwrap();
        lab.restore_to(&name(number), to.path(), &lab.restore_options()).unwrap();
        let root = to.path().join(dir.path().strip_prefix("/").unwrap());
        assert_eq!(contents(&root, &root), *tree, "night {number}");
    }
    lab.check();
}

type Contents = std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>;

fn contents(root: &std::path::Path, directory: &std::path::Path) -> Contents {
    let mut found = Contents::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(contents(root, &path)),
            false => {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path.strip_prefix(root).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}

/// Whoever gives it too little time each night gets on, group by group.
#[test]
fn without_time_one_group_is_written_in_each_run() {
    let nights = nights(10, 3, 6 << 20);
    let (lab, _) = stored(&nights);
    let mut options = options(HARD, 1);
    options.max_duration = Some(Duration::ZERO);
    let run = || lab.pruner().unwrap().compact(&options, &Recorder::default()).unwrap();
    let mut runs = 0;
    loop {
        let done = run();
        assert!(done.group_count == 1 || runs > 0, "{done:?}");
        if !done.is_cut_short {
            break;
        }
        runs += 1;
        assert!(runs < 20, "{done:?}");
    }
    assert!(runs > 1, "{runs}");
    assert_eq!(compact(&lab).group_count, 0);
    all_are(&lab, &nights);
}

/// What has nothing in common with the version before it is tried once, and comes back in full when it is deleted.
#[test]
fn what_has_nothing_in_common_is_left_alone() {
    let (lab, store) = Lab::memory(KeyMode::None);
    let mut random = Random::new(13);
    let mut nights: Vec<Vec<u8>> = Vec::new();
    let mut rewritten = Vec::new();
    for night in 0..6 {
        nights.push(random.bytes(3 << 20));
        lab.backup_bytes(&name(night), &nights[night]).unwrap();
        rewritten.push(compact(&lab).plain_len);
    }
    assert!(rewritten.iter().sum::<u64>() <= 18 << 20, "{rewritten:?} of 18 MiB");
    all_are(&lab, &nights);
    let before = len(&store);
    for night in 0..3 {
        lab.delete(&name(night)).unwrap();
        lab.gc().unwrap();
    }
    assert!(len(&store) < before * 6 / 10, "{} of {before}", len(&store));
    assert!(lab.restore_bytes(&name(5)).unwrap() == nights[5]);
    lab.check();
}

/// Encrypted disks of which a night writes some anew, compressed as hard by the backup: much is expected, nothing gained, and
/// it ends.
#[test]
fn what_gets_no_smaller_is_tried_and_left() {
    let (mut lab, store) = Lab::memory(KeyMode::None);
    lab.compression = HARD;
    let mut random = Random::new(18);
    let mut nights = vec![random.bytes(8 << 20)];
    for count in [16, 32, 16] {
        let mut image = nights.last().unwrap().clone();
        for _ in 0..count {
            let at = random.below(image.len() >> 14) << 14;
            image[at..at + (16 << 10)].copy_from_slice(&random.bytes(16 << 10));
        }
        nights.push(image);
    }
    store_all(&lab, &nights);
    let before = len(&store);
    compact(&lab);
    assert!(len(&store) <= before, "{} of {before}", len(&store));
    assert_eq!(compact(&lab).group_count, 0);
    all_are(&lab, &nights);
}

/// A codec that is weaker than the one before makes nothing longer.
#[test]
fn a_weak_codec_makes_nothing_longer() {
    let nights = nights(14, 3, 4 << 20);
    for weak in [Compression::None, Compression::Lz4, Compression::Zstd(1)] {
        let (mut lab, store) = Lab::memory(KeyMode::None);
        lab.compression = Compression::Zstd(5);
        store_all(&lab, &nights);
        let before = len(&store);
        compact_in(&mut lab.pruner().unwrap(), weak).unwrap();
        assert!(len(&store) < before, "{weak:?}: {} of {before}", len(&store));
        all_are(&lab, &nights);
    }
}

/// Night after night, each byte is compressed a few times and no more.
#[test]
fn what_is_compressed_again_is_bounded() {
    let nights = nights(15, 24, 4 << 20);
    let (lab, store) = Lab::memory(KeyMode::None);
    let (mut compressed, mut copied, mut new) = (0, 0, 0);
    for (number, night) in nights.iter().enumerate() {
        new += lab.backup_bytes(&name(number), night).unwrap().written.chunk_bytes;
        let done = compact(&lab);
        compressed += done.plain_len;
        copied += done.gc.repacked_bytes;
    }
    assert!(compressed < new * 6, "{compressed} for {new}");
    assert!(copied < new, "{copied} for {new}");
    let first = len(&stored(&nights[..1]).1);
    assert!(len(&store) < first * 5 / 2, "{} of {first}", len(&store));
    all_are(&lab, &nights);
}

/// Of what lies in one pack with what goes on changing a part moves each night: less than is worth copying for, but not for
/// ever.
#[test]
fn what_nobody_needs_is_given_back_however_little_it_is_each_night() {
    const REGION: usize = 512 << 10;
    const REGIONS: usize = 12;
    let mut random = Random::new(19);
    let mut image = text(&mut random, REGION * REGIONS);
    image.extend(random.bytes(50 << 20));
    let (lab, store) = Lab::memory(KeyMode::None);
    for night in 0..REGIONS {
        for region in [0, night] {
            for _ in 0..REGION / row_distance() {
                let row = text(&mut random, 60);
                let at = region * REGION + random.below(REGION - row.len());
                image[at..at + row.len()].copy_from_slice(&row);
            }
        }
        lab.backup_bytes(&name(night), &image).unwrap();
        compact(&lab);
        let (held, needed) = held_and_needed(&store);
        assert!(held < needed + needed / 40, "night {night}: {held} for {needed}");
    }
    assert!(lab.restore_bytes(&name(REGIONS - 1)).unwrap() == image);
}

/// Two releases of the same, with a disk between them: the later costs what is new in it.
#[test]
fn what_is_alike_and_far_apart_comes_together() {
    const LEN: usize = 6 << 20;
    let [alone, alike] = [false, true].map(|is_alike| {
        let mut random = Random::new(17);
        let first = text(&mut random, LEN);
        let between = text(&mut random, 2 * LEN);
        let other = text(&mut random, LEN);
        let second = if is_alike { next_release(&mut random, &first) } else { other };
        let image = [first, between, second].concat();
        let (lab, store) = Lab::memory(KeyMode::None);
        store_all(&lab, std::slice::from_ref(&image));
        compact(&lab);
        all_are(&lab, &[image]);
        len(&store) as usize
    });
    // The text takes half of its length. Of that three quarters are there already; to say where takes something, too.
    assert!(alike + LEN / 2 / 2 < alone, "{alike} and {alone}");
}

/// Releases that come and go, with rows that change: whatever compact brought together stays as it is until it is touched.
#[test]
fn what_came_together_stays_until_it_is_touched() {
    for seed in 0..3 {
        let mut random = Random::new(seed);
        let (lab, store) = Lab::memory(KeyMode::Passphrase);
        let mut image = text(&mut random, 6 << 20);
        let (mut kept, mut compressed, mut copied, mut new) = (Vec::new(), 0, 0, 0);
        for night in 0..6 {
            match random.below(3) {
                0 => {
                    let release = next_release(&mut random, &image[..2 << 20]);
                    let at = random.below(image.len() >> 16) << 16;
                    image.splice(at..at, release);
                }
                1 => {
                    let at = random.below(image.len() - (1 << 20));
                    let next = next_release(&mut random, &image[at..at + (1 << 20)]);
                    image[at..at + next.len()].copy_from_slice(&next);
                }
                _ => {
                    for _ in 0..image.len() / row_distance() {
                        let row = text(&mut random, 60);
                        let at = random.below(image.len() - row.len());
                        image[at..at + row.len()].copy_from_slice(&row);
                    }
                }
            }
            new += lab.backup_bytes(&name(night), &image).unwrap().written.chunk_bytes;
            kept.push((night, image.clone()));
            if random.below(4) == 0 {
                let (gone, _) = kept.remove(random.below(kept.len()));
                lab.delete(&name(gone)).unwrap();
            }
            let done = compact(&lab);
            compressed += done.plain_len;
            copied += done.gc.repacked_bytes;
            let before = packs(&store);
            assert_eq!(compact(&lab).group_count, 0, "seed {seed}, night {night}");
            assert_eq!(packs(&store), before, "seed {seed}, night {night}");
            for (night, image) in &kept {
                assert!(lab.restore_bytes(&name(*night)).unwrap() == *image, "seed {seed}");
            }
        }
        assert!(compressed < new * 2, "seed {seed}: {compressed} for {new}");
        assert!(copied < new * 2, "seed {seed}: {copied} for {new}");
        lab.check();
    }
}

/// Only so many archives are walked side by side; the older ones are seen to by themselves.
#[test]
fn more_archives_than_are_walked_at_once_come_back() {
    let nights = nights(16, 70, 1 << 20);
    let (lab, store) = stored(&nights);
    let before = len(&store);
    let done = compact(&lab);
    assert!(
        done.group_count >= 2 && len(&store) < before / 4,
        "{done:?}: {} of {before}",
        len(&store)
    );
    all_are(&lab, &nights);
    assert_eq!(compact(&lab).group_count, 0);
    // The newest of the older ones is among the others when as many have gone.
    (0..30).for_each(|number| lab.delete(&name(69 - number)).unwrap());
    compact(&lab);
    all_are(&lab, &nights[..40]);
}

/// A reader plans without a lock that keeps others away.
#[test]
fn a_plan_writes_nothing() {
    let (lab, store) = stored(&nights(11, 3, 2 << 20));
    let reader: Repository = lab.reader().unwrap();
    let before = packs(&store);
    let planned = reader.plan_compact(&options(HARD, 1), &Recorder::default()).unwrap();
    assert!(planned.gain_len > 0 && planned.gain_len < planned.stored_len, "{planned:?}");
    assert_eq!(packs(&store), before);
}
