//! The search, held against a `BTreeMap`, with ids as they are (uniform) and as somebody who wants it to
//! fail would choose them.

use std::collections::BTreeMap;

use garret_format::RepositoryId;
use garret_format::index::{COPIES_MAX, Record};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::segment::{self, Input, Segment};
use super::super::writer::Rows;
use super::*;

type Id = [u8; 32];

const REPOSITORY: RepositoryId = RepositoryId::from_bytes([7; 32]);

/// A segment of these records in memory.
fn segment(records: &[Record]) -> Segment {
    let rows = Rows { records: records.to_vec(), ..Rows::default() };
    let tables = rows.encode();
    let input = Input::of_rows(&rows, &tables).unwrap();
    let mut bytes = Vec::new();
    segment::write(&mut bytes, REPOSITORY, &[], &[input]).unwrap();
    Segment::from_bytes(bytes, REPOSITORY).unwrap()
}

/// Every id that is there is found with all its copies, and every neighbour that is not is not.
fn check(ids: &[Id], absent: &[Id]) {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    // From one copy to the most, in no pattern that the search could know.
    let count = |id: &Id| 1 + usize::from(id[31] ^ id[7]) % COPIES_MAX;
    let copies = sorted.iter().flat_map(|id| (0..count(id)).map(|copy| (*id, copy as u32)));
    let records: Vec<Record> = copies
        .enumerate()
        .map(|(place, (id, group))| {
            let id = ChunkId::from_bytes(id);
            Record { id, group, offset: place as u32, len: 1 }
        })
        .collect();
    let (segment, mut map) = (segment(&records), BTreeMap::<Id, Vec<(u64, Record)>>::new());
    for (place, record) in records.iter().enumerate() {
        map.entry(*record.id.as_bytes()).or_default().push((place as u64, *record));
    }
    let neighbours = sorted.iter().flat_map(|id| [step(id, true), step(id, false)]);
    for id in sorted.iter().copied().chain(neighbours).chain(absent.iter().copied()) {
        let found: Vec<_> = segment.copies(&ChunkId::from_bytes(id)).collect();
        assert_eq!(found, map.get(&id).cloned().unwrap_or_default(), "{id:?}");
        assert!(segment.unread().is_none());
    }
}

/// The next id up or down, around the end.
fn step(id: &Id, up: bool) -> Id {
    let mut id = *id;
    for byte in id.iter_mut().rev() {
        let (next, over) = if up { byte.overflowing_add(1) } else { byte.overflowing_sub(1) };
        *byte = next;
        if !over {
            break;
        }
    }
    id
}

fn with_prefix(prefix: u64, rest: u64) -> Id {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&prefix.to_be_bytes());
    id[24..].copy_from_slice(&rest.to_be_bytes());
    id
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn uniform_ids(ids in vec(any::<Id>(), 0..400), absent in vec(any::<Id>(), 20)) {
        check(&ids, &absent);
    }

    #[test]
    fn ids_with_one_prefix(
        prefix: u64, rests in vec(any::<u64>(), 1..300), absent in vec(any::<Id>(), 20),
    ) {
        let ids: Vec<Id> = rests.iter().map(|rest| with_prefix(prefix, *rest)).collect();
        check(&ids, &absent);
    }

    #[test]
    fn ids_in_clusters(
        prefixes in vec(any::<u64>(), 1..5),
        members in vec((any::<prop::sample::Index>(), 0..40u64, 0..3u64), 1..300),
    ) {
        let member = |(at, near, rest): &(prop::sample::Index, u64, u64)| {
            with_prefix(prefixes[at.index(prefixes.len())].wrapping_add(*near), *rest)
        };
        let ids: Vec<Id> = members.iter().map(member).collect();
        let absent: Vec<Id> = prefixes.iter().map(|prefix| with_prefix(*prefix, 99)).collect();
        check(&ids, &absent);
    }

    /// Each id twice as far from the start as the one before: all in few places of the fan-out.
    #[test]
    fn ids_that_grow_like_powers(bits in vec((0..64u32, 0..8u64), 1..300), rest: u64) {
        let ids: Vec<Id> =
            bits.iter().map(|(bit, near)| with_prefix((1 << bit) + near, rest)).collect();
        check(&ids, &[with_prefix(0, 0), with_prefix(u64::MAX, u64::MAX)]);
    }
}

#[test]
fn extremes() {
    let (least, most) = ([0; 32], [0xff; 32]);
    let ends = [least, most];
    check(&[], &ends);
    check(&[least], &ends);
    check(&[most], &ends);
    check(&ends, &[]);
    let mut ids: Vec<Id> = (0..1000).map(|n| with_prefix(u64::MAX, n)).collect();
    ids.extend((0..1000).map(|n| with_prefix(0, n)));
    check(&ids, &ends);
    ids.push(with_prefix(1 << 63, 7));
    check(&ids, &ends);
}

/// Bytes from anywhere: the client's file is read in place and its order is not checked first.
#[test]
fn any_bytes_give_entries_within_or_none_but_always_end() {
    const COUNT: usize = 50;
    let mut random = garret_random::Random::new(7);
    for _ in 0..2000 {
        let (bits, spread) = (random.below(5) as u32, 1 + random.below(300) as u64);
        let mut bytes = bits.to_le_bytes().to_vec();
        for _ in 0..1 << bits {
            bytes.extend((random.below(COUNT + 9) as u32).to_le_bytes());
        }
        let mut id = || with_prefix((random.word() % spread).wrapping_mul(1 << 57), 0);
        for row in 0..COUNT as u32 {
            bytes.extend(prefix(&ChunkId::from_bytes(id())));
            bytes.extend(row.to_le_bytes());
        }
        let prefixes = Prefixes::open(&bytes, COUNT).unwrap();
        for _ in 0..spread {
            let found = prefixes.find(&ChunkId::from_bytes(id()));
            assert!(found.is_empty() || found.end <= COUNT, "{found:?}");
        }
        assert!(Prefixes::open(&bytes, COUNT - 1).is_err());
        assert!(Prefixes::open(&bytes[..bytes.len() - 1], COUNT).is_err());
    }
}
