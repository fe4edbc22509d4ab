//! Compact: versions of a place side by side, and harder compressed; whatever happens meanwhile, every archive as it was.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod alike;
mod bounds;
mod misfortune;
mod reading;

use std::collections::BTreeSet;

use garret_core::{
    Area, CompactOptions, CompactReport, Compression, CutterChoice, Key, MemoryStore, Pruner,
    Repository, Result, Store,
};
use garret_format::config::KeyMode;
use garret_format::recipe::CutterKind;
use garret_random::Random;
use garret_testkit::{Lab, Recorder, chunk_size};

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
