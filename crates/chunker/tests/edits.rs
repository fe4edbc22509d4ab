//! What an edit of the stream costs: how many chunks change, and how soon the cuts meet again.

mod common;

use std::collections::HashSet;

use common::{Random, chunks, cutter, pieces};
use garret_chunker::{Cutter, PAGE, Sizes};

const LEN: usize = 12 << 20;

fn default_cutter(page: bool) -> Cutter {
    cutter(page, None, Sizes::default())
}

/// The cuts of a stream without zero runs, the end included.
fn cuts(cutter: &Cutter, stream: &[u8]) -> Vec<usize> {
    chunks(&pieces(cutter, stream), stream).iter().map(|(at, bytes)| at + bytes.len()).collect()
}

/// Chunks of `after` that are not in `before`, by content.
fn new_chunks(cutter: &Cutter, before: &[u8], after: &[u8]) -> usize {
    let (old_pieces, new_pieces) = (pieces(cutter, before), pieces(cutter, after));
    let old: HashSet<&[u8]> = chunks(&old_pieces, before).iter().map(|chunk| chunk.1).collect();
    chunks(&new_pieces, after).iter().filter(|chunk| !old.contains(chunk.1)).count()
}

/// The cuts before the edit stay; from 8 maximum chunks behind the edit on they are the same again,
/// `shift` bytes later. `edit..edit + len` is what differs in `after`.
fn assert_cuts_meet(cutter: &Cutter, before: &[u8], after: &[u8], edit: (usize, usize)) {
    let shift = after.len() - before.len();
    let (old, new) = (cuts(cutter, before), cuts(cutter, after));
    let untouched = |cuts: &[usize]| -> Vec<usize> {
        cuts.iter().copied().filter(|&cut| cut < edit.0).collect()
    };
    assert_eq!(untouched(&old), untouched(&new));
    let meet = edit.0 + edit.1 + 8 * cutter.sizes().max();
    let old: Vec<usize> = old.iter().map(|cut| cut + shift).filter(|&cut| cut >= meet).collect();
    let new: Vec<usize> = new.into_iter().filter(|&cut| cut >= meet).collect();
    assert_eq!(old, new);
    assert!(old.len() > 10, "the stream is too short to tell");
}

/// A cut before an edit cannot know of it: the page cutter looks at the page behind the cut only,
/// FastCDC at one byte. Behind the edit both streams see the same candidates and soon meet.
#[test]
fn overwriting_one_page_changes_few_chunks() {
    for page in [true, false] {
        let cutter = default_cutter(page);
        let before = Random::new(1).bytes(LEN);
        for round in 0..12 {
            let mut random = Random::new(100 + round);
            let at = random.below(LEN / PAGE / 2) * PAGE;
            let mut after = before.clone();
            after[at..at + PAGE].copy_from_slice(&random.bytes(PAGE));
            assert_cuts_meet(&cutter, &before, &after, (at, PAGE));
            let new = new_chunks(&cutter, &before, &after);
            assert!((1..=12).contains(&new), "{new} new chunks");
        }
    }
}

#[test]
fn inserting_pages_changes_few_chunks() {
    for page in [true, false] {
        let cutter = default_cutter(page);
        let before = Random::new(2).bytes(LEN);
        for (round, pages) in [1, 2, 7, 16, 33].into_iter().enumerate() {
            let mut random = Random::new(200 + round as u64);
            let at = random.below(LEN / PAGE / 2) * PAGE;
            let inserted = random.bytes(pages * PAGE);
            let after = [&before[..at], &inserted, &before[at..]].concat();
            assert_cuts_meet(&cutter, &before, &after, (at, inserted.len()));
            let new = new_chunks(&cutter, &before, &after);
            assert!((1..=12 + pages / 4).contains(&new), "{new} new chunks");
        }
    }
}

/// The page cutter looks at 64 bytes of a page: an edit that misses them moves no cut at all.
#[test]
fn an_edit_between_the_sampled_bytes_changes_one_chunk() {
    let cutter = default_cutter(true);
    let before = Random::new(3).bytes(LEN);
    let mut after = before.clone();
    after[LEN / 2 + 100] ^= 1;
    assert_eq!(cuts(&cutter, &before), cuts(&cutter, &after));
    assert_eq!(new_chunks(&cutter, &before, &after), 1);
}

/// Bytes inserted at an odd place move everything off its page: FastCDC follows, the page cutter
/// cannot (guests do not move data so, files do).
#[test]
fn inserting_three_bytes_needs_fastcdc() {
    let before = Random::new(4).bytes(LEN);
    let after = [&before[..LEN / 2], b"abc", &before[LEN / 2..]].concat();
    assert_cuts_meet(&default_cutter(false), &before, &after, (LEN / 2, 3));
    assert!(new_chunks(&default_cutter(false), &before, &after) <= 12);
    assert!(new_chunks(&default_cutter(true), &before, &after) > 40);
}

/// Chunks are cut as if the extent were alone: the same data behind other zero runs is the same.
#[test]
fn extents_are_cut_independently_of_what_surrounds_them() {
    for page in [true, false] {
        let cutter = default_cutter(page);
        let data = Random::new(6).bytes(200 * PAGE);
        let zeros = vec![0; 40 * PAGE];
        let alone = [&data[..]].concat();
        let among = [&Random::new(7).bytes(33 * PAGE), &zeros[..], &data, &zeros].concat();
        let new = new_chunks(&cutter, &among, &alone);
        assert_eq!(new, 0);
    }
}

/// Mean chunk size on random data, which the core's budgets rest on: 1.0 to 1.4 targets.
#[test]
fn mean_chunks_are_a_little_longer_than_the_target() {
    for page in [true, false] {
        let cutter = default_cutter(page);
        let stream = Random::new(8).bytes(2 * LEN);
        let mean = stream.len() / cuts(&cutter, &stream).len();
        let target = cutter.sizes().target();
        assert!((target..target * 14 / 10).contains(&mean), "page {page}: {mean} bytes");
    }
}
