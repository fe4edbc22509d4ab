//! What compact costs and leaves, night after night: what is compressed and copied again, what nobody needs, what is tried in
//! vain, what little time is enough for.

use std::collections::HashMap;
use std::time::Duration;

use garret_core::{ChunkSize, Compression, Key, MemoryStore};
use garret_format::config::{GROUP_LEN_MAX, KeyMode};
use garret_format::object::TAG_LEN;
use garret_format::pack::{Footer, TRAILER_LEN, decode_trailer};
use garret_random::Random;
use garret_testkit::{Lab, Recorder, chunk_size};

use super::{
    HARD, all_are, compact, compact_in, len, name, nights, options, packs, row_distance, store_all,
    stored, text,
};

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

/// Nor is he held up by what nothing comes of, wherever it stands: lz4 sees few of the versions that are far away.
#[test]
fn without_time_what_nothing_comes_of_holds_nobody_up() {
    let mut random = Random::new(21);
    let words: Vec<Vec<u8>> = (0..500).map(|_| text(&mut random, 12)).collect();
    // Of rows that are like each other lz4 makes something, of others nothing.
    let mut disks = nights(21, 3, 6 << 20);
    for disk in &mut disks {
        for _ in 0..500_000 {
            disk.extend_from_slice(&words[random.below(words.len())]);
        }
    }
    let compacted = |max_duration| {
        let (mut lab, store) = Lab::memory(KeyMode::None);
        lab.compression = Compression::Lz4;
        store_all(&lab, &disks);
        let mut options = options(Compression::Lz4, 1);
        options.max_duration = max_duration;
        let before = len(&store);
        let run = || lab.pruner().unwrap().compact(&options, &Recorder::default()).unwrap();
        // It takes some 14.
        let _last = (0..100).map(|_| run()).find(|done| !done.is_cut_short);
        before - len(&store)
    };
    let (all, some) = (compacted(None), compacted(Some(Duration::ZERO)));
    assert!(some > all / 2, "{some} of {all}");
}

/// What was stored without compression, or with little, is compressed; what gets no smaller is written once to note that,
/// also where it comes in between what is compressed already.
#[test]
fn what_was_stored_in_a_hurry_gets_small_and_noise_is_tried_once() {
    for hasty in [Compression::None, Compression::Lz4] {
        let (mut lab, store) = Lab::memory(KeyMode::None);
        lab.compression = hasty;
        let mut random = Random::new(22);
        let content = [text(&mut random, 6 << 20), random.bytes(3 << 20)].concat();
        store_all(&lab, std::slice::from_ref(&content));
        let before = len(&store);
        let planned =
            lab.reader().unwrap().plan_compact(&options(HARD, 1), &Recorder::default()).unwrap();
        compact(&lab);
        let saved = before - len(&store);
        assert!(saved > (5 << 20) / 2, "{hasty:?}: {saved} of {before}");
        assert!(planned.gain_len > saved / 2, "{hasty:?}: {saved} saved of {planned:?}");
        let after = packs(&store);
        assert_eq!(compact(&lab).group_count, 0, "{hasty:?}");
        assert_eq!(packs(&store), after);
        let mut next = content.clone();
        for at in (0..next.len() - (100 << 10)).step_by(1 << 20) {
            next[at..at + (100 << 10)].copy_from_slice(&random.bytes(100 << 10));
        }
        lab.backup_bytes(&name(1), &next).unwrap();
        compact(&lab);
        assert_eq!(compact(&lab).group_count, 0, "{hasty:?}");
        all_are(&lab, &[content, next]);
    }
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
    // What a usual gc leaves; a thorough one less, but for packs of which less than a sixteenth is waste. Short chunks make
    // it lie like that: 1.3 % of 16 KiB, 0.4 % of 64.
    let most = if chunk_size() == ChunkSize::Kib64 { 100 } else { 66 };
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
        assert!(held < needed + needed / most, "night {night}: {held} for {needed}");
    }
    assert!(lab.restore_bytes(&name(REGIONS - 1)).unwrap() == image);
}
