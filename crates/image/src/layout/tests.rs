//! The layout against a table of all bytes of small files.

use std::sync::Arc;

use super::*;
use proptest::prelude::*;

fn piece(offset: u64, file_offset: u64, len: u64) -> Piece {
    Piece { offset, file_offset, len }
}

/// A guest of 12 units in a file of 10 units of `unit` bytes.
fn example(unit: u64) -> Layout {
    let runs = [(0, 4, 2), (2, 1, 1), (6, 2, 2), (8, 4 + 2, 1)];
    let runs = runs.map(|(offset, at, len)| piece(offset * unit, at * unit, len * unit));
    Layout::new(Lens { file: 10 * unit, guest: 12 * unit }, runs).unwrap()
}

#[test]
fn the_residue_is_the_complement() {
    let layout = example(1);
    let residue: Vec<Piece> = layout.pieces(Part::Residue, 0..u64::MAX).collect();
    assert_eq!(residue, [piece(0, 0, 1), piece(1, 7, 3)]);
    assert_eq!((layout.len(Part::Guest), layout.len(Part::Residue)), (12, 4));
    assert_eq!((layout.data_len(), layout.run_count()), (6, 4));
}

#[test]
fn pieces_are_clipped_to_the_range() {
    let layout = example(10);
    let of = |range| layout.pieces(Part::Guest, range).collect::<Vec<_>>();
    assert_eq!(of(5..25), [piece(5, 45, 15), piece(20, 10, 5)]);
    assert_eq!(of(12..13), [piece(12, 52, 1)]);
    assert_eq!(of(30..60), [], "a gap");
    assert_eq!(of(59..61), [piece(60, 20, 1)]);
    assert_eq!(of(15..15), []);
    assert_eq!(of(std::ops::Range { start: 15, end: 3 }), []);
    assert_eq!(of(90..u64::MAX), []);
}

#[test]
fn runs_that_touch_in_both_are_one() {
    let lens = Lens { file: 100, guest: 100 };
    let layout = Layout::new(lens, (0..50).map(|at| piece(2 * at, 2 * at, 2))).unwrap();
    assert_eq!(layout.run_count(), 1);
    assert_eq!(layout.encode(), [100, 2, 0, 0, 25], "length, unit of 4 bytes, gap, step, length");
    assert_eq!(Layout::new(lens, []).unwrap().encode(), [100]);
}

#[test]
fn what_is_no_layout_is_refused() {
    let of = |runs: &[Piece]| Layout::new(Lens { file: 10, guest: 20 }, runs.iter().copied());
    let out = |offset| Err(LayoutError::OutOfRange { offset });
    assert_eq!(of(&[piece(0, 0, 0)]), out(0), "empty");
    assert_eq!(of(&[piece(4, 0, 2), piece(5, 4, 2)]), out(5), "out of order");
    assert_eq!(of(&[piece(0, 9, 2)]), out(0), "past the file");
    assert_eq!(of(&[piece(19, 0, 2)]), out(19), "past the stream");
    assert_eq!(of(&[piece(u64::MAX, 0, 2)]), out(u64::MAX));
    assert_eq!(of(&[piece(0, 4, 2), piece(2, 3, 2)]), Err(LayoutError::Overlap { file_offset: 4 }));
    let longest = i64::MAX as u64;
    for (file, guest) in [(1, longest + 1), (longest + 1, 1), (1, u64::MAX), (u64::MAX, u64::MAX)] {
        let long = Err(LayoutError::TooLong { len: file.max(guest) });
        assert_eq!(Layout::new(Lens { file, guest }, []), long, "without a run too");
    }
    let both = Layout::new(Lens { file: longest, guest: longest }, []).unwrap();
    assert_eq!(both.stream_len(), 2 * longest);
}

