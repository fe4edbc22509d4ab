//! `Tables::copies` is a search by interpolation; here it is held against a `BTreeMap`, with ids as
//! they are (uniform) and as somebody who wants it to fail would choose them.

#![allow(clippy::unwrap_used, reason = "test code, but outside of test functions")]

use std::collections::BTreeMap;

use garret_format::ChunkId;
use garret_format::index::{COPIES_MAX, Record, Tables, encode_segment};
use proptest::collection::vec;
use proptest::prelude::*;

type Id = [u8; 32];

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
    let bytes = encode_segment(&[], &[], &records);
    let (tables, rest) = Tables::open(&bytes).unwrap();
    assert!(rest.is_empty());
    let mut map: BTreeMap<Id, Vec<(u64, Record)>> = BTreeMap::new();
    for (place, record) in records.iter().enumerate() {
        map.entry(*record.id.as_bytes()).or_default().push((place as u64, *record));
    }
    let neighbours = sorted.iter().flat_map(|id| [step(id, true), step(id, false)]);
    for id in sorted.iter().copied().chain(neighbours).chain(absent.iter().copied()) {
        let found: Vec<_> = tables.copies(&ChunkId::from_bytes(id)).collect();
        assert_eq!(found, map.get(&id).cloned().unwrap_or_default(), "{id:?}");
        let first = tables.find(&ChunkId::from_bytes(id));
        assert_eq!(first, found.first().copied());
        let again = first.map(|(place, _)| (place, tables.record(place).unwrap()));
        assert_eq!(again, first, "{id:?}");
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

    /// Each id twice as far from the start as the one before: every guess by proportion is wrong.
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
fn unsorted_tables_give_an_answer_or_none_but_always_end() {
    let mut state = 7u64;
    let mut random = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        state
    };
    for _ in 0..200 {
        let records: Vec<Record> = (0..50)
            .map(|n| Record {
                id: ChunkId::from_bytes(with_prefix(random(), random() >> 60)),
                group: n,
                offset: 0,
                len: 1,
            })
            .collect();
        let bytes = encode_segment(&[], &[], &records);
        let (tables, _) = Tables::open(&bytes).unwrap();
        for record in &records {
            if let Some((place, found)) = tables.find(&record.id) {
                assert_eq!((found.id, records[place as usize]), (record.id, found));
            }
        }
    }
}
