//! Who reads what compact wrote: each long group is opened once, or little more often.

use std::time::Duration;

use garret_core::{MemoryStore, Silent};
use garret_format::config::KeyMode;
use garret_random::Random;
use garret_testkit::{FarStore, Lab};

use super::{compact, name, nights, store_all};

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