#[test]
fn only_the_canonical_encoding_is_accepted() {
    let refused = |bytes: &[u8]| match Layout::decode(bytes, 100) {
        Err(LayoutError::Malformed { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&[]), "ends within a number");
    assert_eq!(refused(&[100, 0]), "ends within a number");
    assert_eq!(refused(&[100, 1, 0, 0, 2]), "the unit could be larger");
    assert_eq!(refused(&[100, 64, 0, 0, 1]), "unit exceeds 64 bits");
    assert_eq!(refused(&[100, 63, 2, 0, 1]), "number exceeds 64 bits");
    assert_eq!(refused(&[100, 0, 0, 0, 1, 0, 0, 1]), "two runs that are one");
    assert_eq!(refused(&[100, 0, 0, 1, 1]), "number exceeds 64 bits", "a step before the file");
    assert_eq!(
        Layout::decode(&[100, 0, 0, 0, 0], 100),
        Err(LayoutError::OutOfRange { offset: 0 }),
        "empty run"
    );
}

#[test]
fn a_moved_cluster_changes_a_few_bytes() {
    let cluster = 65536;
    let runs = |moved: Option<u64>| {
        (0..100_000).map(move |at| {
            // Every cluster is a run of its own: pairs are swapped.
            let place = if Some(at) == moved { 200_000 } else { at ^ 1 };
            piece(at * cluster, (place + 5) * cluster, cluster)
        })
    };
    let lens = Lens { file: 300_000 * cluster, guest: 100_000 * cluster };
    let one = Layout::new(lens, runs(None)).unwrap().encode();
    let two = Layout::new(lens, runs(Some(70_001))).unwrap().encode();
    assert!(one.len() <= 300_020, "3 bytes a run: {}", one.len());
    let same_head = one.iter().zip(&two).take_while(|(a, b)| a == b).count();
    let same_tail = one.iter().rev().zip(two.iter().rev()).take_while(|(a, b)| a == b).count();
    assert!(one.len() - same_head - same_tail <= 12, "{same_head} {same_tail}");
}

/// Runs in a file of 64 bytes that are disjoint in both, in any order, with unit 1 or 4.
fn any_layout() -> impl Strategy<Value = Layout> {
    let cells = prop::collection::vec(prop::option::weighted(0.7, 0..1000_u32), 0..16);
    (cells, any::<bool>(), 0..9_u64).prop_map(|(cells, large, extra)| {
        let unit = if large { 4 } else { 1 };
        let mut order: Vec<(u32, u64)> =
            cells.iter().zip(0..).filter_map(|(key, at)| Some(((*key)?, at))).collect();
        order.sort_unstable();
        let mut end = 0;
        let mut runs = Vec::new();
        for (key, at) in order {
            let offset = end + u64::from(key % 2) * unit;
            runs.push(piece(offset, at * unit, unit));
            end = offset + unit;
        }
        Layout::new(Lens { file: 64 + extra, guest: end + extra }, runs).unwrap()
    })
}

proptest! {
    #[test]
    fn decode_inverts_encode(layout in any_layout()) {
        let bytes = layout.encode();
        prop_assert_eq!(Layout::decode(&bytes, layout.file_len()).unwrap(), layout);
    }

    #[test]
    fn any_bytes_decode_canonically_or_not_at_all(
        bytes in prop::collection::vec(prop_oneof![0..4_u8, 0..40_u8, any::<u8>()], 0..16),
        len in prop_oneof![0..80_u64, any::<u64>()],
    ) {
        if let Ok(layout) = Layout::decode(&bytes, len) {
            prop_assert_eq!(layout.encode(), bytes);
            let of_both = layout.len(Part::Guest) + layout.len(Part::Residue);
            prop_assert!(layout.stream_len() == of_both && layout.data_len() <= layout.file_len());
        }
    }

    #[test]
    fn mutated_encodings_decode_canonically_or_not_at_all(
        layout in any_layout(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = layout.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(layout) = Layout::decode(&bytes, layout.file_len()) {
            prop_assert_eq!(layout.encode(), bytes);
        }
    }

    #[test]
    fn the_stream_of_both_is_guest_then_residue(
        layout in any_layout(), start in 0..200_u64, len in 0..200_u64,
    ) {
        let guest_len = layout.len(Part::Guest);
        let residue = layout.pieces(Part::Residue, 0..u64::MAX);
        let shifted = residue.map(|piece| Piece { offset: piece.offset + guest_len, ..piece });
        let all: Vec<Piece> = layout.pieces(Part::Guest, 0..u64::MAX).chain(shifted).collect();
        prop_assert_eq!(&layout.stream_pieces(0..u64::MAX).collect::<Vec<_>>(), &all);
        prop_assert_eq!(layout.stream_len(), guest_len + layout.len(Part::Residue));
        let range = start..start + len;
        let clipped = all.iter().filter_map(|piece| {
            let from = piece.offset.max(range.start);
            let to = (piece.offset + piece.len).min(range.end);
            (from < to).then(|| Piece {
                offset: from, file_offset: piece.file_offset + from - piece.offset, len: to - from,
            })
        });
        let clipped: Vec<Piece> = clipped.collect();
        prop_assert_eq!(layout.stream_pieces(range).collect::<Vec<_>>(), clipped);
    }

    #[test]
    fn every_byte_of_the_file_is_in_one_stream_once(
        layout in any_layout(), start in 0..80_u64, len in 0..80_u64,
    ) {
        let mut file = vec![None; 80];
        for part in [Part::Guest, Part::Residue] {
            for piece in layout.pieces(part, 0..u64::MAX) {
                for at in 0..piece.len {
                    let cell = &mut file[(piece.file_offset + at) as usize];
                    prop_assert_eq!(cell.replace((part, piece.offset + at)), None);
                }
            }
        }
        let file_len = layout.file_len() as usize;
        prop_assert!(file[..file_len].iter().all(Option::is_some));
        prop_assert!(file[file_len..].iter().all(Option::is_none));
        let order = FileOrder::new(Arc::new(layout));
        let mut at = start;
        for (part, piece) in order.pieces(start..start + len) {
            prop_assert_eq!(piece.file_offset, at);
            prop_assert!(piece.len > 0);
            for step in 0..piece.len {
                prop_assert_eq!(file[(at + step) as usize], Some((part, piece.offset + step)));
            }
            at += piece.len;
        }
        prop_assert_eq!(at, start.max((start + len).min(file_len as u64)));
    }
}
